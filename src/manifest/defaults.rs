//! What the API server fills in (pkg/apis/core/v1/defaults.go).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, HTTPGetAction, LifecycleHandler, PodSpec, Probe,
    ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::amounts::{Amounts, HUGE_PAGES};

type Quantities = BTreeMap<String, Quantity>;

/// `TerminationMessagePathDefault`.
const MESSAGE_PATH: &str = "/dev/termination-log";

/// `ConfigMapVolumeSourceDefaultMode` and its like.
const FILE_MODE: i32 = 0o644;

/// Fills in the defaults of a Pod's fields that podrun uses.
pub(super) fn apply(spec: &mut PodSpec) {
    spec.restart_policy
        .get_or_insert_with(|| "Always".to_owned());
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.dns_policy
        .get_or_insert_with(|| "ClusterFirst".to_owned());
    spec.enable_service_links.get_or_insert(true);
    let host_network = spec.host_network == Some(true);
    for volume in spec.volumes.iter_mut().flatten() {
        let has_source = volume.host_path.is_some()
            || volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.downward_api.is_some()
            || volume.projected.is_some()
            || volume.persistent_volume_claim.is_some()
            || volume.ephemeral.is_some()
            || volume.image.is_some();
        if !has_source && volume.empty_dir.is_none() {
            volume.empty_dir = Some(EmptyDirVolumeSource::default());
        }
        if let Some(image) = &mut volume.image {
            let reference = image.reference.clone().unwrap_or_default();
            image
                .pull_policy
                .get_or_insert_with(|| pull_policy(&reference).to_owned());
        }
        // `SetDefaults_ConfigMapVolumeSource` and its like.
        for mode in [
            volume.config_map.as_mut().map(|it| &mut it.default_mode),
            volume.secret.as_mut().map(|it| &mut it.default_mode),
            volume.downward_api.as_mut().map(|it| &mut it.default_mode),
            volume.projected.as_mut().map(|it| &mut it.default_mode),
        ] {
            mode.map(|mode| mode.get_or_insert(FILE_MODE));
        }
    }
    if spec.init_containers.as_ref().is_some_and(Vec::is_empty) {
        spec.init_containers = None;
    }
    let inits = spec.init_containers.iter_mut().flatten();
    for container in inits.chain(&mut spec.containers) {
        apply_to_container(container, host_network);
    }
    spec.resources = apply_to_pod_resources(spec);
}

/// `defaultHugePagePodLimits` and `defaultPodRequests`: where the pod has limits, what is requested of
/// it is what its containers request, and of what none of them requests as much as its limit.
fn apply_to_pod_resources(spec: &PodSpec) -> Option<ResourceRequirements> {
    let resources = spec.resources.as_ref()?;
    let mut limits = resources.limits.clone().unwrap_or_default();
    let mut requests = resources.requests.clone().unwrap_or_default();
    if !limits.is_empty() {
        let of_containers = Amounts::of_containers(spec, |it| it.limits.as_ref());
        for (name, amount) in of_containers.quantities() {
            if name.starts_with(HUGE_PAGES) && !requests.contains_key(&name) {
                limits.entry(name).or_insert(amount);
            }
        }
        let of_containers = Amounts::of_containers(spec, |it| it.requests.as_ref());
        for (name, amount) in of_containers.quantities() {
            if matches!(name.as_str(), "cpu" | "memory") {
                requests.entry(name).or_insert(amount);
            }
        }
        for (name, limit) in &limits {
            requests
                .entry(name.clone())
                .or_insert_with(|| limit.clone());
        }
    }
    written(limits, requests)
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
    container.resources = container.resources.take().and_then(requests_of_limits);
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

/// `SetDefaults_Pod`: what is limited and not requested is requested up to its limit.
fn requests_of_limits(mut resources: ResourceRequirements) -> Option<ResourceRequirements> {
    let limits = resources.limits.take().unwrap_or_default();
    let mut requests = resources.requests.take().unwrap_or_default();
    for (name, quantity) in &limits {
        requests
            .entry(name.clone())
            .or_insert_with(|| quantity.clone());
    }
    written(limits, requests)
}

/// Nothing at all is what is not written.
fn written(limits: Quantities, requests: Quantities) -> Option<ResourceRequirements> {
    let is_written = !limits.is_empty() || !requests.is_empty();
    is_written.then(|| ResourceRequirements {
        limits: Some(limits).filter(|limits| !limits.is_empty()),
        requests: Some(requests).filter(|requests| !requests.is_empty()),
        ..ResourceRequirements::default()
    })
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

    fn container(value: &serde_json::Value) -> serde_json::Value {
        let mut spec: PodSpec =
            serde_json::from_value(serde_json::json!({"containers": [value]})).unwrap();
        apply(&mut spec);
        serde_json::to_value(&spec.containers[0]).unwrap()
    }

    #[test]
    fn a_probe_is_shown_with_what_holds() {
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let shown = container(&serde_json::json!({
                "name": "a",
                probe: {"httpGet": {"port": "web"}, "initialDelaySeconds": 0, "timeoutSeconds": 0},
            }));
            assert_eq!(
                shown[probe],
                serde_json::json!({
                    "failureThreshold": 3,
                    "httpGet": {"path": "/", "port": "web", "scheme": "HTTP"},
                    "periodSeconds": 10,
                    "successThreshold": 1,
                    "timeoutSeconds": 1,
                }),
                "{probe}"
            );
        }
        let shown = container(&serde_json::json!({
            "name": "a",
            "livenessProbe": {
                "grpc": {"port": 1},
                "initialDelaySeconds": 5, "timeoutSeconds": 6, "periodSeconds": 7,
                "successThreshold": 1, "failureThreshold": 8,
            },
        }));
        assert_eq!(
            shown["livenessProbe"],
            serde_json::json!({
                "failureThreshold": 8,
                "grpc": {"port": 1, "service": ""},
                "initialDelaySeconds": 5,
                "periodSeconds": 7,
                "successThreshold": 1,
                "timeoutSeconds": 6,
            })
        );
    }

    #[test]
    fn a_hooks_request_is_shown_with_what_holds() {
        let get = serde_json::json!({"httpGet": {"port": 1, "path": "/x"}});
        let shown = container(&serde_json::json!({
            "name": "a",
            "lifecycle": {"postStart": get, "preStop": get},
        }));
        let get = serde_json::json!({"httpGet": {"path": "/x", "port": 1, "scheme": "HTTP"}});
        assert_eq!(
            shown["lifecycle"],
            serde_json::json!({"postStart": get, "preStop": get})
        );
    }

    #[test]
    fn a_container_has_last_words_and_no_zeros() {
        let plain = container(&serde_json::json!({"name": "a"}));
        assert_eq!(plain["terminationMessagePath"], "/dev/termination-log");
        assert_eq!(plain["terminationMessagePolicy"], "File");
        let zeros = container(&serde_json::json!({
            "name": "a", "stdin": false, "stdinOnce": false, "tty": false,
            "terminationMessagePath": "", "terminationMessagePolicy": "",
        }));
        assert_eq!(zeros, plain);
        let given = serde_json::json!({
            "name": "a", "stdin": true, "stdinOnce": true, "tty": true,
            "terminationMessagePath": "/tmp/x", "imagePullPolicy": "Never",
            "terminationMessagePolicy": "FallbackToLogsOnError",
        });
        assert_eq!(container(&given), given);
    }
}
