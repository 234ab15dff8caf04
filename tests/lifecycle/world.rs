//! A world that does what the machine asks for, on a clock that only moves when it is told to.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use podrun::lifecycle::{Action, Event, Hook, Machine, Now, ProbeKind, ProbeVerdict, RunId};
use podrun::plan::{ContainerPlan, PodPlan};

/// How a container behaves, in each of its runs.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// How long its start takes.
    pub(crate) start_takes_ms: u64,
    /// How many of its first starts fail.
    pub(crate) failing_starts: u32,
    /// When and with what code it exits by itself; the last entry holds for all further runs.
    pub(crate) exits: Vec<Option<(u64, i32)>>,
    /// How long it takes to obey the stop signal and its code; `None` ignores it.
    pub(crate) on_term: Option<(u64, i32)>,
    /// How long a postStart hook takes, and how it fails.
    pub(crate) post_start: Option<(u64, Option<&'static str>)>,
    /// The same of preStop.
    pub(crate) pre_stop: Option<(u64, Option<&'static str>)>,
    /// What its probes find, one after the other; the last holds on. Nothing at all: no answer.
    pub(crate) startup: Vec<ProbeVerdict>,
    pub(crate) liveness: Vec<ProbeVerdict>,
    pub(crate) readiness: Vec<ProbeVerdict>,
}

impl Default for Way {
    /// Runs until it is asked to end, and does so at once.
    fn default() -> Self {
        Self {
            start_takes_ms: 0,
            failing_starts: 0,
            exits: vec![None],
            on_term: Some((0, 143)),
            post_start: Some((0, None)),
            pre_stop: Some((0, None)),
            startup: vec![ProbeVerdict::Success],
            liveness: vec![ProbeVerdict::Success],
            readiness: vec![ProbeVerdict::Success],
        }
    }
}

impl Way {
    /// Exits with this code after so many seconds, every time.
    pub(crate) fn exits(seconds: u64, code: i32) -> Self {
        Self {
            exits: vec![Some((seconds * 1_000, code))],
            ..Self::default()
        }
    }

    /// Exits with these codes at once, one after the other, and then runs on.
    pub(crate) fn exits_at_once_with(codes: &[i32]) -> Self {
        let ends = codes.iter().map(|code| Some((0, *code)));
        Self {
            exits: ends.chain([None]).collect(),
            ..Self::default()
        }
    }

    /// Runs until it is killed.
    pub(crate) fn ignores_term() -> Self {
        Self {
            on_term: None,
            ..Self::default()
        }
    }

    /// Takes so many seconds to end after the signal.
    pub(crate) fn ends_in(seconds: u64) -> Self {
        Self {
            on_term: Some((seconds * 1_000, 143)),
            ..Self::default()
        }
    }
}

fn nth<T: Clone>(script: &[T], index: usize) -> T {
    script
        .get(index)
        .or_else(|| script.last())
        .expect("a script has an entry")
        .clone()
}

/// The machine, its containers and the time.
pub(crate) struct World {
    machine: Machine,
    now_ms: u64,
    log: Vec<String>,
    live: BTreeMap<usize, u32>,
    todo: Vec<(u64, Option<RunId>, Event)>,
    ways: BTreeMap<String, Way>,
    probes_made: HashMap<(RunId, ProbeKind), usize>,
}

const EPOCH_MS: i64 = 1_700_000_000_000;

fn at(ms: u64) -> Now {
    let wall = EPOCH_MS + i64::try_from(ms).unwrap();
    Now {
        monotonic_ms: ms,
        wall: jiff::Timestamp::from_millisecond(wall).unwrap(),
    }
}

fn seconds(ms: u64) -> String {
    match ms % 1_000 {
        0 => format!("{}", ms / 1_000),
        rest => format!("{}.{rest:03}", ms / 1_000),
    }
}

impl World {
    pub(crate) fn of(plan: &PodPlan) -> Self {
        Self {
            machine: Machine::new(plan, &at(0)),
            now_ms: 0,
            log: Vec::new(),
            live: BTreeMap::new(),
            todo: Vec::new(),
            ways: BTreeMap::new(),
            probes_made: HashMap::new(),
        }
    }

    pub(crate) fn way(mut self, name: &str, way: Way) -> Self {
        self.ways.insert(name.to_owned(), way);
        self
    }

    /// Changes how a container behaves from now on.
    pub(crate) fn change(&mut self, name: &str, way: Way) {
        self.ways.insert(name.to_owned(), way);
    }

    /// Sandbox and volumes are there.
    pub(crate) fn up(mut self) -> Self {
        self.send(Event::SandboxReady);
        self
    }

    fn index(&self, name: &str) -> usize {
        let found = self
            .machine
            .containers()
            .iter()
            .position(|plan| plan.name.as_str() == name);
        found.expect("the plan has this container")
    }

    fn name(&self, index: usize) -> String {
        self.machine.container(index).unwrap().name.to_string()
    }

    fn way_of(&self, index: usize) -> Way {
        self.ways
            .get(&self.name(index))
            .cloned()
            .unwrap_or_default()
    }

    /// Tells the machine something now, and does all that follows at this moment.
    pub(crate) fn send(&mut self, event: Event) {
        self.step(event);
        self.settle();
    }

    /// The container exits by itself now.
    pub(crate) fn exit(&mut self, name: &str, code: i32) {
        let container = self.index(name);
        self.send(Event::Exited {
            container,
            code,
            oom_killed: false,
            message: None,
        });
    }

    pub(crate) fn delete(&mut self, grace_seconds: Option<u64>) {
        self.send(Event::Delete {
            grace_period_ms: grace_seconds.map(|seconds| seconds * 1_000),
        });
    }

    pub(crate) fn debug(&mut self, plan: ContainerPlan) {
        self.send(Event::AddEphemeral {
            plan: Box::new(plan),
        });
    }

    /// The run of a container that the machine knows.
    pub(crate) fn run(&self, name: &str, attempt: u32) -> RunId {
        RunId {
            container: self.index(name),
            attempt,
        }
    }

    /// Lets time pass up to this second.
    pub(crate) fn until(&mut self, second: u64) {
        self.until_ms(second * 1_000);
    }

    pub(crate) fn until_ms(&mut self, end_ms: u64) {
        loop {
            let todo = self.todo.iter().map(|(at, _, _)| *at).min();
            let deadline = self.machine.next_deadline();
            if let Some(deadline) = deadline {
                assert!(
                    deadline > self.now_ms,
                    "{deadline} is over at {}",
                    self.now_ms
                );
            }
            let next = todo.into_iter().chain(deadline).min();
            let Some(next) = next.filter(|next| *next <= end_ms) else {
                self.now_ms = end_ms;
                return;
            };
            self.now_ms = next;
            self.settle();
            self.send(Event::Tick);
        }
    }

    /// Delivers what is due now.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let due = self.todo.iter().position(|(at, _, _)| *at <= self.now_ms);
            let Some(index) = due else { return };
            let (_, run, event) = self.todo.remove(index);
            let is_over =
                run.is_some_and(|run| self.live.get(&run.container) != Some(&run.attempt));
            if !is_over {
                self.step(event);
            }
        }
        panic!("no end at {}: {:#?}", self.now_ms, self.log);
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Exited { container, .. } | Event::StartFailed { container, .. } => {
                self.live.remove(&container);
            }
            Event::Started { container, .. } => {
                let run = RunId {
                    container,
                    attempt: self.live[&container],
                };
                let exits = self.way_of(container).exits;
                if let Some((after, code)) = nth(&exits, usize::try_from(run.attempt).unwrap()) {
                    self.exit_later(run, after, code);
                }
            }
            _ => {}
        }
        let now = at(self.now_ms);
        for action in self.machine.step(event, &now) {
            self.perform(action);
        }
    }

    fn exit_later(&mut self, run: RunId, after_ms: u64, code: i32) {
        let exited = Event::Exited {
            container: run.container,
            code,
            oom_killed: false,
            message: None,
        };
        self.todo.push((self.now_ms + after_ms, Some(run), exited));
    }

    fn perform(&mut self, action: Action) {
        let now_ms = self.now_ms;
        match action {
            Action::Start { container, attempt } => {
                let before = self.live.insert(container, attempt);
                assert_eq!(before, None, "started while it lives");
                let again = match attempt {
                    0 => String::new(),
                    again => format!("#{again}"),
                };
                self.note(&format!("start {}{again}", self.name(container)));
                let way = self.way_of(container);
                let event = if attempt < way.failing_starts {
                    Event::StartFailed {
                        container,
                        reason: "StartError".to_owned(),
                        message: "no such file".to_owned(),
                        exit_code: 128,
                    }
                } else {
                    Event::Started {
                        container,
                        id: format!("{}-{attempt}", self.name(container)),
                        user: None,
                    }
                };
                let run = RunId { container, attempt };
                self.todo
                    .push((now_ms + way.start_takes_ms, Some(run), event));
            }
            Action::Signal { container, signal } => {
                let sent = match signal {
                    super::plans::TERM => "signal",
                    _ => "other-signal",
                };
                self.note(&format!("{sent} {}", self.name(container)));
                if let Some((after, code)) = self.way_of(container).on_term {
                    let attempt = self.live[&container];
                    self.exit_later(RunId { container, attempt }, after, code);
                }
            }
            Action::Kill { container } => {
                self.note(&format!("kill {}", self.name(container)));
                let attempt = self.live[&container];
                self.exit_later(RunId { container, attempt }, 0, 137);
            }
            Action::Probe { run, probe } => {
                let word = probe.word().to_lowercase();
                self.note(&format!("{word} {}", self.name(run.container)));
                let made = self.probes_made.entry((run, probe)).or_default();
                let index = *made;
                *made += 1;
                let way = self.way_of(run.container);
                let script = match probe {
                    ProbeKind::Startup => way.startup,
                    ProbeKind::Liveness => way.liveness,
                    ProbeKind::Readiness => way.readiness,
                };
                if !script.is_empty() {
                    let event = Event::Probed {
                        run,
                        probe,
                        verdict: nth(&script, index),
                        output: "output".to_owned(),
                    };
                    self.todo.push((now_ms, None, event));
                }
            }
            Action::RunHook { run, hook } => {
                let way = self.way_of(run.container);
                let (word, answer) = match hook {
                    Hook::PostStart => ("postStart", way.post_start),
                    Hook::PreStop => ("preStop", way.pre_stop),
                };
                self.note(&format!("{word} {}", self.name(run.container)));
                if let Some((after, failure)) = answer {
                    let failure = failure.map(str::to_owned);
                    let event = Event::HookEnded { run, hook, failure };
                    self.todo.push((now_ms + after, None, event));
                }
            }
            Action::Record(event) => {
                let kind = if event.is_warning {
                    "Warning"
                } else {
                    "Normal"
                };
                self.note(&format!("{kind} {}: {}", event.reason, event.message));
            }
            Action::Finish => {
                assert!(self.live.is_empty(), "finished while something lives");
                self.note("finish");
            }
            Action::Prepare { .. } => {}
        }
    }

    fn note(&mut self, text: &str) {
        self.log.push(format!("{} {text}", seconds(self.now_ms)));
    }

    /// What was done, with its second: the entries that begin with one of these words.
    pub(crate) fn done(&self, words: &str) -> Vec<&str> {
        let words: Vec<&str> = words.split(' ').collect();
        self.log
            .iter()
            .filter(|entry| {
                entry
                    .split(' ')
                    .nth(1)
                    .is_some_and(|word| words.contains(&word))
            })
            .map(String::as_str)
            .collect()
    }

    /// The messages of events with this reason.
    pub(crate) fn events(&self, reason: &str) -> Vec<&str> {
        self.log
            .iter()
            .filter_map(|entry| {
                let (_, rest) = entry.split_once(' ')?;
                let (_, rest) = rest.split_once(' ')?;
                rest.strip_prefix(reason)?.strip_prefix(": ")
            })
            .collect()
    }

    pub(crate) fn status(&self) -> PodStatus {
        self.machine.status()
    }

    pub(crate) fn phase(&self) -> String {
        self.status().phase.unwrap()
    }

    /// The status of a container of any role.
    pub(crate) fn container(&self, name: &str) -> ContainerStatus {
        let status = self.status();
        [
            status.init_container_statuses,
            status.container_statuses,
            status.ephemeral_container_statuses,
        ]
        .into_iter()
        .flatten()
        .flatten()
        .find(|container| container.name == name)
        .expect("the status has this container")
    }

    /// A container's state in one line: `waiting REASON`, `running` or `terminated REASON CODE`.
    pub(crate) fn state(&self, name: &str) -> String {
        let state = self.container(name).state.unwrap();
        match (state.waiting, state.running, state.terminated) {
            (Some(waiting), None, None) => format!("waiting {}", waiting.reason.unwrap()),
            (None, Some(_), None) => "running".to_owned(),
            (None, None, Some(end)) => {
                format!("terminated {} {}", end.reason.unwrap(), end.exit_code)
            }
            other => panic!("not one state: {other:?}"),
        }
    }

    /// The code of `lastState.terminated`.
    pub(crate) fn last_code(&self, name: &str) -> Option<i32> {
        let last = self.container(name).last_state?;
        Some(last.terminated?.exit_code)
    }

    pub(crate) fn waiting_message(&self, name: &str) -> String {
        let state = self.container(name).state.unwrap();
        state.waiting.unwrap().message.unwrap()
    }

    /// A condition in one line: status, reason and message.
    pub(crate) fn condition(&self, kind: &str) -> String {
        let status = self.status();
        let found = status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == kind);
        let Some(condition) = found else {
            return "absent".to_owned();
        };
        let parts = [
            Some(condition.status.as_str()),
            condition.reason.as_deref(),
            condition.message.as_deref(),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}
