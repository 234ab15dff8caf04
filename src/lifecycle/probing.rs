//! Probe workers (pkg/kubelet/prober/worker.go): when to probe, and what the results add up to.

use crate::lifecycle::container::{PostStart, Run, State};
use crate::lifecycle::machine::Machine;
use crate::lifecycle::stop::StopWhy;
use crate::lifecycle::{Action, Now, PodEvent, ProbeKind, ProbeVerdict, RunId};
use crate::plan::{Probe, Probes};

/// `maxProbeRetries` of prober.go: how often a probe that could not be made is tried.
const MAX_PROBE_RETRIES: u8 = 3;

/// The three workers of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Workers {
    pub(super) startup: Worker,
    pub(super) liveness: Worker,
    pub(super) readiness: Worker,
}

/// One probe of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Worker {
    /// When the next probe is made.
    next_at_ms: u64,
    /// A probe was asked for.
    is_in_flight: bool,
    /// How often this probe was tried in vain.
    tries: u8,
    /// The latest result and how often it came in a row.
    streak: Option<(bool, u32)>,
    /// What the results add up to; readiness begins with false.
    pub(super) has_passed: bool,
}

impl Workers {
    /// Workers of a run that began at this time.
    pub(super) fn new(probes: &Probes, since_ms: u64) -> Self {
        let worker = |probe: &Option<Probe>| Worker {
            next_at_ms: since_ms
                .saturating_add(probe.as_ref().map_or(0, |probe| probe.initial_delay_ms)),
            ..Worker::default()
        };
        Self {
            startup: worker(&probes.startup),
            liveness: worker(&probes.liveness),
            readiness: worker(&probes.readiness),
        }
    }

    fn get_mut(&mut self, kind: ProbeKind) -> &mut Worker {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Liveness => &mut self.liveness,
            ProbeKind::Readiness => &mut self.readiness,
        }
    }

    const fn get(&self, kind: ProbeKind) -> &Worker {
        match kind {
            ProbeKind::Startup => &self.startup,
            ProbeKind::Liveness => &self.liveness,
            ProbeKind::Readiness => &self.readiness,
        }
    }
}

const fn probe_of(probes: &Probes, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => probes.startup.as_ref(),
        ProbeKind::Liveness => probes.liveness.as_ref(),
        ProbeKind::Readiness => probes.readiness.as_ref(),
    }
}

const KINDS: [ProbeKind; 3] = [
    ProbeKind::Startup,
    ProbeKind::Liveness,
    ProbeKind::Readiness,
];

impl Run {
    /// Whether a probe is made at all now. Until the startup probe has succeeded the others wait;
    /// in a container that is being stopped, or a pod that ends, only readiness goes on.
    fn is_probed(&self, probes: &Probes, kind: ProbeKind, pod_ends: bool) -> bool {
        if probe_of(probes, kind).is_none() || self.post_start != PostStart::Done {
            return false;
        }
        let stops = pod_ends || self.stop.is_some();
        match kind {
            ProbeKind::Startup => !self.is_started && !stops,
            ProbeKind::Liveness => self.is_started && !stops,
            ProbeKind::Readiness => self.is_started,
        }
    }
}

impl Machine {
    /// Asks for the probes whose time has come.
    pub(super) fn advance_probes(&mut self, now: &Now, actions: &mut Vec<Action>) {
        let pod_ends = self.is_ending();
        for (index, (container, plan)) in self
            .containers
            .iter_mut()
            .zip(&self.plan.containers)
            .enumerate()
        {
            let attempt = container.restarts;
            let Some(run) = container.run_mut() else {
                continue;
            };
            for probe in KINDS {
                if !run.is_probed(&plan.probes, probe, pod_ends) {
                    continue;
                }
                let worker = run.workers.get_mut(probe);
                if !worker.is_in_flight && worker.next_at_ms <= now.monotonic_ms {
                    worker.is_in_flight = true;
                    worker.tries = 1;
                    let run = RunId {
                        container: index,
                        attempt,
                    };
                    actions.push(Action::Probe { run, probe });
                }
            }
        }
    }

