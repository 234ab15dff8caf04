//! What a container finds in its environment (`makeEnvironmentVariables` of the kubelet).

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    Container, EnvVarSource, FileKeySelector, ObjectFieldSelector, ResourceFieldSelector,
};

use super::{Input, PlanProblem, problem, resources, service_links};
use crate::manifest::{parse_quantity, subscript};
use crate::names::{ObjectKind, VolumeName};
use crate::plan::{Amounts, EnvFile, ObjectData, command, env_file};

/// What the values are taken from.
pub(super) struct Facts<'a> {
    pub(super) input: &'a Input<'a>,
    /// `status.podIPs`.
    pub(super) addresses: &'a [IpAddr],
}

/// What a container's manifest declares.
#[derive(Debug)]
pub(super) struct Declared {
    /// Names and values, or marks of values that are in files.
    pub(super) variables: Vec<(String, String)>,
    /// Those files.
    pub(super) files: Vec<EnvFile>,
}

/// The variables of the Services and those that a container's manifest declares, those of `envFrom`
/// first: a later one of the same name wins. Values of sources are taken as they are; written ones may name those before
/// them.
pub(super) fn declared(
    path: &str,
    container: &Container,
    facts: &Facts<'_>,
    problems: &mut Vec<PlanProblem>,
) -> Declared {
    let spec = facts.input.pod.spec.as_ref();
    let has_links = spec.and_then(|spec| spec.enable_service_links) != Some(false);
    let services = if has_links { facts.input.services } else { &[] };
    // What the container declares itself comes over these.
    let mut result = service_links::variables(services);
    let mut files = Vec::new();
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        let path = format!("{path}.envFrom[{index}]");
        let (kind, field, name, optional) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(map), _) => (
                ObjectKind::ConfigMap,
                "configMapRef",
                &map.name,
                map.optional,
            ),
            (None, Some(secret)) => (
                ObjectKind::Secret,
                "secretRef",
                &secret.name,
                secret.optional,
            ),
            (None, None) => continue,
        };
        let path = format!("{path}.{field}.name");
        let Some(object) = object(&path, kind, name, optional, facts, problems) else {
            continue;
        };
        let prefix = source.prefix.as_deref().unwrap_or_default();
        for (key, value) in &object.data {
            if let Some(value) = text(&path, &format!("key `{key}` of it"), value, problems) {
                command::set(&mut result, &format!("{prefix}{key}"), value);
            }
        }
    }
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let path = format!("{path}.env[{index}].valueFrom");
        let value = match &variable.value_from {
            None => {
                let written = variable.value.as_deref().unwrap_or_default();
                Some(command::expand(written, &result))
            }
            Some(EnvVarSource {
                file_key_ref: Some(file),
                ..
            }) => from_file(&variable.name, file, &result, &mut files),
            Some(source) => sourced(&path, source, container, facts, problems),
        };
        if let Some(value) = value {
            command::set(&mut result, &variable.name, value);
        }
    }
    Declared {
        variables: result,
        files,
    }
}

/// The mark of a value that is in a file.
fn from_file(
    name: &str,
    file: &FileKeySelector,
    before: &[(String, String)],
    files: &mut Vec<EnvFile>,
) -> Option<String> {
    // The volume was looked up before.
    let volume = VolumeName::new(file.volume_name.as_str()).ok()?;
    let earlier = before.iter().find(|(known, _)| known == name);
    let mark = env_file::mark(files.len());
    files.push(EnvFile {
        name: name.to_owned(),
        volume,
        path: file.path.clone(),
        key: file.key.clone(),
        optional: file.optional == Some(true),
        otherwise: earlier.map(|(_, value)| value.clone()),
    });
    Some(mark)
}

