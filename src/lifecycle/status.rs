//! The machine's state as a `v1.PodStatus` (`kubelet_pods.go` `getPhase`, status/generate.go).

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, HostIP, LinuxContainerUser, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::lifecycle::machine::{Container, Ended, Machine, State};
use crate::plan::{ContainerPlan, Network, RestartPolicy};

/// One condition without its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    kind: &'static str,
    is_true: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

/// When each condition changed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Changed {
    conditions: Vec<(Condition, jiff::Timestamp)>,
    created: jiff::Timestamp,
}

impl Changed {
    pub(super) const fn new(created: jiff::Timestamp) -> Self {
        Self {
            conditions: Vec::new(),
            created,
        }
    }

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
enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

fn phase(machine: &Machine) -> Phase {
    let never_ran =
        |c: &Container| c.last.is_none() && matches!(c.state, State::Waiting | State::Starting);
    let is_running = |c: &Container| matches!(c.state, State::Running { .. });
    if machine.containers.iter().any(never_ran) && !machine.finished {
        return Phase::Pending;
    }
    if machine.containers.iter().any(is_running) {
        return Phase::Running;
    }
    let all_succeeded = machine
        .containers
        .iter()
        .all(|c| c.last.as_ref().is_some_and(|ended| ended.code == 0));
    if machine.finished {
        return if all_succeeded {
            Phase::Succeeded
        } else {
            Phase::Failed
        };
    }
    match machine.plan.restart_policy {
        RestartPolicy::Always => Phase::Running,
        RestartPolicy::OnFailure if !all_succeeded => Phase::Running,
        RestartPolicy::OnFailure => Phase::Succeeded,
        RestartPolicy::Never if all_succeeded => Phase::Succeeded,
        RestartPolicy::Never => Phase::Failed,
    }
}

/// The conditions the kubelet owns, in the order it writes them.
pub(super) fn conditions(machine: &Machine) -> Vec<Condition> {
    let plain = |kind, is_true| Condition {
        kind,
        is_true,
        reason: None,
        message: None,
    };
    let unready: Vec<&str> = machine
        .containers
        .iter()
        .zip(&machine.plan.containers)
        .filter(|(container, _)| !matches!(container.state, State::Running { .. }))
        .map(|(_, plan)| plan.name.as_str())
        .collect();
    let ready = |kind| match phase(machine) {
        Phase::Succeeded => Condition {
            kind,
            is_true: false,
            reason: Some("PodCompleted"),
            message: None,
        },
        Phase::Failed => Condition {
            kind,
            is_true: false,
            reason: Some("PodFailed"),
            message: None,
        },
        Phase::Pending | Phase::Running if unready.is_empty() => plain(kind, true),
        Phase::Pending | Phase::Running => Condition {
            kind,
            is_true: false,
            reason: Some("ContainersNotReady"),
            message: Some(format!(
                "containers with unready status: [{}]",
                unready.join(" ")
            )),
        },
    };
    let initialized = Condition {
        kind: "Initialized",
        is_true: true,
        reason: (phase(machine) == Phase::Succeeded).then_some("PodCompleted"),
        message: None,
    };
    vec![
        plain(
            "PodReadyToStartContainers",
            machine.sandbox_ready.is_some() && !machine.finished,
        ),
        initialized,
        ready("Ready"),
        ready("ContainersReady"),
        plain("PodScheduled", true),
    ]
}

/// The whole status.
pub(super) fn of(machine: &Machine) -> PodStatus {
    let (host_ip, pod_ip) = match machine.plan.network {
        Network::Host { address } => (Some(address.to_string()), Some(address.to_string())),
        Network::Pod { address, .. } => (None, Some(address.to_string())),
    };
    let pod_ip = pod_ip.filter(|_| machine.sandbox_ready.is_some());
    let phase = match phase(machine) {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
    };
    let mut noted = machine.changed.clone();
    noted.note(conditions(machine), machine.changed.created);
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(
            noted
                .conditions
                .into_iter()
                .map(|(condition, since)| PodCondition {
                    type_: condition.kind.to_owned(),
                    status: if condition.is_true { "True" } else { "False" }.to_owned(),
                    reason: condition.reason.map(str::to_owned),
                    message: condition.message,
                    last_transition_time: Some(Time(since)),
                    ..PodCondition::default()
                })
                .collect(),
        ),
        host_ips: host_ip.clone().map(|ip| vec![HostIP { ip }]),
        host_ip,
        pod_ips: pod_ip.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip,
        start_time: Some(Time(machine.started_at)),
        qos_class: Some("BestEffort".to_owned()),
        container_statuses: Some(
            machine
                .containers
                .iter()
                .zip(&machine.plan.containers)
                .map(|(container, plan)| container_status(machine, container, plan))
                .collect(),
        ),
        ..PodStatus::default()
    }
}

