//! `podrun.local/host`: the machine's own root file system below a throw-away layer.
//!
//! The upper layer may not lie inside of a lower one (overlayfs.rst), and the state directory does
//! lie inside of the machine's root; so the upper layer is a tmpfs. In a user namespace `/` cannot
//! be a lower layer at all, because what is mounted below it is locked there
//! (`mount_namespaces(7)`): each directory of `/` gets an overlay of its own then, and one that
//! has locked mounts below is bound read-only.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountFlags};

use crate::stage::At;
use crate::stage::rootfs::{make_layer_directories, open_own, through};
use crate::sys::mount::{Depth, add_attributes, attach, clone_tree, new_filesystem};
use crate::wire::{Failure, Step};

/// Directories whose content is the machine's state or the kernel's, not the file system's.
const OWN: [(&str, u32); 6] = [
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o755),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("lost+found", 0o700),
];

/// Mounts a tmpfs over the run's directory for what the container writes. Nobody outside can look
/// how much that is: a limit of ephemeral storage is its size.
///
/// # Errors
/// The step.
pub(crate) fn mount_scratch(attempt: &std::path::Path, limit: Option<u64>) -> Result<(), Failure> {
    let size = limit.filter(|limit| *limit > 0).map(|it| it.to_string());
    let mut options = vec![("mode", "0700")];
    options.extend(size.as_deref().map(|size| ("size", size)));
    let scratch = new_filesystem("tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NODEV)
        .at(Step::RootFilesystem, "tmpfs")?;
    let target = open_own(attempt).at(Step::RootFilesystem, "")?;
    attach(scratch.as_fd(), target.as_fd()).at(Step::RootFilesystem, "tmpfs")?;
    make_layer_directories(scratch.as_fd()).at(Step::RootFilesystem, "")
}

/// Builds the root in a user namespace, directory by directory.
///
/// # Errors
/// The step.
pub(crate) fn mount_by_directory(attempt: &std::path::Path) -> Result<OwnedFd, Failure> {
    let merged = attempt.join("merged");
    let root = new_filesystem(
        "tmpfs",
        &[("mode", "0755")],
        MountAttrFlags::MOUNT_ATTR_NODEV,
    )
    .at(Step::RootFilesystem, "tmpfs")?;
    let target = open_own(&merged).at(Step::RootFilesystem, "merged")?;
    attach(root.as_fd(), target.as_fd()).at(Step::RootFilesystem, "tmpfs")?;
    let upper = open_own(&attempt.join("upper")).at(Step::RootFilesystem, "upper")?;
    let work = open_own(&attempt.join("work")).at(Step::RootFilesystem, "work")?;

    for (name, mode) in OWN {
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::mkdirat(&root, name, mode).at(Step::RootFilesystem, name)?;
        rustix::fs::chmodat(&root, name, mode, rustix::fs::AtFlags::empty())
            .at(Step::RootFilesystem, name)?;
    }
    let machine = rustix::fs::openat(
        CWD,
        "/",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(Step::RootFilesystem, "/")?;
    for entry in Dir::read_from(&machine).at(Step::RootFilesystem, "/")? {
        let entry = entry.at(Step::RootFilesystem, "/")?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if name == "." || name == ".." || OWN.iter().any(|(own, _)| *own == name) {
            continue;
        }
        match entry.file_type() {
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(&machine, name, Vec::new())
                    .at(Step::RootFilesystem, name)?;
                rustix::fs::symlinkat(&link, &root, name).at(Step::RootFilesystem, name)?;
            }
            FileType::Directory => {
                add_directory(
                    machine.as_fd(),
                    name,
                    root.as_fd(),
                    upper.as_fd(),
                    work.as_fd(),
                )?;
            }
            _ => {}
        }
    }
    Ok(root)
}

fn add_directory(
    machine: BorrowedFd<'_>,
    name: &str,
    root: BorrowedFd<'_>,
    upper: BorrowedFd<'_>,
    work: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let place = |parent: BorrowedFd<'_>| -> Result<OwnedFd, Failure> {
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))
            .at(Step::RootFilesystem, name)?;
        open_beneath(parent, name)
    };
    let lower = open_beneath(machine, name)?;
    let target = place(root)?;
    // Open until the mount is made, which names them by number.
    let (upper, work) = (place(upper)?, place(work)?);
    let options = format!(
        "lowerdir={},upperdir={},workdir={},volatile,userxattr",
        through(&lower),
        through(&upper),
        through(&work)
    );
    let options = std::ffi::CString::new(options)
        .map_err(std::io::Error::other)
        .at(Step::RootFilesystem, name)?;
    let mounted = rustix::mount::mount(
        "overlay",
        through(&target).as_str(),
        "overlay",
        MountFlags::empty(),
        Some(options.as_c_str()),
    );
    match mounted {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL) => {
            let tree =
                clone_tree(lower.as_fd(), Depth::Recursive).at(Step::RootFilesystem, name)?;
            add_attributes(
                tree.as_fd(),
                MountAttrFlags::MOUNT_ATTR_RDONLY,
                Depth::Recursive,
            )
            .at(Step::RootFilesystem, name)?;
            attach(tree.as_fd(), target.as_fd()).at(Step::RootFilesystem, name)
        }
        Err(errno) => Err(errno).at(Step::RootFilesystem, name),
    }
}

fn open_beneath(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Failure> {
    rustix::fs::openat(
        parent,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(Step::RootFilesystem, name)
}
