//! Stopping containers (`killContainer` of `kuberuntime_container.go`, the order of
//! `kuberuntime_termination_order.go`): preStop, the turn of a sidecar, the stop signal, the kill.

use crate::lifecycle::container::{PostStart, State};
use crate::lifecycle::machine::Machine;
use crate::lifecycle::runs::ask_for;
use crate::lifecycle::{Action, Hook, Now, PodEvent, ProbeKind, RunId};
use crate::plan::Role;

/// `minimumGracePeriodInSeconds` of `kuberuntime_container.go`, in milliseconds.
const MINIMUM_GRACE_MS: u64 = 2_000;

/// Why a container is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopWhy {
    /// Its startup or liveness probe has failed.
    Probe(ProbeKind),
    /// Its postStart hook has failed.
    PostStart,
    /// The pod ends, or all its containers are started again.
    Pod,
}

/// A stop that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) why: StopWhy,
    /// What is left of the grace period when the current step began.
    left_ms: u64,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The preStop hook runs.
    PreStop {
        since_ms: u64,
        /// For a sleep: until when.
        sleep_until_ms: Option<u64>,
    },
    /// A sidecar waits until what it serves has ended.
    Turn { since_ms: u64 },
    /// The stop signal was sent.
    Signalled { kill_at_ms: u64 },
    /// `Kill` was asked for.
    Killed,
}

impl Step {
    /// Whether a preStop hook that is not a sleep runs.
    const fn is_hook(self) -> bool {
        matches!(
            self,
            Self::PreStop {
                sleep_until_ms: None,
                ..
            }
        )
    }
}

/// Whole seconds between two times, in milliseconds: what is taken off a grace period.
const fn whole_seconds(since_ms: u64, now_ms: u64) -> u64 {
    let passed = now_ms.saturating_sub(since_ms);
    passed.saturating_sub(passed % 1_000)
}

impl Stop {
    /// When this step ends by itself.
    pub(super) fn deadline(&self) -> Option<u64> {
        let grace_end = |since_ms: u64| since_ms.saturating_add(self.left_ms);
        match self.step {
            Step::PreStop {
                since_ms,
                sleep_until_ms,
            } => Some(
                sleep_until_ms
                    .map_or(u64::MAX, |at| at)
                    .min(grace_end(since_ms)),
            ),
            Step::Turn { since_ms } => Some(grace_end(since_ms)),
            Step::Signalled { kill_at_ms } => Some(kill_at_ms),
            Step::Killed => None,
        }
    }
}

impl Machine {
    /// Begins to stop a running container, if nothing does already.
    pub(super) fn begin_stop(
        &mut self,
        index: usize,
        why: StopWhy,
        grace_ms: Option<u64>,
        now: &Now,
        actions: &mut Vec<Action>,
    ) {
        let grace_ms = grace_ms.unwrap_or_else(|| self.grace_ms());
        let will_restart = self.restarts_after_kill(index);
        let (Some(container), Some(plan)) = (
            self.containers.get_mut(index),
            self.plan.containers.get(index),
        ) else {
            return;
        };
        let id = RunId {
            container: index,
            attempt: container.restarts,
        };
        let Some(run) = container.run_mut().filter(|run| run.stop.is_none()) else {
            return;
        };
        let message = match why {
            StopWhy::Probe(kind) => {
                let probe = kind.word().to_lowercase();
                let then = if will_restart {
                    ", will be restarted"
                } else {
                    ""
                };
                format!("Container {} failed {probe} probe{then}", plan.name)
            }
            StopWhy::PostStart => "FailedPostStartHook".to_owned(),
            StopWhy::Pod => format!("Stopping container {}", plan.name),
        };
        actions.push(Action::Record(PodEvent {
            is_warning: false,
            reason: "Killing".to_owned(),
            message,
            container: Some(index),
        }));
        let step = match plan.hooks.pre_stop.as_ref().filter(|_| grace_ms > 0) {
            None => Step::Turn {
                since_ms: now.monotonic_ms,
            },
            Some(handler) => Step::PreStop {
                since_ms: now.monotonic_ms,
                sleep_until_ms: ask_for(handler, id, Hook::PreStop, now, actions),
            },
        };
        run.stop = Some(Stop {
            why,
            left_ms: grace_ms,
            step,
        });
    }

