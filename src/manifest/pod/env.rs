//! A container's environment (validation.go `ValidateEnv`, `validateEnvFrom`).

use k8s_openapi::api::core::v1::{
    Container, EnvVarSource, FileKeySelector, ObjectFieldSelector, PodSpec, ResourceFieldSelector,
};

use super::Rules;
use crate::manifest::parse_quantity;
use crate::names::check_dns_subdomain;

/// `validEnvDownwardAPIFieldPathExpressions`, without the labels and annotations by their key.
const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// `validVolumeDownwardAPIFieldPathExpressions`.
const VOLUME_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "metadata.labels",
    "metadata.annotations",
];

/// `validContainerResourceFieldPathExpressions`, without the hugepages of a size.
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
];

/// `IsConfigMapKey`.
const MAX_KEY: usize = 253;

/// The longest key of a file, in bytes (KEP-3721).
const MAX_FILE_KEY: usize = 128;

pub(super) fn check(path: &str, container: &Container, spec: &PodSpec, rules: &mut Rules<'_>) {
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let path = format!("{path}.env[{index}]");
        if variable.name.is_empty() {
            rules.error(&format!("{path}.name"), "is required");
        } else {
            check_name(&format!("{path}.name"), &variable.name, rules);
        }
        let value = variable.value.as_deref().unwrap_or_default();
        rules.plain_text(&format!("{path}.value"), value);
        if let Some(source) = &variable.value_from {
            let path = format!("{path}.valueFrom");
            if !value.is_empty() {
                rules.error(&path, "may not be set together with `value`");
            }
            check_source(&path, source, spec, rules);
        }
    }
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        let path = format!("{path}.envFrom[{index}]");
        let prefix = source.prefix.as_deref().unwrap_or_default();
        check_name(&format!("{path}.prefix"), prefix, rules);
        match (&source.config_map_ref, &source.secret_ref) {
            (Some(map), None) => {
                check_object(&format!("{path}.configMapRef.name"), &map.name, rules);
            }
            (None, Some(secret)) => {
                check_object(&format!("{path}.secretRef.name"), &secret.name, rules);
            }
            (None, None) => {
                rules.error(&path, "must specify one of: `configMapRef` or `secretRef`");
            }
            (Some(_), Some(_)) => rules.error(&path, "may not have more than one source"),
        }
    }
}

/// `IsRelaxedEnvVarName`.
fn check_name(path: &str, name: &str, rules: &mut Rules<'_>) {
    let printable = |c: char| (' '..='~').contains(&c) && c != '=';
    if !name.chars().all(printable) {
        rules.error(
            path,
            "must consist of printable ASCII characters other than '='",
        );
    }
}

pub(super) fn check_object(path: &str, name: &str, rules: &mut Rules<'_>) {
    if name.is_empty() {
        rules.error(path, "is required");
    } else if let Err(error) = check_dns_subdomain(name) {
        rules.error(path, error.rule);
    }
}

pub(super) fn check_key(path: &str, key: &str, rules: &mut Rules<'_>) {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if key.is_empty() {
        rules.error(path, "is required");
    } else if key.len() > MAX_KEY || !key.chars().all(known) || matches!(key, "." | "..") {
        rules.error(
            path,
            format!("must consist of letters, digits, '-', '_' and '.', at most {MAX_KEY} of them"),
        );
    }
}

/// `validateFileKeySelector`. A file of another kind of volume is not read (KEP-3721).
fn check_file(path: &str, file: &FileKeySelector, spec: &PodSpec, rules: &mut Rules<'_>) {
    let mut volumes = spec.volumes.iter().flatten();
    let volume = volumes.find(|volume| volume.name == file.volume_name);
    let at = format!("{path}.volumeName");
    match volume {
        None => rules.error(
            &at,
            format!(
                "the pod has no volume `{}`",
                file.volume_name.escape_debug()
            ),
        ),
        Some(volume) if volume.empty_dir.is_none() => {
            rules.error(&at, "must be the name of an emptyDir");
        }
        Some(_) => {}
    }
    let at = format!("{path}.path");
    rules.plain_text(&at, &file.path);
    if file.path.is_empty() {
        rules.error(&at, "is required");
    } else if file.path.starts_with('/') {
        rules.error(&at, "must be a relative path");
    } else if file.path.split('/').any(|name| name == "..") {
        rules.error(&at, "must not contain '..'");
    }
    let at = format!("{path}.key");
    if file.key.is_empty() {
        rules.error(&at, "is required");
    } else if file.key.len() > MAX_FILE_KEY {
        rules.error(&at, format!("must be at most {MAX_FILE_KEY} characters"));
    } else {
        check_name(&at, &file.key, rules);
    }
}

