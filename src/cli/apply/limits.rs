//! Limits that cannot be in force here.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::cgroup;
use crate::cli::apply::{Change, Prepared, facts};
use crate::cli::failure::{Failure, INVALID};
use crate::cli::{input, render};
use crate::plan::PodPlan;

/// What was found out about cgroups. Without any question it is all that was asked for.
#[derive(Debug)]
pub(crate) struct Control<T> {
    /// What cannot be had, as the asker calls it.
    pub(crate) missing: Vec<T>,
    /// Why it cannot.
    pub(crate) why: String,
    /// This process is no longer where it was: what it had started is not in the new cgroup.
    pub(super) has_moved: bool,
}

impl<T> Default for Control<T> {
    fn default() -> Self {
        Self {
            missing: Vec::new(),
            why: String::new(),
            has_moved: false,
        }
    }
}

impl<T> Control<T> {
    /// Looks for what is missing in the places where podrun may make cgroups. If anything is, an
    /// ordinary user's systemd is asked for a better place: this process goes there, and what it
    /// starts from then on is there, too.
    pub(crate) fn find(missing: impl Fn(&[cgroup::Place]) -> Vec<T>) -> Self {
        let find = || missing(&cgroup::find().unwrap_or_default());
        let mut control = Self {
            missing: find(),
            ..Self::default()
        };
        if control.missing.is_empty() {
            return control;
        }
        "podrun may not make cgroups with these controllers".clone_into(&mut control.why);
        if !rustix::process::geteuid().is_root() {
            match cgroup::enter_scope(&input::user_bus()) {
                Ok(()) => {
                    control.has_moved = true;
                    control.missing = find();
                }
                Err(error) => {
                    let refused = format!(", and no systemd can be asked for them ({error})");
                    control.why.push_str(&refused);
                }
            }
        }
        control
    }
}

impl Control<&'static str> {
    /// Finds out for these pods, which may ask for nothing; with `strict` it is an error if
    /// anything is missing.
    ///
    /// # Errors
    /// With `strict`, the limits and what would mend it.
    pub(super) fn of(pods: &[PodPlan], strict: bool) -> Result<Self, Failure> {
        if !pods.iter().any(PodPlan::is_limited) {
            return Ok(Self::default());
        }
        let control = Self::find(|places| cgroup::not_in_force(places, pods));
        if strict && !control.missing.is_empty() {
            return Err(Failure::with_code(INVALID, control.sentence()).hinted(mend()));
        }
        Ok(control)
    }

    fn sentence(&self) -> String {
        let are = if self.missing.len() == 1 { "is" } else { "are" };
        format!(
            "{} {are} not in force: {}",
            self.missing.join(", "),
            self.why
        )
    }
}

/// What would put limits in force.
pub(crate) fn mend() -> &'static str {
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        "use root, or a machine that boots with cgroups of version 2"
    } else if rustix::process::geteuid().is_root() {
        "let /sys/fs/cgroup be writable here"
    } else {
        "use root, or a login where systemd runs for the user and `user@.service` delegates these \
         controllers"
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
                self.plan(
                    wanted,
                    &uid,
                    Ipv4Addr::UNSPECIFIED,
                    &self.storage,
                    &self.services,
                )
            })
            .collect()
    }

    /// Says once which limits are not in force.
    pub(super) fn warn_about_limits(&self) {
        if !self.control.missing.is_empty() {
            render::warn(&format!("{}; {}", self.control.sentence(), mend()));
        }
    }
}