    /// Begins to stop all containers, and starts none any more.
    pub(super) fn stop_all(&mut self, now: &Now, actions: &mut Vec<Action>) {
        for index in 0..self.containers.len() {
            let Some(container) = self.containers.get_mut(index) else {
                continue;
            };
            match &mut container.state {
                State::Ended {
                    restart_at_ms,
                    delay_ms,
                } => {
                    *restart_at_ms = None;
                    *delay_ms = 0;
                }
                State::Running(_) => self.begin_stop(index, StopWhy::Pod, None, now, actions),
                State::Waiting | State::Starting { .. } => {}
            }
        }
    }

    /// A pod that ends sooner than was said: no step of a stop lasts longer than this from now.
    pub(super) fn shorten_stops(&mut self, grace_ms: u64, now: &Now) {
        for container in &mut self.containers {
            let Some(stop) = container.run_mut().and_then(|run| run.stop.as_mut()) else {
                continue;
            };
            match &mut stop.step {
                Step::PreStop { since_ms, .. } | Step::Turn { since_ms } => {
                    let passed = now.monotonic_ms.saturating_sub(*since_ms);
                    stop.left_ms = stop.left_ms.min(passed.saturating_add(grace_ms));
                }
                Step::Signalled { kill_at_ms } => {
                    let floored = grace_ms.max(MINIMUM_GRACE_MS);
                    *kill_at_ms = (*kill_at_ms).min(now.monotonic_ms.saturating_add(floored));
                }
                Step::Killed => {}
            }
        }
    }

    /// Kills what runs, at once.
    pub(super) fn kill_all(&mut self, actions: &mut Vec<Action>) {
        for (index, container) in self.containers.iter_mut().enumerate() {
            match &mut container.state {
                State::Starting { killed } if !*killed => {
                    *killed = true;
                    actions.push(Action::Kill { container: index });
                }
                State::Running(run) => {
                    let stop = run.stop.get_or_insert(Stop {
                        why: StopWhy::Pod,
                        left_ms: 0,
                        step: Step::Turn { since_ms: 0 },
                    });
                    if stop.step != Step::Killed {
                        stop.step = Step::Killed;
                        actions.push(Action::Kill { container: index });
                    }
                }
                State::Starting { .. } | State::Waiting | State::Ended { .. } => {}
            }
        }
    }

    /// A preStop hook has ended: what it took is taken off the grace period.
    pub(super) fn pre_stop_ended(&mut self, index: usize, now: &Now) {
        let run = self.containers.get_mut(index).and_then(|c| c.run_mut());
        if let Some(stop) = run.and_then(|run| run.stop.as_mut())
            && let Step::PreStop { since_ms, .. } = stop.step
        {
            let passed = whole_seconds(since_ms, now.monotonic_ms);
            stop.left_ms = stop.left_ms.saturating_sub(passed);
            stop.step = Step::Turn {
                since_ms: now.monotonic_ms,
            };
        }
    }

    /// Whether a container that is being stopped may get its signal: a sidecar of a pod that ends
    /// waits for the main containers and for the sidecars that were started after it.
    fn turn_has_come(&self, index: usize) -> bool {
        let role = |index: usize| self.plan.containers.get(index).map(|plan| plan.role);
        if role(index) != Some(Role::Sidecar) {
            return true;
        }
        self.containers
            .iter()
            .enumerate()
            .all(|(other, container)| {
                let is_served = match role(other) {
                    Some(Role::Sidecar) => other > index,
                    Some(Role::Main) => true,
                    Some(Role::Init | Role::Ephemeral) | None => false,
                };
                !is_served || !container.is_live()
            })
    }

