//! The machine's state as a `v1.PodStatus`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, HostIP, LinuxContainerUser, PodCondition, PodIP, PodStatus,
    ResourceRequirements, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::lifecycle::conditions::{Phase, phase, waits_for_init};
use crate::lifecycle::container::{Container, Ended, PostStart, State};
use crate::lifecycle::machine::{Machine, Why};
use crate::plan::{Amounts, ContainerPlan, QosClass, Resources, Role};

/// The message of a pod whose time is over (`active_deadline.go`).
pub(super) const DEADLINE_MESSAGE: &str =
    "Pod was active on the node longer than the specified deadline";

/// The whole status.
pub(super) fn of(machine: &Machine) -> PodStatus {
    let texts = |addresses: Vec<IpAddr>| addresses.into_iter().map(|address| address.to_string());
    let host_ips = texts(machine.plan.host_addresses.list());
    let host_ips: Vec<HostIP> = host_ips.map(|ip| HostIP { ip }).collect();
    let pod_ips = machine.sandbox_ready.is_some().then(|| {
        let ips = texts(machine.plan.addresses());
        ips.map(|ip| PodIP { ip }).collect::<Vec<_>>()
    });
    let pod_ip = pod_ips.as_ref().and_then(|ips| ips.first());
    let (reason, message) = match machine.ending.as_ref().map(|ending| &ending.why) {
        Some(Why::Deadline) => (Some("DeadlineExceeded"), Some(DEADLINE_MESSAGE.to_owned())),
        Some(Why::Evicted(message)) => (Some("Evicted"), Some(message.clone())),
        Some(Why::Deleted | Why::InitFailed | Why::Done) | None => (None, None),
    };
    let statuses = |wanted: &dyn Fn(Role) -> bool| {
        let all: Vec<ContainerStatus> = machine
            .containers
            .iter()
            .zip(&machine.plan.containers)
            .filter(|(_, plan)| wanted(plan.role))
            .map(|(container, plan)| container_status(machine, container, plan))
            .collect();
        (!all.is_empty()).then_some(all)
    };
    let resources = in_force(machine, &machine.plan.resources);
    PodStatus {
        phase: Some(phase(machine).word().to_owned()),
        reason: reason.map(str::to_owned),
        message,
        conditions: Some(
            machine
                .changed
                .conditions
                .iter()
                .cloned()
                .map(|(condition, since)| PodCondition {
                    type_: condition.kind,
                    status: if condition.is_true { "True" } else { "False" }.to_owned(),
                    reason: condition.reason.map(str::to_owned),
                    message: condition.message,
                    last_transition_time: Some(Time(since)),
                    ..PodCondition::default()
                })
                .collect(),
        ),
        host_ip: host_ips.first().map(|first| first.ip.clone()),
        host_ips: Some(host_ips),
        pod_ip: pod_ip.map(|first| first.ip.clone()),
        pod_ips,
        start_time: Some(Time(machine.started_at)),
        qos_class: {
            let class = QosClass::of(&machine.plan.resources, &machine.plan.containers);
            Some(class.word().to_owned())
        },
        resources: resources.as_ref().map(requirements),
        allocated_resources: resources.as_ref().and_then(allocated),
        init_container_statuses: statuses(&|role| matches!(role, Role::Init | Role::Sidecar)),
        container_statuses: statuses(&|role| role == Role::Main),
        ephemeral_container_statuses: statuses(&|role| role == Role::Ephemeral),
        ..PodStatus::default()
    }
}

/// What is in force of resources, if anything is.
fn in_force(machine: &Machine, resources: &Resources) -> Option<Resources> {
    Some(machine.in_force.of(resources)).filter(Resources::is_written)
}

fn requirements(resources: &Resources) -> ResourceRequirements {
    let list = |amounts: &Amounts| Some(amounts.quantities()).filter(|list| !list.is_empty());
    ResourceRequirements {
        limits: list(&resources.limits),
        requests: list(&resources.requests),
        ..ResourceRequirements::default()
    }
}

