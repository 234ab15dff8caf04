//! The containers of both lists.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::{Rules, env, life, ports, resources, security, volumes};
use crate::names::check_dns_label;

/// What an init container may not have unless it is a sidecar.
const ONLY_FOR_SIDECARS: &str = "may not be set for init containers without restartPolicy=Always";

/// `validateContainers` and `validateInitContainers`.
pub(super) fn check(spec: &PodSpec, rules: &mut Rules<'_>) {
    let mut names = HashSet::new();
    let mut host_ports = HashSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let path = format!("spec.containers[{index}]");
        check_name(&path, container, &mut names, rules);
        check_container(&path, container, spec, rules);
        ports::check(&path, container, spec, &mut host_ports, rules);
        life::check(&path, container, spec, rules);
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let path = format!("spec.initContainers[{index}]");
        check_name(&path, container, &mut names, rules);
        check_container(&path, container, spec, rules);
        // They run one by one: each is checked alone.
        ports::check(&path, container, spec, &mut HashSet::new(), rules);
        if container.restart_policy.as_deref() == Some("Always") {
            life::check(&path, container, spec, rules);
        } else {
            for (field, is_set) in [
                ("lifecycle", container.lifecycle.is_some()),
                ("livenessProbe", container.liveness_probe.is_some()),
                ("readinessProbe", container.readiness_probe.is_some()),
                ("startupProbe", container.startup_probe.is_some()),
            ] {
                if is_set {
                    rules.error_hint(
                        &format!("{path}.{field}"),
                        ONLY_FOR_SIDECARS,
                        "`restartPolicy: Always` makes it a sidecar, which runs beside the containers",
                    );
                }
            }
        }
    }
}

/// Names are unique in both lists.
fn check_name<'a>(
    path: &str,
    container: &'a Container,
    names: &mut HashSet<&'a str>,
    rules: &mut Rules<'_>,
) {
    let path = format!("{path}.name");
    if container.name.is_empty() {
        rules.error(&path, "is required");
    } else if let Err(error) = check_dns_label(&container.name) {
        rules.error(&path, error.rule);
    } else if !names.insert(container.name.as_str()) {
        let message = format!("another container is named `{}`", container.name);
        rules.error(&path, message);
    }
}

/// `validateContainerCommon`.
fn check_container(path: &str, container: &Container, spec: &PodSpec, rules: &mut Rules<'_>) {
    match container.image.as_deref() {
        None | Some("") => rules.error(&format!("{path}.image"), "is required"),
        Some(image) if image.trim() != image => {
            rules.error(&format!("{path}.image"), "has blanks around it");
        }
        Some(_) => {}
    }
    rules.one_of(
        &format!("{path}.imagePullPolicy"),
        container.image_pull_policy.as_ref(),
        &["Always", "IfNotPresent", "Never"],
    );
    for (field, list) in [("command", &container.command), ("args", &container.args)] {
        for (index, text) in list.iter().flatten().enumerate() {
            rules.plain_text(&format!("{path}.{field}[{index}]"), text);
        }
    }
    env::check(path, container, spec, rules);
    resources::check(path, container, rules);
    security::check_container(path, container, spec, rules);
    volumes::check_mounts(path, container, spec, rules);
    life::check_restarts(path, container, rules);
    life::check_termination_message(path, container, rules);
}

#[cfg(test)]
mod tests {
    use crate::manifest::pod::tests::{assert_specs, checked};

    #[test]
    fn names_are_unique_in_both_lists() {
        const MAIN: &str = "containers: [{name: a, image: i}]";
        for (inits, error) in [
            ("[]", ""),
            ("[{name: b, image: i}, {name: c, image: i}]", ""),
            (
                "[{name: b, image: i}, {name: b, image: i}]",
                "spec.initContainers[1].name: another container is named `b`",
            ),
            (
                "[{name: a, image: i}]",
                "spec.initContainers[0].name: another container is named `a`",
            ),
            ("[{image: i}]", "spec.initContainers[0].name: is required"),
        ] {
            assert_specs(&[(&format!("initContainers: {inits}, {MAIN}"), error)]);
        }
        assert_specs(&[(
            "containers: [{name: a, image: i}, {name: a, image: i}]",
            "spec.containers[1].name: another container is named `a`",
        )]);
    }

