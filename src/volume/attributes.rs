//! What holds for one mount of a volume: `readOnly`, `recursiveReadOnly`, `mountPropagation` and
//! `bindMountOptions`.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::mount::{MountAttrFlags, MountPropagationFlags};

use crate::plan::{MountPlan, Propagation, VolumeSource};
use crate::sys::mount::{Depth, add_attributes, change, map_ids};

/// What the volume itself says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nature {
    /// Whatever the mount says, as the kubelet has the volumes it writes.
    pub(super) is_read_only: bool,
    /// A device was asked for, and is to be one.
    pub(super) is_device: bool,
}

/// Sets the attributes of a tree that is not attached yet.
pub(super) fn apply(tree: BorrowedFd<'_>, mount: &MountPlan, nature: Nature) -> io::Result<()> {
    let when = |is_so: bool, attribute: MountAttrFlags| {
        if is_so {
            attribute
        } else {
            MountAttrFlags::empty()
        }
    };
    let options = mount.options;
    let is_read_only = mount.read_only || nature.is_read_only;
    let whole = when(
        !nature.is_device || options.no_dev,
        MountAttrFlags::MOUNT_ATTR_NODEV,
    ) | when(options.no_exec, MountAttrFlags::MOUNT_ATTR_NOEXEC)
        | when(options.no_suid, MountAttrFlags::MOUNT_ATTR_NOSUID)
        | when(mount.recursive_read_only, MountAttrFlags::MOUNT_ATTR_RDONLY);
    let propagation = match mount.propagation {
        Propagation::None => MountPropagationFlags::PRIVATE,
        Propagation::HostToContainer => MountPropagationFlags::DOWNSTREAM,
        // A copy is a peer of what it was copied from.
        Propagation::Bidirectional => MountPropagationFlags::empty(),
    };
    change(tree, whole, propagation, Depth::Recursive)?;
    // Kubernetes' readOnly is not recursive.
    if is_read_only && !mount.recursive_read_only {
        add_attributes(tree, MountAttrFlags::MOUNT_ATTR_RDONLY, Depth::Single)?;
    }
    Ok(())
}

/// Shows the files of a volume of the pod's own as the pod's user namespace sees them: 0 on the disk
/// is 0 there. A hostPath stays the machine's: root in the pod is not root of the machine's files.
pub(super) fn show_ids(
    tree: BorrowedFd<'_>,
    source: &VolumeSource,
    users: BorrowedFd<'_>,
) -> Result<(), String> {
    match source {
        // Nor is root of a claim that an administrator has put on the machine; an image's layers are
        // shown so already.
        VolumeSource::HostPath { .. }
        | VolumeSource::Image { .. }
        | VolumeSource::Claim {
            takes_group: false, ..
        } => Ok(()),
        VolumeSource::Claim { .. }
        | VolumeSource::EphemeralClaim
        | VolumeSource::EmptyDirDisk { .. }
        | VolumeSource::EmptyDirMemory { .. }
        | VolumeSource::Projected { .. } => map_ids(tree, users).map_err(|error| {
            format!(
                "its file system cannot show the ids of a pod with `hostUsers: false` (idmapped \
                 mounts, mount_setattr(2)): {error}"
            )
        }),
    }
}
