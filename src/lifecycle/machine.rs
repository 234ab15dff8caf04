//! The transitions.

use k8s_openapi::api::core::v1::PodStatus;

use crate::lifecycle::back_off::Delay;
use crate::lifecycle::status;
use crate::lifecycle::{Action, Event, Now};
use crate::plan::{PodPlan, ResolvedUser, RestartPolicy};

/// `minimumGracePeriodInSeconds` of `kuberuntime_container.go`, in milliseconds.
const MINIMUM_GRACE_MS: u64 = 2_000;

/// The end of one run of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) reason: String,
    pub(super) message: Option<String>,
    pub(super) started_at: Option<jiff::Timestamp>,
    pub(super) finished_at: jiff::Timestamp,
    pub(super) id: Option<String>,
}

/// Where a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Not started yet.
    Waiting,
    /// `Start` was asked for.
    Starting,
    /// It runs.
    Running { since: jiff::Timestamp },
    /// It has ended; it is started again at the given time, or never.
    Ended {
        restart_at_ms: Option<u64>,
        delay_ms: u64,
    },
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) state: State,
    pub(super) restarts: u32,
    pub(super) id: Option<String>,
    pub(super) user: Option<ResolvedUser>,
    /// The end of the latest run.
    pub(super) last: Option<Ended>,
    /// The end of the run before.
    pub(super) previous: Option<Ended>,
    delay: Delay,
}

/// A deletion that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Deletion {
    kill_at_ms: u64,
    killed: bool,
}

/// The state machine of one pod.
#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) plan: PodPlan,
    pub(super) started_at: jiff::Timestamp,
    pub(super) containers: Vec<Container>,
    pub(super) sandbox_ready: Option<jiff::Timestamp>,
    pub(super) changed: status::Changed,
    deletion: Option<Deletion>,
    pub(super) finished: bool,
}

impl Machine {
    /// A pod that is about to be set up.
    pub fn new(plan: &PodPlan, now: &Now) -> Self {
        let container = Container {
            state: State::Waiting,
            restarts: 0,
            id: None,
            user: None,
            last: None,
            previous: None,
            delay: Delay::new(plan.back_off),
        };
        Self {
            started_at: now.wall,
            containers: vec![container; plan.containers.len()],
            plan: plan.clone(),
            sandbox_ready: None,
            changed: status::Changed::new(now.wall),
            deletion: None,
            finished: false,
        }
    }

    /// Takes an event and says what is to be done. An event that cannot be, such as the exit of a
    /// container that does not run, changes nothing.
    pub fn step(&mut self, event: Event, now: &Now) -> Vec<Action> {
        if self.finished {
            return Vec::new();
        }
        let mut actions = Vec::new();
        match event {
            Event::SandboxReady => {
                if self.sandbox_ready.is_none() {
                    self.sandbox_ready = Some(now.wall);
                    self.start_next(&mut actions);
                }
            }
            Event::Started {
                container,
                id,
                user,
            } => {
                self.started(container, id, user, now, &mut actions);
            }
            Event::StartFailed {
                container,
                reason,
                message,
                exit_code,
            } => {
                let known = self.containers.get(container).map(|c| c.state.clone());
                if known == Some(State::Starting) {
                    self.ended(
                        container,
                        exit_code,
                        reason,
                        Some(message),
                        now,
                        &mut actions,
                    );
                    self.start_next(&mut actions);
                }
            }
            Event::Exited {
                container,
                code,
                oom_killed,
            } => {
                let known = self.containers.get(container).map(|c| c.state.clone());
                if matches!(known, Some(State::Running { .. })) {
                    let reason = match (oom_killed, code) {
                        (true, _) => "OOMKilled",
                        (false, 0) => "Completed",
                        (false, _) => "Error",
                    };
                    self.ended(container, code, reason.to_owned(), None, now, &mut actions);
                }
            }
            Event::Delete { grace_period_ms } => self.delete(grace_period_ms, now, &mut actions),
            Event::Tick => {}
        }
        self.due(now, &mut actions);
        if self.is_over() {
            self.finished = true;
            actions.push(Action::Finish);
        }
        self.changed.note(status::conditions(self), now.wall);
        actions
    }

