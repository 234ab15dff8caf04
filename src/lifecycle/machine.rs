//! The state of a pod, and what each event does to it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodStatus;

use crate::lifecycle::conditions::{self, Changed};
use crate::lifecycle::container::{Container, PostStart, State};
use crate::lifecycle::{Action, Event, Now, PodEvent, status};
use crate::plan::{ContainerPlan, InForce, PodPlan, Role};

/// `immediateEvictionGracePeriodSeconds` of `eviction_manager.go`, in milliseconds.
const EVICTION_GRACE_MS: u64 = 1_000;

/// Why a pod ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// It is deleted, or its supervisor was asked to stop.
    Deleted,
    /// `activeDeadlineSeconds` are over.
    Deadline,
    /// It uses more of the disk than it may; the kubelet's message.
    Evicted(String),
    /// An init container has failed and is not tried again.
    InitFailed,
    /// All main containers have ended; what is left serves nobody.
    Done,
}

/// A pod that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) why: Why,
    pub(super) grace_ms: u64,
    /// Everything is killed at once.
    pub(super) kills: bool,
}

/// The state machine of one pod.
#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) plan: PodPlan,
    pub(super) started_at: jiff::Timestamp,
    started_ms: u64,
    pub(super) containers: Vec<Container>,
    pub(super) in_force: InForce,
    pub(super) sandbox_ready: Option<jiff::Timestamp>,
    /// The container whose start the next one waits for.
    pub(super) cursor: usize,
    /// The init containers are through, for the first time or again.
    pub(super) is_initialized: bool,
    /// The phase was `Running`: it never becomes `Pending` again.
    pub(super) has_run: bool,
    pub(super) ending: Option<Ending>,
    /// The conditions that were set from outside, for readiness gates.
    pub(super) gates: BTreeMap<String, bool>,
    is_deleted: bool,
    /// All containers are being stopped, to be started again at this time.
    pub(super) restart_all_at_ms: Option<u64>,
    pub(super) changed: Changed,
    pub(super) finished: bool,
}

impl Machine {
    /// A pod that is about to be set up.
    pub fn new(plan: &PodPlan, now: &Now) -> Self {
        let mut machine = Self {
            started_at: now.wall,
            started_ms: now.monotonic_ms,
            containers: vec![Container::new(plan.back_off); plan.containers.len()],
            plan: plan.clone(),
            in_force: InForce::default(),
            sandbox_ready: None,
            cursor: 0,
            is_initialized: false,
            has_run: false,
            ending: None,
            gates: BTreeMap::new(),
            is_deleted: false,
            restart_all_at_ms: None,
            changed: Changed::default(),
            finished: false,
        };
        let conditions = conditions::conditions(&machine);
        machine.changed.note(conditions, now.wall);
        machine
    }

    /// The plan of a container, those that `debug` added included.
    pub fn container(&self, index: usize) -> Option<&ContainerPlan> {
        self.plan.containers.get(index)
    }

    /// The kernel gives out these resources as it is told to.
    pub fn set_in_force(&mut self, in_force: InForce) {
        self.in_force = in_force;
    }

