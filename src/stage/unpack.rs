//! Unpacking a layer: hostile input, written with privileges.
//!
//! Each layer has a directory of its own. Nothing is reached by a path: a parent is opened with
//! `openat2(2)` that cannot leave the directory, an entry is made in its parent's descriptor and
//! never over something that exists. `tar` is the reader only.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tar::EntryType;

use crate::sys::tree::remove_beneath;

/// Bounds of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed archive.
    pub max_bytes: u64,
    /// Entries.
    pub max_entries: usize,
    /// Components of a path.
    pub max_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 30,
            max_entries: 1_000_000,
            max_depth: 256,
        }
    }
}

/// Whether files get the owners the layer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// They do.
    Exact,
    /// Only one id exists; all files are its.
    Squash,
}

/// Which attribute says that a directory hides those below (overlayfs.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpaqueAttribute {
    /// `trusted.overlay.opaque`
    Trusted,
    /// `user.overlay.opaque`, for overlays mounted with `userxattr`.
    User,
}

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// SHA-256 of the uncompressed archive.
    pub diff_id: String,
    /// Its length.
    pub bytes: u64,
    /// What could not be kept.
    pub warnings: Vec<String>,
}

/// Why a layer is not unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnpackError {
    /// The layer breaks a rule.
    Invalid(String),
    /// The machine said no.
    Failed(String),
}

fn invalid<T>(message: impl Into<String>) -> Result<T, UnpackError> {
    Err(UnpackError::Invalid(message.into()))
}

fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string().chars().take(200).collect()
}

fn failed(what: &str, name: &[u8]) -> impl FnOnce(Errno) -> UnpackError {
    let text = format!("{} cannot be {what}", shown(name));
    move |errno| match errno {
        Errno::INVAL if text.ends_with("given its owner") => UnpackError::Failed(format!(
            "{text}: the id does not exist for this user (a larger range in /etc/subuid and /etc/subgid is needed)"
        )),
        _ => UnpackError::Failed(format!("{text}: {}", io::Error::from(errno))),
    }
}

/// Unpacks a layer, compressed or not, into an empty directory.
///
/// # Errors
/// As [`UnpackError`] says; the directory's content is of no use then.
pub fn run(
    mut layer: File,
    target: BorrowedFd<'_>,
    ownership: Ownership,
    opaque: OpaqueAttribute,
    limits: &Limits,
) -> Result<Report, UnpackError> {
    layer
        .rewind()
        .map_err(|error| UnpackError::Failed(error.to_string()))?;
    let reader = decompress(BufReader::with_capacity(256 * 1024, layer))?;
    let mut counted = Counted {
        inner: reader,
        hash: Sha256::new(),
        bytes: 0,
        limit: limits.max_bytes,
        is_over: false,
    };
    let mut unpacker = Unpacker {
        target,
        ownership,
        opaque,
        limits,
        parent: None,
        hidden: HashSet::new(),
        directories: Vec::new(),
        warnings: Vec::new(),
        noted: HashSet::new(),
    };
    let result = unpacker.all(&mut counted);
    if counted.is_over {
        return invalid(format!(
            "it unpacks to more than {} bytes",
            limits.max_bytes
        ));
    }
    result?;
    unpacker.set_directory_times();
    // What follows the end of the archive belongs to the digest as well.
    io::copy(&mut counted, &mut io::sink()).map_err(|error| bad_stream(&error))?;
    if counted.is_over {
        return invalid(format!(
            "it unpacks to more than {} bytes",
            limits.max_bytes
        ));
    }
    let mut diff_id = String::new();
    for byte in counted.hash.finalize() {
        write!(diff_id, "{byte:02x}").ok();
    }
    Ok(Report {
        diff_id,
        bytes: counted.bytes,
        warnings: unpacker.warnings,
    })
}

fn bad_stream(error: &io::Error) -> UnpackError {
    UnpackError::Invalid(format!(
        "it cannot be read: {}",
        shown(error.to_string().as_bytes())
    ))
}