fn container_status(
    machine: &Machine,
    container: &Container,
    plan: &ContainerPlan,
) -> ContainerStatus {
    let is_running = matches!(container.state, State::Running { .. });
    let id = container
        .id
        .as_ref()
        .or_else(|| container.last.as_ref()?.id.as_ref());
    let (state, last) = states(machine, container, plan);
    ContainerStatus {
        name: plan.name.to_string(),
        image: plan.image.clone(),
        image_id: plan.image_id.clone(),
        container_id: id.map(|id| format!("podrun://{id}")),
        ready: is_running,
        started: Some(is_running),
        restart_count: i32::try_from(container.restarts).unwrap_or(i32::MAX),
        state: Some(state),
        last_state: Some(last),
        user: container.user.as_ref().map(|user| ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: i64::from(user.uid),
                gid: i64::from(user.gid),
                supplemental_groups: Some(
                    user.supplemental_groups
                        .iter()
                        .map(|gid| i64::from(*gid))
                        .collect(),
                ),
            }),
        }),
        ..ContainerStatus::default()
    }
}

fn states(
    machine: &Machine,
    container: &Container,
    plan: &ContainerPlan,
) -> (ContainerState, ContainerState) {
    let last = |ended: &Option<Ended>| {
        ended
            .as_ref()
            .map_or_else(ContainerState::default, terminated)
    };
    match container.state {
        State::Waiting | State::Starting if container.last.is_none() => (
            waiting("ContainerCreating", None),
            ContainerState::default(),
        ),
        State::Waiting | State::Starting => {
            (waiting("ContainerCreating", None), last(&container.last))
        }
        State::Running { since } => {
            let running = ContainerStateRunning {
                started_at: Some(Time(since)),
            };
            let state = ContainerState {
                running: Some(running),
                ..ContainerState::default()
            };
            (state, last(&container.last))
        }
        // The kubelet shows a start error as the end of a run, and a back-off over it.
        State::Ended {
            restart_at_ms: Some(_),
            delay_ms,
        } if delay_ms > 0 => {
            let message = format!(
                "back-off {} restarting failed container={} pod={}_{}({})",
                go_duration(delay_ms),
                plan.name,
                machine.plan.name,
                machine.plan.namespace,
                machine.plan.uid
            );
            (
                waiting("CrashLoopBackOff", Some(message)),
                last(&container.last),
            )
        }
        State::Ended { .. } => (last(&container.last), last(&container.previous)),
    }
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting {
        reason: Some(reason.to_owned()),
        message,
    };
    ContainerState {
        waiting: Some(waiting),
        ..ContainerState::default()
    }
}

fn terminated(ended: &Ended) -> ContainerState {
    let terminated = ContainerStateTerminated {
        exit_code: ended.code,
        reason: Some(ended.reason.clone()),
        message: ended.message.clone(),
        started_at: ended.started_at.map(Time),
        finished_at: Some(Time(ended.finished_at)),
        container_id: ended.id.as_ref().map(|id| format!("podrun://{id}")),
        ..ContainerStateTerminated::default()
    };
    ContainerState {
        terminated: Some(terminated),
        ..ContainerState::default()
    }
}

/// A duration as Go prints it: `10s`, `2m40s`, `500ms`.
fn go_duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    if !ms.is_multiple_of(1_000) {
        return format!("{ms}ms");
    }
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        assert_eq!(go_duration(10_000), "10s");
        assert_eq!(go_duration(160_000), "2m40s");
        assert_eq!(go_duration(300_000), "5m0s");
        assert_eq!(go_duration(50), "50ms");
    }
}
