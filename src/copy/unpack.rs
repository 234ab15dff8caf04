//! A tar archive as a tree.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use tar::{Archive, EntryType};

use super::{CopyError, MAX_DEPTH, MAX_PATH, Skipped, failed, shown};

/// What is read behind the end of an archive, far more than the records of any tar.
const MAX_FILLING: u64 = 1 << 20;

/// Which symbolic links are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// All: the destination belongs to the same container as they.
    Any,
    /// Those that stay below the copied directory whatever else is in it: relative, and with `..`
    /// only in front. The others are left out.
    Inside,
}

/// What the first entry of an archive is called.
#[derive(Debug, Clone, Copy)]
pub struct FirstName<'a> {
    /// If it is a directory; empty for the destination itself.
    pub directory: &'a [u8],
    /// If it is anything else.
    pub file: &'a [u8],
}

/// Where an archive goes.
#[derive(Debug)]
pub struct Target<'a> {
    /// A directory.
    pub parent: BorrowedFd<'a>,
    /// What the first entry, to which all others belong, is called in it; with nothing all entries
    /// keep their names.
    pub name: Option<FirstName<'a>>,
    /// Which links are made.
    pub links: Links,
}

/// Unpacks an archive. Files, directories and links only, without set-user-ID and the like; a file
/// or link in the place of a new one is replaced and never written to.
///
/// # Errors
/// An archive that breaks a rule, a destination that cannot be written. What came before stays.
pub fn unpack(stream: impl Read, target: &Target<'_>) -> Result<Skipped, CopyError> {
    let mut archive = Archive::new(stream);
    let mut unpacker = Unpacker {
        target,
        first: None,
        skipped: Skipped::default(),
    };
    let mut long = Announced::default();
    // Raw, because the reader's own handling of long names takes as much memory as they say.
    let entries = archive.entries().map_err(|error| bad(&error))?.raw(true);
    for entry in entries {
        let mut entry = entry.map_err(|error| bad(&error))?;
        match entry.header().entry_type() {
            EntryType::GNULongName => long.path = Some(long_name(&mut entry)?),
            EntryType::GNULongLink => long.link = Some(long_name(&mut entry)?),
            EntryType::XHeader => long.take_pax(&mut entry)?,
            EntryType::XGlobalHeader => {}
            kind => {
                let Announced { path, link } = std::mem::take(&mut long);
                let path = path.unwrap_or_else(|| entry.path_bytes().into_owned());
                let link = link
                    .or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned))
                    .unwrap_or_default();
                unpacker.one(&mut entry, kind, &path, &link)?;
            }
        }
    }
    // A writer that fills its last record is not cut off.
    let rest = archive.into_inner().take(MAX_FILLING);
    io::copy(&mut { rest }, &mut io::sink()).map_err(|error| bad(&error))?;
    if unpacker.first.is_none() && target.name.is_some() {
        return Err(CopyError("nothing came".to_owned()));
    }
    Ok(unpacker.skipped)
}

fn bad(error: &io::Error) -> CopyError {
    CopyError(format!(
        "the archive cannot be read: {}",
        shown(error.to_string().as_bytes())
    ))
}

fn invalid<T>(path: &[u8], why: &str) -> Result<T, CopyError> {
    Err(CopyError(format!("the archive's `{}` {why}", shown(path))))
}

/// What was said of an entry that is still to come.
#[derive(Default)]
struct Announced {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Announced {
    /// Names of an extended header; times and owners in it are not used, a size is refused.
    fn take_pax(&mut self, entry: &mut impl Read) -> Result<(), CopyError> {
        let records = bounded(entry, 1 << 16)?;
        for record in tar::PaxExtensions::new(&records) {
            let record = record.map_err(|error| bad(&error))?;
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                b"size" => return invalid(b"size", "in an extended header is not understood"),
                key if key.starts_with(b"GNU.sparse") => {
                    return invalid(key, "is not understood: make the archive without --sparse");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn bounded(from: &mut impl Read, limit: usize) -> Result<Vec<u8>, CopyError> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| bad(&error))?;
    if bytes.len() > limit {
        return Err(CopyError("a header of the archive is too long".to_owned()));
    }
    Ok(bytes)
}

fn long_name(entry: &mut impl Read) -> Result<Vec<u8>, CopyError> {
    let mut name = bounded(entry, MAX_PATH)?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

/// The components of an entry's name.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, CopyError> {
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return invalid(path, "leads upwards"),
            name if name.contains(&0) || name.len() > 255 => {
                return invalid(path, "is not the name of a file");
            }
            name => names.push(name),
        }
    }
    if names.len() > MAX_DEPTH.saturating_add(1) || path.len() > MAX_PATH {
        return invalid(path, "is too deep");
    }
    Ok(names)
}

/// Whether a link stays below the root whose `depth` levels are above it. Each directory on the way
/// up is a real one, since no link is ever followed to make it; and each link on the way down has
/// passed the same test. With `..` behind a name that would not hold.
fn stays_inside(link: &[u8], depth: usize) -> bool {
    if link.starts_with(b"/") {
        return false;
    }
    let mut up: usize = 0;
    let mut is_down = false;
    for name in link.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if is_down => return false,
            b".." => up = up.saturating_add(1),
            _ => is_down = true,
        }
    }
    up <= depth
}

