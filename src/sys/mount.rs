//! `mount_setattr(2)` and the detached mounts podrun builds root file systems from.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

/// Whether a call concerns one mount or also those below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// This mount only.
    Single,
    /// This mount and all below.
    Recursive,
}

/// Sets attributes of a mount given by descriptor, clearing none.
///
/// # Errors
/// As `mount_setattr(2)`.
pub fn add_attributes(
    mount: BorrowedFd<'_>,
    attributes: MountAttrFlags,
    depth: Depth,
) -> io::Result<()> {
    change(mount, attributes, MountPropagationFlags::empty(), depth)
}

/// As [`add_attributes`], and sets how mounts propagate; empty leaves that as it is.
///
/// # Errors
/// As `mount_setattr(2)`.
pub fn change(
    mount: BorrowedFd<'_>,
    attributes: MountAttrFlags,
    propagation: MountPropagationFlags,
    depth: Depth,
) -> io::Result<()> {
    set_attributes(
        mount,
        depth,
        &libc::mount_attr {
            attr_set: u64::from(attributes.bits()),
            attr_clr: 0,
            propagation: u64::from(propagation.bits()),
            userns_fd: 0,
        },
    )
}

/// Shows the files of a detached mount with other owners: what a file has on the disk is what it
/// has in the user namespace (`MOUNT_ATTR_IDMAP`).
///
/// # Errors
/// As `mount_setattr(2)`: EINVAL for a file system that cannot do it, EPERM without `CAP_SYS_ADMIN`
/// in the user namespace that the file system belongs to.
pub fn map_ids(mount: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
    let number = u64::try_from(users.as_raw_fd()).map_err(io::Error::other)?;
    set_attributes(
        mount,
        Depth::Single,
        &libc::mount_attr {
            attr_set: libc::MOUNT_ATTR_IDMAP,
            attr_clr: 0,
            propagation: 0,
            userns_fd: number,
        },
    )
}

fn set_attributes(
    mount: BorrowedFd<'_>,
    depth: Depth,
    attributes: &libc::mount_attr,
) -> io::Result<()> {
    let recursive = if depth == Depth::Recursive {
        libc::AT_RECURSIVE
    } else {
        0
    };
    // SAFETY: the path is a literal, `attributes` lives for the call and its size is passed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A detached copy of the mount (or of the directory or file) behind `source`.
///
/// # Errors
/// As `open_tree(2)`.
pub fn clone_tree(source: BorrowedFd<'_>, depth: Depth) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if depth == Depth::Recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(source, "", flags)?)
}

/// Attaches a detached mount on the file or directory behind `target`, without naming a path.
///
/// # Errors
/// As `move_mount(2)`.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_mount(
        mount,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )?)
}

/// A new file system as a detached mount: one `fsconfig(2)` per option, so that no option string
/// is ever joined.
///
/// # Errors
/// As `fsopen(2)`, `fsconfig(2)` and `fsmount(2)`.
pub fn new_filesystem(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    // What mountinfo and df show as the source.
    fsconfig_set_string(context.as_fd(), "source", kind)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}
