//! Volumes: made on the host's side once for a pod, handed to each container as detached mounts.

mod attributes;
mod group;
mod host_path;
mod projected;
mod propagation;
mod sub_path;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountAttrFlags, MountFlags};

use self::group::Access;
use crate::names::VolumeName;
use crate::plan::{
    ContainerPlan, HostPathType, PodPlan, ProjectedFile, Propagation, VolumePlan, VolumeSource,
};
use crate::sys::mount::{Depth, attach, clone_tree, map_ids, new_filesystem};
use attributes::Nature;

use crate::wire::IdSpace;
pub use propagation::{machine_trees, unmount};

/// A volume that cannot be made.
#[derive(Debug)]
pub struct VolumeError {
    /// Which volume.
    pub volume: String,
    /// What is wrong, for the user.
    pub message: String,
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "volume `{}`: {}", self.volume, self.message)
    }
}

impl std::error::Error for VolumeError {}

fn error(volume: &VolumeName, message: impl Into<String>) -> VolumeError {
    VolumeError {
        volume: volume.as_str().to_owned(),
        message: message.into(),
    }
}

/// Where a volume of the pod's own is.
pub fn volume_path(pod_dir: &Path, volume: &VolumeName) -> PathBuf {
    pod_dir.join("volumes").join(volume.as_str())
}

/// Makes all volumes of the pod, in the supervisor's mount namespace, with the trees of
/// [`machine_trees`]. With `hostUsers: false` their files can be shown with the ids of the pod's
/// user namespace.
///
/// # Errors
/// The first volume that cannot be made.
pub fn materialise(
    plan: &PodPlan,
    pod_dir: &Path,
    ids: IdSpace,
    trees: Vec<OwnedFd>,
    users: Option<BorrowedFd<'_>>,
) -> Result<(), VolumeError> {
    let gid = plan.fs_group.map(|group| group.gid);
    let mut trees = trees.into_iter();
    for volume in &plan.volumes {
        match &volume.source {
            source @ (VolumeSource::EmptyDirDisk { .. } | VolumeSource::EphemeralClaim) => {
                let mode = match source {
                    VolumeSource::EmptyDirDisk { mode, .. } => *mode,
                    _ => 0o777,
                };
                make_directory(pod_dir, volume, mode)
                    .and_then(|()| give_root(pod_dir, volume, gid))
                    .map_err(|e| error(&volume.name, e.to_string()))?;
            }
            VolumeSource::EmptyDirMemory {
                size_limit,
                mode,
                page_size,
            } => {
                make_directory(pod_dir, volume, *mode)
                    .and_then(|()| mount_memory(pod_dir, volume, *mode, *size_limit, *page_size))
                    .and_then(|()| give_root(pod_dir, volume, gid))
                    .map_err(|e| error(&volume.name, e.to_string()))?;
            }
            // In memory, as the kubelet has secrets: what is written there stays on no disk.
            VolumeSource::Projected { files } => {
                make_directory(pod_dir, volume, 0o755)
                    .and_then(|()| mount_memory(pod_dir, volume, 0o755, None, None))
                    .and_then(|()| write_files(pod_dir, &volume.name, files, gid))
                    .map_err(|e| error(&volume.name, e.to_string()))?;
            }
            VolumeSource::HostPath { path, kind } => {
                drop(host_path::open(path, *kind).map_err(|message| error(&volume.name, message))?);
            }
            VolumeSource::Claim {
                path,
                kind,
                read_only,
                takes_group,
            } => {
                let root =
                    host_path::open(path, *kind).map_err(|message| error(&volume.name, message))?;
                if let Some(group) = plan.fs_group.filter(|_| *takes_group) {
                    let access = if *read_only {
                        Access::ReadOnly
                    } else {
                        Access::ReadWrite
                    };
                    group::give_tree(root.as_fd(), group, access).map_err(|e| {
                        let gid = group.gid;
                        error(&volume.name, format!("fsGroup {gid} cannot have it: {e}"))
                    })?;
                }
            }
            VolumeSource::Image { layers } => {
                make_directory(pod_dir, volume, 0o755)
                    .and_then(|()| {
                        let directory = volume_path(pod_dir, &volume.name);
                        mount_image(&directory, layers, ids, users)
                    })
                    .map_err(|e| error(&volume.name, e.to_string()))?;
            }
        }
        propagation::prepare(plan, volume, pod_dir, &mut trees)?;
        if let Some(users) = users {
            check_ids(volume, pod_dir, users)?;
        }
    }
    Ok(())
}