/// By what the bytes are, not by what somebody says they are.
fn decompress(mut reader: BufReader<File>) -> Result<Box<dyn Read>, UnpackError> {
    let start = reader
        .fill_buf()
        .map_err(|error| UnpackError::Failed(error.to_string()))?;
    if start.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Ok(Box::new(Frames {
            reader: Some(reader),
            current: None,
        }))
    } else {
        Ok(Box::new(reader))
    }
}

/// The largest window of a zstd frame (8 MiB, what `zstd -19` uses): a frame may ask for memory.
const MAX_WINDOW: u64 = 8 << 20;

/// zstd frames one after the other.
struct Frames {
    reader: Option<BufReader<File>>,
    current:
        Option<ruzstd::decoding::StreamingDecoder<BufReader<File>, ruzstd::decoding::FrameDecoder>>,
}

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.current {
                match frame.read(buffer)? {
                    0 => {
                        if let Some(done) = self.current.take() {
                            self.reader = Some(done.into_inner());
                        }
                    }
                    length => return Ok(length),
                }
            }
            let Some(mut reader) = self.reader.take() else {
                return Ok(0);
            };
            let head = reader.fill_buf()?;
            if head.is_empty() {
                self.reader = Some(reader);
                return Ok(0);
            }
            if window_of(head).is_some_and(|window| window > MAX_WINDOW) {
                return Err(io::Error::other("its zstd window is larger than 8 MiB"));
            }
            self.current = Some(
                ruzstd::decoding::StreamingDecoder::new(reader)
                    .map_err(|error| io::Error::other(error.to_string()))?,
            );
        }
    }
}

/// The window a frame's header asks for (RFC 8878, 3.1.1.1); nothing for a frame of known size.
fn window_of(head: &[u8]) -> Option<u64> {
    let descriptor = *head.get(4)?;
    let is_single_segment = descriptor & 0x20 != 0;
    if is_single_segment {
        return None;
    }
    let window = u64::from(*head.get(5)?);
    let base = 1_u64.checked_shl(u32::try_from(10 + (window >> 3)).ok()?)?;
    Some(base.saturating_add((base / 8).saturating_mul(window & 7)))
}

/// Counts and hashes what passes.
struct Counted {
    inner: Box<dyn Read>,
    hash: Sha256,
    bytes: u64,
    limit: u64,
    is_over: bool,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..length).unwrap_or_default());
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(length).unwrap_or(0));
        if self.bytes > self.limit {
            self.is_over = true;
            return Err(io::Error::other("too large"));
        }
        Ok(length)
    }
}

struct Unpacker<'a> {
    target: BorrowedFd<'a>,
    ownership: Ownership,
    opaque: OpaqueAttribute,
    limits: &'a Limits,
    /// The parent of the last entry, if nothing since could have changed what its path means.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Names that this layer hides, so that a directory made there hides what is below.
    hidden: HashSet<Vec<u8>>,
    directories: Vec<(Vec<u8>, Timestamps)>,
    warnings: Vec<String>,
    noted: HashSet<&'static str>,
}

/// The metadata of an entry.
struct Entry {
    uid: u32,
    gid: u32,
    mode: Mode,
    times: Timestamps,
    attributes: Vec<(String, Vec<u8>)>,
}

