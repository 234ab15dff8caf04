//! Unpacking a layer: hostile input, written with privileges.
//!
//! Each layer has a directory of its own. Nothing is reached by a path: a parent is opened with
//! `openat2(2)` that cannot leave the directory, an entry is made in its parent's descriptor and
//! never over something that exists. `tar` decodes headers only.

mod beneath;
mod directories;
mod entries;
mod members;
mod metadata;
mod pax;
mod sparse;
mod stream;
mod whiteout;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tar::EntryType;

use directories::Directories;
use members::{Archive, Member};
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
        let mut archive = Archive::new(reader);
        while let Some(member) = archive.next()? {
            self.count_entry()?;
            self.one(&member, &mut archive)?;
        }
        Ok(())
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

    fn one(&mut self, member: &Member, archive: &mut Archive<'_>) -> Result<(), UnpackError> {
        let Member { path, kind, .. } = member;
        // To some readers the next entry begins behind it, to others in it.
        if !is_file(*kind) && member.size != 0 {
            return invalid(format!("`{}` has content, but is no file", shown(path)));
        }
        let mut names = self.components(path)?;
        let entry = metadata::metadata(member)?;
        let Some(name) = names.pop() else {
            if *kind == EntryType::Directory {
                return self.finish_root(&entry);
            }
            return invalid(format!("`{}` is not the name of a file", shown(path)));
        };
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(&names, hidden, path);
        }
        match *kind {
            EntryType::Directory => self.directory(&names, &name, &entry),
            kind if is_file(kind) => self.file(&names, &name, &entry, member, archive),
            EntryType::Symlink => self.symlink(&names, &name, &entry, &member.link),
            EntryType::Link => self.hard_link(&names, &name, &member.link),
            EntryType::Fifo => self.fifo(&names, &name, &entry),
            EntryType::Char | EntryType::Block => {
                let number = (
                    member.header.device_major().ok().flatten().unwrap_or(0),
                    member.header.device_minor().ok().flatten().unwrap_or(0),
                );
                self.device(&names, &name, &entry, *kind, number)
            }
            _ => invalid(format!("`{}` is of an unknown type", shown(path))),
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
mod tests;
