//! The machine's devices in a privileged container's `/dev`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::stage::At;
use crate::stage::devices::{attach_node, make_node};
use crate::wire::{Failure, IdSpace, Step};

/// What a container has of its own in `/dev`, or what is a file system.
const OWN: [&str; 5] = ["console", "pts", "shm", "mqueue", "hugepages"];

/// Deeper than any driver goes.
const DEPTH: usize = 6;

/// Adds every device of the machine's `/dev` that is not there yet: as root by a node of the same
/// owner and mode, in a user namespace by the machine's node itself, whose owner and mode say who
/// may open it.
///
/// # Errors
/// The device.
pub(super) fn add(ids: IdSpace, dev: BorrowedFd<'_>) -> Result<(), Failure> {
    let host = open_directory(CWD, "/dev").at(Step::Device, "/dev")?;
    copy(ids, host.as_fd(), dev, &PathBuf::from("/dev"), DEPTH)
}

fn open_directory(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        at,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    )
}

fn copy(
    ids: IdSpace,
    host: BorrowedFd<'_>,
    dev: BorrowedFd<'_>,
    path: &std::path::Path,
    depth: usize,
) -> Result<(), Failure> {
    let failed = path.to_string_lossy().into_owned();
    for entry in Dir::read_from(host).at(Step::Device, failed.as_str())? {
        let entry = entry.at(Step::Device, failed.as_str())?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if name == "." || name == ".." || OWN.contains(&name) {
            continue;
        }
        let object = path.join(name);
        let shown = object.to_string_lossy().into_owned();
        let node = rustix::fs::openat(
            host,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        );
        // Unplugged meanwhile.
        let Ok(node) = node else { continue };
        let stat = rustix::fs::fstat(&node).at(Step::Device, shown.as_str())?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth > 0 => {
                match rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno).at(Step::Device, shown),
                }
                // One that this user may not read has nothing for its containers.
                let Ok(inner) = open_directory(host, name) else {
                    continue;
                };
                let place = open_directory(dev, name).at(Step::Device, shown)?;
                copy(
                    ids,
                    inner.as_fd(),
                    place.as_fd(),
                    &object,
                    depth.saturating_sub(1),
                )?;
            }
            kind @ (FileType::CharacterDevice | FileType::BlockDevice) => {
                // The standard ones are there.
                if rustix::fs::statat(dev, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                    continue;
                }
                if ids == IdSpace::Machine {
                    let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
                    make_node(dev, name, kind, mode, stat.st_rdev)?;
                    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
                    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
                    rustix::fs::chownat(dev, name, Some(uid), Some(gid), flags)
                        .at(Step::Device, shown)?;
                } else {
                    attach_node(dev, name, node.as_fd())?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}
