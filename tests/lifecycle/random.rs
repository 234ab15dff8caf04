//! Random pods and random events, most of which can be and some of which cannot. Bytes and words
//! become plans and events, so that a failure shrinks to a few of them.

use podrun::lifecycle::ProbeVerdict::{self, Failure, Success, Unknown, Warning};
use podrun::lifecycle::{Event, Hook, ProbeKind, RunId};
use podrun::plan::{
    ContainerPlan, Handler, PodPlan, Probe, RestartPolicy, RestartRuleAction, Role,
};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, TestRunner};

use crate::checker::{Checker, FLOOR_MS, Life, Seen, TRUNCATED_MS, hook_index, probe_index};
use crate::plans::{ContainerWords, PodWords, ephemeral, exec, init, main, pod, probe, sidecar};

const CODES: [i32; 5] = [0, 1, 42, 137, 143];

/// Numbers that choose; when they run out, the first choice of all.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, bound: u8) -> u8 {
        self.0.next().map_or(0, |byte| byte % bound)
    }

    fn of<T: Clone>(&mut self, values: &[T]) -> T {
        let bound = u8::try_from(values.len()).unwrap();
        values[usize::from(self.below(bound))].clone()
    }

    fn one_in(&mut self, bound: u8) -> bool {
        self.below(bound) == 1
    }
}

fn random_probe(choices: &mut Choices<'_>) -> Probe {
    Probe {
        initial_delay_ms: choices.of(&[0, 3_000]),
        period_ms: choices.of(&[10_000, 1_000]),
        success_threshold: 1,
        failure_threshold: choices.of(&[1, 2, 3]),
        grace_period_ms: choices.of(&[None, None, Some(5_000), Some(0)]),
        ..probe()
    }
}

fn random_container(mut plan: ContainerPlan, choices: &mut Choices<'_>) -> ContainerPlan {
    let policies = [
        RestartPolicy::Never,
        RestartPolicy::OnFailure,
        RestartPolicy::Always,
    ];
    if plan.role != Role::Sidecar && choices.one_in(4) {
        plan = plan.policy(choices.of(&policies));
    }
    if choices.one_in(5) {
        let action = choices.of(&[
            RestartRuleAction::Restart,
            RestartRuleAction::RestartAllContainers,
        ]);
        let codes = [choices.of(&CODES)];
        plan = if choices.one_in(3) {
            plan.rule_not_in(action, &codes)
        } else {
            plan.rule(action, &codes)
        };
    }
    if plan.role == Role::Init {
        return plan;
    }
    if choices.one_in(4) {
        plan = plan.startup(random_probe(choices));
    }
    if choices.one_in(4) {
        plan = plan.liveness(random_probe(choices));
    }
    if choices.one_in(3) {
        let mut probe = random_probe(choices);
        probe.success_threshold = choices.of(&[1, 2]);
        plan = plan.readiness(probe);
    }
    let handlers = [exec(), Handler::Sleep { seconds: 3 }];
    if choices.one_in(5) {
        plan = plan.post_start(choices.of(&handlers));
    }
    if choices.one_in(3) {
        plan = plan.pre_stop(choices.of(&handlers));
    }
    plan
}

fn random_plan(bytes: &[u8]) -> PodPlan {
    let mut choices = Choices(bytes.iter());
    let mut containers = Vec::new();
    for name in ["i0", "i1", "i2"].iter().take(choices.below(4).into()) {
        let plan = if choices.one_in(2) {
            sidecar(name)
        } else {
            init(name)
        };
        containers.push(random_container(plan, &mut choices));
    }
    let mains = 1 + choices.below(3);
    for name in ["m0", "m1", "m2"].iter().take(mains.into()) {
        containers.push(random_container(main(name), &mut choices));
    }
    let policies = [
        RestartPolicy::Never,
        RestartPolicy::OnFailure,
        RestartPolicy::Always,
    ];
    let plan = pod(containers)
        .policy(choices.of(&policies))
        .grace(choices.of(&[30, 0, 1, 5, 10]));
    match choices.below(8) {
        1 => plan.deadline(20),
        2 => plan.deadline(300),
        _ => plan,
    }
}

impl Checker {
    /// Lets time pass; every tick that is asked for comes in time.
    fn pass(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        for _ in 0..8 {
            match self.machine.next_deadline().filter(|at| *at <= end_ms) {
                Some(deadline) => {
                    self.now_ms = deadline;
                    self.tell(Event::Tick);
                }
                None => break,
            }
        }
        self.late |= self.machine.next_deadline().is_some_and(|at| at < end_ms);
        self.now_ms = end_ms;
        self.tell(Event::Tick);
    }

