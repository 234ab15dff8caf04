//! What the API server fills in (pkg/apis/core/v1/defaults.go).

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, HTTPGetAction, LifecycleHandler, PodSpec, Probe,
};

/// `TerminationMessagePathDefault`.
const MESSAGE_PATH: &str = "/dev/termination-log";

/// Fills in the defaults of a Pod's fields that podrun uses.
pub(super) fn apply(spec: &mut PodSpec) {
    spec.restart_policy
        .get_or_insert_with(|| "Always".to_owned());
    spec.termination_grace_period_seconds.get_or_insert(30);
    let host_network = spec.host_network == Some(true);
    for volume in spec.volumes.iter_mut().flatten() {
        if volume.host_path.is_none() && volume.empty_dir.is_none() {
            volume.empty_dir = Some(EmptyDirVolumeSource::default());
        }
    }
    if spec.init_containers.as_ref().is_some_and(Vec::is_empty) {
        spec.init_containers = None;
    }
    let inits = spec.init_containers.iter_mut().flatten();
    for container in inits.chain(&mut spec.containers) {
        apply_to_container(container, host_network);
    }
}

fn apply_to_container(container: &mut Container, host_network: bool) {
    let image = container.image.clone().unwrap_or_default();
    container
        .image_pull_policy
        .get_or_insert_with(|| pull_policy(&image).to_owned());
    for port in container.ports.iter_mut().flatten() {
        port.protocol.get_or_insert_with(|| "TCP".to_owned());
        if host_network && port.host_port.is_none_or(|port| port == 0) {
            port.host_port = Some(port.container_port);
        }
    }
    text(&mut container.termination_message_path, MESSAGE_PATH);
    text(&mut container.termination_message_policy, "File");
    for flag in [
        &mut container.stdin,
        &mut container.stdin_once,
        &mut container.tty,
    ] {
        *flag = flag.filter(|value| *value);
    }
    for probe in [
        &mut container.startup_probe,
        &mut container.liveness_probe,
        &mut container.readiness_probe,
    ] {
        probe.iter_mut().for_each(apply_to_probe);
    }
    if let Some(lifecycle) = &mut container.lifecycle {
        let hooks = [&mut lifecycle.post_start, &mut lifecycle.pre_stop];
        hooks.into_iter().flatten().for_each(apply_to_hook);
    }
}

/// `SetDefaults_Probe`: a zero is what is not written.
fn apply_to_probe(probe: &mut Probe) {
    for (field, value) in [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ] {
        *field = field.filter(|given| *given != 0).or(Some(value));
    }
    probe.initial_delay_seconds = probe.initial_delay_seconds.filter(|given| *given != 0);
    probe.http_get.iter_mut().for_each(apply_to_http_get);
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn apply_to_hook(hook: &mut LifecycleHandler) {
    hook.http_get.iter_mut().for_each(apply_to_http_get);
}

/// `SetDefaults_HTTPGetAction`.
fn apply_to_http_get(get: &mut HTTPGetAction) {
    text(&mut get.path, "/");
    text(&mut get.scheme, "HTTP");
}

/// An empty text is what is not written.
fn text(field: &mut Option<String>, default: &str) {
    if field.as_ref().is_none_or(String::is_empty) {
        *field = Some(default.to_owned());
    }
}

/// `Always` for `latest`, written or meant; a digest or another tag is what it is.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.rsplit_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pull_policy_follows_the_tag() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("localhost:5000/nginx", "Always"),
            ("localhost:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:00", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
