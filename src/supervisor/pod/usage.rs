//! The pod's use of the disk: what has grown over its limit ends the pod (`localStorageEviction` of the
//! kubelet's eviction manager).

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::lifecycle::Event;
use crate::manifest::bytes_text;
use crate::plan::{ContainerPlan, PodPlan, Role, VolumePlan, VolumeSource};
use crate::supervisor::pod::{Pod, now};
use crate::supervisor::watch::Source;
use crate::sys::process::{self, CloneFlags, Cloned};
use crate::sys::tree::disk_usage;
use crate::volume;

/// `evictionMonitoringPeriod`: milliseconds from the end of one look to the next.
const PERIOD_MS: u64 = 10_000;

/// Looking at what has a limit; nothing happens for a pod without one.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// When the next look is due.
    next_at_ms: Option<u64>,
    looking: Option<Looking>,
}

/// A look that goes on.
#[derive(Debug)]
struct Looking {
    process: OwnedFd,
    /// It says here which limit is exceeded, as its place among [`limits`]; nothing if none is.
    verdict: OwnedFd,
}

/// What may take up only so much of the disk, in bytes.
#[derive(Debug, Clone, Copy)]
enum Limit<'a> {
    Volume(&'a VolumePlan, u64),
    /// The containers' limits together, for all of the pod.
    Pod(u64),
    Container(&'a ContainerPlan, u64),
}

/// All limits of a pod, in the order in which the kubelet asks for them.
fn limits(plan: &PodPlan) -> Vec<Limit<'_>> {
    let volumes = disk_volumes(plan).filter_map(|(volume, limit)| {
        let limit = limit.filter(|limit| *limit > 0)?;
        Some(Limit::Volume(volume, limit))
    });
    let containers = plan.containers.iter().filter_map(|container| {
        // Init containers count for the pod's limit alone.
        let is_long_lived = matches!(container.role, Role::Main | Role::Sidecar);
        let limit = container.resources.limits.ephemeral_storage;
        let limit = limit.filter(|limit| is_long_lived && *limit > 0)?;
        Some(Limit::Container(container, limit))
    });
    let pod = pod_limit(plan).map(Limit::Pod);
    volumes.chain(pod).chain(containers).collect()
}

fn pod_limit(plan: &PodPlan) -> Option<u64> {
    plan.together(|resources| &resources.limits)
        .ephemeral_storage
}

/// Volumes on the disk with their own limits.
fn disk_volumes(plan: &PodPlan) -> impl Iterator<Item = (&VolumePlan, Option<u64>)> {
    plan.volumes
        .iter()
        .filter_map(|volume| match volume.source {
            VolumeSource::EmptyDirDisk { size_limit, .. } => Some((volume, size_limit)),
            VolumeSource::EmptyDirMemory { .. }
            | VolumeSource::HostPath { .. }
            | VolumeSource::Claim { .. }
            | VolumeSource::EphemeralClaim
            | VolumeSource::Image { .. }
            | VolumeSource::Projected { .. } => None,
        })
}

impl Limit<'_> {
    /// The kubelet's texts (`emptyDirMessageFmt` and so on), blanks at the end included.
    fn message(self) -> String {
        match self {
            Self::Volume(volume, limit) => format!(
                "Usage of EmptyDir volume \"{}\" exceeds the limit \"{}\". ",
                volume.name,
                bytes_text(limit)
            ),
            Self::Pod(limit) => format!(
                "Pod ephemeral local storage usage exceeds the total limit of containers {}. ",
                bytes_text(limit)
            ),
            Self::Container(container, limit) => format!(
                "Container {} exceeded its local ephemeral storage limit \"{}\". ",
                container.name,
                bytes_text(limit)
            ),
        }
    }
}

impl Usage {
    /// When the next look is due.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.next_at_ms.filter(|_| self.looking.is_none())
    }

    /// The pod's containers run from now on.
    pub(super) fn begin(&mut self, plan: &PodPlan) {
        if !limits(plan).is_empty() {
            self.next_at_ms = Some(now().monotonic_ms.saturating_add(PERIOD_MS));
        }
    }

    /// The process that looks, if there is one.
    pub(super) fn child(&self) -> Option<BorrowedFd<'_>> {
        self.looking.as_ref().map(|looking| looking.process.as_fd())
    }

    /// The pod ends.
    pub(super) fn end(&mut self) {
        self.next_at_ms = None;
        if let Some(looking) = self.looking.take() {
            process::signal(&looking.process, libc::SIGKILL).ok();
            process::reap(&looking.process).ok();
        }
    }
}

