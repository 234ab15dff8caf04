//! The pod's containers: their start, their output and their end.

use crate::lifecycle::Event;
use crate::runtime::wording;
use crate::store::{LogLimits, Stream};
use crate::supervisor::container::{self, Live, Outcome, Surroundings};
use crate::supervisor::pod::Pod;
use crate::supervisor::sweep;
use crate::supervisor::watch::Source;
use crate::sys::process;

impl Pod {
    pub(super) fn start_container(&mut self, container: usize, attempt: u32) -> Option<Event> {
        let failed = |message: String| {
            Some(Event::StartFailed {
                container,
                reason: "CreateContainerError".to_owned(),
                message,
                exit_code: 128,
            })
        };
        let (Some(pause), Some(plan), Ok(index)) = (
            &self.pause,
            self.plan.containers.get(container),
            u32::try_from(container),
        ) else {
            return failed("the pod's namespaces are gone".to_owned());
        };
        if let Some(previous) = attempt.checked_sub(1) {
            let directory = self.places.container(plan.name.as_str());
            self.next_number = self.next_number.wrapping_add(1);
            let number = self.next_number;
            // A failure leaves files until the pod is removed, and nothing else.
            if let Ok(sweeper) = sweep::remove_attempt(&self.proof, &directory, previous)
                && self.watch.add(&sweeper, Source::Sweeper(number)).is_ok()
            {
                self.sweepers.insert(number, sweeper);
            }
        }
        let around = Surroundings {
            proof: &self.proof,
            plan: &self.plan,
            places: &self.places,
            ids: self.ids,
            pause,
            watch: &self.watch,
        };
        match container::start(&around, index, plan, attempt, LogLimits::default()) {
            Ok(live) => {
                self.containers.insert(index, live);
                None
            }
            Err(error) => failed(format!("the container cannot be made: {error}")),
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

    pub(super) fn container_spoke(&mut self, index: u32, init_ended: bool) {
        let Some(live) = self.containers.get_mut(&index) else {
            return;
        };
        let outcome = live.read_report(index, init_ended, &self.watch);
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
                if let Some(live) = self.containers.remove(&index) {
                    live.end(&mut self.buffer, &self.watch);
                }
                let worded = wording::start_failure(&failure);
                self.step(Event::StartFailed {
                    container,
                    reason: worded.reason.to_owned(),
                    message: worded.message,
                    exit_code: 128,
                });
            }
        }
    }

    pub(super) fn container_ended(&mut self, index: u32) {
        // What it said before comes first.
        if self.containers.get(&index).is_some_and(Live::is_starting) {
            self.container_spoke(index, true);
        }
        let Some(live) = self.containers.remove(&index) else {
            return;
        };
        let code = live.end(&mut self.buffer, &self.watch);
        if let Ok(container) = usize::try_from(index) {
            self.step(Event::Exited {
                container,
                code,
                oom_killed: false,
            });
        }
    }

    pub(super) fn copy_output(&mut self, index: u32, stream: Stream) {
        if let Some(live) = self.containers.get_mut(&index) {
            live.copy_output(stream, &mut self.buffer, &self.watch);
        }
    }
}
