//! `hostPath`: opened once with the host's own semantics; the type is checked on that descriptor.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::plan::HostPathType;

/// Opens the path after making what the type asks for, and checks it.
///
/// # Errors
/// What is wrong, worded for the user.
pub(super) fn open(path: &Path, kind: HostPathType) -> Result<OwnedFd, String> {
    match kind {
        // `DirectoryOrCreate` makes the parents as well (host_path.go `makeDir` is MkdirAll).
        HostPathType::DirectoryOrCreate => make_directories(path)?,
        HostPathType::FileOrCreate => make_file(path)?,
        HostPathType::Unset
        | HostPathType::Directory
        | HostPathType::File
        | HostPathType::Socket
        | HostPathType::CharDevice
        | HostPathType::BlockDevice => {}
    }
    let opened = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| worded(path, errno))?;
    let stat = rustix::fs::fstat(&opened).map_err(|errno| worded(path, errno))?;
    let found = FileType::from_raw_mode(stat.st_mode);
    let (wanted, word) = match kind {
        HostPathType::Unset => return Ok(opened),
        HostPathType::Directory | HostPathType::DirectoryOrCreate => {
            (FileType::Directory, "a directory")
        }
        HostPathType::File | HostPathType::FileOrCreate => (FileType::RegularFile, "a file"),
        HostPathType::Socket => (FileType::Socket, "a socket"),
        HostPathType::CharDevice => (FileType::CharacterDevice, "a character device"),
        HostPathType::BlockDevice => (FileType::BlockDevice, "a block device"),
    };
    if found == wanted {
        Ok(opened)
    } else {
        Err(format!("{} is not {word}", path.display()))
    }
}

fn worded(path: &Path, errno: Errno) -> String {
    match errno {
        Errno::NOENT => format!("{} does not exist", path.display()),
        Errno::ACCESS => format!("{} may not be opened by this user", path.display()),
        _ => format!("{}: {errno}", path.display()),
    }
}

fn make_directories(path: &Path) -> Result<(), String> {
    let mut ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.reverse();
    for directory in ancestors {
        match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                rustix::fs::chmod(directory, Mode::from_raw_mode(0o755))
                    .map_err(|errno| worded(directory, errno))?;
            }
            Err(Errno::EXIST | Errno::ISDIR | Errno::ROFS | Errno::ACCESS) => {}
            Err(errno) => {
                return Err(format!("{} cannot be made: {errno}", path.display()));
            }
        }
    }
    Ok(())
}

fn make_file(path: &Path) -> Result<(), String> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o644)) {
        Ok(file) => rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))
            .map_err(|errno| worded(path, errno)),
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(format!("{} cannot be made: {errno}", path.display())),
    }
}