    /// When [`Event::Tick`] is wanted, in monotonic milliseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.finished {
            return None;
        }
        match self.deletion {
            Some(deletion) => (!deletion.killed).then_some(deletion.kill_at_ms),
            None => self
                .containers
                .iter()
                .filter_map(|container| match container.state {
                    State::Ended { restart_at_ms, .. } => restart_at_ms,
                    State::Waiting | State::Starting | State::Running { .. } => None,
                })
                .min(),
        }
    }

    /// The pod as people see it.
    pub fn status(&self, _now: &Now) -> PodStatus {
        status::of(self)
    }

    /// Whether a container is on its way for the first time: there is news in a moment.
    pub fn is_starting(&self) -> bool {
        self.containers
            .iter()
            .any(|c| c.state == State::Starting && c.restarts == 0)
    }

    /// Containers are first started strictly in spec order, each when the one before was started
    /// or has failed to (`SyncPod`: a failure of one does not stop the next).
    fn start_next(&mut self, actions: &mut Vec<Action>) {
        if self.deletion.is_some() || self.sandbox_ready.is_none() {
            return;
        }
        if self.is_starting() {
            return;
        }
        let next = self
            .containers
            .iter()
            .position(|c| c.state == State::Waiting);
        if let Some(index) = next
            && let Some(container) = self.containers.get_mut(index)
        {
            container.state = State::Starting;
            actions.push(Action::Start {
                container: index,
                attempt: container.restarts,
            });
            let after = index.saturating_add(1);
            if after < self.containers.len() {
                actions.push(Action::Prepare { container: after });
            }
        }
    }

    fn started(
        &mut self,
        index: usize,
        id: String,
        user: Option<ResolvedUser>,
        now: &Now,
        actions: &mut Vec<Action>,
    ) {
        let deletion = self.deletion;
        let Some(container) = self.containers.get_mut(index) else {
            return;
        };
        if container.state != State::Starting {
            return;
        }
        container.state = State::Running { since: now.wall };
        container.id = Some(id);
        container.user = user;
        match (deletion, self.plan.containers.get(index)) {
            (None, _) => self.start_next(actions),
            // It was on its way when the pod was deleted.
            (Some(deletion), _) if deletion.killed => {
                actions.push(Action::Kill { container: index });
            }
            (Some(_), Some(plan)) => {
                actions.push(Action::Signal {
                    container: index,
                    signal: plan.stop_signal,
                });
            }
            (Some(_), None) => {}
        }
    }

    fn ended(
        &mut self,
        index: usize,
        code: i32,
        reason: String,
        message: Option<String>,
        now: &Now,
        actions: &mut Vec<Action>,
    ) {
        let may_restart = self.deletion.is_none() && should_restart(self.plan.restart_policy, code);
        let Some(container) = self.containers.get_mut(index) else {
            return;
        };
        let started_at = match container.state {
            State::Running { since } => Some(since),
            State::Waiting | State::Starting | State::Ended { .. } => None,
        };
        container.previous = container.last.replace(Ended {
            code,
            reason,
            message,
            started_at,
            finished_at: now.wall,
            id: container.id.take(),
        });
        let delay_ms = if may_restart {
            container.delay.next(now.monotonic_ms)
        } else {
            0
        };
        let restart_at_ms = may_restart.then(|| now.monotonic_ms.saturating_add(delay_ms));
        container.state = State::Ended {
            restart_at_ms,
            delay_ms,
        };
        let _ = actions;
    }

    fn delete(&mut self, grace: Option<u64>, now: &Now, actions: &mut Vec<Action>) {
        let grace = grace.unwrap_or_else(|| {
            self.plan
                .termination_grace_period_seconds
                .saturating_mul(1_000)
        });
        // What is left of a grace period never falls below two seconds; only a kill at once, which
        // `--force` and an abandoned start ask for, has none.
        let grace = if grace == 0 {
            0
        } else {
            grace.max(MINIMUM_GRACE_MS)
        };
        let kill_at_ms = now.monotonic_ms.saturating_add(grace);
        if let Some(deletion) = &mut self.deletion {
            deletion.kill_at_ms = deletion.kill_at_ms.min(kill_at_ms);
        } else {
            self.deletion = Some(Deletion {
                kill_at_ms,
                killed: false,
            });
            for (index, container) in self.containers.iter_mut().enumerate() {
                match container.state {
                    State::Running { .. } => {
                        if let Some(plan) = self.plan.containers.get(index).filter(|_| grace > 0) {
                            let signal = plan.stop_signal;
                            actions.push(Action::Signal {
                                container: index,
                                signal,
                            });
                        }
                    }
                    State::Ended { .. } => {
                        container.state = State::Ended {
                            restart_at_ms: None,
                            delay_ms: 0,
                        };
                    }
                    State::Waiting | State::Starting => {}
                }
            }
        }
    }

    /// What time brings: the end of a grace period, the end of a back-off.
    fn due(&mut self, now: &Now, actions: &mut Vec<Action>) {
        if let Some(deletion) = &mut self.deletion {
            if !deletion.killed && deletion.kill_at_ms <= now.monotonic_ms {
                deletion.killed = true;
                for (index, container) in self.containers.iter().enumerate() {
                    if matches!(container.state, State::Running { .. } | State::Starting) {
                        actions.push(Action::Kill { container: index });
                    }
                }
            }
            return;
        }
        for (index, container) in self.containers.iter_mut().enumerate() {
            if let State::Ended {
                restart_at_ms: Some(at),
                ..
            } = container.state
                && at <= now.monotonic_ms
            {
                container.restarts = container.restarts.saturating_add(1);
                container.state = State::Starting;
                actions.push(Action::Start {
                    container: index,
                    attempt: container.restarts,
                });
            }
        }
    }

    fn is_over(&self) -> bool {
        let deleted = self.deletion.is_some();
        self.containers
            .iter()
            .all(|container| match container.state {
                State::Ended { restart_at_ms, .. } => restart_at_ms.is_none(),
                State::Waiting => deleted,
                State::Starting | State::Running { .. } => false,
            })
    }
}

/// `ContainerShouldRestart` of pkg/api/v1/pod/util.go, for a pod that is not being deleted.
fn should_restart(policy: RestartPolicy, code: i32) -> bool {
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => code != 0,
        RestartPolicy::Never => false,
    }
}