/// The value of a source; nothing for an optional one that is not there.
fn sourced(
    path: &str,
    source: &EnvVarSource,
    container: &Container,
    facts: &Facts<'_>,
    problems: &mut Vec<PlanProblem>,
) -> Option<String> {
    let (kind, field, name, key, optional) = if let Some(field) = &source.field_ref {
        return Some(pod_field(field, facts));
    } else if let Some(resource) = &source.resource_field_ref {
        return resource_field(
            &format!("{path}.resourceFieldRef"),
            resource,
            Some(container),
            facts,
            problems,
        );
    } else if let Some(map) = &source.config_map_key_ref {
        let kind = ObjectKind::ConfigMap;
        (kind, "configMapKeyRef", &map.name, &map.key, map.optional)
    } else if let Some(secret) = &source.secret_key_ref {
        let kind = ObjectKind::Secret;
        (
            kind,
            "secretKeyRef",
            &secret.name,
            &secret.key,
            secret.optional,
        )
    } else {
        return None;
    };
    let path = format!("{path}.{field}");
    let object = object(
        &format!("{path}.name"),
        kind,
        name,
        optional,
        facts,
        problems,
    )?;
    let data = &object.data;
    match data.get(key) {
        Some(value) => text(&format!("{path}.key"), "its value", value, problems),
        None if optional == Some(true) => None,
        None => {
            let keys: Vec<&str> = data.keys().map(String::as_str).collect();
            problems.push(missing_key(&path, kind, name, key, &keys));
            None
        }
    }
}

/// An object has no such key; `path` is what names it.
pub(super) fn missing_key(
    path: &str,
    kind: ObjectKind,
    name: &str,
    key: &str,
    keys: &[&str],
) -> PlanProblem {
    let near = keys
        .iter()
        .find(|known| strsim::jaro_winkler(known, key) >= 0.8);
    let hint = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if keys.is_empty() => "it has no keys".to_owned(),
        None => format!("it has {}", keys.join(", ")),
    };
    PlanProblem {
        path: format!("{path}.key"),
        message: format!("{}/{name} has no key `{key}`", kind.word()),
        hint: Some(hint),
    }
}

/// The object of a name, which must be there unless it is optional.
pub(super) fn object<'a>(
    path: &str,
    kind: ObjectKind,
    name: &str,
    optional: Option<bool>,
    facts: &Facts<'a>,
    problems: &mut Vec<PlanProblem>,
) -> Option<&'a ObjectData> {
    let found = facts.input.objects.get(&(kind, name.to_owned()));
    if found.is_none() && optional != Some(true) {
        problems.push(PlanProblem {
            path: path.to_owned(),
            message: format!(
                "{}/{name} is not in namespace {}",
                kind.word(),
                facts.input.namespace
            ),
            hint: Some(
                "put it into the files of this command, or `optional: true` if the pod can do \
                 without"
                    .to_owned(),
            ),
        });
    }
    found
}

/// A value as an environment can hold it.
fn text(path: &str, what: &str, value: &[u8], problems: &mut Vec<PlanProblem>) -> Option<String> {
    let text = std::str::from_utf8(value)
        .ok()
        .filter(|text| !text.contains('\0'));
    if text.is_none() {
        problems.push(PlanProblem {
            path: path.to_owned(),
            message: format!("{what} is not text, which an environment is made of"),
            hint: Some("mount it as a file".to_owned()),
        });
    }
    text.map(str::to_owned)
}

/// `podFieldSelectorRuntimeValue`.
pub(super) fn pod_field(field: &ObjectFieldSelector, facts: &Facts<'_>) -> String {
    let input = facts.input;
    let metadata = &input.pod.metadata;
    let spec = input.pod.spec.as_ref();
    if let Some((list, key)) = subscript(&field.field_path) {
        let map = match list {
            "metadata.labels" => &metadata.labels,
            _ => &metadata.annotations,
        };
        let value = map.as_ref().and_then(|map| map.get(key));
        return value.cloned().unwrap_or_default();
    }
    match field.field_path.as_str() {
        "metadata.name" => input.name.to_string(),
        "metadata.namespace" => input.namespace.to_string(),
        "metadata.uid" => input.uid.to_string(),
        "spec.nodeName" => input.host.hostname.clone(),
        "spec.serviceAccountName" => spec
            .and_then(|spec| spec.service_account_name.clone())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned()),
        "status.hostIP" => input.host.addresses.v4.to_string(),
        "status.hostIPs" => joined(&input.host.addresses.list()),
        "status.podIP" => joined(facts.addresses.first().as_slice()),
        "status.podIPs" => joined(facts.addresses),
        // Refused before.
        _ => String::new(),
    }
}

