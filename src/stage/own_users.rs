//! A container of a pod with `hostUsers: false`: the pod's ids are others than those that files
//! have on the disk.
//!
//! ```text
//!  launcher  the machine's user namespace, a mount namespace of its own
//!    layers, volumes ──idmapped──▶ staging/lower-0 …  ──overlay──▶ staging/root
//!                                  staging/volume-0 …
//!  container a copy of that mount namespace, which the pod's user namespace owns
//! ```
//!
//! The mounts are made before the user namespace is entered because only the machine's root may
//! show files with other ids, or read overlay's `trusted.*` attributes. They are attached in a
//! mount namespace that is then copied, because the copy locks what they are (`mount_namespaces(7)`):
//! no capability inside makes a read-only mount writable or a `nodev` one anything else.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::{MountAttrFlags, MountFlags, MountPropagationFlags};
use rustix::process::DumpableBehavior;

use crate::names::ContainerName;
use crate::plan::{PodPlan, RootSource};
use crate::stage::container::ContainerSetup;
use crate::stage::rootfs::{open_lower_layers, open_own, through};
use crate::stage::{At, host_root};
use crate::sys::mount::{Depth, attach, clone_tree, map_ids, new_filesystem};
use crate::sys::process::{self, SingleThread};
use crate::wire::{Failure, Step};

/// The pod's user namespace.
#[derive(Debug)]
pub struct PodUsers {
    /// The machine's id that is 0 in the pod.
    pub first: u32,
    /// The namespace.
    pub namespace: OwnedFd,
}

impl PodUsers {
    /// Gives a file to the pod's root.
    ///
    /// # Errors
    /// As `fchown(2)`.
    pub fn give(&self, file: impl AsFd) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.first), Gid::from_raw(self.first));
        let flags = AtFlags::EMPTY_PATH;
        Ok(rustix::fs::chownat(file, "", Some(uid), Some(gid), flags)?)
    }
}

/// Whether the images' layers can be shown with the pod's ids, before anything is started.
///
/// # Errors
/// The container with a layer that cannot.
pub fn check_layers(plan: &PodPlan, users: &PodUsers) -> Result<(), (ContainerName, Failure)> {
    for container in &plan.containers {
        for layer in open_lower_layers(container).map_err(|f| (container.name.clone(), f))? {
            show_layer(&layer, users).map_err(|f| (container.name.clone(), f))?;
        }
    }
    Ok(())
}

fn show_layer(layer: &OwnedFd, users: &PodUsers) -> Result<OwnedFd, Failure> {
    let tree = clone_tree(layer.as_fd(), Depth::Single).at(Step::RootFilesystem, "a layer")?;
    map_ids(tree.as_fd(), users.namespace.as_fd()).at(Step::IdMap, "a layer of the image")?;
    Ok(tree)
}

/// In the launcher: makes the container's root and attaches it and the volumes where the container
/// finds them.
///
/// # Errors
/// The step that failed.
pub fn stage(
    proof: &SingleThread,
    setup: &ContainerSetup<'_>,
    users: &PodUsers,
) -> Result<(), Failure> {
    process::unshare(proof, libc::CLONE_NEWNS).at(Step::Namespaces, "")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).at(Step::RootFilesystem, "mount propagation")?;
    let attempt = &setup.attempt_dir;
    if setup.container.root == RootSource::Host {
        let limit = setup.container.resources.limits.ephemeral_storage;
        host_root::mount_scratch(attempt, limit)?;
    }
    let upper = open_own(&attempt.join("upper")).at(Step::RootFilesystem, "upper")?;
    let work = open_own(&attempt.join("work")).at(Step::RootFilesystem, "work")?;
    users.give(&upper).at(Step::RootFilesystem, "upper")?;

    let none = MountAttrFlags::empty();
    let staging =
        new_filesystem("tmpfs", &[("mode", "0700")], none).at(Step::RootFilesystem, "staging")?;
    let target = open_own(&attempt.join("merged")).at(Step::RootFilesystem, "merged")?;
    attach(staging.as_fd(), target.as_fd()).at(Step::RootFilesystem, "staging")?;

    let mut lowers = Vec::new();
    for (index, layer) in open_lower_layers(setup.container)?.iter().enumerate() {
        let tree = show_layer(layer, users)?;
        attach_in(&staging, &format!("lower-{index}"), tree.as_fd())
            .at(Step::RootFilesystem, "a layer of the image")?;
        lowers.push(tree);
    }
    let list = lowers.iter().map(through).collect::<Vec<_>>().join(":");
    let options = format!(
        "lowerdir={list},upperdir={},workdir={},volatile",
        through(&upper),
        through(&work)
    );
    let options = CString::new(options)
        .map_err(io::Error::other)
        .at(Step::RootFilesystem, "")?;
    let root = make_place(&staging, "root", FileType::Directory).at(Step::RootFilesystem, "")?;
    rustix::mount::mount(
        "overlay",
        through(&root).as_str(),
        "overlay",
        MountFlags::NODEV,
        Some(options.as_c_str()),
    )
    .at(Step::RootFilesystem, "overlay")?;
    for (index, tree) in setup.volume_trees.iter().enumerate() {
        attach_in(&staging, &format!("volume-{index}"), tree.as_fd())
            .at(Step::Mount, "a volume")?;
    }
    Ok(())
}

fn make_place(directory: &OwnedFd, name: &str, kind: FileType) -> io::Result<OwnedFd> {
    if kind == FileType::Directory {
        rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o700))?;
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(rustix::fs::openat(
            directory,
            name,
            flags,
            Mode::from_raw_mode(0o600),
        )?);
    }
    open_in(directory, name)
}

fn open_in(directory: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

fn attach_in(directory: &OwnedFd, name: &str, tree: BorrowedFd<'_>) -> io::Result<()> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode);
    let place = make_place(directory, name, kind)?;
    attach(tree, place.as_fd())
}

/// What the launcher has made, as the container's own mounts.
#[derive(Debug)]
pub(crate) struct Staged {
    /// The root, attached so that it can become this namespace's.
    pub(crate) root: OwnedFd,
    /// The volumes, detached, in their order.
    pub(crate) volumes: Vec<OwnedFd>,
}

/// In the container: copies of the mounts, which are locked themselves but not their copies.
///
/// # Errors
/// The step that failed.
pub(crate) fn claim(setup: &ContainerSetup<'_>) -> Result<Staged, Failure> {
    let staging =
        open_own(&setup.attempt_dir.join("merged")).at(Step::RootFilesystem, "staging")?;
    let copy = |name: &str| {
        open_in(&staging, name).and_then(|mount| clone_tree(mount.as_fd(), Depth::Recursive))
    };
    let volumes = (0..setup.container.mounts.len())
        .map(|index| copy(&format!("volume-{index}")).at(Step::Mount, "a volume"))
        .collect::<Result<_, _>>()?;
    let root = copy("root").at(Step::RootFilesystem, "")?;
    open_in(&staging, "root")
        .and_then(|place| attach(root.as_fd(), place.as_fd()))
        .at(Step::RootFilesystem, "")?;
    Ok(Staged { root, volumes })
}

/// From an id that the pod's user namespace does not know to its root. What is made from here on
/// has owners inside, and nothing of the machine's root's can be opened any more.
///
/// # Errors
/// The step.
pub(crate) fn become_root() -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    rustix::thread::set_thread_groups(&[]).at(Step::Credentials, "groups")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(Step::Credentials, "group 0")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(Step::Credentials, "user 0")?;
    // Changing credentials made the process what /proc/sys/fs/suid_dumpable says.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .at(Step::ProcessState, "dumpable")
}
