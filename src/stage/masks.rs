//! Paths of the kernel that a container does not see, or may not write: the union of what moby,
//! containers/common and CRI-O hide.
//!
//! What hides them comes from outside: the host's `/dev/null` and an empty directory of podrun's,
//! never the container's own files (CVE-2025-31133). Each target is opened once and covered
//! through that descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, makedev};
use rustix::mount::MountAttrFlags;

use crate::stage::At;
use crate::stage::container::ContainerSetup;
use crate::stage::rootfs::open_in_root;
use crate::sys::mount::{Depth, add_attributes, attach, clone_tree};
use crate::wire::{Failure, Step};

/// Hidden: files show `/dev/null`, directories an empty read-only one.
pub const MASKED_PATHS: [&str; 14] = [
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/scsi",
    "proc/timer_list",
    "proc/timer_stats",
    "sys/dev/block",
    "sys/devices/virtual/powercap",
    "sys/firmware",
    "sys/fs/selinux",
];

/// Mounted read-only over themselves.
pub const READONLY_PATHS: [&str; 5] = [
    "proc/bus",
    "proc/fs",
    "proc/irq",
    "proc/sys",
    "proc/sysrq-trigger",
];

/// Where one directory per processor holds a `thermal_throttle` to hide.
const PROCESSORS: &str = "sys/devices/system/cpu";

/// Covers and protects everything in the lists that exists; nothing in a privileged container, and
/// nothing of `/proc` with `procMount: Unmasked`.
///
/// # Errors
/// The path that could not be covered.
pub fn apply(
    setup: &ContainerSetup<'_>,
    root: BorrowedFd<'_>,
    empty: BorrowedFd<'_>,
) -> Result<(), Failure> {
    if setup.container.security.privileged {
        return Ok(());
    }
    let null = open_null().at(Step::Mask, "/dev/null")?;
    let is_masked =
        |path: &&&str| !(setup.container.security.unmasked_proc && path.starts_with("proc/"));
    for path in MASKED_PATHS.iter().filter(is_masked) {
        mask(root, path, null.as_fd(), empty)?;
    }
    for path in thermal_throttles(root).at(Step::Mask, PROCESSORS)? {
        mask(root, &path, null.as_fd(), empty)?;
    }
    for path in READONLY_PATHS.iter().filter(is_masked) {
        make_read_only(root, path)?;
    }
    Ok(())
}

fn open_null() -> io::Result<std::os::fd::OwnedFd> {
    let null = rustix::fs::openat2(
        CWD,
        "/dev/null",
        OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    )?;
    let stat = rustix::fs::fstat(&null)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == makedev(1, 3)
    {
        Ok(null)
    } else {
        Err(io::Error::from_raw_os_error(libc::ENODEV))
    }
}

fn open_existing(
    root: BorrowedFd<'_>,
    path: &str,
) -> Result<Option<std::os::fd::OwnedFd>, Failure> {
    match open_in_root(root, path, OFlags::PATH, ResolveFlags::NO_SYMLINKS) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error).at(Step::Mask, format!("/{path}")),
    }
}

fn mask(
    root: BorrowedFd<'_>,
    path: &str,
    null: BorrowedFd<'_>,
    empty: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let Some(target) = open_existing(root, path)? else {
        return Ok(());
    };
    let object = || format!("/{path}");
    let stat = rustix::fs::fstat(&target).at(Step::Mask, object())?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    // Read-only, or the container's root could change the mode of the host's /dev/null here.
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_RDONLY;
    if is_directory {
        attributes |= MountAttrFlags::MOUNT_ATTR_NODEV;
    }
    let source = if is_directory { empty } else { null };
    let tree = clone_tree(source, Depth::Single).at(Step::Mask, object())?;
    add_attributes(tree.as_fd(), attributes, Depth::Single).at(Step::Mask, object())?;
    attach(tree.as_fd(), target.as_fd()).at(Step::Mask, object())
}

fn make_read_only(root: BorrowedFd<'_>, path: &str) -> Result<(), Failure> {
    let Some(target) = open_existing(root, path)? else {
        return Ok(());
    };
    let object = || format!("/{path}");
    let tree = clone_tree(target.as_fd(), Depth::Recursive).at(Step::Mask, object())?;
    add_attributes(
        tree.as_fd(),
        MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        Depth::Recursive,
    )
    .at(Step::Mask, object())?;
    attach(tree.as_fd(), target.as_fd()).at(Step::Mask, object())
}

fn thermal_throttles(root: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let directory = match open_in_root(
        root,
        PROCESSORS,
        OFlags::RDONLY | OFlags::DIRECTORY,
        ResolveFlags::NO_SYMLINKS,
    ) {
        Ok(directory) => directory,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in Dir::new(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        let number = name.strip_prefix("cpu");
        if number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
            found.push(format!("{PROCESSORS}/{name}/thermal_throttle"));
        }
    }
    Ok(found)
}

/// Whether the machine's cgroups are the unified hierarchy alone.
pub fn unified_cgroups() -> bool {
    /// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
    const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
    rustix::fs::statfs(Path::new("/sys/fs/cgroup"))
        .is_ok_and(|stat| stat.f_type == CGROUP2_SUPER_MAGIC)
}