    #[test]
    fn only_sidecars_have_probes_and_hooks() {
        for field in [
            "livenessProbe: {exec: {command: [x]}}",
            "readinessProbe: {exec: {command: [x]}}",
            "startupProbe: {exec: {command: [x]}}",
            "lifecycle: {preStop: {sleep: {seconds: 1}}}",
        ] {
            let name = field.split(':').next().unwrap();
            let spec = |policy: &str| {
                format!(
                    "initContainers: [{{name: b, image: i, {policy} {field}}}], \
                     containers: [{{name: a, image: i}}]"
                )
            };
            let error = format!(
                "spec.initContainers[0].{name}: may not be set for init containers without \
                 restartPolicy=Always (`restartPolicy: Always` makes it a sidecar, which runs \
                 beside the containers)"
            );
            assert_specs(&[
                (&spec(""), &error),
                (&spec("restartPolicy: Never,"), &error),
                (&spec("restartPolicy: Always,"), ""),
            ]);
        }
    }

    #[test]
    fn an_init_container_is_checked_as_the_others_are() {
        for (fields, error) in [
            ("image: i", ""),
            ("image: ''", "image: is required"),
            (
                "image: i, env: [{name: 'A=', value: x}]",
                "env[0].name: must consist of printable ASCII characters other than '='",
            ),
            (
                "image: i, volumeMounts: [{name: v, mountPath: /v}]",
                "volumeMounts[0].name: the pod has no volume `v`",
            ),
            (
                "image: i, ports: [{containerPort: 0}]",
                "ports[0].containerPort: must be between 1 and 65535",
            ),
            (
                "image: i, ports: [{containerPort: 1, hostPort: 9}, {containerPort: 2, hostPort: 9}]",
                "ports[1].hostPort: port 9 of the host is used twice",
            ),
            (
                "image: i, terminationMessagePolicy: Logs",
                "terminationMessagePolicy: `Logs` is not one of File, FallbackToLogsOnError",
            ),
            (
                "image: i, restartPolicy: Sometimes",
                "restartPolicy: `Sometimes` is not one of Always, OnFailure, Never",
            ),
            (
                "image: i, restartPolicy: Always, livenessProbe: {}",
                "livenessProbe: must specify a handler type",
            ),
        ] {
            let spec = format!(
                "initContainers: [{{name: b, {fields}}}], containers: [{{name: a, image: i}}]"
            );
            let expected = if error.is_empty() {
                String::new()
            } else {
                format!("spec.initContainers[0].{error}")
            };
            assert_specs(&[(&spec, &expected)]);
        }
    }

    #[test]
    fn init_containers_may_use_a_host_port_one_after_the_other() {
        let port = "ports: [{containerPort: 80, hostPort: 8080}]";
        let spec = format!(
            "initContainers: [{{name: b, image: i, {port}}}, {{name: c, image: i, {port}}}], \
             containers: [{{name: a, image: i, {port}}}]"
        );
        assert_specs(&[(&spec, "")]);
        let spec =
            format!("containers: [{{name: a, image: i, {port}}}, {{name: b, image: i, {port}}}]");
        let error = "spec.containers[1].ports[0].hostPort: port 8080 of the host is used twice";
        assert_specs(&[(&spec, error)]);
    }

    #[test]
    fn init_containers_get_the_defaults() {
        let spec = checked(
            "hostNetwork: true, initContainers: [{name: b, image: i, ports: [{containerPort: 80}]}], \
             containers: [{name: a, image: i}]",
        );
        let init = &spec.init_containers.unwrap()[0];
        assert_eq!(init.image_pull_policy.as_deref(), Some("Always"));
        assert_eq!(
            init.termination_message_path.as_deref(),
            Some("/dev/termination-log")
        );
        let port = &init.ports.as_ref().unwrap()[0];
        assert_eq!(port.protocol.as_deref(), Some("TCP"));
        assert_eq!(port.host_port, Some(80));
        let spec = checked("initContainers: [], containers: [{name: a, image: i}]");
        assert_eq!(spec.init_containers, None);
    }
}
