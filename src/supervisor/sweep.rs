//! Removing what a run of a container left in the pod's directory.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::store::attempts;
use crate::sys::process::{self, CloneFlags, Cloned, SingleThread};
use crate::sys::tree::remove_tree;

/// Removes the root file system of a container's earlier run in a process of its own, whose pidfd
/// is returned: it may be large, and the supervisor must go on draining logs meanwhile. Of the logs
/// that run's stay, for `logs --previous`; those of the runs before it go (`MaxPerPodContainer` of
/// the kubelet's garbage collection is 1).
///
/// # Errors
/// As `clone(2)`.
pub(super) fn remove_attempt(
    proof: &SingleThread,
    container: &Path,
    logs: &Path,
    attempt: u32,
) -> io::Result<OwnedFd> {
    match process::clone_process(proof, CloneFlags::default())? {
        Cloned::Parent(pidfd) => Ok(pidfd),
        Cloned::Child => {
            // It may take long: nothing of the pod's stays open in it, and it ends with the pod.
            process::close_all_but(&[])
                .and_then(|()| process::die_with_parent())
                .ok();
            let removed = remove_tree(container, &attempt.to_string());
            let runs = attempts(logs).unwrap_or_default();
            for run in runs.iter().filter(|run| run.number < attempt) {
                for file in &run.files {
                    rustix::fs::unlink(file).ok();
                }
            }
            process::exit_now(i32::from(removed.is_err()))
        }
    }
}

/// Removes everything of an ended pod but its record, status and logs.
pub(super) fn remove_scratch(pod_dir: &Path) {
    for name in ["containers", "volumes", "etc", "shm", "empty"] {
        remove_tree(pod_dir, name).ok();
    }
}