struct Unpacker<'a> {
    target: &'a Target<'a>,
    /// The first entry's components and its kind.
    first: Option<(Vec<Vec<u8>>, EntryType)>,
    skipped: Skipped,
}

impl Unpacker<'_> {
    fn one(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        kind: EntryType,
        path: &[u8],
        link: &[u8],
    ) -> Result<(), CopyError> {
        let names = components(path)?;
        let names = match self.target.name {
            None => names,
            Some(name) => self.renamed(&names, name, kind, path)?,
        };
        let Some((name, parents)) = names.split_last() else {
            // The destination itself, which exists.
            return if kind == EntryType::Directory {
                Ok(())
            } else {
                invalid(path, "is not the name of a file")
            };
        };
        let depth = match self.target.name {
            // The copied directory's own name is no level that a link may climb over.
            Some(name) if !name.directory.is_empty() => parents.len().checked_sub(1),
            _ => Some(parents.len()),
        };
        let parent = self.parent(parents, path)?;
        let mode = Mode::from_raw_mode(entry.header().mode().unwrap_or(0o644) & 0o777);
        let time = entry.header().mtime().unwrap_or(0);
        match kind {
            EntryType::Directory => make_directory(&parent, name, path, mode | Mode::RWXU),
            EntryType::Regular | EntryType::Continuous => {
                write_file(entry, &parent, name, path, mode, time)
            }
            EntryType::Symlink => {
                let inside = depth.is_some_and(|depth| stays_inside(link, depth));
                if self.target.links == Links::Inside && !inside {
                    let why = format!("was left out: its link leads to {}", shown(link));
                    self.skipped.note(path, &why);
                    return Ok(());
                }
                replace(&parent, name, path)?;
                rustix::fs::symlinkat(link, &parent, *name).map_err(|errno| failed(path, errno))
            }
            _ => {
                let why = "was left out: it is neither a file, a directory nor a symbolic link";
                self.skipped.note(path, why);
                Ok(())
            }
        }
    }

    /// An entry's components with the first entry's name replaced.
    fn renamed<'n>(
        &mut self,
        names: &[&'n [u8]],
        name: FirstName<'n>,
        kind: EntryType,
        path: &[u8],
    ) -> Result<Vec<&'n [u8]>, CopyError> {
        let is_first = self.first.is_none();
        let (first, first_kind) = self.first.get_or_insert_with(|| {
            let owned = names.iter().map(|name| name.to_vec()).collect();
            (owned, kind)
        });
        let belongs = names.len() >= first.len() && first.iter().zip(names).all(|(a, b)| a == b);
        if !belongs || (!is_first && *first_kind != EntryType::Directory) {
            return invalid(path, "does not belong to what was asked for");
        }
        let name = if *first_kind == EntryType::Directory {
            name.directory
        } else {
            name.file
        };
        let prefix = (!name.is_empty()).then_some(name);
        let rest = names.iter().skip(first.len()).copied();
        Ok(prefix.into_iter().chain(rest).collect())
    }

    fn parent(&self, names: &[&[u8]], path: &[u8]) -> Result<OwnedFd, CopyError> {
        let mut relative = names.join(&b'/');
        if relative.is_empty() {
            relative.push(b'.');
        }
        rustix::fs::openat2(
            self.target.parent,
            relative,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
        .map_err(|errno| failed(path, errno))
    }
}

fn make_directory(parent: &OwnedFd, name: &[u8], path: &[u8], mode: Mode) -> Result<(), CopyError> {
    match rustix::fs::mkdirat(parent, name, mode) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => match kind_of(parent, name) {
            Ok(FileType::Directory) => Ok(()),
            _ => Err(failed(path, Errno::NOTDIR)),
        },
        Err(errno) => Err(failed(path, errno)),
    }
}

fn kind_of(parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<FileType> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// Makes room for a new file. Devices and the like are not removed: `/dev/null` as a destination
/// is a slip.
fn replace(parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<(), CopyError> {
    match kind_of(parent, name) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(failed(path, errno)),
        Ok(FileType::RegularFile | FileType::Symlink) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())
                .map_err(|errno| failed(path, errno))
        }
        Ok(FileType::Directory) => Err(failed(path, Errno::ISDIR)),
        Ok(_) => Err(CopyError(format!(
            "{}: what is there is no regular file",
            shown(path)
        ))),
    }
}

fn write_file(
    entry: &mut tar::Entry<'_, impl Read>,
    parent: &OwnedFd,
    name: &[u8],
    path: &[u8],
    mode: Mode,
    time: u64,
) -> Result<(), CopyError> {
    replace(parent, name, path)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        rustix::fs::openat(parent, name, flags, mode).map_err(|errno| failed(path, errno))?;
    let size = entry.size();
    let mut file = File::from(file);
    let written = io::copy(entry, &mut file).map_err(|error| failed(path, error))?;
    if written != size {
        return invalid(path, "is cut off");
    }
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: now,
        last_modification: Timespec {
            tv_sec: i64::try_from(time).unwrap_or(0),
            tv_nsec: 0,
        },
    };
    // Best effort: not every file system keeps every time.
    rustix::fs::futimens(file.as_fd(), &times).ok();
    Ok(())
}
