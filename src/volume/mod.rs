//! Volumes: made on the host's side once for a pod, handed to each container as detached mounts.

mod host_path;
mod projected;
mod sub_path;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::MountAttrFlags;

use crate::names::VolumeName;
use crate::plan::{ContainerPlan, HostPathType, PodPlan, ProjectedFile, VolumePlan, VolumeSource};
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

/// Where a volume of the pod's own is.
pub fn volume_path(pod_dir: &Path, volume: &VolumeName) -> PathBuf {
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
                make_directory(pod_dir, volume, 0o777)
                    .map_err(|e| error(&volume.name, e.to_string()))?;
            }
            VolumeSource::EmptyDirMemory { size_limit } => {
                make_directory(pod_dir, volume, 0o777)
                    .and_then(|()| mount_memory(pod_dir, volume, "0777", *size_limit))
                    .map_err(|e| error(&volume.name, e.to_string()))?;
            }
            // In memory, as the kubelet has secrets: what is written there stays on no disk.
            VolumeSource::Projected { files } => {
                make_directory(pod_dir, volume, 0o755)
                    .and_then(|()| mount_memory(pod_dir, volume, "0755", None))
                    .and_then(|()| write_files(pod_dir, &volume.name, files))
                    .map_err(|e| error(&volume.name, e.to_string()))?;
            }
            VolumeSource::HostPath { path, kind } => {
                drop(host_path::open(path, *kind).map_err(|message| error(&volume.name, message))?);
            }
        }
    }
    Ok(())
}

/// Makes a volume's directory. An emptyDir has mode 0777 whatever the umask is (`perm` in the
/// kubelet's `empty_dir.go`).
fn make_directory(pod_dir: &Path, volume: &VolumePlan, mode: u32) -> io::Result<()> {
    let path = volume_path(pod_dir, &volume.name);
    rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700))?;
    Ok(rustix::fs::chmod(&path, Mode::from_raw_mode(mode))?)
}

/// Writes the files of a volume that podrun writes, for the first time or anew: who reads them sees
/// all of the old ones or all of the new ones.
///
/// # Errors
/// As `open(2)`, `write(2)` and `rename(2)`; the files are what they were then.
pub fn write_files(pod_dir: &Path, volume: &VolumeName, files: &[ProjectedFile]) -> io::Result<()> {
    let directory = rustix::fs::openat2(
        CWD,
        volume_path(pod_dir, volume),
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )?;
    projected::write(directory.as_fd(), files, jiff::Timestamp::now())
}

fn mount_memory(
    pod_dir: &Path,
    volume: &VolumePlan,
    mode: &str,
    limit: Option<u64>,
) -> io::Result<()> {
    let size = limit.map(|bytes| bytes.to_string());
    let mut options = vec![("mode", mode)];
    if let Some(size) = &size {
        options.push(("size", size.as_str()));
    }
    let tmpfs = new_filesystem(
        "tmpfs",
        &options,
        MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID,
    )?;
    let target = open_directory(&volume_path(pod_dir, &volume.name))?;
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
            VolumeSource::EmptyDirDisk { .. }
            | VolumeSource::EmptyDirMemory { .. }
            | VolumeSource::Projected { .. } => {
                let path = volume_path(pod_dir, &volume.name);
                (open_directory(&path).map_err(wrap)?, Depth::Single, false)
            }
            VolumeSource::HostPath { path, kind } => {
                let source = host_path::open(path, *kind)
                    .map_err(|message| error(&mount.volume, message))?;
                let device = matches!(kind, HostPathType::CharDevice | HostPathType::BlockDevice);
                (source, Depth::Recursive, device)
            }
        };
        let (source, is_device) = if mount.sub_path.is_empty() {
            (source, is_device)
        } else {
            let part = sub_path::open(source.as_fd(), &mount.sub_path)
                .map_err(|e| error(&mount.volume, format!("subPath {}: {e}", mount.sub_path)))?;
            (part, false)
        };
        let tree = clone_tree(source.as_fd(), depth).map_err(wrap)?;
        if !is_device {
            add_attributes(tree.as_fd(), MountAttrFlags::MOUNT_ATTR_NODEV, depth).map_err(wrap)?;
        }
        // Kubernetes' readOnly is not recursive; recursiveReadOnly is a field of its own.
        if mount.read_only || matches!(volume.source, VolumeSource::Projected { .. }) {
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
