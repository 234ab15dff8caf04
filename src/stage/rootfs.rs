//! A container's root file system: overlay, the kernel's file systems, volumes, masks, pivot.
//!
//! The image is hostile and other containers of the pod may change shared volumes meanwhile. So
//! everything below the new root is reached with `openat2(2)` from the root's descriptor, and
//! mounts go from descriptor to descriptor; no path is resolved twice.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountFlags, MountPropagationFlags, UnmountFlags};

use crate::plan::{ContainerPlan, Network, RootSource};
use crate::stage::container::ContainerSetup;
use crate::stage::{At, devices, host_root, masks, own_users};
use crate::sys::mount::{Depth, add_attributes, attach, clone_tree, new_filesystem};
use crate::wire::{Failure, IdSpace, Step};

/// How often a lookup is tried again that a concurrent rename made ambiguous (`openat2(2)` EAGAIN).
const RENAME_RETRIES: usize = 128;

/// Builds the root file system and makes it this mount namespace's root.
///
/// # Errors
/// The step that failed.
pub fn enter(setup: &ContainerSetup<'_>) -> Result<(), Failure> {
    // What volumes share with the machine or with other containers is in this copy of the
    // supervisor's mounts as well: else taking the old root away would take it from them, too.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).at(Step::RootFilesystem, "mount propagation")?;
    let sources = Sources::open(setup)?;
    let staged = if setup.ids == IdSpace::Own {
        let staged = own_users::claim(setup)?;
        own_users::become_root()?;
        Some(staged)
    } else {
        None
    };
    let (root, volumes) = match staged {
        Some(staged) => (staged.root, Some(staged.volumes)),
        None => (mount_root(setup)?, None),
    };
    let volumes = volumes.as_ref().unwrap_or(&setup.volume_trees);
    mount_proc(setup, root.as_fd())?;
    devices::mount_dev(setup, root.as_fd(), sources.shm.as_fd())?;
    mount_sys(setup, root.as_fd())?;
    for (mount, tree) in setup.container.mounts.iter().zip(volumes) {
        mount_volume(root.as_fd(), &mount.mount_path, tree.as_fd())?;
    }
    mount_files(&sources.files, root.as_fd())?;
    masks::apply(setup, root.as_fd(), sources.mask.as_fd())?;
    // Last, because the mount points above may have had to be made.
    if setup.container.read_only_root {
        add_attributes(
            root.as_fd(),
            MountAttrFlags::MOUNT_ATTR_RDONLY,
            Depth::Single,
        )
        .at(Step::RootFilesystem, "read-only")?;
    }
    pivot(root.as_fd())
}

/// What comes from the pod's directory, opened while this process may.
struct Sources {
    /// What becomes `/dev/shm`.
    shm: OwnedFd,
    /// An empty directory that hides others.
    mask: OwnedFd,
    /// The files podrun writes and the one for the container's last words, and where they go.
    files: Vec<(String, OwnedFd)>,
}

impl Sources {
    fn open(setup: &ContainerSetup<'_>) -> Result<Self, Failure> {
        let etc = ["hosts", "hostname", "resolv.conf"]
            .map(|name| (format!("/etc/{name}"), setup.etc_dir.join(name)));
        let last_words = (
            setup.container.termination_message.path.clone(),
            setup.message_file.clone(),
        );
        let mut files = Vec::new();
        for (path, source) in etc.into_iter().chain([last_words]) {
            let mut mounts = setup.container.mounts.iter();
            if mounts.any(|mount| mount.mount_path == path) {
                continue;
            }
            let source = rustix::fs::openat2(
                CWD,
                &source,
                OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                Mode::empty(),
                ResolveFlags::NO_MAGICLINKS,
            )
            .at(Step::Mount, &path)?;
            files.push((path, source));
        }
        Ok(Self {
            shm: open_own(&setup.shm_dir).at(Step::Mount, "/dev/shm")?,
            mask: open_own(&setup.mask_dir).at(Step::Mask, "")?,
            files,
        })
    }
}

/// Opens a path of this mount namespace that only podrun writes to.
pub(crate) fn open_own(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )?)
}

