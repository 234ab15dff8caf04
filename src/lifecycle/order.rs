//! The order in which containers start, and when they start again (`SyncPod` and
//! `computeInitContainerActions` of the kubelet, `ContainerShouldRestart` of pkg/api/v1/pod).

use crate::lifecycle::container::{Container, PostStart, State};
use crate::lifecycle::machine::{Machine, Why};
use crate::lifecycle::stop::StopWhy;
use crate::lifecycle::{Action, Now};
use crate::plan::{ContainerPlan, RestartPolicy, RestartRuleAction, Role};

/// What the end of a container leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AfterExit {
    /// It is started again.
    pub(super) restarts: bool,
    /// All containers are.
    pub(super) restarts_all: bool,
}

impl Machine {
    /// Starts the container whose turn it is. Containers start strictly in order, each when the
    /// one before is through; what that means depends on its role.
    pub(super) fn start_next(&mut self, actions: &mut Vec<Action>) {
        loop {
            let role = self.plan.containers.get(self.cursor).map(|plan| plan.role);
            match role {
                None | Some(Role::Ephemeral) => {
                    self.is_initialized = true;
                    break;
                }
                Some(Role::Main) => self.is_initialized = true,
                Some(Role::Init | Role::Sidecar) => {}
            }
            if self.state(self.cursor) == Some(&State::Waiting) {
                self.start(self.cursor, actions);
                self.prepare_after(self.cursor, actions);
                break;
            }
            if self.has_failed_for_good(self.cursor) {
                self.end(Why::InitFailed, self.grace_ms());
                return;
            }
            if !self.is_through(self.cursor) {
                break;
            }
            self.cursor = self.cursor.saturating_add(1);
        }
        // What still runs now, or would again, sidecars, ends with the last main container.
        if self.mains_are_done() {
            self.end(Why::Done, self.grace_ms());
        }
    }

    fn start(&mut self, index: usize, actions: &mut Vec<Action>) {
        if let Some(container) = self.containers.get_mut(index) {
            container.state = State::Starting { killed: false };
            actions.push(Action::Start {
                container: index,
                attempt: container.restarts,
            });
        }
    }

    /// Has the next container built ahead, if it will not have to wait for more than the start of
    /// this one.
    fn prepare_after(&mut self, index: usize, actions: &mut Vec<Action>) {
        let Some(plan) = self.plan.containers.get(index) else {
            return;
        };
        let only_starts = plan.hooks.post_start.is_none()
            && match plan.role {
                Role::Main => true,
                Role::Sidecar => plan.probes.startup.is_none(),
                Role::Init | Role::Ephemeral => false,
            };
        let next = index.saturating_add(1);
        let is_due = self
            .plan
            .containers
            .get(next)
            .is_some_and(|plan| plan.role != Role::Ephemeral);
        if let Some(container) = self.containers.get_mut(next)
            && only_starts
            && is_due
            && container.state == State::Waiting
            && container.restarts == 0
            && !container.is_prepared
        {
            container.is_prepared = true;
            actions.push(Action::Prepare { container: next });
        }
    }

    /// Whether the next container need not wait for this one any longer.
    fn is_through(&self, index: usize) -> bool {
        let (Some(container), Some(plan)) =
            (self.containers.get(index), self.plan.containers.get(index))
        else {
            return true;
        };
        match plan.role {
            // It has succeeded.
            Role::Init => container.is_done() && container.ended_code() == Some(0),
            // It runs, and its startup probe has succeeded; readiness is not asked.
            Role::Sidecar => container.is_started(),
            // It was started, and its postStart hook has ended; a failure of one does not stop the
            // next.
            Role::Main | Role::Ephemeral => match &container.state {
                State::Waiting | State::Starting { .. } => false,
                State::Running(run) => run.post_start == PostStart::Done,
                State::Ended { .. } => true,
            },
        }
    }

    fn has_failed_for_good(&self, index: usize) -> bool {
        self.has_role(index, Role::Init)
            && self
                .containers
                .get(index)
                .is_some_and(|container| container.is_done() && container.ended_code() != Some(0))
    }

    /// Starts what waits for its back-off.
    pub(super) fn restart_due(&mut self, now: &Now, actions: &mut Vec<Action>) {
        if self.is_ending() {
            return;
        }
        for index in 0..self.containers.len() {
            let Some(container) = self.containers.get_mut(index) else {
                continue;
            };
            if let State::Ended {
                restart_at_ms: Some(at),
                ..
            } = container.state
                && at <= now.monotonic_ms
            {
                container.restarts = container.restarts.saturating_add(1);
                self.start(index, actions);
            }
        }
    }

