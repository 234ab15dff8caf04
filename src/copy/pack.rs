//! A tree as a tar archive.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use tar::{Builder, EntryType, Header};

use super::{CopyError, MAX_DEPTH, MAX_PATH, Skipped, failed};

/// Writes what `path` names, followed if it is a link, as an archive whose entries begin with
/// `name`. Links below are written as links; what is neither file, directory nor link is left out.
///
/// # Errors
/// A path that cannot be opened, a stream that does not take more. What cannot be read below a
/// directory is left out.
pub fn pack(path: &Path, name: &[u8], stream: impl Write) -> Result<Skipped, CopyError> {
    let bytes = path.as_os_str().as_bytes();
    let opened = open(CWD, path, OFlags::empty()).map_err(|errno| failed(bytes, errno))?;
    let stat = rustix::fs::fstat(&opened).map_err(|errno| failed(bytes, errno))?;
    let mut packer = Packer {
        archive: Builder::new(stream),
        skipped: Skipped::default(),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => packer.file(opened, &stat, name)?,
        FileType::Directory => packer.directory(&opened, &stat, name, 0)?,
        _ => {
            return Err(CopyError(format!(
                "{} is neither a file nor a directory",
                super::shown(bytes)
            )));
        }
    }
    let ended = packer.archive.into_inner().and_then(|mut s| s.flush());
    ended.map_err(|error| CopyError(format!("the copy was cut off: {error}")))?;
    Ok(packer.skipped)
}

/// Opens for reading; a FIFO does not hold it up.
fn open(
    parent: impl AsFd,
    name: impl rustix::path::Arg,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

struct Packer<W: Write> {
    archive: Builder<W>,
    skipped: Skipped,
}

impl<W: Write> Packer<W> {
    fn directory(
        &mut self,
        directory: &OwnedFd,
        stat: &Stat,
        path: &[u8],
        depth: usize,
    ) -> Result<(), CopyError> {
        self.append(
            &mut header(stat, EntryType::Directory, 0),
            path,
            io::empty(),
        )?;
        if depth >= MAX_DEPTH {
            self.skipped
                .note(path, "is too deep: what is in it was left out");
            return Ok(());
        }
        let entries = match Dir::read_from(directory) {
            Ok(entries) => entries,
            Err(errno) => {
                self.skipped.note(path, &format!("cannot be read: {errno}"));
                return Ok(());
            }
        };
        for entry in entries {
            let entry = entry.map_err(|errno| failed(path, errno))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let mut full = path.to_vec();
            full.push(b'/');
            full.extend_from_slice(name.to_bytes());
            if full.len() > MAX_PATH {
                self.skipped.note(&full, "has too long a path");
                continue;
            }
            self.entry(directory, name, &full, depth)?;
        }
        Ok(())
    }

    /// What an entry is may change at any time: what was opened is what counts.
    fn entry(
        &mut self,
        parent: &OwnedFd,
        name: &std::ffi::CStr,
        path: &[u8],
        depth: usize,
    ) -> Result<(), CopyError> {
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed since it was listed.
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(errno) => return self.skip(path, errno),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => match rustix::fs::readlinkat(parent, name, Vec::new()) {
                Ok(target) => {
                    let mut header = header(&stat, EntryType::Symlink, 0);
                    let target = std::ffi::OsStr::from_bytes(target.to_bytes());
                    self.archive
                        .append_link(&mut header, std::ffi::OsStr::from_bytes(path), target)
                        .map_err(|error| failed(path, error))
                }
                Err(errno) => self.skip(path, errno),
            },
            FileType::RegularFile | FileType::Directory => {
                let opened = match open(parent, name, OFlags::NOFOLLOW) {
                    Ok(opened) => opened,
                    Err(errno) => return self.skip(path, errno),
                };
                let stat = rustix::fs::fstat(&opened).map_err(|errno| failed(path, errno))?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => self.file(opened, &stat, path),
                    FileType::Directory => {
                        self.directory(&opened, &stat, path, depth.saturating_add(1))
                    }
                    _ => self.special(path),
                }
            }
            _ => self.special(path),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is the end of its callers")]
    fn skip(&mut self, path: &[u8], errno: rustix::io::Errno) -> Result<(), CopyError> {
        let why = format!("cannot be read: {}", io::Error::from(errno));
        self.skipped.note(path, &why);
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is the end of its callers")]
    fn special(&mut self, path: &[u8]) -> Result<(), CopyError> {
        let why = "was left out: it is neither a file, a directory nor a link";
        self.skipped.note(path, why);
        Ok(())
    }

    /// Exactly as many bytes as the file had when it was opened; one that shrinks ends in zeros.
    fn file(&mut self, file: OwnedFd, stat: &Stat, path: &[u8]) -> Result<(), CopyError> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let content = File::from(file).chain(io::repeat(0)).take(size);
        self.append(&mut header(stat, EntryType::Regular, size), path, content)
    }

    fn append(
        &mut self,
        header: &mut Header,
        path: &[u8],
        content: impl Read,
    ) -> Result<(), CopyError> {
        self.archive
            .append_data(header, std::ffi::OsStr::from_bytes(path), content)
            .map_err(|error| failed(path, error))
    }
}

fn header(stat: &Stat, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(stat.st_mode & 0o777);
    header.set_uid(u64::from(stat.st_uid));
    header.set_gid(u64::from(stat.st_gid));
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header
}
