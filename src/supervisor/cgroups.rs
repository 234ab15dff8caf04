//! The pod's cgroups, as the supervisor makes them and its launchers enter them.

use std::os::fd::BorrowedFd;

use crate::cgroup::{self, CgroupError, PodCgroup};
use crate::plan::{ContainerPlan, PodPlan};
use crate::stage::{Reporter, oom_score};
use crate::sys::process;
use crate::wire::{Failure, Report, Step};

/// Which processes a launcher brings into a container's cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// The container itself: it may be its first run.
    Container,
    /// A command in a container that runs.
    Command,
}

/// Makes the pod's cgroups where podrun may and something is to be limited; the front end has said
/// what is not in force.
pub(super) fn make(
    plan: &PodPlan,
    runtime_dir: BorrowedFd<'_>,
) -> Result<Option<PodCgroup>, String> {
    if !plan.is_limited() {
        return Ok(None);
    }
    let places = cgroup::find().map_err(|error| format!("cgroups: {error}"))?;
    let made = PodCgroup::make(places, plan, runtime_dir).map_err(|error| error.to_string())?;
    Ok(Some(made))
}

/// In a launcher, before anything else: into the container's cgroups, and with the container's
/// score. What is cloned from here on is inside, and nothing starts that is not.
pub(super) fn enter(
    pod: Option<&PodCgroup>,
    container: &ContainerPlan,
    entry: Entry,
    reporter: &Reporter,
) {
    let entered = match (pod, entry) {
        (None, _) => Ok(()),
        (Some(pod), Entry::Container) => pod.enter_new(container),
        (Some(pod), Entry::Command) => pod.enter(container.name.as_str()),
    };
    let ready = entered
        .map_err(|error| failure(&error))
        .and_then(|()| oom_score::raise_to(container.oom_score_adj));
    if let Err(failure) = ready {
        reporter.send(&Report::Failed(failure), &[]);
        process::exit_now(125)
    }
}

fn failure(error: &CgroupError) -> Failure {
    Failure {
        step: Step::Cgroup,
        object: error.path.display().to_string(),
        errno: error.source.raw_os_error().unwrap_or(0),
    }
}