    /// Stops all containers, and when none runs any more and the back-off of the one that asked
    /// for it is over, begins with the first again.
    pub(super) fn restart_all(&mut self, now: &Now, actions: &mut Vec<Action>) {
        self.stop_all(now, actions);
        let is_due = self
            .restart_all_at_ms
            .is_some_and(|at| at <= now.monotonic_ms);
        if !is_due || self.containers.iter().any(Container::is_live) {
            return;
        }
        self.restart_all_at_ms = None;
        self.cursor = 0;
        for (container, plan) in self.containers.iter_mut().zip(&self.plan.containers) {
            if plan.role != Role::Ephemeral && matches!(container.state, State::Ended { .. }) {
                container.restarts = container.restarts.saturating_add(1);
                container.state = State::Waiting;
            }
        }
    }

    /// The restart policy that holds for a container.
    pub(super) const fn policy_of(&self, plan: &ContainerPlan) -> RestartPolicy {
        match (plan.role, plan.restart.policy) {
            (Role::Sidecar, _) => RestartPolicy::Always,
            (Role::Ephemeral, _) => RestartPolicy::Never,
            (Role::Init | Role::Main, Some(policy)) => policy,
            (Role::Init | Role::Main, None) => self.plan.restart_policy,
        }
    }

    /// Decides what the end of a container leads to; its state is still that of its run.
    pub(super) fn after_exit(&self, index: usize, code: i32) -> AfterExit {
        let nothing = AfterExit {
            restarts: false,
            restarts_all: false,
        };
        let Some(plan) = self.plan.containers.get(index) else {
            return nothing;
        };
        // The end of what was stopped for it must not begin the next restart of all.
        if self.is_ending() || self.restart_all_at_ms.is_some() {
            return nothing;
        }
        let rule = plan
            .restart
            .rules
            .iter()
            .find(|rule| rule.exit_codes.contains(&code) != rule.is_negated);
        if plan.role != Role::Ephemeral {
            match rule.map(|rule| rule.action) {
                Some(RestartRuleAction::RestartAllContainers) => {
                    return AfterExit {
                        restarts: false,
                        restarts_all: true,
                    };
                }
                // An init container that has succeeded is through, whatever its rules say.
                Some(RestartRuleAction::Restart) if plan.role != Role::Init || code != 0 => {
                    return AfterExit {
                        restarts: true,
                        restarts_all: false,
                    };
                }
                Some(RestartRuleAction::Restart) | None => {}
            }
        }
        let policy = self.policy_of(plan);
        let succeeded = code == 0 && !self.was_killed_for_its_health(index);
        let restarts = match (plan.role, policy) {
            (_, RestartPolicy::Never) => false,
            // A regular init container that has succeeded is done, whatever the policy.
            (Role::Init, RestartPolicy::Always) | (_, RestartPolicy::OnFailure) => !succeeded,
            (Role::Sidecar | Role::Main | Role::Ephemeral, RestartPolicy::Always) => true,
        };
        AfterExit {
            restarts,
            restarts_all: false,
        }
    }

    /// Whether a container that is killed because of a probe starts again.
    pub(super) fn restarts_after_kill(&self, index: usize) -> bool {
        self.plan
            .containers
            .get(index)
            .is_some_and(|plan| self.policy_of(plan) != RestartPolicy::Never)
    }

    /// Whether the run that ends was stopped because of a probe: it has failed, whatever its code.
    fn was_killed_for_its_health(&self, index: usize) -> bool {
        self.containers
            .get(index)
            .and_then(Container::run)
            .and_then(|run| run.stop)
            .is_some_and(|stop| matches!(stop.why, StopWhy::Probe(_)))
    }

    fn has_role(&self, index: usize, role: Role) -> bool {
        self.plan
            .containers
            .get(index)
            .is_some_and(|plan| plan.role == role)
    }

    /// Takes a container that `debug` adds; it starts when there is a sandbox.
    pub(super) fn add_ephemeral(&mut self, plan: ContainerPlan) {
        let is_known = self
            .plan
            .containers
            .iter()
            .any(|known| known.name == plan.name);
        if plan.role != Role::Ephemeral || is_known || self.is_ending() {
            return;
        }
        self.containers.push(Container::new(self.plan.back_off));
        self.plan.containers.push(plan);
    }

    /// Starts what `debug` has added.
    pub(super) fn start_ephemeral(&mut self, actions: &mut Vec<Action>) {
        for index in 0..self.containers.len() {
            if self.has_role(index, Role::Ephemeral) && self.state(index) == Some(&State::Waiting) {
                self.start(index, actions);
            }
        }
    }
}