fn joined<T: ToString>(addresses: &[T]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(",")
}

/// `ExtractContainerResourceValue`: the quantity by the divisor, rounded up. What a container does
/// not limit is limited by what the machine has (`MergeContainerResourceLimits`).
pub(super) fn resource_field(
    path: &str,
    resource: &ResourceFieldSelector,
    container: Option<&Container>,
    facts: &Facts<'_>,
    problems: &mut Vec<PlanProblem>,
) -> Option<String> {
    let spec = facts.input.pod.spec.as_ref();
    let named = resource.container_name.as_deref().unwrap_or_default();
    let container = if named.is_empty() {
        container
    } else {
        let known = spec.and_then(|spec| {
            let inits = spec.init_containers.iter().flatten();
            inits.chain(&spec.containers).find(|one| one.name == named)
        });
        if known.is_none() {
            let message = format!("the pod has no container `{named}`");
            problems.push(problem(format!("{path}.containerName"), message));
            return None;
        }
        known
    };
    let own = resources::plan(container.and_then(|it| it.resources.as_ref()));
    let pod = resources::plan(spec.and_then(|it| it.resources.as_ref()));
    let host = facts.input.host;
    let machine = Amounts {
        cpu: Some(host.cpus.saturating_mul(1000)),
        memory: Some(host.memory),
        ephemeral_storage: Some(host.storage),
        ..Amounts::default()
    };
    // Of what has no limit there is as much as the pod, or the machine, has.
    let most = pod.limits.or(&machine);
    let thousandths: u128 = match resource.resource.split_once('.') {
        Some(("limits", name)) => own
            .limits
            .thousandths(name)
            .filter(|limit| *limit > 0)
            .or(most.thousandths(name)),
        Some((_, name)) => own.requests.thousandths(name),
        None => None,
    }
    .unwrap_or(0);
    let divisor = resource
        .divisor
        .as_ref()
        .map_or("1", |divisor| divisor.0.as_str());
    let divisor_thousandths = match divisor {
        "1m" => 1,
        "0" => 1000,
        divisor => u128::from(parse_quantity(divisor).unwrap_or(1)).saturating_mul(1000),
    };
    Some(thousandths.div_ceil(divisor_thousandths.max(1)).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::plan;

    /// What a container with these fields finds, but for what every container does; or what is wrong,
    /// as `path: message (hint)` below the container.
    fn found(fields: Value) -> Result<Vec<String>, String> {
        let mut container = fields;
        container["name"] = "a".into();
        container["image"] = "i".into();
        match plan(&json!({ "containers": [container] })) {
            Ok(plan) => Ok(plan.containers[0]
                .env
                .iter()
                .filter(|(name, _)| name != "PATH" && name != "HOSTNAME")
                .filter(|(name, _)| !name.starts_with("WEB_"))
                .map(|(name, value)| format!("{name}={value}"))
                .collect()),
            Err(problems) => Err(problems
                .iter()
                .map(|problem| {
                    let path = problem.path.strip_prefix("spec.containers[0].").unwrap();
                    let hint = problem.hint.as_deref().unwrap_or("none");
                    format!("{path}: {} ({hint})", problem.message)
                })
                .collect::<Vec<_>>()
                .join("\n")),
        }
    }

    #[test]
    fn services_are_in_the_environment_below_what_the_container_declares() {
        let variables = |links: Value| {
            let env = json!([
                { "name": "WEB_PORT", "value": "mine" },
                { "name": "URL", "value": "$(WEB_SERVICE_HOST):$(WEB_SERVICE_PORT_HTTP)" },
            ]);
            let container = json!({ "name": "a", "image": "i", "env": env });
            let spec = json!({ "enableServiceLinks": links, "containers": [container] });
            plan(&spec).unwrap().containers[0].env.clone()
        };
        let of = |env: &[(String, String)], wanted: &str| {
            let found = env.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        for links in [Value::Null, json!(true)] {
            let env = variables(links);
            assert_eq!(of(&env, "WEB_SERVICE_HOST").as_deref(), Some("10.89.0.1"));
            assert_eq!(of(&env, "WEB_PORT").as_deref(), Some("mine"));
            assert_eq!(of(&env, "URL").as_deref(), Some("10.89.0.1:80"));
            assert_eq!(of(&env, "HEADLESS_SERVICE_HOST"), None);
            assert_eq!(of(&env, "OUTSIDE_SERVICE_HOST"), None);
        }
        let env = variables(json!(false));
        assert_eq!(of(&env, "WEB_SERVICE_HOST"), None);
        let url = of(&env, "URL");
        assert_eq!(
            url.as_deref(),
            Some("$(WEB_SERVICE_HOST):$(WEB_SERVICE_PORT_HTTP)")
        );
    }

    fn value(source: &Value) -> Result<Vec<String>, String> {
        found(json!({ "env": [{ "name": "V", "valueFrom": source }] }))
    }

    #[test]
    fn a_written_value_sees_the_variables_before_it() {
        let env = json!([
            { "name": "A", "value": "$(B)" },
            { "name": "B", "value": "2" },
            { "name": "C", "value": "$(B)$(A)" },
        ]);
        assert_eq!(
            found(json!({ "env": env })).unwrap(),
            ["A=$(B)", "B=2", "C=2$(B)"]
        );
    }

    #[test]
    fn whole_objects_come_first_and_the_later_wins() {
        let map = json!({ "configMapRef": { "name": "map" } });
        let secret = json!({ "secretRef": { "name": "secret" } });
        let prefixed = json!({ "prefix": "P_", "configMapRef": { "name": "map" } });
        // `binaryData` is no part of an environment, and what is in an object is no reference.
        assert_eq!(
            found(json!({ "envFrom": [map] })).unwrap(),
            ["a=1", "b.c=$(a)"]
        );
        assert_eq!(
            found(json!({ "envFrom": [prefixed] })).unwrap(),
            ["P_a=1", "P_b.c=$(a)"]
        );
        let env = json!([{ "name": "a", "value": "mine" }, { "name": "w", "value": "$(b.c)" }]);
        assert_eq!(
            found(json!({ "env": env, "envFrom": [map] })).unwrap(),
            ["a=mine", "b.c=$(a)", "w=$(a)"]
        );
        assert_eq!(
            found(json!({ "envFrom": [secret] })).unwrap_err(),
            "envFrom[0].secretRef.name: key `raw` of it is not text, which an environment is made \
             of (mount it as a file)"
        );
    }

    #[test]
    fn a_key_of_an_object_is_its_value() {
        let map = |key: &str| json!({ "configMapKeyRef": { "name": "map", "key": key } });
        assert_eq!(value(&map("a")).unwrap(), ["V=1"]);
        assert_eq!(value(&map("b.c")).unwrap(), ["V=$(a)"]);
        let secret = |key: &str| json!({ "secretKeyRef": { "name": "secret", "key": key } });
        assert_eq!(value(&secret("word")).unwrap(), ["V=word"]);
        assert_eq!(
            value(&secret("raw")).unwrap_err(),
            "env[0].valueFrom.secretKeyRef.key: its value is not text, which an environment is \
             made of (mount it as a file)"
        );
    }

    #[test]
    fn what_is_not_there_is_named_unless_it_is_optional() {
        const HINT: &str =
            "put it into the files of this command, or `optional: true` if the pod can do without";
        let missing = json!({ "configMapKeyRef": { "name": "other", "key": "a" } });
        assert_eq!(
            value(&missing).unwrap_err(),
            format!(
                "env[0].valueFrom.configMapKeyRef.name: configmap/other is not in namespace \
                 default ({HINT})"
            )
        );
        let missing = json!({ "secretKeyRef": { "name": "secret", "key": "wort" } });
        assert_eq!(
            value(&missing).unwrap_err(),
            "env[0].valueFrom.secretKeyRef.key: secret/secret has no key `wort` (did you mean \
             `word`?)"
        );
        let missing = json!({ "configMapKeyRef": { "name": "map", "key": "zzz" } });
        assert_eq!(
            value(&missing).unwrap_err(),
            "env[0].valueFrom.configMapKeyRef.key: configmap/map has no key `zzz` (it has a, b.c)"
        );
        assert_eq!(
            found(json!({ "envFrom": [{ "secretRef": { "name": "map" } }] })).unwrap_err(),
            format!("envFrom[0].secretRef.name: secret/map is not in namespace default ({HINT})")
        );
        for optional in [
            json!({ "configMapKeyRef": { "name": "other", "key": "a", "optional": true } }),
            json!({ "secretKeyRef": { "name": "secret", "key": "wort", "optional": true } }),
        ] {
            assert!(value(&optional).unwrap().is_empty());
        }
        let optional = json!({ "configMapRef": { "name": "other", "optional": true } });
        assert!(found(json!({ "envFrom": [optional] })).unwrap().is_empty());
    }

    #[test]
    fn fields_of_the_pod_have_the_kubelets_formats() {
        for (path, expected) in [
            ("metadata.name", "p"),
            ("metadata.namespace", "default"),
            ("metadata.uid", "01234567-89ab-4def-8123-456789abcdef"),
            ("metadata.labels['app']", "web"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations['a/b']", "x\ny"),
            ("spec.nodeName", "machine"),
            ("spec.serviceAccountName", "default"),
            ("status.hostIP", "192.0.2.1"),
            ("status.hostIPs", "192.0.2.1,2001:db8::1"),
            ("status.podIP", "10.0.0.7"),
            ("status.podIPs", "10.0.0.7,fd00::7"),
        ] {
            let source = json!({ "fieldRef": { "fieldPath": path } });
            assert_eq!(value(&source).unwrap(), [format!("V={expected}")], "{path}");
        }
    }

    #[test]
    fn what_is_not_limited_is_what_the_machine_has() {
        for (resource, divisor, expected) in [
            ("limits.cpu", "1", "2"),
            ("limits.cpu", "1m", "2000"),
            ("limits.cpu", "0", "2"),
            ("limits.memory", "1", "3221225472"),
            ("limits.memory", "1Gi", "3"),
            // Rounded up.
            ("limits.memory", "1G", "4"),
            ("limits.ephemeral-storage", "1Gi", "5"),
            ("requests.cpu", "1", "0"),
            ("requests.memory", "1Mi", "0"),
        ] {
            let source =
                json!({ "resourceFieldRef": { "resource": resource, "divisor": divisor } });
            let expected = [format!("V={expected}")];
            assert_eq!(value(&source).unwrap(), expected, "{resource} by {divisor}");
        }
        let source =
            json!({ "resourceFieldRef": { "resource": "limits.cpu", "containerName": "b" } });
        assert_eq!(
            value(&source).unwrap_err(),
            "env[0].valueFrom.resourceFieldRef.containerName: the pod has no container `b` (none)"
        );
    }

    #[test]
    fn what_is_limited_is_what_the_container_says() {
        for (resource, divisor, expected) in [
            ("limits.cpu", "1", "1"),
            ("limits.cpu", "1m", "250"),
            ("limits.memory", "1Mi", "64"),
            ("limits.ephemeral-storage", "1Gi", "5"),
            ("requests.cpu", "1m", "100"),
            ("requests.memory", "1", "1048576"),
            ("requests.ephemeral-storage", "1", "0"),
        ] {
            let source =
                json!({ "resourceFieldRef": { "resource": resource, "divisor": divisor } });
            let own = json!({
                "limits": { "cpu": "250m", "memory": "64Mi", "ephemeral-storage": "0" },
                "requests": { "cpu": "100m", "memory": "1Mi" },
            });
            let env = json!([{ "name": "V", "valueFrom": source }]);
            let found = found(json!({ "env": env, "resources": own })).unwrap();
            assert_eq!(found, [format!("V={expected}")], "{resource} by {divisor}");
        }
    }
}
