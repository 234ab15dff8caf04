//! Which ids exist in a pod.

use k8s_openapi::api::core::v1::PodSpec;

use super::security::say;
use super::{Input, PlanProblem, problem};
use crate::plan::POD_IDS;

/// How many, when it is not all of them.
pub(super) fn count(spec: &PodSpec, input: &Input<'_>) -> Option<u32> {
    if spec.host_users == Some(false) {
        Some(POD_IDS)
    } else {
        input.host.id_count
    }
}

/// The id that is written at `at`; one that does not exist is refused.
pub(super) fn existing(
    at: String,
    id: i64,
    count: Option<u32>,
    problems: &mut Vec<PlanProblem>,
) -> Option<u32> {
    let Ok(id) = u32::try_from(id) else {
        say(problems, problem(at, "is not an id"));
        return None;
    };
    if let Some(count) = count.filter(|count| id >= *count) {
        let last = count.saturating_sub(1);
        let problem = PlanProblem {
            path: at,
            message: format!(
                "{id} does not exist for this user, whose pods have the ids 0 to {last}"
            ),
            hint: Some("`podrun doctor` says how to get a larger range".to_owned()),
        };
        say(problems, problem);
    }
    Some(id)
}
