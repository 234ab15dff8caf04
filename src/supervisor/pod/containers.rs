//! The pod's containers: their start, their output and their end.

use std::io;
use std::os::fd::AsFd;

use crate::lifecycle::Event;
use crate::runtime::wording;
use crate::store::{LogLimits, Stream};
use crate::supervisor::container::{self, Live, Outcome, Surroundings};
use crate::supervisor::last_words::LastWords;
use crate::supervisor::pod::{Pod, env_files};
use crate::supervisor::sweep;
use crate::supervisor::watch::Source;
use crate::sys::process;

/// Why a container cannot be made.
#[derive(Debug)]
pub(super) struct Unmade {
    /// The kubelet's word for it.
    reason: &'static str,
    /// One line for the user.
    message: String,
}

impl From<io::Error> for Unmade {
    fn from(error: io::Error) -> Self {
        Self {
            reason: "CreateContainerError",
            message: format!("the container cannot be made: {error}"),
        }
    }
}

impl Pod {
    /// Lets a container go that was built ahead, or builds it now.
    pub(super) fn start_container(&mut self, container: usize, attempt: u32) -> Option<Event> {
        if let Some(previous) = attempt.checked_sub(1) {
            self.sweep_attempt(container, previous);
        }
        match self.go_on(container, attempt) {
            Ok(()) => None,
            Err(Unmade { reason, message }) => Some(Event::StartFailed {
                container,
                reason: reason.to_owned(),
                message,
                exit_code: 128,
            }),
        }
    }

    /// Whether a container can only be built when its turn has come: other containers write what it
    /// needs.
    pub(super) fn reads_files(&self, container: usize) -> bool {
        let plan = self.machine.container(container);
        plan.is_some_and(|plan| !plan.env_files.is_empty())
    }

    fn go_on(&mut self, container: usize, attempt: u32) -> Result<(), Unmade> {
        let cannot = |error: io::Error| Unmade::from(error);
        let index = u32::try_from(container).map_err(io::Error::other)?;
        if !self.containers.contains_key(&index) {
            self.make_container(container, attempt)?;
        }
        if let Some(live) = self.containers.get_mut(&index) {
            live.take_turn(&self.watch).map_err(cannot)?;
            if self.is_set_up {
                live.go();
            }
        }
        Ok(())
    }

    /// Builds a container up to its command.
    pub(super) fn make_container(&mut self, container: usize, attempt: u32) -> Result<(), Unmade> {
        let number = self.number();
        let (Some(pause), Some(plan), Ok(index)) = (
            &self.pause,
            self.machine.container(container),
            u32::try_from(container),
        ) else {
            return Err(io::Error::other("the pod's namespaces are gone").into());
        };
        let resolved =
            env_files::resolved(plan, &self.places.pod_dir).map_err(|message| Unmade {
                reason: "CreateContainerConfigError",
                message,
            })?;
        let plan = resolved.as_deref().unwrap_or(plan);
        let around = Surroundings {
            proof: &self.proof,
            plan: &self.plan,
            places: &self.places,
            ids: self.ids,
            cgroup: self.cgroup.as_ref(),
            pause,
            users: self.users.as_ref().map(|users| &users.namespace),
            watch: &self.watch,
        };
        let target = match &plan.target {
            None => None,
            Some(name) => {
                let found = self
                    .machine
                    .containers()
                    .iter()
                    .position(|c| c.name == *name);
                let live = found
                    .and_then(|found| u32::try_from(found).ok())
                    .and_then(|found| self.containers.get(&found));
                let Some(init) = live.and_then(|live| live.init.as_ref()) else {
                    let why = format!("its target `{name}` is not running");
                    return Err(io::Error::other(why).into());
                };
                Some(init.as_fd())
            }
        };
        let limits = LogLimits::default();
        let mut live = container::start(&around, number, plan, attempt, target, limits)?;
        live.resolved = resolved;
        self.containers.insert(index, live);
        Ok(())
    }

    /// Removes the files of an earlier run. A failure leaves them until the pod is removed, and
    /// nothing else.
    fn sweep_attempt(&mut self, container: usize, previous: u32) {
        let Some(plan) = self.machine.container(container) else {
            return;
        };
        let directory = self.places.container(plan.name.as_str());
        let logs = self.places.logs(plan.name.as_str());
        let number = self.number();
        if let Ok(sweeper) = sweep::remove_attempt(&self.proof, &directory, &logs, previous)
            && self.watch.add(&sweeper, Source::Sweeper(number)).is_ok()
        {
            self.sweepers.insert(number, sweeper);
        }
    }