/// Mounts the overlay and returns its root directory.
fn mount_root(setup: &ContainerSetup<'_>) -> Result<OwnedFd, Failure> {
    let attempt = &setup.attempt_dir;
    if setup.container.root == RootSource::Host {
        let limit = setup.container.resources.limits.ephemeral_storage;
        host_root::mount_scratch(attempt, limit)?;
        if setup.ids != IdSpace::Machine {
            return host_root::mount_by_directory(attempt);
        }
    }
    let lowers = open_lower_layers(setup.container)?;
    let upper = open_own(&attempt.join("upper")).at(Step::RootFilesystem, "upper")?;
    let work = open_own(&attempt.join("work")).at(Step::RootFilesystem, "work")?;
    let merged = attempt.join("merged");
    let target = open_own(&merged).at(Step::RootFilesystem, "merged")?;

    // By descriptor, so that no character of a path can be read as an option, and so that the
    // container's mountinfo does not show where the layers are.
    let lower_list = lowers.iter().map(through).collect::<Vec<_>>().join(":");
    let mut options = format!(
        "lowerdir={lower_list},upperdir={},workdir={},volatile",
        through(&upper),
        through(&work)
    );
    if setup.ids != IdSpace::Machine {
        // In a user namespace overlayfs may only use user.* attributes (overlayfs.rst).
        options.push_str(",userxattr");
    }
    let options = std::ffi::CString::new(options)
        .map_err(io::Error::other)
        .at(Step::RootFilesystem, "")?;
    rustix::mount::mount(
        "overlay",
        through(&target).as_str(),
        "overlay",
        // A device node of the image's is a name and no more; the real ones are in /dev.
        MountFlags::NODEV,
        Some(options.as_c_str()),
    )
    .at(Step::RootFilesystem, "overlay")?;
    open_own(&merged).at(Step::RootFilesystem, "merged")
}

/// Makes the directories an overlay needs: `upper` is what the container writes.
///
/// # Errors
/// As `mkdirat(2)`.
pub fn make_layer_directories(parent: BorrowedFd<'_>) -> io::Result<()> {
    for (name, mode) in [("upper", 0o755), ("work", 0o700), ("merged", 0o700)] {
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode))?;
    }
    // The mode of the upper directory is that of the container's `/`, whatever the umask is.
    rustix::fs::chmodat(
        parent,
        "upper",
        Mode::from_raw_mode(0o755),
        rustix::fs::AtFlags::empty(),
    )?;
    Ok(())
}