    /// What the machine waits for and the world could say now.
    fn open(&self) -> Vec<Open> {
        let mut open = Vec::new();
        for (container, seen) in self.seen.iter().enumerate() {
            let attempt = seen.attempt.unwrap_or(0);
            let run = RunId { container, attempt };
            if seen.life == Life::Starting {
                open.push(Open::Start(container));
            }
            for hook in [Hook::PostStart, Hook::PreStop] {
                if seen.open_hooks[hook_index(hook)] {
                    open.push(Open::Hook(run, hook));
                }
            }
            for probe in [
                ProbeKind::Startup,
                ProbeKind::Liveness,
                ProbeKind::Readiness,
            ] {
                if seen.open_probes[probe_index(probe)] {
                    open.push(Open::Probe(run, probe));
                }
            }
        }
        open
    }

    fn answer(&mut self, number: usize, how: u32) {
        let open = self.open();
        let Some(one) = open.get(number % open.len().max(1)) else {
            return self.pass(1_000);
        };
        let event = match *one {
            Open::Start(container) if how % 8 == 1 => start_failed(container, 128),
            Open::Start(container) => started(container),
            Open::Hook(run, hook) => {
                let failure = (how % 3 == 1).then(|| "failed".to_owned());
                Event::HookEnded { run, hook, failure }
            }
            Open::Probe(run, probe) => probed(run, probe, how),
        };
        self.tell(event);
    }

    fn nth(&self, number: usize, fits: impl Fn(&Seen) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.seen.len())
            .filter(|index| fits(&self.seen[*index]))
            .collect();
        fitting.get(number % fitting.len().max(1)).copied()
    }

    /// One word, one event: mostly one that can be, sometimes one that cannot.
    fn event(&mut self, word: u32) {
        let kind = word % 32;
        let how = word / 32;
        let number = usize::try_from(how / 64).unwrap();
        let any_run = RunId {
            container: number % 9,
            attempt: how % 4,
        };
        match kind {
            0..=9 => self.answer(number, how),
            10..=12 => match self.nth(number, |seen| seen.life == Life::Running) {
                Some(container) => self.tell(exited(container, code(how))),
                None => self.pass(1_000),
            },
            13..=18 => match self.machine.next_deadline() {
                Some(deadline) => {
                    self.now_ms = deadline;
                    self.tell(Event::Tick);
                }
                None => self.pass(500),
            },
            19..=21 => {
                let asked = |seen: &Seen| seen.life == Life::Running && seen.signal_ms.is_some();
                match self.nth(number, asked) {
                    Some(container) => self.tell(exited(container, code(how))),
                    None => self.pass(10_000),
                }
            }
            22 => {
                let jumps = [1, 999, 1_000, 1_500, 5_000, 60_000, 700_000];
                let jump = jumps[number % jumps.len()];
                if how.is_multiple_of(2) {
                    self.pass(jump);
                } else {
                    let end_ms = self.now_ms + jump;
                    self.late |= self.machine.next_deadline().is_some_and(|at| at < end_ms);
                    self.now_ms = end_ms;
                    self.tell(Event::Tick);
                }
            }
            23 if how.is_multiple_of(4) => {
                let graces = [None, Some(0), Some(1), Some(700), Some(5_000), Some(60_000)];
                self.tell(Event::Delete {
                    grace_period_ms: graces[number % graces.len()],
                });
            }
            24 if how.is_multiple_of(8) => self.tell(Event::Evict {
                message: "too much".to_owned(),
            }),
            25 if how.is_multiple_of(3) => self.tell(Event::RestartAll),
            26 => {
                let name = ["d0", "d1", "m0"][number % 3];
                let plan = if how % 8 == 1 {
                    main(name)
                } else {
                    ephemeral(name)
                };
                self.tell(Event::AddEphemeral {
                    plan: Box::new(plan),
                });
            }
            27 => self.tell(if how.is_multiple_of(2) {
                started(any_run.container)
            } else {
                start_failed(any_run.container, code(how))
            }),
            28 => self.tell(exited(any_run.container, code(how))),
            29 => {
                let kinds = [
                    ProbeKind::Startup,
                    ProbeKind::Liveness,
                    ProbeKind::Readiness,
                ];
                self.tell(probed(any_run, kinds[number % 3], how / 4));
            }
            30 => self.tell(Event::HookEnded {
                run: any_run,
                hook: [Hook::PostStart, Hook::PreStop][number % 2],
                failure: how.is_multiple_of(3).then(|| "failed".to_owned()),
            }),
            _ => self.tell(Event::SandboxReady),
        }
    }

    /// Deletes the pod and sees it end: in time when its containers do not obey, and at once what
    /// does.
    fn drain(&mut self, obeys: bool) {
        let grace_ms = self.plan.termination_grace_period_seconds * 1_000;
        let deleted_ms = self.now_ms;
        self.tell(Event::Delete {
            grace_period_ms: None,
        });
        for _ in 0..500 {
            if self.finished {
                break;
            }
            let due = (0..self.seen.len()).find(|index| {
                let seen = &self.seen[*index];
                let asked = obeys && seen.signal_ms.is_some();
                seen.life == Life::Running && (seen.kills > 0 || asked)
            });
            let open = self
                .open()
                .into_iter()
                .find(|open| obeys || matches!(open, Open::Start(_)));
            match (due, open) {
                (Some(container), _) => {
                    let code = if obeys { 0 } else { 137 };
                    self.tell(exited(container, code));
                }
                (None, Some(Open::Start(container))) => self.tell(started(container)),
                (None, Some(Open::Hook(run, hook))) => self.tell(Event::HookEnded {
                    run,
                    hook,
                    failure: None,
                }),
                (None, Some(Open::Probe(run, probe))) => self.tell(probed(run, probe, 0)),
                (None, None) => {
                    self.now_ms = self
                        .machine
                        .next_deadline()
                        .expect("a pod that ends waits for something");
                    self.tell(Event::Tick);
                }
            }
        }
        assert!(self.finished, "no end");
        assert!(
            self.now_ms <= deleted_ms + grace_ms + FLOOR_MS + TRUNCATED_MS,
            "a late end"
        );
    }
}

