//! The entries of an archive, one after the other, with all that is said of them.
//!
//! ```text
//!  archive   entry … entry, two blocks of zeros
//!  entry     [g …] [x | L | K …] header [S: blocks of its list] content, filled up to 512 bytes
//! ```
//!
//! `tar` decodes the fields of a header. Which entry has which content is decided here, because
//! what readers of archives disagree about is refused and not chosen: an archive must mean to
//! podrun what it means to those that have built, signed and scanned it.

use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::pax::Extended;
use super::sparse::{Map, Piece};
use super::stream::Counted;
use super::{UnpackError, bad_stream, invalid, is_file, shown};

/// The most bytes of the headers of one entry, long names, extended attributes and the lists of
/// sparse files among them.
const MAX_HEADERS: u64 = 1 << 20;

const BLOCK: u64 = 512;

/// An entry; its content is read from the archive.
pub(super) struct Member {
    pub(super) header: Header,
    pub(super) kind: EntryType,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) extended: Extended,
    /// Bytes of content in the archive.
    pub(super) size: u64,
    /// A file's length, its holes among it.
    pub(super) length: u64,
    /// Where a file's content goes.
    pub(super) pieces: Vec<Piece>,
}

/// An archive on its way.
pub(super) struct Archive<'a> {
    reader: &'a mut Counted,
    /// What is left of the present entry's content,
    content: u64,
    /// and of what fills its last block.
    filling: u64,
}

/// What headers said of an entry that is still to come.
#[derive(Default)]
struct Announced {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    extended: Option<Extended>,
}

impl<'a> Archive<'a> {
    pub(super) fn new(reader: &'a mut Counted) -> Self {
        Self {
            reader,
            content: 0,
            filling: 0,
        }
    }

    /// The next entry; what nobody has read of the last one is passed over.
    pub(super) fn next(&mut self) -> Result<Option<Member>, UnpackError> {
        self.skip()?;
        let mut budget = MAX_HEADERS;
        let mut announced = Announced::default();
        loop {
            let Some(header) = self.header()? else {
                return if announced.is_empty() {
                    Ok(None)
                } else {
                    invalid("it ends with a name, and no entry follows")
                };
            };
            match header.entry_type() {
                EntryType::GNULongName => {
                    let name = self.extension(&header, &mut budget)?;
                    once(&mut announced.path, without_nul(name))?;
                }
                EntryType::GNULongLink => {
                    let name = self.extension(&header, &mut budget)?;
                    once(&mut announced.link, without_nul(name))?;
                }
                EntryType::XHeader => {
                    let records = self.extension(&header, &mut budget)?;
                    once(&mut announced.extended, Extended::parse(&records)?)?;
                }
                EntryType::XGlobalHeader => {
                    let records = self.extension(&header, &mut budget)?;
                    announced.pass_over(&Extended::parse(&records)?)?;
                }
                _ => return self.member(header, announced, &mut budget).map(Some),
            }
        }
    }

    fn member(
        &mut self,
        header: Header,
        announced: Announced,
        budget: &mut u64,
    ) -> Result<Member, UnpackError> {
        let mut extended = announced.extended.unwrap_or_default();
        let path = one_name(announced.path, extended.path.take())?
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = one_name(announced.link, extended.link.take())?
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        let mut kind = header.entry_type();
        if is_file(kind) && path.ends_with(b"/") {
            // In the oldest archives this is a directory. With a later type it is one to GNU tar,
            // and a file to Go and Python.
            if header.as_old().linkflag != [0] {
                return invalid(format!(
                    "`{}` is a file and ends with a slash",
                    shown(&path)
                ));
            }
            kind = EntryType::Directory;
        }
        let size = match extended.size {
            Some(size) => size,
            None => header.entry_size().map_err(|error| bad_stream(&error))?,
        };
        let (pieces, length) = match kind {
            EntryType::GNUSparse => self.sparse(&header, size, budget)?,
            kind if is_file(kind) => (
                vec![Piece {
                    offset: 0,
                    length: size,
                }],
                size,
            ),
            _ => (Vec::new(), 0),
        };
        self.content = size;
        self.filling = filling(size);
        Ok(Member {
            header,
            kind,
            path,
            link,
            extended,
            size,
            length,
            pieces,
        })
    }