/// A path that leads to what is behind a descriptor.
pub(crate) fn through(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

pub(crate) fn open_lower_layers(container: &ContainerPlan) -> Result<Vec<OwnedFd>, Failure> {
    match &container.root {
        RootSource::Host => Ok(vec![
            open_own(Path::new("/")).at(Step::RootFilesystem, "/")?,
        ]),
        RootSource::Layers(layers) => layers
            .iter()
            .map(|layer| open_own(layer).at(Step::RootFilesystem, "a layer of the image"))
            .collect(),
    }
}

/// Resolves a path inside of the root; symbolic links stay inside.
///
/// # Errors
/// As `openat2(2)`.
pub fn open_in_root(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    more: ResolveFlags,
) -> io::Result<OwnedFd> {
    for _ in 0..RENAME_RETRIES {
        match rustix::fs::openat2(
            root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more,
        ) {
            Ok(fd) => return Ok(fd),
            Err(Errno::AGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::AGAIN.into())
}

/// What to make where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A directory, mode 0755.
    Directory,
    /// An empty file, mode 0644.
    File,
}

/// Opens a path inside of the root and makes it, and the directories above it, when it is missing.
/// Each component is made in its parent's descriptor, so a link planted meanwhile is not followed
/// out of the root.
///
/// # Errors
/// As `openat2(2)`, `mkdirat(2)` and `openat(2)`.
pub fn open_or_make(root: BorrowedFd<'_>, path: &str, missing: Missing) -> io::Result<OwnedFd> {
    match open_in_root(root, path, OFlags::PATH, ResolveFlags::empty()) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        found => return found,
    }
    let (parent, name) = path
        .trim_end_matches('/')
        .rsplit_once('/')
        .unwrap_or(("", path));
    let parent = if parent.is_empty() {
        open_in_root(root, "/", OFlags::PATH, ResolveFlags::empty())?
    } else {
        open_or_make(root, parent, Missing::Directory)?
    };
    match missing {
        Missing::Directory => {
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Missing::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY;
            match rustix::fs::openat(
                &parent,
                name,
                flags | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o644),
            ) {
                Ok(_) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    open_in_root(root, path, OFlags::PATH, ResolveFlags::empty())
}

/// `/proc`, `/sys` and `/dev` must be plain directories: a link would send the kernel's file
/// systems, and the masks after them, elsewhere (CVE-2023-27561 and others).
pub(crate) fn kernel_mount_point(root: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Failure> {
    match rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).at(Step::KernelFilesystem, format!("/{name}")),
    }
    open_in_root(
        root,
        name,
        OFlags::PATH | OFlags::DIRECTORY,
        ResolveFlags::NO_SYMLINKS,
    )
    .at(Step::NotADirectory, format!("/{name}"))
}

fn mount_proc(setup: &ContainerSetup<'_>, root: BorrowedFd<'_>) -> Result<(), Failure> {
    let target = kernel_mount_point(root, "proc")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let tree = if setup.plan.host_pid && setup.ids != IdSpace::Machine {
        // procfs of a pid namespace that our user namespace does not own cannot be mounted anew.
        let host = open_own(Path::new("/proc")).at(Step::KernelFilesystem, "/proc")?;
        clone_tree(host.as_fd(), Depth::Recursive)
    } else {
        new_filesystem("proc", &[], attributes)
    };
    let tree = tree.at(Step::KernelFilesystem, "/proc")?;
    attach(tree.as_fd(), target.as_fd()).at(Step::KernelFilesystem, "/proc")
}

fn mount_sys(setup: &ContainerSetup<'_>, root: BorrowedFd<'_>) -> Result<(), Failure> {
    let target = kernel_mount_point(root, "sys")?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    if !setup.container.security.privileged {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let host_network = matches!(setup.plan.network, Network::Host { .. });
    if host_network && setup.ids != IdSpace::Machine {
        // sysfs needs a network namespace of the same user namespace.
        let host = open_own(Path::new("/sys")).at(Step::KernelFilesystem, "/sys")?;
        let tree = clone_tree(host.as_fd(), Depth::Recursive).at(Step::KernelFilesystem, "/sys")?;
        add_attributes(tree.as_fd(), attributes, Depth::Recursive)
            .at(Step::KernelFilesystem, "/sys")?;
        return attach(tree.as_fd(), target.as_fd()).at(Step::KernelFilesystem, "/sys");
    }
    let tree = new_filesystem("sysfs", &[], attributes).at(Step::KernelFilesystem, "/sys")?;
    attach(tree.as_fd(), target.as_fd()).at(Step::KernelFilesystem, "/sys")?;
    if setup.unified_cgroups {
        let target = open_in_root(
            root,
            "sys/fs/cgroup",
            OFlags::PATH | OFlags::DIRECTORY,
            ResolveFlags::NO_SYMLINKS,
        )
        .at(Step::KernelFilesystem, "/sys/fs/cgroup")?;
        let tree = new_filesystem("cgroup2", &[], attributes)
            .at(Step::KernelFilesystem, "/sys/fs/cgroup")?;
        attach(tree.as_fd(), target.as_fd()).at(Step::KernelFilesystem, "/sys/fs/cgroup")?;
    }
    Ok(())
}

fn mount_volume(root: BorrowedFd<'_>, path: &str, tree: BorrowedFd<'_>) -> Result<(), Failure> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(tree).at(Step::Mount, path)?.st_mode);
    let missing = if kind == FileType::Directory {
        Missing::Directory
    } else {
        Missing::File
    };
    let target = open_or_make(root, path, missing).at(Step::Mount, path)?;
    attach(tree, target.as_fd()).at(Step::Mount, path)
}

/// Binds the files. They are not written into the image's tree: `/etc` and its files may be links or
/// pipes there.
fn mount_files(files: &[(String, OwnedFd)], root: BorrowedFd<'_>) -> Result<(), Failure> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    for (path, source) in files {
        let tree = clone_tree(source.as_fd(), Depth::Single).at(Step::Mount, path)?;
        add_attributes(tree.as_fd(), attributes, Depth::Single).at(Step::Mount, path)?;
        let target = open_or_make(root, path, Missing::File).at(Step::Mount, path)?;
        attach(tree.as_fd(), target.as_fd()).at(Step::Mount, path)?;
    }
    Ok(())
}

/// Makes `root` this mount namespace's root and lets go of everything else, without a directory
/// for the old root: both are ".", and the old one is the topmost mount after the change
/// (`pivot_root(2)`, NOTES).
fn pivot(root: BorrowedFd<'_>) -> Result<(), Failure> {
    rustix::process::fchdir(root).at(Step::Pivot, "")?;
    rustix::process::pivot_root(".", ".").at(Step::Pivot, "")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).at(Step::Pivot, "")?;
    rustix::process::chdir("/").at(Step::Pivot, "")
}