    /// Goes on with every stop as far as time and the other containers let it.
    pub(super) fn advance_stops(&mut self, now: &Now, actions: &mut Vec<Action>) {
        if self.ending.as_ref().is_some_and(|ending| ending.kills) {
            self.kill_all(actions);
            return;
        }
        for index in 0..self.containers.len() {
            let Some(stop) = self.stop_of(index) else {
                continue;
            };
            let is_due = stop.deadline().is_some_and(|at| at <= now.monotonic_ms);
            if matches!(stop.step, Step::PreStop { .. }) && is_due {
                self.pre_stop_ended(index, now);
            }
            let Some(stop) = self.stop_of(index) else {
                continue;
            };
            let is_due = stop.deadline().is_some_and(|at| at <= now.monotonic_ms);
            let next = match stop.step {
                Step::Turn { since_ms }
                    if is_due || stop.why != StopWhy::Pod || self.turn_has_come(index) =>
                {
                    let waited = whole_seconds(since_ms, now.monotonic_ms);
                    let left = stop.left_ms.saturating_sub(waited).max(MINIMUM_GRACE_MS);
                    let signal = self.plan.containers.get(index).map_or(0, |p| p.stop_signal);
                    actions.push(Action::Signal {
                        container: index,
                        signal,
                    });
                    Step::Signalled {
                        kill_at_ms: now.monotonic_ms.saturating_add(left),
                    }
                }
                Step::Signalled { .. } if is_due => {
                    actions.push(Action::Kill { container: index });
                    Step::Killed
                }
                unchanged @ (Step::PreStop { .. }
                | Step::Turn { .. }
                | Step::Signalled { .. }
                | Step::Killed) => unchanged,
            };
            let run = self.containers.get_mut(index).and_then(|c| c.run_mut());
            if let Some(stop) = run.and_then(|run| run.stop.as_mut()) {
                stop.step = next;
            }
        }
    }

    fn stop_of(&self, index: usize) -> Option<Stop> {
        self.containers.get(index)?.run()?.stop
    }

    /// A hook has ended.
    pub(super) fn hook_ended(
        &mut self,
        id: RunId,
        hook: Hook,
        failure: Option<String>,
        now: &Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(container) = self.containers.get_mut(id.container) else {
            return;
        };
        if container.restarts != id.attempt {
            return;
        }
        let Some(run) = container.run_mut() else {
            return;
        };
        let record = |reason: &str, message: String| {
            Action::Record(PodEvent {
                is_warning: true,
                reason: reason.to_owned(),
                message,
                container: Some(id.container),
            })
        };
        match hook {
            Hook::PostStart => {
                // A sleep is nobody's to end.
                let runs = PostStart::Pending {
                    sleep_until_ms: None,
                };
                if run.post_start != runs {
                    return;
                }
                match failure {
                    None => self.post_start_done(id.container),
                    Some(failure) => {
                        run.post_start = PostStart::Failed;
                        actions.push(record(
                            "FailedPostStartHook",
                            format!("PostStartHook failed: {failure}"),
                        ));
                        self.begin_stop(id.container, StopWhy::PostStart, None, now, actions);
                    }
                }
            }
            Hook::PreStop => {
                let runs = run.stop.is_some_and(|stop| stop.step.is_hook());
                if !runs {
                    return;
                }
                if let Some(failure) = failure {
                    actions.push(record(
                        "FailedPreStopHook",
                        format!("PreStopHook failed: {failure}"),
                    ));
                }
                self.pre_stop_ended(id.container, now);
            }
        }
    }

    /// The container counts as created, and as started if it has no startup probe.
    pub(super) fn post_start_done(&mut self, index: usize) {
        let has_startup = self
            .plan
            .containers
            .get(index)
            .is_some_and(|plan| plan.probes.startup.is_some());
        if let Some(run) = self.containers.get_mut(index).and_then(|c| c.run_mut()) {
            run.post_start = PostStart::Done;
            run.is_started = !has_startup;
        }
    }
}