/// What was requested is what is given.
fn allocated(resources: &Resources) -> Option<BTreeMap<String, Quantity>> {
    requirements(resources).requests
}

fn container_status(
    machine: &Machine,
    container: &Container,
    plan: &ContainerPlan,
) -> ContainerStatus {
    let id = container
        .id
        .as_ref()
        .or_else(|| container.last.as_ref()?.id.as_ref());
    let (state, last) = states(machine, container, plan);
    let (started, ready) = match plan.role {
        // A regular init container is ready when it has succeeded.
        Role::Init => (
            container.shown_run().is_some(),
            container.ended_code() == Some(0),
        ),
        Role::Sidecar | Role::Main | Role::Ephemeral => {
            (container.is_started(), container.is_ready(plan))
        }
    };
    let resources = in_force(machine, &plan.resources);
    ContainerStatus {
        name: plan.name.to_string(),
        image: plan.image.clone(),
        image_id: plan.image_id.clone(),
        container_id: id.map(|id| format!("podrun://{id}")),
        ready,
        started: Some(started),
        restart_count: i32::try_from(container.restarts).unwrap_or(i32::MAX),
        state: Some(state),
        last_state: Some(last),
        resources: resources.as_ref().map(requirements),
        allocated_resources: resources.as_ref().and_then(allocated),
        stop_signal: crate::plan::signal_name(plan.stop_signal),
        volume_mounts: (!plan.mounts.is_empty()).then(|| {
            let mounts = plan.mounts.iter().map(|mount| VolumeMountStatus {
                name: mount.volume.to_string(),
                mount_path: mount.mount_path.clone(),
                read_only: mount.read_only.then_some(true),
                recursive_read_only: mount.read_only.then(|| {
                    let is_recursive = mount.recursive_read_only;
                    if is_recursive { "Enabled" } else { "Disabled" }.to_owned()
                }),
                ..VolumeMountStatus::default()
            });
            mounts.collect()
        }),
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
    let end = |ended: &Option<Ended>| {
        ended
            .as_ref()
            .map_or_else(ContainerState::default, terminated)
    };
    if let Some(run) = container.shown_run() {
        let running = ContainerStateRunning {
            started_at: Some(Time(run.since)),
        };
        let state = ContainerState {
            running: Some(running),
            ..ContainerState::default()
        };
        return (state, end(&container.last));
    }
    match &container.state {
        State::Running(run) if run.post_start == PostStart::Failed => {
            (waiting("PostStartHookError", None), end(&container.last))
        }
        State::Waiting | State::Starting { .. } | State::Running(_) => {
            // `PodInitializing` is what the kubelet says of every container of a pod with init
            // containers that has not been created.
            let reason = if waits_for_init(machine) && plan.role != Role::Ephemeral {
                "PodInitializing"
            } else {
                "ContainerCreating"
            };
            (waiting(reason, None), end(&container.last))
        }
        // The kubelet shows a start error as the end of a run, and a back-off over it.
        State::Ended {
            restart_at_ms: Some(_),
            delay_ms,
        } if *delay_ms > 0 => {
            let message = format!(
                "back-off {} restarting failed container={} pod={}_{}({})",
                go_duration(*delay_ms),
                plan.name,
                machine.plan.name,
                machine.plan.namespace,
                machine.plan.uid
            );
            (
                waiting("CrashLoopBackOff", Some(message)),
                end(&container.last),
            )
        }
        State::Ended { .. } => (end(&container.last), end(&container.previous)),
    }
}

/// The `BackOff` event of a container.
pub(super) fn back_off_message(machine: &Machine, index: usize) -> String {
    let name = machine
        .plan
        .containers
        .get(index)
        .map_or("", |plan| plan.name.as_str());
    format!(
        "Back-off restarting failed container {name} in pod {}_{}({})",
        machine.plan.name, machine.plan.namespace, machine.plan.uid
    )
}

/// Whether the phase is `Running` now.
pub(super) fn is_running(machine: &Machine) -> bool {
    phase(machine) == Phase::Running
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