    /// The earliest time at which a probe is due.
    pub(super) fn next_probe(&self) -> Option<u64> {
        let pod_ends = self.is_ending();
        self.containers
            .iter()
            .zip(&self.plan.containers)
            .filter_map(|(container, plan)| Some((container.run()?, &plan.probes)))
            .flat_map(|(run, probes)| {
                KINDS.into_iter().filter_map(move |kind| {
                    let worker = run.workers.get(kind);
                    (run.is_probed(probes, kind, pod_ends) && !worker.is_in_flight)
                        .then_some(worker.next_at_ms)
                })
            })
            .min()
    }

    /// Takes a probe's result.
    pub(super) fn probed(
        &mut self,
        id: RunId,
        kind: ProbeKind,
        verdict: ProbeVerdict,
        output: &str,
        now: &Now,
        actions: &mut Vec<Action>,
    ) {
        let pod_ends = self.is_ending();
        let Some((container, plan)) = self
            .containers
            .get_mut(id.container)
            .zip(self.plan.containers.get(id.container))
        else {
            return;
        };
        let is_current = container.restarts == id.attempt;
        let (Some(probe), State::Running(run)) =
            (probe_of(&plan.probes, kind), &mut container.state)
        else {
            return;
        };
        let is_wanted = run.is_probed(&plan.probes, kind, pod_ends);
        let worker = run.workers.get_mut(kind);
        if !is_current || !worker.is_in_flight {
            return;
        }
        let about = |reason: &str, is_warning: bool, words: &str| {
            Action::Record(PodEvent {
                is_warning,
                reason: reason.to_owned(),
                message: format!("{} probe {words}: {output}", kind.word()),
                container: Some(id.container),
            })
        };
        let passed = match verdict {
            ProbeVerdict::Unknown if worker.tries < MAX_PROBE_RETRIES && is_wanted => {
                worker.tries = worker.tries.saturating_add(1);
                actions.push(Action::Probe {
                    run: id,
                    probe: kind,
                });
                return;
            }
            ProbeVerdict::Unknown => {
                actions.push(about("Unhealthy", true, "errored"));
                None
            }
            ProbeVerdict::Success => Some(true),
            ProbeVerdict::Warning => {
                actions.push(about("ProbeWarning", true, "warning"));
                Some(true)
            }
            ProbeVerdict::Failure => {
                actions.push(about("Unhealthy", true, "failed"));
                Some(false)
            }
        };
        worker.is_in_flight = false;
        // A ticker: what a slow probe has missed is not made up for.
        worker.next_at_ms = worker
            .next_at_ms
            .saturating_add(probe.period_ms)
            .max(now.monotonic_ms);
        let Some(passed) = passed.filter(|_| is_wanted) else {
            return;
        };
        let length = match worker.streak {
            Some((before, length)) if before == passed => length.saturating_add(1),
            Some(_) | None => 1,
        };
        worker.streak = Some((passed, length));
        let threshold = if passed {
            probe.success_threshold
        } else {
            probe.failure_threshold
        };
        if length < threshold {
            return;
        }
        worker.has_passed = passed;
        let grace_ms = probe.grace_period_ms;
        match (kind, passed) {
            (ProbeKind::Startup, true) => {
                run.is_started = true;
                // The others are triggered at once; their initial delay began with the container.
                for other in [&mut run.workers.liveness, &mut run.workers.readiness] {
                    other.next_at_ms = other.next_at_ms.max(now.monotonic_ms);
                }
            }
            (ProbeKind::Startup | ProbeKind::Liveness, false) => {
                self.begin_stop(id.container, StopWhy::Probe(kind), grace_ms, now, actions);
            }
            (ProbeKind::Liveness | ProbeKind::Readiness, true) | (ProbeKind::Readiness, false) => {}
        }
    }
}