impl Unpacker<'_> {
    fn all(&mut self, reader: &mut Counted) -> Result<(), UnpackError> {
        let mut archive = tar::Archive::new(reader);
        let entries = archive.entries().map_err(|error| bad_stream(&error))?;
        for (count, entry) in entries.enumerate() {
            if count >= self.limits.max_entries {
                return invalid(format!(
                    "it has more than {} entries",
                    self.limits.max_entries
                ));
            }
            let mut entry = entry.map_err(|error| bad_stream(&error))?;
            self.one(&mut entry)?;
        }
        Ok(())
    }

    /// Says something once per layer.
    fn note(&mut self, what: &'static str) {
        if self.noted.insert(what) {
            self.warnings.push(what.to_owned());
        }
    }

    /// The components of a path; links and `..` in names are not followed anywhere.
    fn components(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, UnpackError> {
        let mut names = Vec::new();
        if path.len() > 4096 {
            return invalid("a path is longer than 4096 bytes");
        }
        for name in path.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => return invalid(format!("`{}` leads upwards", shown(path))),
                name if name.contains(&0) => {
                    return invalid(format!("`{}` contains a NUL byte", shown(path)));
                }
                name if name.len() > 255 => {
                    return invalid(format!(
                        "`{}` has a name of more than 255 bytes",
                        shown(path)
                    ));
                }
                name => names.push(name.to_vec()),
            }
        }
        if names.len() > self.limits.max_depth {
            return invalid(format!("`{}` is too deep", shown(path)));
        }
        Ok(names)
    }

    fn one(&mut self, tar: &mut tar::Entry<'_, &mut Counted>) -> Result<(), UnpackError> {
        let kind = tar.header().entry_type();
        if matches!(
            kind,
            EntryType::XGlobalHeader
                | EntryType::XHeader
                | EntryType::GNULongName
                | EntryType::GNULongLink
        ) {
            return Ok(());
        }
        let path = tar.path_bytes().into_owned();
        let mut names = self.components(&path)?;
        let entry = metadata(tar, &path)?;
        let Some(name) = names.pop() else {
            if kind == EntryType::Directory {
                return self.finish_root(&entry);
            }
            return invalid(format!("`{}` is not the name of a file", shown(&path)));
        };
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(&names, hidden, &path);
        }
        match kind {
            EntryType::Directory => self.directory(&names, &name, &entry),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&names, &name, &entry, tar)
            }
            EntryType::Symlink => {
                let link = tar
                    .link_name_bytes()
                    .map(std::borrow::Cow::into_owned)
                    .unwrap_or_default();
                self.symlink(&names, &name, &entry, &link)
            }
            EntryType::Link => {
                let link = tar
                    .link_name_bytes()
                    .map(std::borrow::Cow::into_owned)
                    .unwrap_or_default();
                self.hard_link(&names, &name, &link)
            }
            EntryType::Fifo => self.fifo(&names, &name, &entry),
            EntryType::Char | EntryType::Block => {
                let number = (
                    tar.header().device_major().ok().flatten().unwrap_or(0),
                    tar.header().device_minor().ok().flatten().unwrap_or(0),
                );
                self.device(&names, &name, &entry, kind, number)
            }
            _ => invalid(format!("`{}` is of an unknown type", shown(&path))),
        }
    }

    /// The directory in which an entry is made; missing ones are made on the way.
    fn parent(&mut self, names: &[Vec<u8>]) -> Result<OwnedFd, UnpackError> {
        let path = names.join(&b'/');
        if let Some((known, fd)) = &self.parent
            && *known == path
        {
            return rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(failed("opened", &path));
        }
        let mut at = open_directory(self.target, b".").map_err(failed("opened", &path))?;
        if !path.is_empty() {
            at = match open_directory(self.target, &path) {
                Ok(found) => found,
                Err(Errno::NOENT) => self.make_parents(names)?,
                Err(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                    return invalid(format!("`{}` is not a directory", shown(&path)));
                }
                Err(errno) => return Err(failed("opened", &path)(errno)),
            };
        }
        let kept = rustix::io::fcntl_dupfd_cloexec(&at, 3).map_err(failed("opened", &path))?;
        self.parent = Some((path, kept));
        Ok(at)
    }

    fn make_parents(&mut self, names: &[Vec<u8>]) -> Result<OwnedFd, UnpackError> {
        let mut path: Vec<u8> = Vec::new();
        let mut at = open_directory(self.target, b".").map_err(failed("opened", b"/"))?;
        for name in names {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            at = match open_directory(self.target, &path) {
                Ok(found) => found,
                Err(Errno::NOENT) => {
                    let mode = Mode::from_raw_mode(0o755);
                    match rustix::fs::mkdirat(&at, name.as_slice(), mode) {
                        Ok(()) => {}
                        // A link that leads nowhere is in the way.
                        Err(Errno::EXIST) => {
                            return invalid(format!("`{}` is not a directory", shown(&path)));
                        }
                        Err(errno) => return Err(failed("made", &path)(errno)),
                    }
                    open_directory(self.target, &path).map_err(failed("opened", &path))?
                }
                Err(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                    return invalid(format!("`{}` is not a directory", shown(&path)));
                }
                Err(errno) => return Err(failed("opened", &path)(errno)),
            };
        }
        Ok(at)
    }

    /// Makes room: what an earlier entry put there is replaced.
    fn clear(&mut self, parent: &OwnedFd, name: &[u8]) -> Result<(), UnpackError> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                let text = std::str::from_utf8(name);
                let Ok(text) = text else {
                    return invalid(format!("`{}` replaces a directory", shown(name)));
                };
                remove_beneath(parent, text).map_err(|error| {
                    UnpackError::Failed(format!("{} cannot be replaced: {error}", shown(name)))
                })?;
            }
            Err(errno) => return Err(failed("replaced", name)(errno)),
        }
        self.parent = None;
        Ok(())
    }

    fn is_hidden(&self, names: &[Vec<u8>], name: &[u8]) -> bool {
        !self.hidden.is_empty() && self.hidden.contains(&full(names, name))
    }

    fn whiteout(
        &mut self,
        names: &[Vec<u8>],
        hidden: &[u8],
        path: &[u8],
    ) -> Result<(), UnpackError> {
        if hidden == b".wh..opq" {
            let parent = self.parent(names)?;
            return self.make_opaque(&parent, path);
        }
        // aufs' own files mean nothing to anybody else.
        if hidden.starts_with(b".wh.") {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return invalid(format!("`{}` hides no file", shown(path)));
        }
        let parent = self.parent(names)?;
        self.hidden.insert(full(names, hidden));
        // A file of this layer with that name stays, whatever the order is: whiteouts hide what
        // is below. A directory then hides all that is below it.
        match rustix::fs::statat(&parent, hidden, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                let directory = rustix::fs::openat(
                    &parent,
                    hidden,
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )
                .map_err(failed("opened", path))?;
                self.make_opaque(&directory, path)
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => rustix::fs::mknodat(
                &parent,
                hidden,
                FileType::CharacterDevice,
                Mode::empty(),
                rustix::fs::makedev(0, 0),
            )
            .map_err(failed("hidden", path)),
            Err(errno) => Err(failed("hidden", path)(errno)),
        }
    }

    fn make_opaque(&mut self, directory: &OwnedFd, path: &[u8]) -> Result<(), UnpackError> {
        let name = match self.opaque {
            OpaqueAttribute::Trusted => "trusted.overlay.opaque",
            OpaqueAttribute::User => "user.overlay.opaque",
        };
        // O_PATH descriptors take no attributes.
        let directory = open_directory(directory, b".").map_err(failed("opened", path))?;
        rustix::fs::fsetxattr(&directory, name, b"y", XattrFlags::empty())
            .map_err(failed("made opaque", path))
    }

    fn directory(
        &mut self,
        names: &[Vec<u8>],
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        let parent = self.parent(names)?;
        let is_hidden = self.is_hidden(names, name);
        let there = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
        let is_there =
            there.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        if !is_there {
            self.clear(&parent, name)?;
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))
                .map_err(failed("made", name))?;
        }
        let directory = rustix::fs::openat(
            &parent,
            name,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(failed("opened", name))?;
        if is_hidden && !is_there {
            self.make_opaque(&directory, name)?;
        }
        self.finish_file(&directory, name, entry)?;
        self.directories
            .push((full(names, name), entry.times.clone()));
        Ok(())
    }

    fn file(
        &mut self,
        names: &[Vec<u8>],
        name: &[u8],
        entry: &Entry,
        content: &mut impl Read,
    ) -> Result<(), UnpackError> {
        let parent = self.parent(names)?;
        let open = || {
            rustix::fs::openat(
                &parent,
                name,
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o600),
            )
        };
        let file = match open() {
            Err(Errno::EXIST) => {
                self.clear(&parent, name)?;
                open().map_err(failed("made", name))?
            }
            opened => opened.map_err(failed("made", name))?,
        };
        let mut file = File::from(file);
        io::copy(content, &mut file).map_err(|error| match error.raw_os_error() {
            Some(_) => UnpackError::Failed(format!("{} cannot be written: {error}", shown(name))),
            None => bad_stream(&error),
        })?;
        let file = OwnedFd::from(file);
        self.finish_file(&file, name, entry)?;
        rustix::fs::futimens(&file, &entry.times).map_err(failed("given its time", name))
    }

    fn symlink(
        &mut self,
        names: &[Vec<u8>],
        name: &[u8],
        entry: &Entry,
        link: &[u8],
    ) -> Result<(), UnpackError> {
        if link.is_empty() || link.contains(&0) {
            return invalid(format!("the link `{}` has no target", shown(name)));
        }
        let parent = self.parent(names)?;
        self.clear(&parent, name)?;
        rustix::fs::symlinkat(link, &parent, name).map_err(failed("made", name))?;
        if self.ownership == Ownership::Exact {
            rustix::fs::chownat(
                &parent,
                name,
                Some(Uid::from_raw(entry.uid)),
                Some(Gid::from_raw(entry.gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(failed("given its owner", name))?;
        }
        rustix::fs::utimensat(&parent, name, &entry.times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("given its time", name))
    }

    fn hard_link(
        &mut self,
        names: &[Vec<u8>],
        name: &[u8],
        link: &[u8],
    ) -> Result<(), UnpackError> {
        let mut target = self.components(link)?;
        let Some(target_name) = target.pop() else {
            return invalid(format!("the link `{}` has no target", shown(name)));
        };
        if full(&target, &target_name) == full(names, name) {
            return invalid(format!("`{}` is a link to itself", shown(name)));
        }
        let from_path = target.join(&b'/');
        let from_path: &[u8] = if from_path.is_empty() {
            b"."
        } else {
            &from_path
        };
        let Ok(from) = open_directory(self.target, from_path) else {
            return invalid(format!("`{}` is a link to nothing", shown(name)));
        };
        match rustix::fs::statat(&from, target_name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return invalid(format!("`{}` is a link to a directory", shown(name)));
            }
            Ok(_) => {}
            Err(_) => return invalid(format!("`{}` is a link to nothing", shown(name))),
        }
        let parent = self.parent(names)?;
        self.clear(&parent, name)?;
        rustix::fs::linkat(
            &from,
            target_name.as_slice(),
            &parent,
            name,
            AtFlags::empty(),
        )
        .map_err(|errno| match errno {
            Errno::NOENT => UnpackError::Invalid(format!("`{}` is a link to nothing", shown(name))),
            errno => failed("linked", name)(errno),
        })
    }

    fn fifo(&mut self, names: &[Vec<u8>], name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        let parent = self.parent(names)?;
        self.clear(&parent, name)?;
        rustix::fs::mknodat(&parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .map_err(failed("made", name))?;
        self.finish_node(&parent, name, entry)
    }

    fn device(
        &mut self,
        names: &[Vec<u8>],
        name: &[u8],
        entry: &Entry,
        kind: EntryType,
        (major, minor): (u32, u32),
    ) -> Result<(), UnpackError> {
        // To overlay 0:0 is a whiteout, and only `.wh.` names make those.
        if (major, minor) == (0, 0) {
            self.note("device nodes with the number 0:0 were left out");
            return Ok(());
        }
        let parent = self.parent(names)?;
        self.clear(&parent, name)?;
        let file_type = if kind == EntryType::Char {
            FileType::CharacterDevice
        } else {
            FileType::BlockDevice
        };
        let device = rustix::fs::makedev(major, minor);
        match rustix::fs::mknodat(&parent, name, file_type, Mode::from_raw_mode(0o600), device) {
            Ok(()) => self.finish_node(&parent, name, entry),
            Err(Errno::PERM) => {
                self.note("device nodes were left out: this user may not make them");
                Ok(())
            }
            Err(errno) => Err(failed("made", name)(errno)),
        }
    }

    /// Owner, mode and times of what cannot be opened without an effect.
    fn finish_node(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        if self.ownership == Ownership::Exact {
            rustix::fs::chownat(
                parent,
                name,
                Some(Uid::from_raw(entry.uid)),
                Some(Gid::from_raw(entry.gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(failed("given its owner", name))?;
        }
        // It was made in this call and is no link.
        rustix::fs::chmodat(parent, name, entry.mode, AtFlags::empty())
            .map_err(failed("given its mode", name))?;
        rustix::fs::utimensat(parent, name, &entry.times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("given its time", name))
    }

    /// Owner first: a change of owner takes the setuid bit and the capabilities away.
    fn finish_file(
        &mut self,
        file: &OwnedFd,
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        match self.ownership {
            Ownership::Exact => rustix::fs::fchown(
                file,
                Some(Uid::from_raw(entry.uid)),
                Some(Gid::from_raw(entry.gid)),
            )
            .map_err(failed("given its owner", name))?,
            Ownership::Squash => {
                if (entry.uid, entry.gid) != (0, 0) {
                    self.note("all files belong to user 0: no other id exists here");
                }
            }
        }
        rustix::fs::fchmod(file, entry.mode).map_err(failed("given its mode", name))?;
        for (attribute, value) in &entry.attributes {
            match rustix::fs::fsetxattr(file, attribute.as_str(), value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::NOTSUP | Errno::PERM | Errno::INVAL) => {
                    self.note("some extended attributes were left out");
                }
                Err(errno) => return Err(failed("given its attributes", name)(errno)),
            }
        }
        Ok(())
    }

    fn finish_root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        let root = open_directory(self.target, b".").map_err(failed("opened", b"/"))?;
        self.finish_file(&root, b"/", entry)?;
        self.directories.push((Vec::new(), entry.times.clone()));
        Ok(())
    }

    /// At the end: making an entry changes its parent's time.
    fn set_directory_times(&self) {
        for (path, times) in self.directories.iter().rev() {
            let path: &[u8] = if path.is_empty() { b"." } else { path };
            if let Ok(directory) = open_directory(self.target, path) {
                rustix::fs::futimens(&directory, times).ok();
            }
        }
    }
}

fn full(names: &[Vec<u8>], name: &[u8]) -> Vec<u8> {
    let mut path = names.join(&b'/');
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Opens a directory below; links of the layer stay below as well.
fn open_directory(below: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        below,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
    )
}

fn metadata(tar: &mut tar::Entry<'_, &mut Counted>, path: &[u8]) -> Result<Entry, UnpackError> {
    let header = tar.header();
    let id = |value: io::Result<u64>| {
        value
            .ok()
            .and_then(|id| u32::try_from(id).ok())
            .filter(|id| *id != u32::MAX)
    };
    let (Some(uid), Some(gid)) = (id(header.uid()), id(header.gid())) else {
        return invalid(format!("`{}` has no valid owner", shown(path)));
    };
    let mode = header.mode().map_err(|error| bad_stream(&error))? & 0o7777;
    let seconds = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
    let (mut uid, mut gid) = (uid, gid);
    let mut attributes = Vec::new();
    if let Ok(Some(extensions)) = tar.pax_extensions() {
        for extension in extensions {
            let extension = extension.map_err(|error| bad_stream(&error))?;
            let Ok(key) = extension.key() else { continue };
            let number = || {
                extension
                    .value()
                    .ok()
                    .and_then(|text| text.parse::<u32>().ok())
            };
            match key {
                "uid" => uid = number().filter(|id| *id != u32::MAX).unwrap_or(uid),
                "gid" => gid = number().filter(|id| *id != u32::MAX).unwrap_or(gid),
                key => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.")
                        && is_kept(name)
                    {
                        attributes.push((name.to_owned(), extension.value_bytes().to_vec()));
                    }
                }
            }
        }
    }
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    Ok(Entry {
        uid,
        gid,
        mode: Mode::from_raw_mode(mode),
        times: Timestamps {
            last_access: time,
            last_modification: time,
        },
        attributes,
    })
}

/// The user's own attributes and file capabilities; never what steers overlay, an LSM or the
/// integrity subsystem.
fn is_kept(name: &str) -> bool {
    let steers_overlay = name.contains(".overlay.");
    (name.starts_with("user.") && !steers_overlay) || name == "security.capability"
}
