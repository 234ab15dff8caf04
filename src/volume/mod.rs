//! Volumes: made on the host's side once for a pod, handed to each container as detached mounts.

mod host_path;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::MountAttrFlags;

use crate::names::VolumeName;
use crate::plan::{ContainerPlan, HostPathType, PodPlan, VolumePlan, VolumeSource};
use crate::sys::mount::{Depth, add_attributes, attach, clone_tree, new_filesystem};

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

/// Where an emptyDir is.
pub fn empty_dir_path(pod_dir: &Path, volume: &VolumeName) -> PathBuf {
    pod_dir.join("volumes").join(volume.as_str())
}

/// Makes all volumes of the pod, in the supervisor's mount namespace.
///
/// # Errors
/// The first volume that cannot be made.
pub fn materialise(plan: &PodPlan, pod_dir: &Path) -> Result<(), VolumeError> {
    for volume in &plan.volumes {
        match &volume.source {
            VolumeSource::EmptyDirDisk { .. } => {
                make_empty_dir(pod_dir, volume).map_err(|e| error(&volume.name, e.to_string()))?;
            }
            VolumeSource::EmptyDirMemory { size_limit } => {
                make_empty_dir(pod_dir, volume)
                    .and_then(|()| mount_memory(pod_dir, volume, *size_limit))
                    .map_err(|e| error(&volume.name, e.to_string()))?;
            }
            VolumeSource::HostPath { path, kind } => {
                drop(host_path::open(path, *kind).map_err(|message| error(&volume.name, message))?);
            }
        }
    }
    Ok(())
}

fn make_empty_dir(pod_dir: &Path, volume: &VolumePlan) -> io::Result<()> {
    let path = empty_dir_path(pod_dir, &volume.name);
    rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700))?;
    // Kubernetes' mode for an emptyDir, whatever the umask is (`emptyDir.perm`, empty_dir.go).
    Ok(rustix::fs::chmod(&path, Mode::from_raw_mode(0o777))?)
}

fn mount_memory(pod_dir: &Path, volume: &VolumePlan, limit: Option<u64>) -> io::Result<()> {
    let size = limit.map(|bytes| bytes.to_string());
    let mut options = vec![("mode", "0777")];
    if let Some(size) = &size {
        options.push(("size", size.as_str()));
    }
    let tmpfs = new_filesystem(
        "tmpfs",
        &options,
        MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID,
    )?;
    let target = open_directory(&empty_dir_path(pod_dir, &volume.name))?;
    attach(tmpfs.as_fd(), target.as_fd())
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

/// A detached mount for each of the container's mounts, in their order; to be called in the mount
/// namespace the volumes were made in, because only mounts of the caller's own can be copied.
///
/// # Errors
/// The volume that cannot be opened.
pub fn open_trees(
    plan: &PodPlan,
    container: &ContainerPlan,
    pod_dir: &Path,
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
        let (source, depth, is_device) = match &volume.source {
            VolumeSource::EmptyDirDisk { .. } | VolumeSource::EmptyDirMemory { .. } => {
                let path = empty_dir_path(pod_dir, &volume.name);
                (open_directory(&path).map_err(wrap)?, Depth::Single, false)
            }
            VolumeSource::HostPath { path, kind } => {
                let source = host_path::open(path, *kind)
                    .map_err(|message| error(&mount.volume, message))?;
                let device = matches!(kind, HostPathType::CharDevice | HostPathType::BlockDevice);
                (source, Depth::Recursive, device)
            }
        };
        let tree = clone_tree(source.as_fd(), depth).map_err(wrap)?;
        if !is_device {
            add_attributes(tree.as_fd(), MountAttrFlags::MOUNT_ATTR_NODEV, depth).map_err(wrap)?;
        }
        // Kubernetes' readOnly is not recursive; recursiveReadOnly is a field of its own.
        if mount.read_only {
            add_attributes(
                tree.as_fd(),
                MountAttrFlags::MOUNT_ATTR_RDONLY,
                Depth::Single,
            )
            .map_err(wrap)?;
        }
        trees.push(tree);
    }
    Ok(trees)
}