/// Refuses a volume whose containers could not be started.
fn check_ids(
    volume: &VolumePlan,
    pod_dir: &Path,
    users: BorrowedFd<'_>,
) -> Result<(), VolumeError> {
    let source = match &volume.source {
        VolumeSource::HostPath { .. } | VolumeSource::Image { .. } => return Ok(()),
        VolumeSource::Claim { path, kind, .. } => {
            host_path::open(path, *kind).map_err(|message| error(&volume.name, message))?
        }
        VolumeSource::EmptyDirDisk { .. }
        | VolumeSource::EmptyDirMemory { .. }
        | VolumeSource::EphemeralClaim
        | VolumeSource::Projected { .. } => open_directory(&volume_path(pod_dir, &volume.name))
            .map_err(|e| error(&volume.name, e.to_string()))?,
    };
    let tree = clone_tree(source.as_fd(), Depth::Single)
        .map_err(|e| error(&volume.name, e.to_string()))?;
    attributes::show_ids(tree.as_fd(), &volume.source, users)
        .map_err(|message| error(&volume.name, message))
}

/// Makes a volume's directory with its mode, whatever the umask is.
fn make_directory(pod_dir: &Path, volume: &VolumePlan, mode: u32) -> io::Result<()> {
    let path = volume_path(pod_dir, &volume.name);
    rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700))?;
    Ok(rustix::fs::chmod(&path, Mode::from_raw_mode(mode))?)
}

/// Gives a volume that is empty to the pod's group.
fn give_root(pod_dir: &Path, volume: &VolumePlan, gid: Option<u32>) -> io::Result<()> {
    let Some(gid) = gid else { return Ok(()) };
    let root = open_directory(&volume_path(pod_dir, &volume.name))?;
    group::give(root.as_fd(), gid, Access::ReadWrite)
}

/// Writes the files of a volume that podrun writes, for the first time or anew: who reads them sees
/// all of the old ones or all of the new ones. They belong to the group `gid`, if there is one.
///
/// # Errors
/// As `open(2)`, `write(2)` and `rename(2)`; the files are what they were then.
pub fn write_files(
    pod_dir: &Path,
    volume: &VolumeName,
    files: &[ProjectedFile],
    gid: Option<u32>,
) -> io::Result<()> {
    let directory = rustix::fs::openat2(
        CWD,
        volume_path(pod_dir, volume),
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )?;
    projected::write(directory.as_fd(), files, gid, jiff::Timestamp::now())
}

fn mount_memory(
    pod_dir: &Path,
    volume: &VolumePlan,
    mode: u32,
    limit: Option<u64>,
    page_size: Option<u64>,
) -> io::Result<()> {
    let mode = format!("{mode:04o}");
    let limit = limit.map(|bytes| bytes.to_string());
    let page = page_size.map(|bytes| bytes.to_string());
    let mut options = vec![("mode", mode.as_str())];
    options.extend(page.as_deref().map(|page| ("pagesize", page)));
    options.extend(limit.as_deref().map(|limit| ("size", limit)));
    let kind = if page.is_some() { "hugetlbfs" } else { "tmpfs" };
    let filesystem = new_filesystem(
        kind,
        &options,
        MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID,
    )?;
    let target = open_directory(&volume_path(pod_dir, &volume.name))?;
    attach(filesystem.as_fd(), target.as_fd())
}