/// `validateEnvVarValueFrom`.
fn check_source(path: &str, source: &EnvVarSource, spec: &PodSpec, rules: &mut Rules<'_>) {
    if let Some(field) = &source.field_ref {
        check_field(
            &format!("{path}.fieldRef"),
            field,
            Place::Environment,
            rules,
        );
    }
    if let Some(resource) = &source.resource_field_ref {
        check_resource(&format!("{path}.resourceFieldRef"), resource, rules);
    }
    if let Some(map) = &source.config_map_key_ref {
        check_object(&format!("{path}.configMapKeyRef.name"), &map.name, rules);
        check_key(&format!("{path}.configMapKeyRef.key"), &map.key, rules);
    }
    if let Some(secret) = &source.secret_key_ref {
        check_object(&format!("{path}.secretKeyRef.name"), &secret.name, rules);
        check_key(&format!("{path}.secretKeyRef.key"), &secret.key, rules);
    }
    if let Some(file) = &source.file_key_ref {
        check_file(&format!("{path}.fileKeyRef"), file, spec, rules);
    }
    let given = [
        source.file_key_ref.is_some(),
        source.field_ref.is_some(),
        source.resource_field_ref.is_some(),
        source.config_map_key_ref.is_some(),
        source.secret_key_ref.is_some(),
    ];
    match given.into_iter().filter(|is_given| *is_given).count() {
        0 => rules.error(
            path,
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, \
             `secretKeyRef`, `fileKeyRef`",
        ),
        1 => {}
        _ => rules.error(path, "may not have more than one source"),
    }
}

/// The key of `metadata.labels['key']` or `metadata.annotations['key']`
/// (`SplitMaybeSubscriptedPath`).
pub(crate) fn subscript(path: &str) -> Option<(&str, &str)> {
    let (field, key) = path.strip_suffix("']")?.split_once("['")?;
    matches!(field, "metadata.labels" | "metadata.annotations").then_some((field, key))
}

/// Where a field of the pod is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Environment,
    Volume,
}

pub(super) fn check_field(
    path: &str,
    field: &ObjectFieldSelector,
    place: Place,
    rules: &mut Rules<'_>,
) {
    if let Some(version) = field
        .api_version
        .as_deref()
        .filter(|v| !matches!(*v, "" | "v1"))
    {
        let message = format!("`{}` is not v1", version.escape_debug());
        rules.error(&format!("{path}.apiVersion"), message);
    }
    let (fields, what) = match place {
        Place::Environment => (FIELDS, "an environment"),
        Place::Volume => (VOLUME_FIELDS, "a volume"),
    };
    let at = format!("{path}.fieldPath");
    let wanted = field.field_path.as_str();
    if wanted.is_empty() {
        rules.error(&at, "is required");
    } else if !fields.contains(&wanted) && subscript(wanted).is_none() {
        let message = format!("`{}` cannot be had in {what}", wanted.escape_debug());
        let hint = format!(
            "use one of {}, metadata.labels['<KEY>'], metadata.annotations['<KEY>']",
            fields.join(", ")
        );
        rules.error_hint(&at, message, hint);
    }
}

