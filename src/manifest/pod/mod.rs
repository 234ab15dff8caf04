//! The rules for a Pod (validation.go `ValidatePod`), as far as its fields work here.

mod containers;
pub(crate) mod env;
mod handlers;
mod life;
mod mounts;
mod network;
mod ports;
mod projections;
mod resources;
mod security;
mod volumes;

pub(crate) use network::{MAX_NAMESERVERS, MAX_SEARCH_CHARS, MAX_SEARCHES};
pub(super) use ports::{NAME_RULE as PORT_NAME_RULE, is_service_name};
pub use security::sysctl_path;

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde_json::Value;

use super::problem::{Positions, Problem};
use super::rules::Rules;
use super::{CheckedPod, PodName, defaults, kinds};
use crate::names::check_dns_subdomain;

/// `validatePodSpec`: `activeDeadlineSeconds` is an int64, checked as an int32.
const MAX_DEADLINE: i64 = 2_147_483_647;

pub(super) fn check(
    value: Value,
    places: Positions,
    folder: Option<&PathBuf>,
    problems: &mut Vec<Problem>,
) -> Option<CheckedPod> {
    let metadata = value.get("metadata").cloned().unwrap_or_default();
    let (name, namespace) = kinds::names(&metadata, &places, problems);
    let text = |field: &str| {
        metadata
            .get(field)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let generated = text("generateName");
    let mut rules = Rules {
        places: &places,
        problems,
    };
    if text("name").is_none() && generated.is_none() {
        rules.error("metadata.name", "is required");
    }
    if let Some(base) = generated
        && let Err(error) = check_dns_subdomain(&format!("{base}x"))
    {
        rules.error("metadata.generateName", error.rule);
    }
    let mut pod: Pod = match serde_json::from_value(value) {
        Ok(pod) => pod,
        Err(error) => {
            rules.error("", error.to_string());
            return None;
        }
    };
    security::check_annotations(&pod.metadata, &mut rules);
    let Some(spec) = pod.spec.as_mut() else {
        rules.error("spec", "is required");
        return None;
    };
    defaults::apply(spec);
    check_spec(spec, &mut rules);
    let name = match (name, generated) {
        (Some(name), _) => PodName::Given(name),
        (None, Some(base)) => PodName::Generated(base.to_owned()),
        (None, None) => return None,
    };
    Some(CheckedPod {
        name,
        namespace,
        pod,
        folder: folder.cloned(),
        positions: places,
    })
}

fn check_spec(spec: &PodSpec, rules: &mut Rules<'_>) {
    if spec.containers.is_empty() {
        rules.error("spec.containers", "is required: at least one container");
    }
    rules.one_of(
        "spec.restartPolicy",
        spec.restart_policy.as_ref(),
        &["Always", "OnFailure", "Never"],
    );
    if spec
        .termination_grace_period_seconds
        .is_some_and(|seconds| seconds < 0)
    {
        rules.error("spec.terminationGracePeriodSeconds", "must not be negative");
    }
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let path = format!("spec.readinessGates[{index}].conditionType");
        let kind = gate.condition_type.as_str();
        // `IsQualifiedName`: a name after an optional DNS subdomain.
        let name = kind.rsplit_once('/').map_or(kind, |(_, name)| name);
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 63 || !name.chars().all(is_word) {
            rules.error(&path, "must be a name such as example.com/ready");
        } else {
            let message = "the pod is not Ready before this condition is true";
            let hint = format!("set it: `podrun condition set POD {kind}=True`");
            rules.note(&path, format!("{message}; {hint}"));
        }
    }
    if let Some(seconds) = spec.active_deadline_seconds {
        rules.between("spec.activeDeadlineSeconds", seconds, 1, MAX_DEADLINE);
    }
    network::check(spec, rules);
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        rules.error(
            "spec.shareProcessNamespace",
            "cannot be true when hostPID is true",
        );
    }
    if let Some(os) = &spec.os
        && os.name != "linux"
    {
        rules.error("spec.os.name", "only linux runs here");
    }
    security::check_pod(spec, rules);
    volumes::check(spec, rules);
    containers::check(spec, rules);
    resources::check_pod(spec, rules);
}

#[cfg(test)]
mod tests {
    use crate::manifest::rules::tests::{errors_of, read_text};
    use crate::manifest::{Manifest, Object};

    /// A Pod with this spec, in YAML's flow style.
    pub(super) fn read_spec(spec: &str) -> Manifest {
        read_text(format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{{spec}}}}}"
        ))
    }

    /// The errors of a Pod with this spec.
    fn errors(spec: &str) -> Vec<String> {
        errors_of(&read_spec(spec))
    }

    /// The first error of a Pod with this spec.
    pub(super) fn first_error(spec: &str) -> String {
        errors(spec).into_iter().next().unwrap_or_default()
    }

    /// Each spec has exactly this error, or none when it is empty.
    pub(super) fn assert_specs(table: &[(&str, &str)]) {
        for (spec, error) in table {
            let expected: Vec<&str> = Some(*error)
                .filter(|error| !error.is_empty())
                .into_iter()
                .collect();
            assert_eq!(errors(spec), expected, "{spec}");
        }
    }

    /// Each container has exactly this error, whose path begins below it, or none when it is
    /// empty. It has the ports `web` and `admin`.
    pub(super) fn assert_containers(table: &[(&str, &str)]) {
        const PORTS: &str = "[{name: web, containerPort: 80}, {name: admin, containerPort: 81}]";
        for (fields, error) in table {
            let spec = format!("containers: [{{name: a, image: i, ports: {PORTS}, {fields}}}]");
            let expected = if error.is_empty() {
                String::new()
            } else {
                format!("spec.containers[0].{error}")
            };
            assert_specs(&[(&spec, &expected)]);
        }
    }

    /// The spec of the only Pod, with its defaults.
    pub(super) fn checked(spec: &str) -> k8s_openapi::api::core::v1::PodSpec {
        let mut manifest = read_spec(spec);
        match manifest.objects.pop() {
            Some(Object::Pod(pod)) => pod.pod.spec.unwrap(),
            other => panic!("{other:?} of {spec}: {:?}", manifest.problems),
        }
    }

    #[test]
    fn a_deadline_is_a_positive_int32() {
        const RULE: &str = "spec.activeDeadlineSeconds: must be between 1 and 2147483647";
        for (seconds, error) in [
            ("1", ""),
            ("2147483647", ""),
            ("0", RULE),
            ("-1", RULE),
            ("2147483648", RULE),
        ] {
            let spec =
                format!("activeDeadlineSeconds: {seconds}, containers: [{{name: a, image: i}}]");
            assert_specs(&[(&spec, error)]);
        }
    }
}
