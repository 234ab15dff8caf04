//! `mountPropagation`: how mounts come into a volume, and out of it, while a pod runs.
//!
//! ```text
//!  the machine ──slave──▶ supervisor ──slave──▶ HostToContainer      of a hostPath
//!       ╰───────peer────▶ supervisor ──peer───▶ Bidirectional
//!
//!                         supervisor ──slave──▶ HostToContainer      of a volume of the pod's own
//!                              ╰───────peer───▶ Bidirectional
//! ```
//!
//! The supervisor's mount namespace receives from the machine's and gives it nothing, so a peer of
//! the machine's mount comes from the front end, which is still there. What is mounted in a volume
//! of the pod's own goes to the pod's containers and ends with the pod.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags};

use super::{VolumeError, error, host_path, open_directory, volume_path};
use crate::names::VolumeName;
use crate::plan::{PodPlan, Propagation, VolumePlan, VolumeSource};
use crate::sys::mount::{Depth, attach, change, clone_tree};

/// The most bytes read of the machine's list of mounts (`fs.mount-max` is 100000).
const MOUNTS_LIMIT: u64 = 64 << 20;

/// The widest propagation that a mount of the volume has.
fn widest(plan: &PodPlan, volume: &VolumeName) -> Propagation {
    let mounts = plan
        .containers
        .iter()
        .flat_map(|container| &container.mounts);
    mounts
        .filter(|mount| mount.volume == *volume)
        .map(|mount| mount.propagation)
        .max()
        .unwrap_or_default()
}

/// A copy of the machine's mounts for each volume of the machine's that is mounted `Bidirectional`, in
/// their order; to be called in the machine's own mount namespace.
///
/// # Errors
/// The volume that cannot be opened, or whose mount propagates nothing.
pub fn machine_trees(plan: &PodPlan) -> Result<Vec<OwnedFd>, VolumeError> {
    let mut trees = Vec::new();
    for volume in &plan.volumes {
        let (VolumeSource::HostPath { path, kind } | VolumeSource::Claim { path, kind, .. }) =
            &volume.source
        else {
            continue;
        };
        let tags: &[&str] = match widest(plan, &volume.name) {
            Propagation::None => continue,
            Propagation::HostToContainer => &["shared:", "master:"],
            Propagation::Bidirectional => &["shared:"],
        };
        let wrap = |message: String| error(&volume.name, message);
        let source = host_path::open(path, *kind).map_err(wrap)?;
        check(&source, path, tags).map_err(wrap)?;
        if tags == ["shared:"] {
            let tree = clone_tree(source.as_fd(), Depth::Recursive);
            trees.push(tree.map_err(|e| wrap(e.to_string()))?);
        }
    }
    Ok(trees)
}

/// Makes a volume's mounts ready to be copied with the propagation they are to have. The trees are
/// those of [`machine_trees`].
pub(super) fn prepare(
    plan: &PodPlan,
    volume: &VolumePlan,
    pod_dir: &Path,
    trees: &mut impl Iterator<Item = OwnedFd>,
) -> Result<(), VolumeError> {
    let widest = widest(plan, &volume.name);
    if widest == Propagation::None {
        return Ok(());
    }
    let failed = |e: io::Error| error(&volume.name, e.to_string());
    let place = volume_path(pod_dir, &volume.name);
    match &volume.source {
        VolumeSource::HostPath { .. } | VolumeSource::Claim { .. }
            if widest == Propagation::Bidirectional =>
        {
            let tree = trees
                .next()
                .ok_or_else(|| error(&volume.name, "the machine's mount was not handed over"))?;
            attach_at(&tree, &place).map_err(failed)
        }
        VolumeSource::HostPath { .. } | VolumeSource::Claim { .. } => Ok(()),
        VolumeSource::EmptyDirDisk { .. } | VolumeSource::EphemeralClaim => {
            share_directory(&place).map_err(failed)
        }
        VolumeSource::EmptyDirMemory { .. }
        | VolumeSource::Image { .. }
        | VolumeSource::Projected { .. } => open_directory(&place)
            .and_then(|mount| share(&mount))
            .map_err(failed),
    }
}

/// Where a `Bidirectional` mount of a volume is copied from in the supervisor.
pub(super) fn open_shared(pod_dir: &Path, volume: &VolumeName) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        volume_path(pod_dir, volume),
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

fn share(mount: &OwnedFd) -> io::Result<()> {
    change(
        mount.as_fd(),
        MountAttrFlags::empty(),
        MountPropagationFlags::SHARED,
        Depth::Single,
    )
}

