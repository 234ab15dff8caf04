//! Limits that cannot be in force here.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::cgroup;
use crate::cli::apply::{Change, Prepared, facts};
use crate::cli::failure::{Failure, INVALID};
use crate::cli::render;
use crate::plan::PodPlan;

/// What the pods ask for in vain.
#[derive(Debug, Default)]
pub(super) struct Unenforced(Vec<&'static str>);

impl Unenforced {
    /// Looks for what these pods ask for and cannot have; with `strict` that is an error.
    ///
    /// # Errors
    /// With `strict`, the limits and what would mend it.
    pub(super) fn of(pods: &[PodPlan], strict: bool) -> Result<Self, Failure> {
        if !pods.iter().any(PodPlan::is_limited) {
            return Ok(Self::default());
        }
        let places = cgroup::find().unwrap_or_default();
        let found = Self(cgroup::not_in_force(&places, pods));
        if strict && !found.0.is_empty() {
            return Err(Failure::with_code(INVALID, found.sentence()).hinted(mend()));
        }
        Ok(found)
    }

    fn sentence(&self) -> String {
        let verb = if self.0.len() == 1 { "is" } else { "are" };
        let why = "podrun may not make cgroups with these controllers";
        format!("{} {verb} not in force: {why}", self.0.join(", "))
    }
}

/// What would put limits in force.
pub(crate) fn mend() -> &'static str {
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        "use root, or a machine that boots with cgroups of version 2"
    } else if rustix::process::geteuid().is_root() {
        "let /sys/fs/cgroup be writable here"
    } else {
        "begin the command with `systemd-run --user --scope -p Delegate=yes`"
    }
}

impl Prepared {
    /// All pods that are to be started, as they would be.
    pub(super) fn trial_plans(&self) -> Result<Vec<PodPlan>, Failure> {
        let changed = self.pods.iter();
        changed
            .filter(|(_, change)| *change != Change::Keep)
            .map(|(wanted, _)| {
                let uid = facts::new_uid()?;
                self.plan(wanted, &uid, Ipv4Addr::UNSPECIFIED, &self.storage)
            })
            .collect()
    }

    /// Says once which limits are not in force.
    pub(super) fn warn_about_limits(&self) {
        if !self.unenforced.0.is_empty() {
            render::warn(&format!("{}; {}", self.unenforced.sentence(), mend()));
        }
    }
}
