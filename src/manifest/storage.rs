//! The rules for claims and persistent volumes (validation.go `ValidatePersistentVolumeClaim`,
//! `ValidatePersistentVolume`).

use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::problem::{Positions, Problem};
use super::rules::Rules;
use super::{CheckedData, kinds, parse_quantity};
use crate::names::{ObjectKind, check_dns_subdomain};

const ACCESS_MODES: [&str; 4] = [
    "ReadWriteOnce",
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOncePod",
];

/// Checks a claim or a persistent volume.
pub(super) fn check(
    kind: ObjectKind,
    value: Value,
    places: &Positions,
    problems: &mut Vec<Problem>,
) -> Option<CheckedData> {
    let metadata = value.get("metadata").cloned().unwrap_or_default();
    let (name, namespace) = kinds::names(&metadata, places, problems);
    let mut rules = Rules { places, problems };
    rules.required_name(&metadata);
    let completed = if kind == ObjectKind::PersistentVolume {
        if namespace.is_some() {
            rules.error(
                "metadata.namespace",
                "a PersistentVolume belongs to no namespace",
            );
        }
        persistent_volume(value, &mut rules)
    } else {
        claim(value, &mut rules)
    };
    Some(CheckedData {
        kind,
        name: name?,
        namespace: namespace.filter(|_| kind.is_namespaced()),
        value: completed?,
        source: places.source(),
    })
}

fn claim(value: Value, rules: &mut Rules<'_>) -> Option<Value> {
    let mut claim: PersistentVolumeClaim = rules.typed(value)?;
    let Some(spec) = &mut claim.spec else {
        rules.error("spec", "is required");
        return None;
    };
    check_claim("spec", spec, rules);
    spec.volume_mode
        .get_or_insert_with(|| "Filesystem".to_owned());
    serde_json::to_value(claim).ok()
}

/// `ValidatePersistentVolumeClaimSpec`, of a claim and of an ephemeral volume's template.
pub(super) fn check_claim(path: &str, spec: &PersistentVolumeClaimSpec, rules: &mut Rules<'_>) {
    check_access_modes(path, spec.access_modes.as_deref(), rules);
    let requests = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
    let at = format!("{path}.resources.requests.storage");
    match requests.and_then(|requests| requests.get("storage")) {
        None => rules.error_hint(&at, "is required", "such as `storage: 1Gi`"),
        Some(quantity) => match parse_quantity(&quantity.0) {
            Ok(0) => rules.error(&at, "must be greater than zero"),
            Ok(_) => rules.note(&at, "is not enforced: a claim may fill its disk"),
            Err(message) => rules.error(&at, message),
        },
    }
    check_volume_mode(path, spec.volume_mode.as_ref(), rules);
    if let Some(selector) = &spec.selector {
        check_selector(&format!("{path}.selector"), selector, rules);
    }
    check_name(
        &format!("{path}.storageClassName"),
        spec.storage_class_name.as_deref(),
        rules,
    );
    check_name(
        &format!("{path}.volumeName"),
        spec.volume_name.as_deref(),
        rules,
    );
}

fn persistent_volume(value: Value, rules: &mut Rules<'_>) -> Option<Value> {
    let mut volume: PersistentVolume = rules.typed(value)?;
    let Some(spec) = &mut volume.spec else {
        rules.error("spec", "is required");
        return None;
    };
    check_access_modes("spec", spec.access_modes.as_deref(), rules);
    let at = "spec.capacity.storage";
    match spec.capacity.as_ref().and_then(|c| c.get("storage")) {
        None => rules.error_hint(at, "is required", "such as `storage: 1Gi`"),
        Some(quantity) => match parse_quantity(&quantity.0) {
            Ok(0) => rules.error(at, "must be greater than zero"),
            Ok(_) => {}
            Err(message) => rules.error(at, message),
        },
    }
    check_volume_mode("spec", spec.volume_mode.as_ref(), rules);
    let at = "spec.persistentVolumeReclaimPolicy";
    match spec.persistent_volume_reclaim_policy.as_deref() {
        Some("Delete") => rules.note(
            at,
            "the directory stays: podrun removes only what it has made",
        ),
        Some("Recycle") => rules.error_hint(at, "`Recycle` is deprecated", "write `Retain`"),
        _ => rules.one_of(
            at,
            spec.persistent_volume_reclaim_policy.as_ref(),
            &["Retain", "Delete"],
        ),
    }
    check_name(
        "spec.storageClassName",
        spec.storage_class_name.as_deref(),
        rules,
    );
    let sources = [
        (
            "spec.hostPath.path",
            spec.host_path.as_ref().map(|h| &h.path),
        ),
        ("spec.local.path", spec.local.as_ref().map(|l| &l.path)),
    ];
    match sources {
        [(_, None), (_, None)] => rules.error_hint(
            "spec",
            "has no source of the volume",
            "write `hostPath` or `local`",
        ),
        [(_, Some(_)), (_, Some(_))] => rules.error("spec", "has more than one source"),
        _ => {}
    }
    for (at, path) in sources {
        let Some(path) = path else { continue };
        rules.plain_text(at, path);
        if !path.starts_with('/') {
            rules.error(at, "must be an absolute path");
        }
        if path.split('/').any(|name| name == "..") {
            rules.error(at, "must not contain '..'");
        }
    }
    if let Some(host) = &spec.host_path {
        rules.one_of(
            "spec.hostPath.type",
            host.type_.as_ref(),
            &["", "DirectoryOrCreate", "Directory"],
        );
    }
    spec.persistent_volume_reclaim_policy
        .get_or_insert_with(|| "Retain".to_owned());
    spec.volume_mode
        .get_or_insert_with(|| "Filesystem".to_owned());
    serde_json::to_value(volume).ok()
}