/// Mounts the layers of an image one over the other. The directory itself is the lowest: an overlay
/// that nothing is written to has two at least (`overlayfs.rst`), and an image may have one. An
/// overlay cannot be shown with other ids; its layers can.
fn mount_image(
    directory: &Path,
    layers: &[PathBuf],
    ids: IdSpace,
    users: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let target = open_directory(directory)?;
    let open = |layer: &PathBuf| {
        let layer = open_directory(layer)?;
        let Some(users) = users else {
            return Ok(layer);
        };
        let tree = clone_tree(layer.as_fd(), Depth::Single)?;
        map_ids(tree.as_fd(), users)?;
        Ok(tree)
    };
    let opened: Vec<OwnedFd> = layers.iter().map(open).collect::<io::Result<_>>()?;
    let through = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let mut lowers: Vec<String> = opened.iter().map(through).collect();
    lowers.push(through(&target));
    let mut options = format!("lowerdir={}", lowers.join(":"));
    if !matches!(ids, IdSpace::Machine | IdSpace::Own) {
        // In a user namespace overlayfs may only use user.* attributes.
        options.push_str(",userxattr");
    }
    let options = std::ffi::CString::new(options).map_err(io::Error::other)?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount(
        "overlay",
        through(&target).as_str(),
        "overlay",
        flags,
        Some(options.as_c_str()),
    )?;
    Ok(())
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )?)
}

/// Whether no mount of it can be written to, whatever its container says.
const fn is_read_only(source: &VolumeSource) -> bool {
    match source {
        VolumeSource::Projected { .. } | VolumeSource::Image { .. } => true,
        VolumeSource::Claim { read_only, .. } => *read_only,
        VolumeSource::EmptyDirDisk { .. }
        | VolumeSource::EmptyDirMemory { .. }
        | VolumeSource::EphemeralClaim
        | VolumeSource::HostPath { .. } => false,
    }
}

/// A detached mount for each of the container's mounts, in their order; to be called in the mount
/// namespace the volumes were made in, because only mounts of the caller's own can be copied. With
/// `hostUsers: false` their files are shown with the ids of the pod's user namespace.
///
/// # Errors
/// The volume that cannot be opened.
pub fn open_trees(
    plan: &PodPlan,
    container: &ContainerPlan,
    pod_dir: &Path,
    users: Option<BorrowedFd<'_>>,
) -> Result<Vec<OwnedFd>, VolumeError> {
    let mut trees = Vec::new();
    for mount in &container.mounts {
        let Some(volume) = plan
            .volumes
            .iter()
            .find(|volume| volume.name == mount.volume)
        else {
            return Err(error(&mount.volume, "is not one of the pod's volumes"));
        };
        let wrap = |e: io::Error| error(&mount.volume, e.to_string());
        let (source, is_device) = match &volume.source {
            VolumeSource::EmptyDirDisk { .. }
            | VolumeSource::EmptyDirMemory { .. }
            | VolumeSource::EphemeralClaim
            | VolumeSource::Image { .. }
            | VolumeSource::Projected { .. } => {
                let path = volume_path(pod_dir, &volume.name);
                (open_directory(&path).map_err(wrap)?, false)
            }
            VolumeSource::HostPath { path, kind } => {
                let source = if mount.propagation == Propagation::Bidirectional {
                    propagation::open_shared(pod_dir, &volume.name).map_err(wrap)?
                } else {
                    host_path::open(path, *kind).map_err(|message| error(&mount.volume, message))?
                };
                let device = matches!(kind, HostPathType::CharDevice | HostPathType::BlockDevice);
                (source, device)
            }
            VolumeSource::Claim { path, kind, .. } => {
                let source = if mount.propagation == Propagation::Bidirectional {
                    propagation::open_shared(pod_dir, &volume.name).map_err(wrap)?
                } else {
                    host_path::open(path, *kind).map_err(|message| error(&mount.volume, message))?
                };
                (source, false)
            }
        };
        let (source, is_device) = if mount.sub_path.is_empty() {
            (source, is_device)
        } else {
            let part = sub_path::open(source.as_fd(), &mount.sub_path)
                .map_err(|e| error(&mount.volume, format!("subPath {}: {e}", mount.sub_path)))?;
            (part, false)
        };
        // With what is mounted below: by the machine, or by a container that may.
        let tree = clone_tree(source.as_fd(), Depth::Recursive).map_err(wrap)?;
        let nature = Nature {
            is_read_only: is_read_only(&volume.source),
            is_device,
        };
        attributes::apply(tree.as_fd(), mount, nature).map_err(wrap)?;
        if let Some(users) = users {
            attributes::show_ids(tree.as_fd(), &volume.source, users)
                .map_err(|message| error(&mount.volume, message))?;
        }
        trees.push(tree);
    }
    Ok(trees)
}
