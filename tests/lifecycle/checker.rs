//! What must hold whatever happens: a checker that knows the plan and what it has told the machine,
//! and follows each run from its `Start` to its end. It never looks into the machine.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use podrun::lifecycle::ProbeVerdict::{Success, Warning};
use podrun::lifecycle::{Action, Event, Hook, Machine, Now, ProbeKind};
use podrun::plan::{ContainerPlan, Handler, PodPlan, RestartPolicy, RestartRuleAction, Role};

/// The least a container is left between its signal and its kill.
pub(crate) const FLOOR_MS: u64 = 2_000;

/// What truncation to whole seconds may add: once for the hook, once for the turn.
pub(crate) const TRUNCATED_MS: u64 = 2 * 999;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Life {
    #[default]
    Idle,
    Starting,
    Running,
}

/// What is known of one container.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) life: Life,
    /// The number of the latest run.
    pub(crate) attempt: Option<u32>,
    pub(crate) code: Option<i32>,
    // Of the latest run:
    pub(crate) stop_ms: Option<u64>,
    pub(crate) for_health: bool,
    pub(crate) by_itself: bool,
    pub(crate) signal_ms: Option<u64>,
    pub(crate) kills: u32,
    pub(crate) hooks: [bool; 2],
    pub(crate) open_hooks: [bool; 2],
    pub(crate) open_probes: [bool; 3],
    pub(crate) startup_passed: bool,
    pub(crate) hook_passed: bool,
    // Of all runs:
    pub(crate) ever_passed: bool,
    pub(crate) restarts_since_reset: u32,
    pub(crate) bumped_ms: u64,
    /// `restartCount` as it was shown.
    pub(crate) count: u32,
}

pub(crate) fn hook_index(hook: Hook) -> usize {
    match hook {
        Hook::PostStart => 0,
        Hook::PreStop => 1,
    }
}

pub(crate) fn probe_index(kind: ProbeKind) -> usize {
    match kind {
        ProbeKind::Startup => 0,
        ProbeKind::Liveness => 1,
        ProbeKind::Readiness => 2,
    }
}

/// What one end must lead to, by policy and rules alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Nothing,
    Restart,
    RestartAll,
}

pub(crate) struct Checker {
    pub(crate) plan: PodPlan,
    pub(crate) machine: Machine,
    pub(crate) now_ms: u64,
    pub(crate) seen: Vec<Seen>,
    pub(crate) has_sandbox: bool,
    /// Deleted, evicted or over its deadline.
    pub(crate) must_end: bool,
    pub(crate) kills_at_once: bool,
    pub(crate) finished: bool,
    /// A tick came later than was asked for: no bound of time holds.
    pub(crate) late: bool,
    pub(crate) restarting_all: bool,
    pub(crate) ever_restarted_all: bool,
    pub(crate) least_grace_ms: u64,
    pub(crate) most_grace_ms: u64,
    pub(crate) phase: u8,
    pub(crate) steps: u64,
}

fn at(ms: u64) -> Now {
    let wall = 1_700_000_000_000 + i64::try_from(ms).unwrap();
    Now {
        monotonic_ms: ms,
        wall: jiff::Timestamp::from_millisecond(wall).unwrap(),
    }
}

fn rank(phase: &str) -> u8 {
    match phase {
        "Pending" => 0,
        "Running" => 1,
        "Succeeded" => 2,
        "Failed" => 3,
        other => panic!("no phase: {other}"),
    }
}

impl Checker {
    pub(crate) fn new(plan: &PodPlan) -> Self {
        let machine = Machine::new(plan, &at(0));
        let grace_ms = plan.termination_grace_period_seconds * 1_000;
        let of_probes = plan.containers.iter().flat_map(|plan| {
            [&plan.probes.startup, &plan.probes.liveness]
                .into_iter()
                .flatten()
                .filter_map(|probe| probe.grace_period_ms)
        });
        Self {
            seen: vec![Seen::default(); plan.containers.len()],
            machine,
            now_ms: 0,
            has_sandbox: false,
            must_end: false,
            kills_at_once: false,
            finished: false,
            late: false,
            restarting_all: false,
            ever_restarted_all: false,
            least_grace_ms: grace_ms,
            most_grace_ms: of_probes.fold(grace_ms, u64::max),
            phase: 0,
            plan: plan.clone(),
            steps: 0,
        }
    }

