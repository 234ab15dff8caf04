//! The begin and the end of a container's runs.

use crate::lifecycle::container::{Container, Ended, PostStart, Run, State};
use crate::lifecycle::machine::Machine;
use crate::lifecycle::probing::Workers;
use crate::lifecycle::{Action, Hook, Now, RunId, status};
use crate::plan::{Handler, ResolvedUser};

/// Asks for a hook. A sleep is nothing but a time, which is returned.
pub(super) fn ask_for(
    handler: &Handler,
    run: RunId,
    hook: Hook,
    now: &Now,
    actions: &mut Vec<Action>,
) -> Option<u64> {
    match handler {
        Handler::Sleep { seconds } => {
            let sleep_ms = seconds.saturating_mul(1_000);
            Some(now.monotonic_ms.saturating_add(sleep_ms))
        }
        Handler::Exec { .. }
        | Handler::HttpGet(_)
        | Handler::TcpSocket { .. }
        | Handler::Grpc { .. } => {
            actions.push(Action::RunHook { run, hook });
            None
        }
    }
}

impl Machine {
    pub(super) fn started(
        &mut self,
        index: usize,
        id: String,
        user: Option<ResolvedUser>,
        now: &Now,
        actions: &mut Vec<Action>,
    ) {
        let ends = self.is_ending() || self.restart_all_at_ms.is_some();
        let (Some(container), Some(plan)) = (
            self.containers.get_mut(index),
            self.plan.containers.get(index),
        ) else {
            return;
        };
        let State::Starting { .. } = container.state else {
            return;
        };
        container.id = Some(id);
        container.user = user;
        let run_id = RunId {
            container: index,
            attempt: container.restarts,
        };
        let name = plan.name.clone();
        let image = plan.image.clone();
        let post_start = match plan.hooks.post_start.as_ref().filter(|_| !ends) {
            None => PostStart::Done,
            Some(handler) => PostStart::Pending {
                sleep_until_ms: ask_for(handler, run_id, Hook::PostStart, now, actions),
            },
        };
        container.state = State::Running(Box::new(Run {
            since: now.wall,
            since_ms: now.monotonic_ms,
            post_start,
            is_started: false,
            workers: Workers::new(&plan.probes, now.monotonic_ms),
            stop: None,
        }));
        if post_start == PostStart::Done {
            self.post_start_done(index);
        }
        actions.push(self.record(
            index,
            false,
            "Pulled",
            format!("Container image \"{image}\" already present on machine"),
        ));
        actions.push(self.record(
            index,
            false,
            "Created",
            format!("Created container: {name}"),
        ));
        actions.push(self.record(index, false, "Started", format!("Started container {name}")));
    }

    /// The end of sleeps of postStart hooks.
    pub(super) fn finish_sleeps(&mut self, now: &Now) {
        for index in 0..self.containers.len() {
            let run = self.containers.get(index).and_then(Container::run);
            if let Some(PostStart::Pending {
                sleep_until_ms: Some(at),
            }) = run.map(|run| run.post_start)
                && at <= now.monotonic_ms
            {
                self.post_start_done(index);
            }
        }
    }

    /// A run is over, or could not begin.
    pub(super) fn ended(
        &mut self,
        index: usize,
        code: i32,
        reason: String,
        message: Option<String>,
        now: &Now,
        actions: &mut Vec<Action>,
    ) {
        let decision = self.after_exit(index, code);
        let Some(container) = self.containers.get_mut(index) else {
            return;
        };
        container.previous = container.last.take();
        container.last = Some(Ended {
            code,
            reason,
            message,
            started_at: container.run().map(|run| run.since),
            finished_at: now.wall,
            id: container.id.take(),
        });
        container.is_prepared = false;
        let mut restart_at_ms = None;
        let mut delay_ms = 0;
        if decision.restarts || decision.restarts_all {
            delay_ms = container.delay.next(now.monotonic_ms);
            restart_at_ms = Some(now.monotonic_ms.saturating_add(delay_ms));
        }
        container.state = State::Ended {
            restart_at_ms: restart_at_ms.filter(|_| decision.restarts),
            delay_ms: if decision.restarts { delay_ms } else { 0 },
        };
        if decision.restarts_all {
            self.restart_all_at_ms = restart_at_ms;
        } else if delay_ms > 0 {
            let message = status::back_off_message(self, index);
            actions.push(self.record(index, true, "BackOff", message));
        }
    }
}