fn check_access_modes(path: &str, modes: Option<&[String]>, rules: &mut Rules<'_>) {
    let modes = modes.unwrap_or_default();
    let at = format!("{path}.accessModes");
    if modes.is_empty() {
        let message = format!("is required: one or more of {}", ACCESS_MODES.join(", "));
        rules.error(&at, message);
    }
    for (index, mode) in modes.iter().enumerate() {
        rules.one_of(&format!("{at}[{index}]"), Some(mode), &ACCESS_MODES);
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        rules.error(
            &at,
            "ReadWriteOncePod may not be used with other access modes",
        );
    }
}

fn check_volume_mode(path: &str, mode: Option<&String>, rules: &mut Rules<'_>) {
    let at = format!("{path}.volumeMode");
    if mode.is_some_and(|mode| mode == "Block") {
        rules.error_hint(
            &at,
            "`Block` needs a storage driver",
            "write `Filesystem`, or give a device with a hostPath of type BlockDevice",
        );
    } else {
        rules.one_of(&at, mode, &["Filesystem", "Block"]);
    }
}

fn check_name(path: &str, name: Option<&str>, rules: &mut Rules<'_>) {
    if let Some(name) = name.filter(|name| !name.is_empty())
        && let Err(error) = check_dns_subdomain(name)
    {
        rules.error(path, error.rule);
    }
}

/// `ValidateLabelSelector`.
fn check_selector(path: &str, selector: &LabelSelector, rules: &mut Rules<'_>) {
    for (index, wanted) in selector.match_expressions.iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        if wanted.key.is_empty() {
            rules.error(&format!("{path}.key"), "is required");
        }
        let has_values = wanted.values.iter().flatten().next().is_some();
        match wanted.operator.as_str() {
            "In" | "NotIn" if !has_values => rules.error(
                &format!("{path}.values"),
                "is required when the operator is In or NotIn",
            ),
            "Exists" | "DoesNotExist" if has_values => rules.error(
                &format!("{path}.values"),
                "must be absent when the operator is Exists or DoesNotExist",
            ),
            _ => rules.required_one_of(
                &format!("{path}.operator"),
                &wanted.operator,
                &["In", "NotIn", "Exists", "DoesNotExist"],
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::rules::tests::{errors_of, read_text};

    /// The errors of an object with this kind and spec.
    fn errors(kind: &str, spec: &str) -> Vec<String> {
        errors_of(&read_text(format!(
            "{{apiVersion: v1, kind: {kind}, metadata: {{name: a}}, spec: {{{spec}}}}}"
        )))
    }

    #[test]
    fn claims_follow_the_rules_of_the_api_server() {
        const REST: &str = "resources: {requests: {storage: 1Gi}}";
        for (spec, error) in [
            (format!("accessModes: [ReadWriteOnce], {REST}"), ""),
            (
                REST.to_owned(),
                "spec.accessModes: is required: one or more of ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod",
            ),
            (
                format!("accessModes: [RWO], {REST}"),
                "spec.accessModes[0]: `RWO` is not one of ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod",
            ),
            (
                format!("accessModes: [ReadWriteOncePod, ReadOnlyMany], {REST}"),
                "spec.accessModes: ReadWriteOncePod may not be used with other access modes",
            ),
            (
                "accessModes: [ReadWriteOnce]".to_owned(),
                "spec.resources.requests.storage: is required (such as `storage: 1Gi`)",
            ),
            (
                "accessModes: [ReadWriteOnce], resources: {requests: {storage: 0}}".to_owned(),
                "spec.resources.requests.storage: must be greater than zero",
            ),
            (
                format!("accessModes: [ReadWriteOnce], volumeMode: Block, {REST}"),
                "spec.volumeMode: `Block` needs a storage driver (write `Filesystem`, or give a device with a hostPath of type BlockDevice)",
            ),
            (
                format!(
                    "accessModes: [ReadWriteOnce], selector: {{matchExpressions: [{{key: a, operator: In}}]}}, {REST}"
                ),
                "spec.selector.matchExpressions[0].values: is required when the operator is In or NotIn",
            ),
        ] {
            let expected: Vec<&str> = Some(error).filter(|e| !e.is_empty()).into_iter().collect();
            assert_eq!(errors("PersistentVolumeClaim", &spec), expected, "{spec}");
        }
    }

    #[test]
    fn persistent_volumes_follow_the_rules_of_the_api_server() {
        const REST: &str = "accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}";
        for (spec, error) in [
            (format!("{REST}, hostPath: {{path: /a}}"), ""),
            (format!("{REST}, local: {{path: /a}}"), ""),
            (
                REST.to_owned(),
                "spec: has no source of the volume (write `hostPath` or `local`)",
            ),
            (
                format!("{REST}, local: {{path: /a}}, hostPath: {{path: /a}}"),
                "spec: has more than one source",
            ),
            (
                format!("{REST}, hostPath: {{path: a/b}}"),
                "spec.hostPath.path: must be an absolute path",
            ),
            (
                format!("{REST}, local: {{path: /a/../b}}"),
                "spec.local.path: must not contain '..'",
            ),
            (
                format!("{REST}, local: {{path: /a}}, persistentVolumeReclaimPolicy: Recycle"),
                "spec.persistentVolumeReclaimPolicy: `Recycle` is deprecated (write `Retain`)",
            ),
            (
                "accessModes: [ReadWriteOnce], local: {path: /a}".to_owned(),
                "spec.capacity.storage: is required (such as `storage: 1Gi`)",
            ),
        ] {
            let expected: Vec<&str> = Some(error).filter(|e| !e.is_empty()).into_iter().collect();
            assert_eq!(errors("PersistentVolume", &spec), expected, "{spec}");
        }
    }
}