/// A directory is no mount: it becomes one, on itself.
fn share_directory(place: &Path) -> io::Result<()> {
    let directory = open_directory(place)?;
    let tree = clone_tree(directory.as_fd(), Depth::Single)?;
    // Of the pod alone, whatever the mount it lies in is.
    change(
        tree.as_fd(),
        MountAttrFlags::empty(),
        MountPropagationFlags::PRIVATE,
        Depth::Single,
    )?;
    share(&tree)?;
    attach(tree.as_fd(), directory.as_fd())
}

/// Makes a place for a tree, a directory or a file as its root is, and attaches it there.
fn attach_at(tree: &OwnedFd, place: &Path) -> io::Result<()> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode);
    if kind == FileType::Directory {
        rustix::fs::mkdir(place, Mode::from_raw_mode(0o700))?;
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(rustix::fs::open(place, flags, Mode::from_raw_mode(0o600))?);
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::open(place, flags, Mode::empty())?;
    attach(tree.as_fd(), target.as_fd())
}

/// Whether the mount that holds `source` has one of these tags of mountinfo.
fn check(source: &OwnedFd, path: &Path, tags: &[&str]) -> Result<(), String> {
    let failed = |error: io::Error| format!("the machine's mounts: {error}");
    let statx = rustix::fs::statx(source, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
        .map_err(|errno| failed(errno.into()))?;
    let mut text = String::new();
    std::fs::File::open("/proc/self/mountinfo")
        .and_then(|file| file.take(MOUNTS_LIMIT).read_to_string(&mut text))
        .map_err(failed)?;
    let path = path.display();
    match find(&text, statx.stx_mnt_id, tags) {
        Some((_, true)) => Ok(()),
        Some((mount, false)) => Err(format!(
            "{path}: the mount {mount} it lies in is private on this machine and propagates \
             nothing; `mount --make-rshared {mount}` changes that"
        )),
        None => Err(format!("{path}: the mount it lies in is not the machine's")),
    }
}

/// The place of the mount with this id, and whether it has one of the tags (`proc_pid_mountinfo(5)`: the
/// optional fields are those from the seventh to a lone `-`).
fn find<'a>(mounts: &'a str, id: u64, tags: &[&str]) -> Option<(&'a str, bool)> {
    let line = mounts.lines().find(|line| {
        let first = line.split(' ').next();
        first.and_then(|word| word.parse().ok()) == Some(id)
    })?;
    let mut fields = line.split(' ');
    let place = fields.nth(4)?;
    let mut optional = fields.skip(1).take_while(|field| *field != "-");
    let has = optional.any(|field| tags.iter().any(|tag| field.starts_with(tag)));
    Some((place, has))
}

/// The mounts that volumes have in the supervisor's mount namespace.
fn mounts<'a>(plan: &'a PodPlan, pod_dir: &'a Path) -> impl Iterator<Item = PathBuf> {
    let mounted = plan.volumes.iter().filter(|volume| match volume.source {
        VolumeSource::EmptyDirMemory { .. }
        | VolumeSource::Image { .. }
        | VolumeSource::Projected { .. } => true,
        VolumeSource::EmptyDirDisk { .. } | VolumeSource::EphemeralClaim => {
            widest(plan, &volume.name) != Propagation::None
        }
        VolumeSource::HostPath { .. } | VolumeSource::Claim { .. } => {
            widest(plan, &volume.name) == Propagation::Bidirectional
        }
    });
    mounted.map(|volume| volume_path(pod_dir, &volume.name))
}

/// Takes the volumes out of this mount namespace, so that the pod's directory can be removed.
pub fn unmount(plan: &PodPlan, pod_dir: &Path) {
    for path in mounts(plan, pod_dir) {
        // First it is nobody's peer: else the machine's own mounts below would go as well.
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        if rustix::mount::mount_change(&path, private).is_ok() {
            rustix::mount::unmount(&path, UnmountFlags::DETACH).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_looked_up_by_its_id() {
        let mounts = "2 1 0:1 / / rw - ext4 /dev/a rw\n\
                      20 2 0:2 / /srv rw shared:7 master:3 - tmpfs t rw\n\
                      21 2 0:2 / /shared:1 rw - tmpfs shared:2 rw\n";
        for (id, tag, place) in [
            (2, "shared:", Some(("/", false))),
            (20, "shared:", Some(("/srv", true))),
            (20, "master:", Some(("/srv", true))),
            (21, "shared:", Some(("/shared:1", false))),
            (5, "shared:", None),
        ] {
            assert_eq!(find(mounts, id, &[tag]), place, "{id} {tag}");
        }
    }
}
