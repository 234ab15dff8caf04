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
    let containers = [
        &mut status.init_container_statuses,
        &mut status.container_statuses,
        &mut status.ephemeral_container_statuses,
    ];
    for container in containers.into_iter().flatten().flatten() {
        container.started = Some(false);
        let state = container.state.clone().unwrap_or_default();
        if let Some(end) = &state.terminated {
            // An init container that has succeeded stays ready.
            container.ready &= end.exit_code == 0;
            continue;
        }
        container.ready = false;
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ContainerStateRunning, ContainerStatus, PodCondition};

    use super::*;

    fn at(seconds: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(seconds).unwrap()
    }

    fn container(name: &str, code: Option<i32>) -> ContainerStatus {
        let terminated = code.map(|exit_code| ContainerStateTerminated {
            exit_code,
            reason: Some("Completed".to_owned()),
            ..ContainerStateTerminated::default()
        });
        let running = terminated.is_none().then(|| ContainerStateRunning {
            started_at: Some(Time(at(5))),
        });
        ContainerStatus {
            name: name.to_owned(),
            ready: true,
            started: Some(true),
            container_id: Some(format!("podrun://{name}")),
            state: Some(ContainerState {
                running,
                terminated,
                ..ContainerState::default()
            }),
            ..ContainerStatus::default()
        }
    }

    #[test]
    fn whatever_ran_in_a_lost_pod_has_an_unknown_end() {
        let previous = PodStatus {
            phase: Some("Running".to_owned()),
            conditions: Some(vec![PodCondition {
                type_: "Ready".to_owned(),
                status: "True".to_owned(),
                ..PodCondition::default()
            }]),
            init_container_statuses: Some(vec![
                container("init", Some(0)),
                container("sidecar", None),
            ]),
            container_statuses: Some(vec![container("main", None)]),
            ephemeral_container_statuses: Some(vec![container("debug", None)]),
            ..PodStatus::default()
        };
        let status = lost_status(&previous, Lost::Supervisor, at(100));
        assert_eq!(status.phase.as_deref(), Some("Failed"));
        assert_eq!(status.reason.as_deref(), Some("SupervisorLost"));
        let ready = &status.conditions.unwrap()[0];
        assert_eq!(ready.status, "False");
        assert_eq!(ready.reason.as_deref(), Some("PodFailed"));
        assert_eq!(ready.last_transition_time, Some(Time(at(100))));
        let init = status.init_container_statuses.unwrap();
        assert!(init[0].ready, "it has succeeded before");
        let end = init[0].state.as_ref().unwrap().terminated.as_ref().unwrap();
        assert_eq!(end.exit_code, 0);
        let lost = [
            &init[1],
            &status.container_statuses.unwrap()[0],
            &status.ephemeral_container_statuses.unwrap()[0],
        ];
        for container in lost {
            assert!(!container.ready, "{}", container.name);
            assert_eq!(container.started, Some(false));
            let state = container.state.as_ref().unwrap();
            assert!(state.running.is_none());
            let end = state.terminated.as_ref().unwrap();
            assert_eq!(end.exit_code, 137);
            assert_eq!(end.reason.as_deref(), Some("ContainerStatusUnknown"));
            assert_eq!(end.started_at, Some(Time(at(5))));
        }
    }

    #[test]
    fn a_pod_that_had_ended_stays_as_it_was() {
        for phase in ["Succeeded", "Failed"] {
            let previous = PodStatus {
                phase: Some(phase.to_owned()),
                container_statuses: Some(vec![container("main", Some(0))]),
                ..PodStatus::default()
            };
            assert_eq!(lost_status(&previous, Lost::Reboot, at(100)), previous);
        }
    }
}