    fn expected(&self, index: usize, code: i32) -> Expected {
        if self.must_end || self.restarting_all {
            return Expected::Nothing;
        }
        let plan = &self.plan.containers[index];
        let fits = |codes: &[i32], negated: bool| {
            if negated {
                !codes.contains(&code)
            } else {
                codes.contains(&code)
            }
        };
        if plan.role == Role::Ephemeral {
            return Expected::Nothing;
        }
        for rule in &plan.restart.rules {
            if fits(&rule.exit_codes, rule.is_negated) {
                match rule.action {
                    RestartRuleAction::RestartAllContainers => return Expected::RestartAll,
                    RestartRuleAction::Restart if plan.role == Role::Init && code == 0 => {}
                    RestartRuleAction::Restart => return Expected::Restart,
                }
                break;
            }
        }
        let policy = match plan.role {
            Role::Sidecar => RestartPolicy::Always,
            _ => plan.restart.policy.unwrap_or(self.plan.restart_policy),
        };
        let failed = code != 0 || self.seen[index].for_health;
        let restarts = match policy {
            RestartPolicy::Never => false,
            RestartPolicy::OnFailure => failed,
            RestartPolicy::Always => failed || plan.role != Role::Init,
        };
        if restarts {
            Expected::Restart
        } else {
            Expected::Nothing
        }
    }

    /// The reference of the back-off: 0, 10, 20, 40 … 300, anew after ten minutes.
    fn back_off(&mut self, index: usize) -> u64 {
        let now_ms = self.now_ms;
        let seen = &mut self.seen[index];
        if now_ms - seen.bumped_ms.min(now_ms) > 600_000 {
            seen.restarts_since_reset = 0;
        }
        let delay_ms = match seen.restarts_since_reset {
            0 => 0,
            n => (10_000 * 2_u64.pow((n - 1).min(10))).min(300_000),
        };
        seen.restarts_since_reset += 1;
        seen.bumped_ms = now_ms + delay_ms;
        delay_ms
    }

    /// Tells the machine, and checks what it says and does.
    pub(crate) fn tell(&mut self, event: Event) {
        self.steps += 1;
        let mut ended = None;
        match &event {
            Event::SandboxReady => self.has_sandbox = true,
            Event::Started { container, .. } => {
                if let Some(seen) = self.seen.get_mut(*container)
                    && seen.life == Life::Starting
                {
                    seen.life = Life::Running;
                }
            }
            Event::StartFailed {
                container,
                exit_code,
                ..
            } => {
                let life = self.seen.get(*container).map(|seen| seen.life);
                if life == Some(Life::Starting) {
                    ended = Some((*container, *exit_code));
                }
            }
            Event::Exited {
                container, code, ..
            } => {
                let life = self.seen.get(*container).map(|seen| seen.life);
                if life == Some(Life::Running) {
                    ended = Some((*container, *code));
                }
            }
            Event::Probed {
                run,
                probe,
                verdict,
                ..
            } => {
                if let Some(seen) = self.seen.get_mut(run.container)
                    && seen.life == Life::Running
                    && seen.attempt == Some(run.attempt)
                    && seen.open_probes[probe_index(*probe)]
                {
                    seen.open_probes[probe_index(*probe)] = false;
                    let passed = matches!(verdict, Success | Warning);
                    if *probe == ProbeKind::Startup && passed {
                        seen.startup_passed = true;
                    }
                }
            }
            Event::HookEnded { run, hook, failure } => {
                if let Some(seen) = self.seen.get_mut(run.container)
                    && seen.attempt == Some(run.attempt)
                    && seen.open_hooks[hook_index(*hook)]
                {
                    seen.open_hooks[hook_index(*hook)] = false;
                    seen.hook_passed |= *hook == Hook::PostStart && failure.is_none();
                }
            }
            Event::Delete { grace_period_ms } => {
                let of_spec = self.plan.termination_grace_period_seconds * 1_000;
                let grace_ms = grace_period_ms.unwrap_or(of_spec);
                self.least_grace_ms = self.least_grace_ms.min(grace_ms);
                self.most_grace_ms = self.most_grace_ms.max(grace_ms);
                self.kills_at_once |= *grace_period_ms == Some(0);
                self.must_end = true;
            }
            Event::Evict { .. } => {
                self.least_grace_ms = self.least_grace_ms.min(1_000);
                self.must_end = true;
            }
            Event::RestartAll => self.ever_restarted_all = true,
            Event::AddEphemeral { .. } | Event::SetCondition { .. } | Event::Tick => {}
        }
        let is_stop = matches!(event, Event::Delete { .. } | Event::Evict { .. });
        let expected = ended.map(|(index, code)| self.expected(index, code));
        if let Some((index, code)) = ended {
            self.end(index, code);
            self.ever_restarted_all |= expected == Some(Expected::RestartAll);
        }
        let before = self.finished;
        let may_show = ended.is_some()
            || self.steps.is_multiple_of(4)
            || matches!(
                event,
                Event::SandboxReady | Event::RestartAll | Event::AddEphemeral { .. }
            );
        let actions = self.machine.step(event, &at(self.now_ms));
        if before {
            assert_eq!(actions, [], "after the end");
        }
        while self.seen.len() < self.machine.containers().len() {
            let index = self.seen.len();
            self.plan
                .containers
                .push(self.machine.container(index).unwrap().clone());
            self.seen.push(Seen::default());
        }
        let does = actions
            .iter()
            .any(|action| !matches!(action, Action::Probe { .. } | Action::Record(_)));
        let mut started = Vec::new();
        for action in actions {
            if let Action::Start { container, .. } = action {
                started.push(container);
            }
            self.action(action);
        }
        if is_stop {
            assert!(started.is_empty(), "a start in a pod that ends");
        }
        self.after();
        // A status costs more than a step; it is looked at when it may have changed.
        if may_show || does {
            self.look(ended, expected, &started);
        }
    }

