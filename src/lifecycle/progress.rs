//! Whether a pod is what a command waits for, or can never be it.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, PodStatus};

use crate::plan::RestartPolicy;

/// What a command waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: the pod's supervisor has it.
    None,
    /// Its containers were started.
    Running,
    /// It is Ready, or has succeeded already.
    Ready,
    /// It has ended well.
    Done,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not yet.
    Pending,
    /// It is.
    Reached,
    /// It can never be.
    Impossible {
        /// The container that decided it.
        container: Option<String>,
        /// Why, in a few words.
        reason: String,
    },
}

/// Compares a status with what is waited for.
pub fn progress(wait: Wait, policy: RestartPolicy, status: &PodStatus) -> Progress {
    let phase = status.phase.as_deref().unwrap_or("Pending");
    if phase == "Succeeded" {
        return Progress::Reached;
    }
    if phase == "Failed" {
        return impossible(status);
    }
    // Nothing is final while all containers are stopped to be started again.
    let is_final = policy == RestartPolicy::Never
        && !condition_is_true(status, "AllContainersRestarting")
        && first_failed(status).is_some();
    if is_final && wait != Wait::None {
        return impossible(status);
    }
    if let Some((name, end)) = misconfigured(status)
        && wait != Wait::None
    {
        return Progress::Impossible {
            container: Some(name.to_owned()),
            reason: end
                .message
                .clone()
                .unwrap_or_else(|| MISCONFIGURED.to_owned()),
        };
    }
    let reached = match wait {
        Wait::None => true,
        Wait::Running => phase == "Running",
        Wait::Ready => condition_is_true(status, "Ready"),
        Wait::Done => false,
    };
    if reached {
        Progress::Reached
    } else {
        Progress::Pending
    }
}

fn condition_is_true(status: &PodStatus, kind: &str) -> bool {
    status
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == kind && c.status == "True")
}

/// The name and the end of a container that ended with another code than 0.
fn failure(container: &ContainerStatus) -> Option<(&str, &ContainerStateTerminated)> {
    let end = container.state.as_ref()?.terminated.as_ref()?;
    (end.exit_code != 0).then_some((container.name.as_str(), end))
}

/// What a container's start says that its manifest and its image do not allow.
const MISCONFIGURED: &str = "CreateContainerConfigError";

/// A container that can never start, whatever its restart policy is: neither its manifest nor its
/// image changes.
fn misconfigured(status: &PodStatus) -> Option<(&str, &ContainerStateTerminated)> {
    let inits = status.init_container_statuses.iter().flatten();
    let mut all = inits.chain(status.container_statuses.iter().flatten());
    all.find_map(|container| {
        let states = [container.state.as_ref(), container.last_state.as_ref()];
        let ends = states.into_iter().flatten();
        let end = ends
            .filter_map(|state| state.terminated.as_ref())
            .find(|end| end.reason.as_deref() == Some(MISCONFIGURED))?;
        Some((container.name.as_str(), end))
    })
}

/// The container that decided that the pod has failed: the one that failed first, or the init
/// container after which none started. Codes of sidecars do not count: they end after the
/// containers, or come before the init container that failed.
fn first_failed(status: &PodStatus) -> Option<(&str, &ContainerStateTerminated)> {
    let finished = |t: &ContainerStateTerminated| t.finished_at.as_ref().map(|time| time.0);
    let of_main = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(failure)
        .min_by_key(|(_, end)| finished(end));
    let none_ran = status.container_statuses.iter().flatten().all(|container| {
        let state = container.state.as_ref();
        state.is_none_or(|state| state.running.is_none() && state.terminated.is_none())
    });
    let of_init = status
        .init_container_statuses
        .iter()
        .flatten()
        .filter_map(failure)
        .next_back();
    of_main.or(of_init.filter(|_| none_ran))
}

fn impossible(status: &PodStatus) -> Progress {
    match first_failed(status) {
        Some((name, terminated)) => Progress::Impossible {
            container: Some(name.to_owned()),
            reason: match &terminated.message {
                Some(message) => message.clone(),
                None => format!(
                    "{} (exit code {})",
                    terminated.reason.as_deref().unwrap_or("Error"),
                    terminated.exit_code
                ),
            },
        },
        None => Progress::Impossible {
            container: None,
            reason: status
                .message
                .clone()
                .or_else(|| status.reason.clone())
                .unwrap_or_else(|| "the pod has failed".to_owned()),
        },
    }
}