    /// All containers, those that `debug` added last.
    pub fn containers(&self) -> &[ContainerPlan] {
        &self.plan.containers
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
                    let omissions = self.plan.dns_omissions.iter();
                    actions.extend(omissions.map(|message| {
                        Action::Record(PodEvent {
                            is_warning: true,
                            reason: "DNSConfigForming".to_owned(),
                            message: message.clone(),
                            container: None,
                        })
                    }));
                }
                self.sandbox_ready.get_or_insert(now.wall);
            }
            Event::Started {
                container,
                id,
                user,
            } => self.started(container, id, user, now, &mut actions),
            Event::StartFailed {
                container,
                reason,
                message,
                exit_code,
            } => {
                if matches!(self.state(container), Some(State::Starting { .. })) {
                    actions.push(self.record(
                        container,
                        true,
                        "Failed",
                        format!("Error: {message}"),
                    ));
                    self.ended(
                        container,
                        exit_code,
                        reason,
                        Some(message),
                        now,
                        &mut actions,
                    );
                }
            }
            Event::Exited {
                container,
                code,
                oom_killed,
                message,
            } => {
                if matches!(self.state(container), Some(State::Running(_))) {
                    let reason = match (oom_killed, code) {
                        (true, _) => "OOMKilled",
                        (false, 0) => "Completed",
                        (false, _) => "Error",
                    };
                    self.ended(
                        container,
                        code,
                        reason.to_owned(),
                        message,
                        now,
                        &mut actions,
                    );
                }
            }
            Event::Probed {
                run,
                probe,
                verdict,
                output,
            } => self.probed(run, probe, verdict, &output, now, &mut actions),
            Event::HookEnded { run, hook, failure } => {
                self.hook_ended(run, hook, failure, now, &mut actions);
            }
            Event::Delete { grace_period_ms } => self.delete(grace_period_ms, now),
            Event::Evict { .. } if self.is_ending() => {}
            Event::Evict { message } => {
                actions.push(Action::Record(PodEvent {
                    is_warning: true,
                    reason: "Evicted".to_owned(),
                    message: message.clone(),
                    container: None,
                }));
                self.end(Why::Evicted(message), EVICTION_GRACE_MS);
            }
            Event::RestartAll => {
                if self.ending.is_none() {
                    self.restart_all_at_ms.get_or_insert(now.monotonic_ms);
                }
            }
            Event::AddEphemeral { plan } => self.add_ephemeral(*plan),
            Event::SetCondition { kind, is_true } => {
                self.gates.insert(kind, is_true);
            }
            Event::Tick => {}
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Everything that follows from the state and the time.
    fn advance(&mut self, now: &Now, actions: &mut Vec<Action>) {
        self.check_deadline(now, actions);
        self.finish_sleeps(now);
        if self.ending.is_none() && self.restart_all_at_ms.is_some() {
            self.restart_all(now, actions);
        }
        if self.ending.is_none() && self.restart_all_at_ms.is_none() && self.sandbox_ready.is_some()
        {
            self.start_ephemeral(actions);
            // A container whose restart is due must not hold up those that have not had their turn.
            self.start_next(actions);
            self.restart_due(now, actions);
        }
        if self.ending.is_some() {
            self.stop_all(now, actions);
        }
        self.advance_stops(now, actions);
        self.advance_probes(now, actions);
        if self.is_over() {
            self.finished = true;
            actions.push(Action::Finish);
        }
        self.has_run |= status::is_running(self);
        self.changed.note(conditions::conditions(self), now.wall);
    }

    /// When [`Event::Tick`] is wanted, in monotonic milliseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.finished {
            return None;
        }
        let containers = self.containers.iter().filter_map(|container| {
            let run = match &container.state {
                State::Ended { restart_at_ms, .. } => return *restart_at_ms,
                State::Waiting | State::Starting { .. } => return None,
                State::Running(run) => run,
            };
            let sleep = match run.post_start {
                PostStart::Pending { sleep_until_ms } => sleep_until_ms,
                PostStart::Done | PostStart::Failed => None,
            };
            let stop = run.stop.and_then(|stop| stop.deadline());
            [sleep, stop].into_iter().flatten().min()
        });
        let deadline = self.deadline_ms().filter(|_| self.ending.is_none());
        let restart = self
            .restart_all_at_ms
            .filter(|_| self.ending.is_none() && !self.containers.iter().any(Container::is_live));
        containers
            .chain(deadline)
            .chain(restart)
            .chain(self.next_probe())
            .min()
    }

    /// The pod as people see it.
    pub fn status(&self) -> PodStatus {
        status::of(self)
    }

    /// Whether a container is on its way for the first time: there is news in a moment.
    pub fn is_starting(&self) -> bool {
        self.containers
            .iter()
            .any(|c| matches!(c.state, State::Starting { .. }) && c.restarts == 0)
    }

    /// Whether all containers were started whose turn has come: nothing waits for another's start.
    pub fn is_settled(&self) -> bool {
        self.finished
            || (self.restart_all_at_ms.is_none()
                && self
                    .plan
                    .containers
                    .get(self.cursor)
                    .is_none_or(|plan| plan.role == Role::Ephemeral))
    }

    /// Whether it is being deleted.
    pub const fn is_deleted(&self) -> bool {
        self.is_deleted
    }

    /// The grace period of a deletion that goes on.
    pub fn deletion_grace_ms(&self) -> Option<u64> {
        self.ending
            .as_ref()
            .filter(|_| self.is_deleted)
            .map(|ending| ending.grace_ms)
    }

    /// Whether the pod ends, for whatever reason.
    pub const fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub(super) fn state(&self, index: usize) -> Option<&State> {
        self.containers.get(index).map(|container| &container.state)
    }

    pub(super) fn record(
        &self,
        container: usize,
        is_warning: bool,
        reason: &str,
        message: String,
    ) -> Action {
        Action::Record(PodEvent {
            is_warning,
            reason: reason.to_owned(),
            message,
            container: self.containers.get(container).map(|_| container),
        })
    }

    /// The grace period of a container that is stopped now.
    pub(super) fn grace_ms(&self) -> u64 {
        self.ending.as_ref().map_or_else(
            || {
                self.plan
                    .termination_grace_period_seconds
                    .saturating_mul(1_000)
            },
            |ending| ending.grace_ms,
        )
    }

    fn deadline_ms(&self) -> Option<u64> {
        let seconds = self.plan.active_deadline_seconds?;
        Some(
            self.started_ms
                .saturating_add(seconds.saturating_mul(1_000)),
        )
    }

    /// `activeDeadlineHandler` of `active_deadline.go`.
    fn check_deadline(&mut self, now: &Now, actions: &mut Vec<Action>) {
        let is_over = self.deadline_ms().is_some_and(|at| at <= now.monotonic_ms);
        if is_over && self.ending.is_none() {
            actions.push(Action::Record(PodEvent {
                is_warning: false,
                reason: "DeadlineExceeded".to_owned(),
                message: status::DEADLINE_MESSAGE.to_owned(),
                container: None,
            }));
            self.end(Why::Deadline, self.grace_ms());
        }
    }

    /// The pod ends, unless it does already.
    pub(super) fn end(&mut self, why: Why, grace_ms: u64) {
        self.ending.get_or_insert(Ending {
            why,
            grace_ms,
            kills: false,
        });
        self.restart_all_at_ms = None;
    }

    fn delete(&mut self, grace: Option<u64>, now: &Now) {
        let of_spec = self
            .plan
            .termination_grace_period_seconds
            .saturating_mul(1_000);
        let grace_ms = grace.unwrap_or(of_spec);
        self.end(Why::Deleted, grace_ms);
        if let Some(ending) = &mut self.ending {
            // Why the pod has failed is not forgotten because it is deleted as well.
            if matches!(ending.why, Why::Done) {
                ending.why = Why::Deleted;
            }
            ending.grace_ms = ending.grace_ms.min(grace_ms);
            // Only who asks for it has everything killed at once; a spec's 0 still has the
            // runtime's two seconds.
            ending.kills |= grace == Some(0);
        }
        self.is_deleted = true;
        self.shorten_stops(grace_ms, now);
    }

    /// Nothing runs, and nothing will.
    fn is_over(&self) -> bool {
        !self.containers.iter().any(Container::is_live)
            && (self.is_ending() || self.mains_are_done())
    }

    /// All main containers have ended for good.
    pub(super) fn mains_are_done(&self) -> bool {
        self.restart_all_at_ms.is_none()
            && self
                .containers
                .iter()
                .zip(&self.plan.containers)
                .filter(|(_, plan)| plan.role == Role::Main)
                .all(|(container, _)| container.is_done())
    }
}