    /// The list of a sparse file; part of it is between the header and the content.
    fn sparse(
        &mut self,
        header: &Header,
        size: u64,
        budget: &mut u64,
    ) -> Result<(Vec<Piece>, u64), UnpackError> {
        let Some(gnu) = header.as_gnu() else {
            return invalid("a sparse file is not in the format of GNU tar");
        };
        let mut map = Map::default();
        map.add(&gnu.sparse)?;
        let mut is_extended = gnu.isextended;
        while map.goes_on(is_extended)? {
            spend(budget, BLOCK)?;
            let mut block = GnuExtSparseHeader::new();
            self.exactly(block.as_mut_bytes())?;
            map.add(&block.sparse)?;
            is_extended = block.isextended;
        }
        map.finish(gnu, size)
    }

    /// The next header, or nothing at the end: a block of zeros, or no block.
    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut first = [0];
        match self.reader.read(&mut first).map_err(|e| bad_stream(&e))? {
            0 => return Ok(None),
            _ => self.exactly(block.get_mut(1..).unwrap_or_default())?,
        }
        if let Some(byte) = block.first_mut() {
            *byte = first[0];
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The sum of all bytes, those of the sum itself as spaces (POSIX.1-2017, pax, "ustar").
        let sum = block.iter().enumerate().fold(0_u32, |sum, (at, byte)| {
            let byte = if (148..156).contains(&at) {
                b' '
            } else {
                *byte
            };
            sum.saturating_add(u32::from(byte))
        });
        if header.cksum().ok() != Some(sum) {
            return invalid("the checksum of a header is wrong");
        }
        Ok(Some(header))
    }

    /// The content of a header that says something about another entry.
    fn extension(&mut self, header: &Header, budget: &mut u64) -> Result<Vec<u8>, UnpackError> {
        let size = header.entry_size().map_err(|error| bad_stream(&error))?;
        spend(
            budget,
            size.saturating_add(filling(size)).saturating_add(BLOCK),
        )?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.exactly(&mut bytes)?;
        self.filling = filling(size);
        self.skip()?;
        Ok(bytes)
    }

    fn exactly(&mut self, bytes: &mut [u8]) -> Result<(), UnpackError> {
        self.reader
            .read_exact(bytes)
            .map_err(|error| bad_stream(&error))
    }

    fn skip(&mut self) -> Result<(), UnpackError> {
        let left = self.content.saturating_add(self.filling);
        let skipped = io::copy(&mut self.reader.by_ref().take(left), &mut io::sink())
            .map_err(|error| bad_stream(&error))?;
        if skipped < left {
            return invalid("it ends within an entry");
        }
        (self.content, self.filling) = (0, 0);
        Ok(())
    }
}

/// The content of the entry that came last.
impl Read for Archive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.by_ref().take(self.content).read(buffer)?;
        let read = u64::try_from(length).unwrap_or(self.content);
        self.content = self.content.saturating_sub(read);
        Ok(length)
    }
}

impl Announced {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.link.is_none() && self.extended.is_none()
    }

    /// A header for all entries that follow. GNU tar and Python apply it, Go does not: one that
    /// would change what an entry is called or holds is refused, and any other means nothing.
    /// Between a header and its entry it makes Go forget the header.
    fn pass_over(&self, global: &Extended) -> Result<(), UnpackError> {
        if !self.is_empty() {
            return invalid("a header for all entries is between a header and its entry");
        }
        if global.path.is_some() || global.link.is_some() || global.size.is_some() {
            return invalid("a header gives a name or a size to all entries");
        }
        Ok(())
    }
}

/// A second header of its kind replaces the first one to some readers, adds to it for others.
fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), UnpackError> {
    if slot.replace(value).is_some() {
        return invalid("a header that belongs to the same entry is there twice");
    }
    Ok(())
}

/// Of GNU's long name and an extended header's, GNU tar takes the latter and Python the first.
fn one_name(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, UnpackError> {
    match (gnu, pax) {
        (Some(gnu), Some(pax)) if gnu != pax => invalid(format!(
            "an entry has two names, `{}` and `{}`",
            shown(&gnu),
            shown(&pax)
        )),
        (gnu, pax) => Ok(gnu.or(pax)),
    }
}

/// A long name ends with a NUL byte, mostly.
fn without_nul(mut name: Vec<u8>) -> Vec<u8> {
    while name.pop_if(|byte| *byte == 0).is_some() {}
    name
}

/// What follows content of this size, up to the next block.
fn filling(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

fn spend(budget: &mut u64, bytes: u64) -> Result<(), UnpackError> {
    match budget.checked_sub(bytes) {
        Some(left) => *budget = left,
        None => return invalid("the headers of an entry are too long"),
    }
    Ok(())
}
