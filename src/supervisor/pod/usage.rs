//! The pod's use of the disk: an emptyDir that has grown over its limit ends the pod
//! (`emptyDirLimitEviction` of the kubelet's eviction manager).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::lifecycle::Event;
use crate::plan::{PodPlan, VolumePlan, VolumeSource};
use crate::supervisor::pod::{Pod, now};
use crate::supervisor::watch::Source;
use crate::sys::process::{self, CloneFlags, Cloned};
use crate::sys::tree::disk_usage;
use crate::volume;

/// `evictionMonitoringPeriod`: milliseconds from the end of one look to the next.
const PERIOD_MS: u64 = 10_000;

/// Looking at volumes with a limit; nothing happens for a pod without one.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// When the next look is due.
    next_at_ms: Option<u64>,
    /// The process that looks. Its exit code says which volume is too large, counted from 1.
    looking: Option<OwnedFd>,
}

fn limited(plan: &PodPlan) -> impl Iterator<Item = (&VolumePlan, u64)> {
    plan.volumes
        .iter()
        .filter_map(|volume| match volume.source {
            VolumeSource::EmptyDirDisk {
                size_limit: Some(limit),
            } => Some((volume, limit)),
            VolumeSource::EmptyDirDisk { size_limit: None }
            | VolumeSource::EmptyDirMemory { .. }
            | VolumeSource::HostPath { .. }
            | VolumeSource::Claim { .. }
            | VolumeSource::EphemeralClaim
            | VolumeSource::Image { .. }
            | VolumeSource::Projected { .. } => None,
        })
}

/// Bytes as a quantity is written: with the largest binary suffix that leaves a whole number.
fn quantity(bytes: u64) -> String {
    let mut value = bytes;
    let mut suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].into_iter();
    let mut suffix = suffixes.next().unwrap_or_default();
    for larger in suffixes {
        if value == 0 || !value.is_multiple_of(1024) {
            break;
        }
        value /= 1024;
        suffix = larger;
    }
    format!("{value}{suffix}")
}

impl Usage {
    /// When the next look is due.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.next_at_ms.filter(|_| self.looking.is_none())
    }

    /// The pod's containers run from now on.
    pub(super) fn begin(&mut self, plan: &PodPlan) {
        if limited(plan).next().is_some() {
            self.next_at_ms = Some(now().monotonic_ms.saturating_add(PERIOD_MS));
        }
    }

    /// The process that looks, if there is one.
    pub(super) fn child(&self) -> Option<BorrowedFd<'_>> {
        self.looking.as_ref().map(AsFd::as_fd)
    }

    /// The pod ends.
    pub(super) fn end(&mut self) {
        self.next_at_ms = None;
        if let Some(looking) = self.looking.take() {
            process::signal(&looking, libc::SIGKILL).ok();
            process::reap(&looking).ok();
        }
    }
}

impl Pod {
    /// Looks at the volumes, if it is time to, in a process of its own: there may be much to read.
    pub(super) fn look_at_usage(&mut self) {
        let is_due = self
            .usage
            .next_deadline()
            .is_some_and(|at| at <= now().monotonic_ms);
        if !is_due {
            return;
        }
        match process::clone_process(&self.proof, CloneFlags::default()) {
            Ok(Cloned::Parent(looking)) => {
                if self.watch.add(&looking, Source::Usage).is_ok() {
                    self.usage.looking = Some(looking);
                }
            }
            Ok(Cloned::Child) => {
                // It may take long: nothing of the pod's stays open in it, and it ends with the pod.
                process::close_all_but(&[])
                    .and_then(|()| process::die_with_parent())
                    .ok();
                let too_large = limited(&self.plan).zip(1..).find(|((volume, limit), _)| {
                    let path = volume::volume_path(&self.places.pod_dir, &volume.name);
                    disk_usage(&path).is_ok_and(|used| used > *limit)
                });
                process::exit_now(too_large.map_or(0, |(_, number)| number))
            }
            // Another try in ten seconds.
            Err(_) => self.usage.begin(&self.plan),
        }
    }

    /// The process that looked has ended.
    pub(super) fn looked_at_usage(&mut self) {
        let Some(looking) = self.usage.looking.take() else {
            return;
        };
        self.watch.remove(&looking);
        let number = process::reap(&looking).unwrap_or(0);
        self.usage.begin(&self.plan);
        let too_large = usize::try_from(number)
            .ok()
            .and_then(|number| number.checked_sub(1))
            .and_then(|index| limited(&self.plan).nth(index));
        if let Some((volume, limit)) = too_large {
            // The kubelet's text (`emptyDirMessageFmt`), blank at the end included.
            let message = format!(
                "Usage of EmptyDir volume \"{}\" exceeds the limit \"{}\". ",
                volume.name,
                quantity(limit)
            );
            self.step(Event::Evict { message });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::quantity;

    #[test]
    fn quantities_have_the_largest_suffix_that_fits() {
        let written = [0, 1, 1024, 1536, 10 << 20, 3 << 30].map(quantity);
        assert_eq!(written, ["0", "1", "1Ki", "1536", "10Mi", "3Gi"]);
    }
}