    /// Ends a container. The kernel ends everything in it with its init, where it has a pid
    /// namespace of its own.
    pub(super) fn kill(&self, container: usize) {
        self.signal(container, libc::SIGKILL);
        let live = u32::try_from(container)
            .ok()
            .and_then(|index| self.containers.get(&index));
        // One that is not born yet may wait for a process that another container has stopped.
        if let Some(live) = live.filter(|live| live.init.is_none()) {
            live.kill_launcher();
        }
    }

    pub(super) fn signal(&self, container: usize, signal: i32) {
        let live = u32::try_from(container)
            .ok()
            .and_then(|index| self.containers.get(&index));
        if let Some(init) = live.and_then(|live| live.init.as_ref()) {
            process::signal(init, signal).ok();
        }
    }

    /// The container whose present run has this number.
    pub(super) fn index_of(&self, number: u32) -> Option<u32> {
        let mut all = self.containers.iter();
        all.find(|(_, live)| live.number == number)
            .map(|(index, _)| *index)
    }

    pub(super) fn container_spoke(&mut self, number: u32, init_ended: bool) {
        let Some(index) = self.index_of(number) else {
            return;
        };
        let Some(live) = self.containers.get_mut(&index) else {
            return;
        };
        let outcome = live.read_report(init_ended, &mut self.buffer, &self.watch);
        let Ok(container) = usize::try_from(index) else {
            return;
        };
        match outcome {
            Outcome::Pending => {}
            Outcome::Started => {
                let event = Event::Started {
                    container,
                    id: live.id.clone(),
                    user: live.user.clone(),
                };
                self.step(event);
            }
            Outcome::Failed(failure) => {
                let worded = wording::start_failure(&failure);
                if let Some(mut live) = self.containers.remove(&index) {
                    live.attachments.refuse(&worded.message, &self.watch);
                    live.end(None, &mut self.buffer, &self.watch);
                }
                self.step(Event::StartFailed {
                    container,
                    reason: worded.reason.to_owned(),
                    message: worded.message,
                    exit_code: 128,
                });
            }
        }
    }

    pub(super) fn container_ended(&mut self, number: u32) {
        let index = self.index_of(number);
        if let Some(live) = index.and_then(|index| self.containers.get_mut(&index))
            && live.reap_ahead(&self.watch)
        {
            return;
        }
        // What it said before comes first; a failed start is over with that, and the next run may
        // have begun.
        let live = self.index_of(number).and_then(|i| self.containers.get(&i));
        if live.is_some_and(Live::is_starting) {
            self.container_spoke(number, true);
        }
        let Some(index) = self.index_of(number) else {
            return;
        };
        let Some(live) = self.containers.remove(&index) else {
            return;
        };
        let Ok(container) = usize::try_from(index) else {
            return;
        };
        // The kernel has ended what else ran in it, unless the pod's containers share one pid
        // namespace: then it is what the cgroup has, where there is one that can be killed.
        self.kill_commands(|session| session.container == index);
        if let (Some(plan), Some(cgroup)) = (self.machine.container(container), &self.cgroup) {
            cgroup.kill_container(plan.name.as_str());
        }
        self.forget_checks(container);
        let last_words = self.machine.container(container).map(|plan| LastWords {
            plan,
            containers: self.machine.containers().len(),
        });
        let oom_killed = self
            .machine
            .container(container)
            .zip(self.cgroup.as_ref())
            .is_some_and(|(plan, cgroup)| live.ran_out_of_memory(cgroup, plan.name.as_str()));
        let (code, message) = live.end(last_words.as_ref(), &mut self.buffer, &self.watch);
        self.step(Event::Exited {
            container,
            code,
            oom_killed,
            message,
        });
    }

    pub(super) fn copy_output(&mut self, number: u32, stream: Stream) {
        let index = self.index_of(number);
        if let Some(live) = index.and_then(|index| self.containers.get_mut(&index)) {
            live.copy_output(stream, &mut self.buffer, &self.watch);
        }
    }
}