impl Pod {
    /// Looks at the disk, if it is time to, in a process of its own: there may be much to read.
    pub(super) fn look_at_usage(&mut self) {
        let is_due = self
            .usage
            .next_deadline()
            .is_some_and(|at| at <= now().monotonic_ms);
        if !is_due {
            return;
        }
        // Another try in ten seconds, if it cannot be now.
        self.usage.begin(&self.plan);
        let Ok((verdict, theirs)) = pipe_with(PipeFlags::CLOEXEC) else {
            return;
        };
        match process::clone_process(&self.proof, CloneFlags::default()) {
            Ok(Cloned::Parent(process)) => {
                if self.watch.add(&process, Source::Usage).is_ok() {
                    self.usage.looking = Some(Looking { process, verdict });
                }
            }
            Ok(Cloned::Child) => {
                // It may take long: nothing of the pod's stays open in it, it ends with the pod, and
                // the machine has better things to do.
                process::close_all_but(&[theirs.as_fd()])
                    .and_then(|()| process::die_with_parent())
                    .ok();
                rustix::process::nice(19).ok();
                if let Some(index) = self.exceeded() {
                    let index = u32::try_from(index).unwrap_or(u32::MAX);
                    rustix::io::write(&theirs, &index.to_ne_bytes()).ok();
                }
                process::exit_now(0)
            }
            Err(_) => {}
        }
    }

    /// The first limit that is exceeded, as its place among [`limits`].
    fn exceeded(&self) -> Option<usize> {
        let used = |path: PathBuf, enough: u64| disk_usage(&path, enough).unwrap_or(0);
        let limits = limits(&self.plan);
        let pod_limit = pod_limit(&self.plan);
        let mut total: u64 = 0;
        for (volume, limit) in disk_volumes(&self.plan) {
            let Some(enough) = limit.filter(|limit| *limit > 0).or(pod_limit) else {
                continue;
            };
            let used = used(
                volume::volume_path(&self.places.pod_dir, &volume.name),
                enough,
            );
            let is_its = |it: &Limit<'_>| matches!(it, Limit::Volume(one, limit) if one.name == volume.name && used > *limit);
            if let Some(index) = limits.iter().position(is_its) {
                return Some(index);
            }
            total = total.saturating_add(used);
        }
        // No container has a limit.
        let enough = pod_limit?;
        let mut containers = Vec::new();
        for (index, live) in &self.containers {
            let index = usize::try_from(*index).ok()?;
            let Some(container) = self.machine.container(index) else {
                continue;
            };
            let name = container.name.as_str();
            let layer = self.places.container(name).join(live.attempt.to_string());
            let used = used(layer.join("upper"), enough)
                .saturating_add(used(self.places.logs(name), enough));
            total = total.saturating_add(used);
            containers.push((&container.name, used));
        }
        limits.iter().position(|limit| match limit {
            Limit::Volume(..) => false,
            Limit::Pod(limit) => total > *limit,
            Limit::Container(container, limit) => containers
                .iter()
                .any(|(name, used)| **name == container.name && used > limit),
        })
    }

    /// The process that looked has ended.
    pub(super) fn looked_at_usage(&mut self) {
        let Some(looking) = self.usage.looking.take() else {
            return;
        };
        self.watch.remove(&looking.process);
        process::reap(&looking.process).ok();
        self.usage.begin(&self.plan);
        let mut index = [0; size_of::<u32>()];
        // It has ended, and nobody else has the other end.
        if std::fs::File::from(looking.verdict)
            .read_exact(&mut index)
            .is_err()
        {
            return;
        }
        let index = usize::try_from(u32::from_ne_bytes(index)).ok();
        let limit = index.and_then(|index| limits(&self.plan).into_iter().nth(index));
        if let Some(message) = limit.map(Limit::message) {
            self.step(Event::Evict { message });
        }
    }
}
