//! Unpacking a layer: hostile input, written with privileges.
//!
//! Each layer has a directory of its own. Nothing is reached by a path: a parent is opened with
//! `openat2(2)` that cannot leave the directory, an entry is made in its parent's descriptor and
//! never over something that exists. `tar` is the reader only.

mod beneath;
mod directories;
mod entries;
mod metadata;
mod stream;
mod whiteout;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tar::EntryType;

use directories::Directories;
use stream::Counted;

pub use stream::decompress;

/// Bounds of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed archive, and of the files in it.
    pub max_bytes: u64,
    /// Entries.
    pub max_entries: usize,
    /// Components of a path.
    pub max_depth: usize,
    /// Bytes of what is remembered of directories until the end: their names and times.
    pub max_memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 30,
            max_entries: 1_000_000,
            max_depth: 256,
            max_memory: 128 << 20,
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

/// The most bytes of the headers of one entry, long names and extended attributes among them.
const MAX_HEADERS: u64 = 1 << 20;

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
    let reader = decompress(BufReader::with_capacity(256 * 1024, layer))
        .map_err(|error| UnpackError::Failed(error.to_string()))?;
    let mut counted = Counted {
        inner: reader,
        hash: Sha256::new(),
        bytes: 0,
        limit: limits.max_bytes,
        is_over: false,
        budget: Rc::default(),
    };
    let mut unpacker = Unpacker {
        target,
        ownership,
        opaque,
        limits,
        parent: None,
        directories: Directories::default(),
        written: 0,
        entries: 0,
        warnings: Vec::new(),
        noted: HashSet::new(),
    };
    let result = unpacker.all(&mut counted);
    if counted.is_over {
        return too_large(limits);
    }
    result?;
    unpacker.set_directory_times();
    // What follows the end of the archive belongs to the digest as well.
    io::copy(&mut counted, &mut io::sink()).map_err(|error| bad_stream(&error))?;
    if counted.is_over {
        return too_large(limits);
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

fn too_large<T>(limits: &Limits) -> Result<T, UnpackError> {
    invalid(format!(
        "it unpacks to more than {} bytes",
        limits.max_bytes
    ))
}

fn bad_stream(error: &io::Error) -> UnpackError {
    UnpackError::Invalid(format!(
        "it cannot be read: {}",
        shown(error.to_string().as_bytes())
    ))
}

struct Unpacker<'a> {
    target: BorrowedFd<'a>,
    ownership: Ownership,
    opaque: OpaqueAttribute,
    limits: &'a Limits,
    /// The parent of the last entry, if nothing since could have changed what its path means.
    parent: Option<(Vec<u8>, OwnedFd)>,
    directories: Directories,
    /// Bytes of all files so far.
    written: u64,
    /// Entries so far, and directories that none of them names.
    entries: usize,
    warnings: Vec<String>,
    noted: HashSet<&'static str>,
}

impl Unpacker<'_> {
    fn all(&mut self, reader: &mut Counted) -> Result<(), UnpackError> {
        let budget = Rc::clone(&reader.budget);
        let mut archive = tar::Archive::new(reader);
        let mut entries = archive.entries().map_err(|error| bad_stream(&error))?;
        loop {
            // The headers of one entry are collected in memory before it can be seen.
            budget.set(Some(MAX_HEADERS));
            let entry = entries.next();
            budget.set(None);
            let Some(entry) = entry else { return Ok(()) };
            let mut entry = entry.map_err(|error| bad_stream(&error))?;
            self.count_entry()?;
            self.one(&mut entry)?;
        }
    }

    /// Counts an entry, or a directory that is made on the way to one.
    fn count_entry(&mut self) -> Result<(), UnpackError> {
        self.entries = self.entries.saturating_add(1);
        if self.entries > self.limits.max_entries {
            return invalid(format!(
                "it has more than {} entries",
                self.limits.max_entries
            ));
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
        // `tar` skips it; to other readers the next entry begins there (GNU tar, Go, Python).
        if !is_file(kind) && tar.size() != 0 {
            return invalid(format!("`{}` has content, but is no file", shown(&path)));
        }
        let mut names = self.components(&path)?;
        let entry = metadata::metadata(tar, &path)?;
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
            kind if is_file(kind) => self.file(&names, &name, &entry, tar),
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
}

fn is_file(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
    )
}

