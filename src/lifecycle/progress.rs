//! Whether a pod is what a command waits for, or can never be it.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, PodStatus};

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
    if policy == RestartPolicy::Never && wait != Wait::None && !failed(status).is_empty() {
        return impossible(status);
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

/// The containers that ended with another code than 0, in spec order.
fn failed(status: &PodStatus) -> Vec<(&str, &ContainerStateTerminated)> {
    status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| {
            let terminated = container.state.as_ref()?.terminated.as_ref()?;
            (terminated.exit_code != 0).then_some((container.name.as_str(), terminated))
        })
        .collect()
}

fn first_failed(status: &PodStatus) -> Option<(&str, &ContainerStateTerminated)> {
    let finished = |t: &ContainerStateTerminated| t.finished_at.as_ref().map(|time| time.0);
    failed(status)
        .into_iter()
        .min_by_key(|(_, terminated)| finished(terminated))
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

/// The exit code of the container that failed first; ties go to spec order.
pub fn exit_code_of_first_failed(status: &PodStatus) -> Option<i32> {
    first_failed(status).map(|(_, terminated)| terminated.exit_code)
}
