//! `/dev`: exactly null, zero, full, random, urandom and tty, with the links and mounts programs
//! expect (OCI runtime spec, "Default Devices" and "Default Filesystems").

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, makedev};
use rustix::mount::MountAttrFlags;

use crate::stage::At;
use crate::stage::container::ContainerSetup;
use crate::stage::host_devices;
use crate::stage::rootfs::kernel_mount_point;
use crate::sys::mount::{Depth, add_attributes, attach, clone_tree, new_filesystem};
use crate::wire::{Failure, IdSpace, Step};

/// Name, major and minor of the devices (`Documentation/admin-guide/devices.txt`).
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// `CAP_MKNOD`. A container that has it can make the machine's disks; what it makes is a name and
/// no more, because nothing that it can write to but the standard nodes is mounted with devices.
const MKNOD: u64 = 1 << 27;

/// Group `tty` on every distribution that podrun knows of.
const TTY_GROUP: &str = "5";

/// Mounts `/dev` with all that belongs to it.
///
/// # Errors
/// The step that failed.
pub fn mount_dev(
    setup: &ContainerSetup<'_>,
    root: BorrowedFd<'_>,
    shm: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let target = kernel_mount_point(root, "dev")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let new_tmpfs = |attributes| {
        new_filesystem("tmpfs", &[("mode", "0755"), ("size", "65536k")], attributes)
            .at(Step::KernelFilesystem, "/dev")
    };
    let security = &setup.container.security;
    let makes_nodes = security.capabilities & MKNOD != 0 && !security.privileged;
    let dev = if setup.ids == IdSpace::Machine && makes_nodes {
        // Below the other one, where it cannot be reached but through the nodes.
        let nodes = new_tmpfs(attributes)?;
        attach(nodes.as_fd(), target.as_fd()).at(Step::KernelFilesystem, "/dev")?;
        make_nodes(nodes.as_fd())?;
        let dev = new_tmpfs(attributes | MountAttrFlags::MOUNT_ATTR_NODEV)?;
        attach(dev.as_fd(), target.as_fd()).at(Step::KernelFilesystem, "/dev")?;
        for (name, ..) in DEVICES {
            let object = format!("/dev/{name}");
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let node =
                rustix::fs::openat(&nodes, name, flags, Mode::empty()).at(Step::Device, object)?;
            attach_node(dev.as_fd(), name, node.as_fd())?;
        }
        dev
    } else {
        let dev = new_tmpfs(attributes)?;
        attach(dev.as_fd(), target.as_fd()).at(Step::KernelFilesystem, "/dev")?;
        if setup.ids == IdSpace::Machine {
            make_nodes(dev.as_fd())?;
        } else {
            for (name, major, minor) in DEVICES {
                bind_node(dev.as_fd(), name, major, minor)?;
            }
        }
        dev
    };
    let dev = dev.as_fd();
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, dev, name).at(Step::Device, format!("/dev/{name}"))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755))
            .at(Step::Device, format!("/dev/{name}"))?;
    }
    if security.privileged {
        host_devices::add(setup.ids, dev)?;
    }
    mount_pts(setup, dev)?;
    mount_shared_memory(setup, dev, shm)?;
    mount_message_queues(setup, dev)
}

/// As root each container has nodes of its own: with the host's it could change their mode.
fn make_nodes(dev: BorrowedFd<'_>) -> Result<(), Failure> {
    for (name, major, minor) in DEVICES {
        let mode = Mode::from_raw_mode(0o666);
        let device = makedev(major, minor);
        make_node(dev, name, FileType::CharacterDevice, mode, device)?;
    }
    Ok(())
}

pub(super) fn make_node(
    dev: BorrowedFd<'_>,
    name: &str,
    kind: FileType,
    mode: Mode,
    device: u64,
) -> Result<(), Failure> {
    let object = || format!("/dev/{name}");
    rustix::fs::mknodat(dev, name, kind, mode, device).at(Step::Device, object())?;
    // mknod obeys the umask.
    rustix::fs::chmodat(dev, name, mode, AtFlags::empty()).at(Step::Device, object())
}

/// In a user namespace nodes cannot be made; the host's are bound, once they are what they should
/// be.
fn bind_node(dev: BorrowedFd<'_>, name: &str, major: u32, minor: u32) -> Result<(), Failure> {
    let object = || format!("/dev/{name}");
    let host = rustix::fs::openat2(
        CWD,
        Path::new("/dev").join(name),
        OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    )
    .at(Step::Device, object())?;
    let stat = rustix::fs::fstat(&host).at(Step::Device, object())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice
        || stat.st_rdev != makedev(major, minor)
    {
        return Err(Failure {
            step: Step::Device,
            object: object(),
            errno: libc::ENODEV,
        });
    }
    attach_node(dev, name, host.as_fd())
}

/// Binds a node of the host's under a name in `/dev`.
pub(super) fn attach_node(
    dev: BorrowedFd<'_>,
    name: &str,
    host: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let object = || format!("/dev/{name}");
    let tree = clone_tree(host, Depth::Single).at(Step::Device, object())?;
    add_attributes(
        tree.as_fd(),
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        Depth::Single,
    )
    .at(Step::Device, object())?;
    let place = rustix::fs::openat(
        dev,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o666),
    )
    .at(Step::Device, object())?;
    attach(tree.as_fd(), place.as_fd()).at(Step::Device, object())
}

fn open_directory(dev: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Failure> {
    rustix::fs::openat(
        dev,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(Step::Device, format!("/dev/{name}"))
}

fn mount_pts(setup: &ContainerSetup<'_>, dev: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut options = vec![("ptmxmode", "0666"), ("mode", "0620")];
    // The group must exist in the user namespace.
    if setup.ids != IdSpace::Single {
        options.push(("gid", TTY_GROUP));
    }
    let pts = new_filesystem(
        "devpts",
        &options,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
    .at(Step::KernelFilesystem, "/dev/pts")?;
    attach(pts.as_fd(), open_directory(dev, "pts")?.as_fd()).at(Step::KernelFilesystem, "/dev/pts")
}

/// The pod's one `/dev/shm`, or the host's with `hostIPC`.
fn mount_shared_memory(
    setup: &ContainerSetup<'_>,
    dev: BorrowedFd<'_>,
    source: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let depth = if setup.plan.host_ipc {
        Depth::Recursive
    } else {
        Depth::Single
    };
    let tree = clone_tree(source, depth).at(Step::Mount, "/dev/shm")?;
    add_attributes(
        tree.as_fd(),
        MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        Depth::Single,
    )
    .at(Step::Mount, "/dev/shm")?;
    attach(tree.as_fd(), open_directory(dev, "shm")?.as_fd()).at(Step::Mount, "/dev/shm")
}

fn mount_message_queues(setup: &ContainerSetup<'_>, dev: BorrowedFd<'_>) -> Result<(), Failure> {
    // Message queues belong to an IPC namespace; a user namespace cannot mount the host's.
    if setup.plan.host_ipc && setup.ids != IdSpace::Machine {
        return Ok(());
    }
    let queues = new_filesystem(
        "mqueue",
        &[],
        MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
    .at(Step::KernelFilesystem, "/dev/mqueue")?;
    attach(queues.as_fd(), open_directory(dev, "mqueue")?.as_fd())
        .at(Step::KernelFilesystem, "/dev/mqueue")
}