    fn end(&mut self, index: usize, code: i32) {
        let seen = &mut self.seen[index];
        seen.life = Life::Idle;
        seen.code = Some(code);
        seen.open_hooks = [false; 2];
        seen.open_probes = [false; 3];
        seen.by_itself = seen.stop_ms.is_none();
    }

    fn action(&mut self, action: Action) {
        assert!(!self.finished, "{action:?} after the end");
        match action {
            Action::Start { container, attempt } => self.start(container, attempt),
            Action::Prepare { container } => {
                assert_eq!(self.seen[container].life, Life::Idle);
                assert_eq!(self.seen[container].attempt, None);
            }
            Action::Signal { container, .. } => self.signal(container),
            Action::Kill { container } => {
                let seen = &mut self.seen[container];
                seen.kills += 1;
                match seen.life {
                    Life::Idle => panic!("a kill of nothing"),
                    Life::Starting => assert!(self.kills_at_once),
                    Life::Running if self.kills_at_once => {}
                    Life::Running => {
                        let signal_ms = seen.signal_ms.expect("a signal before the kill");
                        assert!(self.now_ms >= signal_ms + FLOOR_MS, "less than two seconds");
                        let latest =
                            seen.stop_ms.unwrap() + self.most_grace_ms + FLOOR_MS + TRUNCATED_MS;
                        assert!(self.late || self.now_ms <= latest, "a late kill");
                    }
                }
                assert!(seen.kills <= 2);
            }
            Action::Probe { run, probe } => {
                let plan = &self.plan.containers[run.container];
                let seen = &mut self.seen[run.container];
                assert_eq!(seen.life, Life::Running);
                assert_eq!(seen.attempt, Some(run.attempt));
                assert!(!seen.open_probes[probe_index(probe)], "two at once");
                assert!(!seen.open_hooks[0], "a probe before postStart has ended");
                seen.open_probes[probe_index(probe)] = true;
                let is_started = plan.probes.startup.is_none() || seen.startup_passed;
                assert_eq!(is_started, probe != ProbeKind::Startup);
                if probe != ProbeKind::Readiness {
                    assert!(
                        !self.must_end && seen.stop_ms.is_none(),
                        "{probe:?} in a stop"
                    );
                }
            }
            Action::RunHook { run, hook } => {
                let seen = &mut self.seen[run.container];
                assert_eq!(seen.life, Life::Running);
                assert_eq!(seen.attempt, Some(run.attempt));
                assert!(!seen.hooks[hook_index(hook)], "a hook twice in a run");
                assert_eq!(hook == Hook::PreStop, seen.stop_ms.is_some());
                seen.hooks[hook_index(hook)] = true;
                seen.open_hooks[hook_index(hook)] = true;
            }
            Action::Record(event) => {
                if event.reason == "Killing" {
                    let seen = &mut self.seen[event.container.unwrap()];
                    assert_eq!(seen.life, Life::Running);
                    assert_eq!(seen.stop_ms, None, "stopped twice");
                    seen.stop_ms = Some(self.now_ms);
                    seen.for_health = event.message.contains(" probe");
                }
                self.must_end |= event.reason == "DeadlineExceeded";
            }
            Action::Finish => {
                assert!(self.seen.iter().all(|seen| seen.life == Life::Idle));
                self.finished = true;
            }
        }
    }