fn full(names: &[Vec<u8>], name: &[u8]) -> Vec<u8> {
    let mut path = names.join(&b'/');
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    /// An archive with one sparse file: all of it a hole, no data.
    fn sparse(length: u64) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_path("hole").unwrap();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header.set_entry_type(EntryType::GNUSparse);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(length);
        gnu.sparse[0].set_offset(length);
        gnu.sparse[0].set_length(0);
        header.set_cksum();
        let mut archive = header.as_bytes().to_vec();
        archive.resize(archive.len() + 1024, 0);
        archive
    }

    fn unpack(archive: &[u8], target: &std::path::Path) -> Result<Report, UnpackError> {
        let target = File::open(target).unwrap();
        let mut layer = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut layer, archive).unwrap();
        let opaque = OpaqueAttribute::User;
        let limits = Limits::default();
        run(layer, target.as_fd(), Ownership::Squash, opaque, &limits)
    }

    fn entry(name: &str, kind: EntryType) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header.set_entry_type(kind);
        header
    }

    fn archive_of(mut headers: Vec<tar::Header>) -> Vec<u8> {
        let mut archive = Vec::new();
        for header in &mut headers {
            header.set_cksum();
            archive.extend_from_slice(header.as_bytes());
        }
        archive.resize(archive.len() + 1024, 0);
        archive
    }

    #[test]
    fn an_entry_inside_of_a_link_is_refused() {
        for kind in [EntryType::Link, EntryType::Symlink, EntryType::Directory] {
            let dir = tempfile::tempdir().unwrap();
            let mut outer = entry("outer", kind);
            outer.set_link_name("file").unwrap();
            outer.set_size(512);
            let archive = archive_of(vec![
                entry("file", EntryType::Regular),
                outer,
                entry("hidden", EntryType::Regular),
            ]);
            let result = unpack(&archive, dir.path());
            let is_invalid =
                matches!(&result, Err(UnpackError::Invalid(why)) if why.contains("content"));
            assert!(is_invalid, "{kind:?}: {result:?}");
        }
    }

    #[test]
    fn no_device_number_becomes_a_whiteout() {
        for (major, minor) in [(0, 0), (4096, 0), (0, 1 << 20)] {
            let dir = tempfile::tempdir().unwrap();
            let mut device = entry("device", EntryType::Char);
            device.set_device_major(major).unwrap();
            device.set_device_minor(minor).unwrap();
            let report = unpack(&archive_of(vec![device]), dir.path()).unwrap();
            assert_eq!(report.warnings.len(), 1, "{major}:{minor}");
            assert!(!dir.path().join("device").exists(), "{major}:{minor}");
        }
    }

    #[test]
    fn headers_and_directories_that_no_entry_names_are_bounded() {
        let unpack = |archive: &[u8], limits: &Limits| {
            let dir = tempfile::tempdir().unwrap();
            let target = File::open(dir.path()).unwrap();
            let mut layer = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut layer, archive).unwrap();
            let opaque = OpaqueAttribute::User;
            run(layer, target.as_fd(), Ownership::Squash, opaque, limits)
        };
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(2 << 20);
        header.set_path("x").unwrap();
        header.set_cksum();
        builder
            .append(&header, io::repeat(b'0').take(2 << 20))
            .unwrap();
        let result = unpack(&builder.into_inner().unwrap(), &Limits::default());
        assert!(
            matches!(&result, Err(UnpackError::Invalid(why)) if why.contains("headers")),
            "{result:?}"
        );

        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        for value in [
            tar::Header::set_uid,
            tar::Header::set_gid,
            tar::Header::set_size,
        ] {
            value(&mut header, 0);
        }
        header.set_mode(0o644);
        builder
            .append_data(&mut header, "a/b/c/d/e", io::empty())
            .unwrap();
        let archive = builder.into_inner().unwrap();
        for (max_entries, fits) in [(5, true), (4, false)] {
            let limits = Limits {
                max_entries,
                ..Limits::default()
            };
            assert_eq!(unpack(&archive, &limits).is_ok(), fits, "{max_entries}");
        }
    }

    #[test]
    fn a_directory_is_remembered_once_however_often_it_is_named() {
        use std::os::unix::fs::MetadataExt;
        let directory = |name: &str, time: u64| {
            let mut header = entry(name, EntryType::Directory);
            header.set_mode(0o755);
            header.set_mtime(time);
            header
        };
        let mut link = entry("link", EntryType::Symlink);
        link.set_link_name("a").unwrap();
        let mut headers = vec![directory("a", 1), link];
        headers.extend((0..100).map(|time| directory("a/b", time)));
        headers.push(directory("link/b", 300));
        headers.extend([entry("a/c", EntryType::Regular), directory("./a", 200)]);
        let archive = archive_of(headers);
        for (max_memory, fits) in [(300, true), (150, false)] {
            let dir = tempfile::tempdir().unwrap();
            let target = File::open(dir.path()).unwrap();
            let mut layer = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut layer, &archive).unwrap();
            let opaque = OpaqueAttribute::User;
            let limits = Limits {
                max_memory,
                ..Limits::default()
            };
            let result = run(layer, target.as_fd(), Ownership::Squash, opaque, &limits);
            assert_eq!(result.is_ok(), fits, "{result:?}");
            if fits {
                let time = |name: &str| dir.path().join(name).metadata().unwrap().mtime();
                assert_eq!((time("a"), time("a/b")), (200, 300));
            }
        }
    }

    #[test]
    fn a_root_that_may_not_be_written_can_still_be_moved() {
        use std::os::unix::fs::PermissionsExt;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::Directory);
        header.set_path("./").unwrap();
        header.set_mode(0o555);
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_size(0);
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, io::empty()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let target = File::open(dir.path()).unwrap();
        let mut layer = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut layer, &builder.into_inner().unwrap()).unwrap();
        let opaque = OpaqueAttribute::User;
        let limits = Limits::default();
        run(layer, target.as_fd(), Ownership::Squash, opaque, &limits).unwrap();
        let mode = dir.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o200, 0o200, "{mode:o}");
    }

    #[test]
    fn the_holes_of_a_sparse_file_count() {
        for (length, limit, fits) in [(1 << 20, 1 << 20, true), (64 << 20, 1 << 20, false)] {
            let dir = tempfile::tempdir().unwrap();
            let target = File::open(dir.path()).unwrap();
            let mut layer = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut layer, &sparse(length)).unwrap();
            let limits = Limits {
                max_bytes: limit,
                ..Limits::default()
            };
            let opaque = OpaqueAttribute::User;
            let result = run(layer, target.as_fd(), Ownership::Squash, opaque, &limits);
            let is_too_large = matches!(&result, Err(UnpackError::Invalid(why)) if why.contains("unpacks to more"));
            assert_eq!(result.is_ok(), fits, "{result:?}");
            assert_eq!(is_too_large, !fits, "{result:?}");
            let written = dir.path().join("hole").metadata().unwrap().len();
            assert!(written <= limit + 1, "{written} bytes");
        }
    }
}
