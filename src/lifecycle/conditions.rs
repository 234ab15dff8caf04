//! Phase and conditions (`getPhase` of `kubelet_pods.go`, `status/generate.go`).

use crate::lifecycle::container::Container;
use crate::lifecycle::machine::{Machine, Why};
use crate::plan::{ContainerPlan, Role};

/// One condition without its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) kind: String,
    pub(super) is_true: bool,
    pub(super) reason: Option<&'static str>,
    pub(super) message: Option<String>,
}

/// When each condition changed last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Changed {
    pub(super) conditions: Vec<(Condition, jiff::Timestamp)>,
}

impl Changed {
    pub(super) fn note(&mut self, conditions: Vec<Condition>, at: jiff::Timestamp) {
        self.conditions = conditions
            .into_iter()
            .map(|condition| {
                let before = self
                    .conditions
                    .iter()
                    .find(|(old, _)| old.kind == condition.kind);
                let since = match before {
                    Some((old, since)) if old.is_true == condition.is_true => *since,
                    Some(_) | None => at,
                };
                (condition, since)
            })
            .collect();
    }
}

/// The pod's phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

fn with_role(
    machine: &Machine,
    wanted: impl Fn(Role) -> bool,
) -> impl Iterator<Item = (&Container, &ContainerPlan)> {
    machine
        .containers
        .iter()
        .zip(&machine.plan.containers)
        .filter(move |(_, plan)| wanted(plan.role))
}

/// The phase. It never goes back: neither from `Running` to `Pending`, when all containers are
/// started again, nor out of `Succeeded` and `Failed`.
pub(super) fn phase(machine: &Machine) -> Phase {
    let is_main = |role| role == Role::Main;
    let counts = |role| matches!(role, Role::Main | Role::Init);
    let all_succeeded = |wanted: &dyn Fn(Role) -> bool| {
        with_role(machine, wanted).all(|(container, _)| {
            !container.is_live() && container.last.as_ref().is_some_and(|end| end.code == 0)
        })
    };
    if machine.finished {
        let is_failure = machine.ending.as_ref().is_some_and(|ending| {
            matches!(
                ending.why,
                Why::Deadline | Why::Evicted(_) | Why::InitFailed
            )
        });
        return if !is_failure && all_succeeded(&counts) {
            Phase::Succeeded
        } else {
            Phase::Failed
        };
    }
    if machine.has_run {
        return Phase::Running;
    }
    // Created and not yet running for the first time.
    let never_ran =
        |container: &Container| container.last.is_none() && container.shown_run().is_none();
    if !machine.is_initialized || with_role(machine, is_main).any(|(c, _)| never_ran(c)) {
        return Phase::Pending;
    }
    Phase::Running
}

/// Names of containers as the messages of conditions list them.
fn list(containers: &[&ContainerPlan]) -> String {
    let names: Vec<&str> = containers.iter().map(|plan| plan.name.as_str()).collect();
    format!("[{}]", names.join(" "))
}

/// `GeneratePodInitializedCondition`.
fn initialized(machine: &Machine, phase: Phase) -> Condition {
    let mut condition = Condition {
        kind: "Initialized".to_owned(),
        is_true: true,
        reason: (phase == Phase::Succeeded).then_some("PodCompleted"),
        message: None,
    };
    let incomplete: Vec<&ContainerPlan> =
        with_role(machine, |role| matches!(role, Role::Init | Role::Sidecar))
            .filter(|(container, plan)| match plan.role {
                Role::Init => container.ended_code() != Some(0),
                Role::Sidecar => !container.is_started(),
                Role::Main | Role::Ephemeral => false,
            })
            .map(|(_, plan)| plan)
            .collect();
    if !machine.is_initialized && !incomplete.is_empty() && phase != Phase::Succeeded {
        condition.is_true = false;
        condition.reason = Some("ContainersNotInitialized");
        condition.message = Some(format!(
            "containers with incomplete status: {}",
            list(&incomplete)
        ));
    }
    condition
}

/// The conditions the kubelet owns, in the order it writes them.
pub(super) fn conditions(machine: &Machine) -> Vec<Condition> {
    let plain = |kind: &str, is_true| Condition {
        kind: kind.to_owned(),
        is_true,
        reason: None,
        message: None,
    };
    let phase = phase(machine);
    let unready: Vec<&ContainerPlan> =
        with_role(machine, |role| matches!(role, Role::Sidecar | Role::Main))
            .filter(|(container, plan)| !container.is_ready(plan))
            .map(|(_, plan)| plan)
            .collect();
    let ready = |kind: &str| {
        let (is_true, reason, message) = match phase {
            Phase::Succeeded => (false, Some("PodCompleted"), None),
            Phase::Failed => (false, Some("PodFailed"), None),
            Phase::Pending | Phase::Running if unready.is_empty() => (true, None, None),
            Phase::Pending | Phase::Running => (
                false,
                Some("ContainersNotReady"),
                Some(format!(
                    "containers with unready status: {}",
                    list(&unready)
                )),
            ),
        };
        Condition {
            kind: kind.to_owned(),
            is_true,
            reason,
            message,
        }
    };
    let mut conditions = vec![
        plain(
            "PodReadyToStartContainers",
            machine.sandbox_ready.is_some() && !machine.finished,
        ),
        initialized(machine, phase),
        gated(machine, ready("Ready")),
        ready("ContainersReady"),
        plain("PodScheduled", true),
    ];
    if let Some(Why::Evicted(message)) = machine.ending.as_ref().map(|ending| &ending.why) {
        conditions.push(Condition {
            kind: "DisruptionTarget".to_owned(),
            is_true: true,
            reason: Some("TerminationByKubelet"),
            message: Some(message.clone()),
        });
    }
    if machine.restart_all_at_ms.is_some() {
        conditions.push(plain("AllContainersRestarting", true));
    }
    for (kind, is_true) in &machine.gates {
        conditions.push(plain(kind, *is_true));
    }
    conditions
}

/// `Ready` needs the conditions of all readiness gates as well (`GeneratePodReadyCondition`).
fn gated(machine: &Machine, ready: Condition) -> Condition {
    let missing: Vec<String> = machine
        .plan
        .readiness_gates
        .iter()
        .filter_map(|gate| match machine.gates.get(gate) {
            Some(true) => None,
            Some(false) => Some(format!(
                "the status of pod readiness gate \"{gate}\" is not \"True\", but False"
            )),
            None => Some(format!(
                "corresponding condition of pod readiness gate \"{gate}\" does not exist."
            )),
        })
        .collect();
    if !ready.is_true || missing.is_empty() {
        return ready;
    }
    Condition {
        is_true: false,
        reason: Some("ReadinessGatesNotReady"),
        message: Some(missing.join(", ")),
        ..ready
    }
}

/// Whether the container counts as waiting for the init containers.
pub(super) fn waits_for_init(machine: &Machine) -> bool {
    machine
        .plan
        .containers
        .iter()
        .any(|plan| matches!(plan.role, Role::Init | Role::Sidecar))
}