pub(super) fn check_resource(path: &str, resource: &ResourceFieldSelector, rules: &mut Rules<'_>) {
    let at = format!("{path}.resource");
    let wanted = resource.resource.as_str();
    let is_hugepages =
        wanted.starts_with("limits.hugepages-") || wanted.starts_with("requests.hugepages-");
    if wanted.is_empty() {
        rules.error(&at, "is required");
        return;
    }
    if !RESOURCES.contains(&wanted) && !is_hugepages {
        let message = format!(
            "`{}` is not a resource of a container",
            wanted.escape_debug()
        );
        let hint = format!("use one of {}", RESOURCES.join(", "));
        rules.error_hint(&at, message, hint);
        return;
    }
    let Some(divisor) = &resource.divisor else {
        return;
    };
    let at = format!("{path}.divisor");
    // `validContainerResourceDivisorForCPU`, `…ForMemory` and their like; 0 is what is not written.
    let allowed: &[&str] = if matches!(wanted, "limits.cpu" | "requests.cpu") {
        &["0", "1m", "1"]
    } else {
        &[
            "0", "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
        ]
    };
    if let Err(message) = parse_quantity(&divisor.0) {
        rules.error(&at, message);
    } else {
        rules.one_of(&at, Some(&divisor.0), allowed);
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::pod::tests::assert_specs;

    fn assert_env(env: &str, error: &str) {
        let spec = format!("containers: [{{name: a, image: i, {env}}}]");
        let expected = if error.is_empty() {
            String::new()
        } else {
            format!("spec.containers[0].{error}")
        };
        assert_specs(&[(&spec, &expected)]);
    }

    #[test]
    fn a_variable_has_a_value_or_one_source() {
        for (source, error) in [
            ("configMapKeyRef: {name: m, key: a.b-c_D}", ""),
            ("secretKeyRef: {name: s, key: k, optional: true}", ""),
            ("fieldRef: {fieldPath: metadata.name}", ""),
            ("resourceFieldRef: {resource: limits.cpu, divisor: 1m}", ""),
            (
                "",
                ": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, \
                 `secretKeyRef`, `fileKeyRef`",
            ),
            (
                "configMapKeyRef: {name: m, key: k}, secretKeyRef: {name: s, key: k}",
                ": may not have more than one source",
            ),
            (
                "configMapKeyRef: {key: k}",
                ".configMapKeyRef.name: is required",
            ),
            ("secretKeyRef: {name: s}", ".secretKeyRef.key: is required"),
            (
                "configMapKeyRef: {name: m, key: 'a b'}",
                ".configMapKeyRef.key: must consist of letters, digits, '-', '_' and '.', at most \
                 253 of them",
            ),
            ("fieldRef: {}", ".fieldRef.fieldPath: is required"),
            (
                "fieldRef: {apiVersion: v2, fieldPath: metadata.name}",
                ".fieldRef.apiVersion: `v2` is not v1",
            ),
            (
                "resourceFieldRef: {resource: limits.cpu, divisor: 1Mi}",
                ".resourceFieldRef.divisor: `1Mi` is not one of 0, 1m, 1",
            ),
        ] {
            let error = if error.is_empty() {
                String::new()
            } else {
                format!("env[0].valueFrom{error}")
            };
            assert_env(
                &format!("env: [{{name: V, valueFrom: {{{source}}}}}]"),
                &error,
            );
        }
        assert_env(
            "env: [{name: V, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
            "env[0].valueFrom: may not be set together with `value`",
        );
    }

    #[test]
    fn a_field_is_one_that_an_environment_can_have() {
        for path in [
            "metadata.name",
            "metadata.labels['app.kubernetes.io/name']",
            "metadata.annotations['a']",
            "status.podIPs",
            "spec.serviceAccountName",
        ] {
            let env =
                format!("env: [{{name: V, valueFrom: {{fieldRef: {{fieldPath: \"{path}\"}}}}}}]");
            assert_env(&env, "");
        }
        for path in [
            "metadata.labels",
            "spec.restartPolicy",
            "metadata.labels[a]",
            "status.phase",
        ] {
            let env =
                format!("env: [{{name: V, valueFrom: {{fieldRef: {{fieldPath: \"{path}\"}}}}}}]");
            let spec = format!("containers: [{{name: a, image: i, {env}}}]");
            let error = crate::manifest::pod::tests::first_error(&spec);
            let begin = format!(
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: `{path}` cannot be had"
            );
            assert!(error.starts_with(&begin), "{error}");
        }
    }

    #[test]
    fn what_is_taken_whole_is_one_object_with_a_printable_prefix() {
        for (source, error) in [
            ("configMapRef: {name: m}", ""),
            ("prefix: 'A b.', secretRef: {name: s, optional: true}", ""),
            ("", ": must specify one of: `configMapRef` or `secretRef`"),
            (
                "configMapRef: {name: m}, secretRef: {name: s}",
                ": may not have more than one source",
            ),
            (
                "prefix: 'A=', configMapRef: {name: m}",
                ".prefix: must consist of printable ASCII characters other than '='",
            ),
            ("configMapRef: {}", ".configMapRef.name: is required"),
        ] {
            let error = if error.is_empty() {
                String::new()
            } else {
                format!("envFrom[0]{error}")
            };
            assert_env(&format!("envFrom: [{{{source}}}]"), &error);
        }
    }
}