    fn start(&mut self, index: usize, attempt: u32) {
        assert!(self.has_sandbox, "a start without a sandbox");
        assert!(!self.must_end, "a start in a pod that ends");
        let before = self.seen[index].attempt;
        assert_eq!(self.seen[index].life, Life::Idle, "two of one container");
        assert_eq!(attempt, before.map_or(0, |before| before + 1));
        let role = self.plan.containers[index].role;
        assert!(attempt == 0 || role != Role::Ephemeral);
        if matches!(role, Role::Main | Role::Init) {
            for (other, seen) in self.seen.iter().enumerate().take(index) {
                match self.plan.containers[other].role {
                    Role::Init => {
                        assert_eq!((seen.life, seen.code), (Life::Idle, Some(0)));
                    }
                    Role::Sidecar => assert!(seen.passed(&self.plan.containers[other])),
                    Role::Main | Role::Ephemeral => {}
                }
            }
        }
        let seen = &mut self.seen[index];
        *seen = Seen {
            life: Life::Starting,
            attempt: Some(attempt),
            ever_passed: seen.ever_passed,
            code: seen.code,
            restarts_since_reset: seen.restarts_since_reset,
            bumped_ms: seen.bumped_ms,
            count: seen.count,
            ..Seen::default()
        };
    }

    fn signal(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let seen = &self.seen[index];
        assert_eq!(seen.life, Life::Running);
        assert_eq!(seen.signal_ms, None, "two signals");
        let stop_ms = seen.stop_ms.expect("a stop before the signal");
        assert!(
            self.late || now_ms <= stop_ms + self.most_grace_ms + TRUNCATED_MS,
            "a late signal"
        );
        let is_pod =
            !seen.for_health && !self.seen[index].was_refused(&self.plan.containers[index]);
        let grace_is_over = now_ms >= stop_ms + self.least_grace_ms.saturating_sub(TRUNCATED_MS);
        if self.plan.containers[index].role == Role::Sidecar && is_pod && !grace_is_over {
            for (other, seen) in self.seen.iter().enumerate() {
                let is_served = match self.plan.containers[other].role {
                    Role::Main => true,
                    Role::Sidecar => other > index,
                    Role::Init | Role::Ephemeral => false,
                };
                assert!(
                    !is_served || seen.life == Life::Idle,
                    "{index} is signalled before {other} has ended"
                );
            }
        }
        self.seen[index].signal_ms = Some(now_ms);
    }

    fn after(&mut self) {
        let deadline = self.machine.next_deadline();
        if self.finished {
            assert_eq!(deadline, None);
        }
        assert!(
            deadline.is_none_or(|deadline| deadline > self.now_ms),
            "a deadline in the past"
        );
        for (seen, plan) in self.seen.iter_mut().zip(&self.plan.containers) {
            seen.ever_passed |= seen.passed(plan);
        }
    }

    fn look(&mut self, ended: Option<(usize, i32)>, expected: Option<Expected>, started: &[usize]) {
        let status = self.machine.status();
        let is_restarting_all = condition(&status, "AllContainersRestarting");
        self.check_status(&status);
        if let Some((index, code)) = ended {
            self.check_end(index, code, expected, started, &status, is_restarting_all);
        }
        self.restarting_all = is_restarting_all;
    }

