//! Files that are either old or new.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// What a file has to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: the file and its directory are synced.
    Durable,
    /// The end of this process; after a reboot it means nothing anyway.
    Boot,
}

/// Writes a file of mode 0600 under a temporary name and renames it.
///
/// # Errors
/// As `openat(2)`, `write(2)`, `fsync(2)` and `renameat(2)`; the old file is untouched then.
pub fn atomic_write(
    dir: BorrowedFd<'_>,
    name: &str,
    bytes: &[u8],
    durability: Durability,
) -> io::Result<()> {
    let temporary = format!(".{name}.{}.tmp", rustix::process::getpid().as_raw_nonzero());
    let write = || -> io::Result<()> {
        let flags =
            OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, &temporary, flags, Mode::from_raw_mode(0o600))?;
        let mut file = std::fs::File::from(file);
        file.write_all(bytes)?;
        if durability == Durability::Durable {
            file.sync_all()?;
        }
        rustix::fs::renameat(dir, &temporary, dir, name)?;
        if durability == Durability::Durable {
            rustix::fs::fsync(dir)?;
        }
        Ok(())
    };
    write().inspect_err(|_| {
        rustix::fs::unlinkat(dir, &temporary, AtFlags::empty()).ok();
    })
}

/// Reads a regular file that this user owns; nothing when there is none. A link, a pipe or a
/// device somebody planted there is an error and is not opened for longer than it takes to look.
///
/// # Errors
/// As `openat(2)` and `read(2)`; a file that is not one, is foreign or larger than `limit`.
pub fn read_bounded(dir: impl AsFd, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("owned by somebody else"));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        Ok(Some(bytes))
    } else {
        Err(io::Error::other(format!("larger than {limit} bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_place_of_a_record_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("record.json")).unwrap();
        let fd = rustix::fs::open(
            dir.path(),
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
        )
        .unwrap();
        assert!(read_bounded(&fd, "record.json", 1 << 20).is_err());
        atomic_write(fd.as_fd(), "record.json", b"new", Durability::Boot).unwrap();
        assert_eq!(
            read_bounded(&fd, "record.json", 1 << 20).unwrap().unwrap(),
            b"new"
        );
        assert_ne!(std::fs::read("/etc/passwd").unwrap(), b"new");
    }

    #[test]
    fn a_file_over_the_limit_is_refused_and_a_missing_one_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(
            dir.path(),
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
        )
        .unwrap();
        atomic_write(fd.as_fd(), "a", b"12345", Durability::Durable).unwrap();
        assert!(read_bounded(&fd, "a", 4).is_err());
        assert_eq!(read_bounded(&fd, "a", 5).unwrap().unwrap(), b"12345");
        assert!(read_bounded(&fd, "b", 5).unwrap().is_none());
    }
}
