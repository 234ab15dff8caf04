//! The status of a pod whose supervisor is gone.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Why nobody looks after a pod any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Its supervisor was killed, and the pod with it.
    Supervisor,
    /// The machine was started again.
    Reboot,
}

/// What is true of such a pod, from its last known status. One that had ended stays as it was.
pub fn lost_status(previous: &PodStatus, why: Lost, now: jiff::Timestamp) -> PodStatus {
    if matches!(previous.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return previous.clone();
    }
    let (reason, message) = match why {
        Lost::Supervisor => (
            "SupervisorLost",
            "the pod's supervisor was killed; all its processes ended with it",
        ),
        Lost::Reboot => ("Reboot", "the machine was restarted"),
    };
    let mut status = previous.clone();
    status.phase = Some("Failed".to_owned());
    status.reason = Some(reason.to_owned());
    status.message = Some(message.to_owned());
    for condition in status.conditions.iter_mut().flatten() {
        let concerned =
            ["Ready", "ContainersReady", "PodReadyToStartContainers"].contains(&&*condition.type_);
        if concerned && condition.status == "True" {
            "False".clone_into(&mut condition.status);
            condition.reason = Some("PodFailed".to_owned());
            condition.last_transition_time = Some(Time(now));
        }
    }
    for container in status.container_statuses.iter_mut().flatten() {
        container.ready = false;
        container.started = Some(false);
        let state = container.state.clone().unwrap_or_default();
        if state.terminated.is_some() {
            continue;
        }
        let started_at = state.running.and_then(|running| running.started_at);
        let terminated = ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some(message.to_owned()),
            started_at,
            container_id: container.container_id.clone(),
            ..ContainerStateTerminated::default()
        };
        container.state = Some(ContainerState {
            terminated: Some(terminated),
            ..ContainerState::default()
        });
    }
    status
}