    /// The end of a run is shown, and leads to what policy and rules say.
    fn check_end(
        &mut self,
        index: usize,
        code: i32,
        expected: Option<Expected>,
        started: &[usize],
        status: &PodStatus,
        is_restarting_all: bool,
    ) {
        let shown = containers(status).nth(index).expect("its status");
        let ends = [&shown.state, &shown.last_state];
        let is_shown = ends.into_iter().flatten().any(|state| {
            state
                .terminated
                .as_ref()
                .is_some_and(|end| end.exit_code == code)
        });
        assert!(is_shown, "the end of {index} is lost");
        let waiting = shown.state.as_ref().and_then(|s| s.waiting.as_ref());
        let message = waiting
            .filter(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
            .and_then(|waiting| waiting.message.clone());
        let is_again = started.contains(&index) || message.is_some();
        match expected {
            Some(Expected::Restart) if is_again => {
                let delay_ms = self.back_off(index);
                assert_eq!(started.contains(&index), delay_ms == 0);
                if let Some(message) = message {
                    let text = format!("back-off {} restarting", go(delay_ms));
                    assert!(message.starts_with(&text), "{message}, not {text}");
                }
            }
            // What is left of it ends: nothing may start.
            Some(Expected::Restart) => assert!(self.finished || self.ends_by_itself()),
            Some(Expected::RestartAll) => {
                if is_restarting_all || is_again || !started.is_empty() {
                    self.back_off(index);
                } else {
                    assert!(self.finished || self.ends_by_itself());
                }
            }
            Some(Expected::Nothing) => {
                assert!(!is_again || self.restarting_all, "{index} starts again");
            }
            None => {}
        }
    }

    /// All main containers are over, or an init container has failed for good.
    fn ends_by_itself(&self) -> bool {
        self.seen
            .iter()
            .zip(&self.plan.containers)
            .filter(|(seen, _)| seen.life == Life::Running)
            .all(|(seen, plan)| plan.role != Role::Main || seen.stop_ms.is_some())
    }

    fn check_status(&mut self, status: &PodStatus) {
        let phase = rank(status.phase.as_deref().unwrap());
        assert!(phase == self.phase || (phase > self.phase && self.phase < 2));
        assert_eq!(phase >= 2, self.finished, "{:?}", status.phase);
        self.phase = phase;
        let all: Vec<&ContainerStatus> = containers(status).collect();
        assert_eq!(all.len(), self.seen.len());
        let pairs = self.seen.iter_mut().zip(&self.plan.containers);
        for ((seen, plan), shown) in pairs.zip(&all) {
            let state = shown.state.as_ref().unwrap();
            let kinds = [
                state.waiting.is_some(),
                state.running.is_some(),
                state.terminated.is_some(),
            ];
            assert_eq!(kinds.iter().filter(|is| **is).count(), 1);
            let runs = state.running.is_some();
            assert!(!runs || seen.life == Life::Running);
            assert!(!shown.started.unwrap() || runs, "started and not running");
            match plan.role {
                Role::Init => assert!(
                    !shown.ready || (state.terminated.is_some() && seen.code == Some(0)),
                    "an init container is ready"
                ),
                Role::Sidecar | Role::Main | Role::Ephemeral => {
                    assert!(!shown.ready || shown.started.unwrap(), "ready, not started");
                }
            }
            if let Some(end) = &state.terminated {
                assert_eq!((seen.life, seen.code), (Life::Idle, Some(end.exit_code)));
            }
            let count = u32::try_from(shown.restart_count).unwrap();
            let known = seen.attempt.unwrap_or(0);
            // When all are to start again, the count is ahead of the start.
            let is_ahead = self.ever_restarted_all && seen.life == Life::Idle && count == known + 1;
            assert!(count == known || is_ahead, "{count} restarts, not {known}");
            assert!(count >= seen.count, "fewer restarts");
            seen.count = count;
        }
        if self.finished {
            let must = |role| matches!(role, Role::Main | Role::Init);
            let all_zero = self
                .seen
                .iter()
                .zip(&self.plan.containers)
                .all(|(seen, plan)| !must(plan.role) || seen.code == Some(0));
            let succeeded = status.phase.as_deref() == Some("Succeeded");
            assert_eq!(succeeded, all_zero && status.reason.is_none());
        }
        let is_ready = condition(status, "Ready");
        let all_ready =
            self.plan.containers.iter().zip(&all).all(|(plan, shown)| {
                !matches!(plan.role, Role::Main | Role::Sidecar) || shown.ready
            });
        assert_eq!(is_ready, all_ready && !self.finished);
    }
}

impl Seen {
    /// Whether a container that is a sidecar lets the next one start, now or once.
    fn passed(&self, plan: &ContainerPlan) -> bool {
        let hook = match &plan.hooks.post_start {
            None | Some(Handler::Sleep { .. }) => true,
            Some(_) => self.hook_passed,
        };
        let startup = plan.probes.startup.is_none() || self.startup_passed;
        self.ever_passed || (self.life == Life::Running && hook && startup)
    }

    /// Whether its postStart hook has ended, and badly.
    fn was_refused(&self, plan: &ContainerPlan) -> bool {
        let has_hook = plan.hooks.post_start.is_some();
        has_hook && self.hooks[0] && !self.open_hooks[0] && !self.hook_passed
    }
}

/// In the order of the plan.
fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let lists = [
        &status.init_container_statuses,
        &status.container_statuses,
        &status.ephemeral_container_statuses,
    ];
    lists.into_iter().flatten().flatten()
}

fn condition(status: &PodStatus, kind: &str) -> bool {
    let mut all = status.conditions.iter().flatten();
    all.any(|condition| condition.type_ == kind && condition.status == "True")
}

/// A whole number of seconds as Go writes it.
fn go(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}