/// The exit code of the container that failed first, an init container among them; ties go to
/// spec order.
pub fn exit_code_of_first_failed(status: &PodStatus) -> Option<i32> {
    first_failed(status).map(|(_, terminated)| terminated.exit_code)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateWaiting, PodCondition,
    };
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    /// A container that ended with this code at this second.
    fn ended(name: &str, code: i32, second: i64) -> ContainerStatus {
        let end = ContainerStateTerminated {
            exit_code: code,
            reason: Some("Error".to_owned()),
            finished_at: Some(Time(jiff::Timestamp::from_second(second).unwrap())),
            ..ContainerStateTerminated::default()
        };
        with_state(
            name,
            ContainerState {
                terminated: Some(end),
                ..ContainerState::default()
            },
        )
    }

    fn running(name: &str) -> ContainerStatus {
        with_state(
            name,
            ContainerState {
                running: Some(ContainerStateRunning::default()),
                ..ContainerState::default()
            },
        )
    }

    fn waiting(name: &str) -> ContainerStatus {
        with_state(
            name,
            ContainerState {
                waiting: Some(ContainerStateWaiting::default()),
                ..ContainerState::default()
            },
        )
    }

    fn with_state(name: &str, state: ContainerState) -> ContainerStatus {
        ContainerStatus {
            name: name.to_owned(),
            state: Some(state),
            ..ContainerStatus::default()
        }
    }

    fn pod(phase: &str, init: Vec<ContainerStatus>, main: Vec<ContainerStatus>) -> PodStatus {
        PodStatus {
            phase: Some(phase.to_owned()),
            init_container_statuses: Some(init),
            container_statuses: Some(main),
            ..PodStatus::default()
        }
    }

    fn decided_by(progress: Progress) -> Option<String> {
        match progress {
            Progress::Impossible { container, .. } => container,
            Progress::Pending | Progress::Reached => None,
        }
    }

    #[test]
    fn what_can_never_start_is_not_waited_for_whatever_the_policy_is() {
        let mut refused = ended("b", 128, 1);
        let end = refused.state.as_mut().unwrap().terminated.as_mut().unwrap();
        end.reason = Some("CreateContainerConfigError".to_owned());
        end.message = Some("container has runAsNonRoot".to_owned());
        let mut backing_off = refused.clone();
        let waiting_state = waiting("b").state.unwrap();
        backing_off.last_state = backing_off.state.replace(waiting_state);
        for container in [refused, backing_off] {
            let status = pod("Pending", Vec::new(), vec![running("a"), container]);
            let found = progress(Wait::Ready, RestartPolicy::Always, &status);
            let expected = Progress::Impossible {
                container: Some("b".to_owned()),
                reason: "container has runAsNonRoot".to_owned(),
            };
            assert_eq!(found, expected);
            let found = progress(Wait::None, RestartPolicy::Always, &status);
            assert_eq!(found, Progress::Reached);
        }
        // Any other failure may mend itself.
        let status = pod("Pending", Vec::new(), vec![ended("b", 128, 1)]);
        let found = progress(Wait::Ready, RestartPolicy::Always, &status);
        assert_eq!(found, Progress::Pending);
    }

    #[test]
    fn the_container_that_failed_first_decides() {
        let main = vec![ended("a", 3, 20), ended("b", 4, 10), ended("c", 0, 5)];
        let status = pod("Failed", vec![], main);
        assert_eq!(exit_code_of_first_failed(&status), Some(4));
        let found = progress(Wait::Ready, RestartPolicy::Never, &status);
        assert_eq!(decided_by(found).as_deref(), Some("b"));
    }

    #[test]
    fn an_init_container_that_failed_decides_when_no_container_ran() {
        let init = || {
            vec![
                ended("sidecar", 143, 30),
                ended("init", 7, 20),
                waiting("next"),
            ]
        };
        for phase in ["Pending", "Failed"] {
            let status = pod(phase, init(), vec![waiting("a")]);
            assert_eq!(exit_code_of_first_failed(&status), Some(7));
            let found = progress(Wait::Running, RestartPolicy::Never, &status);
            assert_eq!(decided_by(found).as_deref(), Some("init"), "{phase}");
        }
    }

    #[test]
    fn the_code_of_a_sidecar_does_not_count() {
        let init = vec![ended("sidecar", 1, 5)];
        let status = pod("Failed", init.clone(), vec![ended("a", 3, 20)]);
        assert_eq!(exit_code_of_first_failed(&status), Some(3));
        let status = pod("Running", init, vec![running("a")]);
        assert_eq!(exit_code_of_first_failed(&status), None);
        let found = progress(Wait::Running, RestartPolicy::Never, &status);
        assert_eq!(found, Progress::Reached);
    }

    #[test]
    fn a_failure_is_final_only_when_nothing_is_restarted() {
        let main = vec![ended("a", 3, 20), running("b")];
        let mut status = pod("Running", vec![], main);
        for policy in [RestartPolicy::Always, RestartPolicy::OnFailure] {
            let found = progress(Wait::Done, policy, &status);
            assert_eq!(found, Progress::Pending);
        }
        let found = progress(Wait::Done, RestartPolicy::Never, &status);
        assert_eq!(decided_by(found).as_deref(), Some("a"));
        status.conditions = Some(vec![PodCondition {
            type_: "AllContainersRestarting".to_owned(),
            status: "True".to_owned(),
            ..PodCondition::default()
        }]);
        let found = progress(Wait::Done, RestartPolicy::Never, &status);
        assert_eq!(found, Progress::Pending);
    }
}