#[derive(Debug, Clone, Copy)]
enum Open {
    Start(usize),
    Hook(RunId, Hook),
    Probe(RunId, ProbeKind),
}

fn code(how: u32) -> i32 {
    CODES[usize::try_from(how % 5).unwrap()]
}

fn started(container: usize) -> Event {
    Event::Started {
        container,
        id: "id".to_owned(),
        user: None,
    }
}

fn start_failed(container: usize, exit_code: i32) -> Event {
    Event::StartFailed {
        container,
        reason: "StartError".to_owned(),
        message: "no such file".to_owned(),
        exit_code,
    }
}

fn exited(container: usize, code: i32) -> Event {
    Event::Exited {
        container,
        code,
        oom_killed: false,
        message: None,
    }
}

fn probed(run: RunId, probe: ProbeKind, how: u32) -> Event {
    let verdicts: [ProbeVerdict; 6] = [Success, Failure, Failure, Success, Unknown, Warning];
    Event::Probed {
        run,
        probe,
        verdict: verdicts[usize::try_from(how % 6).unwrap()],
        output: String::new(),
    }
}

/// Plays so many sequences; returns how many and how many steps they were.
fn play(cases: u32) -> (u32, u64) {
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    });
    let played = std::cell::Cell::new((0, 0));
    let sequences = (vec(any::<u8>(), 48), vec(any::<u32>(), 20..32));
    let result = runner.run(&sequences, |(bytes, words)| {
        let plan = random_plan(&bytes);
        let mut checker = Checker::new(&plan);
        if words.first().is_some_and(|word| word % 16 != 1) {
            checker.tell(Event::SandboxReady);
        }
        for word in &words {
            checker.event(*word);
        }
        if !checker.finished {
            checker.drain(bytes[0] % 2 == 0);
        }
        // Nothing is done after the end.
        checker.tell(Event::Delete {
            grace_period_ms: Some(0),
        });
        let (sequences, steps) = played.get();
        played.set((sequences + 1, steps + checker.steps));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    played.get()
}

/// The harness runs tests side by side; together they play a hundred thousand sequences.
macro_rules! quarters {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let (sequences, steps) = play(25_000);
                assert_eq!(sequences, 25_000);
                assert!(steps > 20 * 25_000, "{steps}");
            }
        )*
    };
}

quarters! {
    whatever_happens_every_run_is_accounted_for_1
    whatever_happens_every_run_is_accounted_for_2
    whatever_happens_every_run_is_accounted_for_3
    whatever_happens_every_run_is_accounted_for_4
}
