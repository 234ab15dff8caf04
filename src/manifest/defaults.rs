//! What the API server fills in (pkg/apis/core/v1/defaults.go).

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, PodSpec};

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
    for container in &mut spec.containers {
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
