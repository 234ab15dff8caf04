//! What a `volumeMounts[]` says about its mount besides its place.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, VolumeMount};

use super::Rules;
use super::volumes::clean;

/// What podrun itself mounts into every container, below `/etc`.
const OWN_FILES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// The attributes of the mount that is written at `path`.
pub(super) fn check(
    path: &str,
    mount: &VolumeMount,
    container: &Container,
    spec: &PodSpec,
    rules: &mut Rules<'_>,
) {
    check_propagation(path, mount, container, rules);
    check_recursive(path, mount, rules);
    check_options(path, mount, spec, rules);
}

/// `validateMountPropagation`.
fn check_propagation(
    path: &str,
    mount: &VolumeMount,
    container: &Container,
    rules: &mut Rules<'_>,
) {
    let at = format!("{path}.mountPropagation");
    rules.one_of(
        &at,
        mount.mount_propagation.as_ref(),
        &["None", "HostToContainer", "Bidirectional"],
    );
    if mount.mount_propagation.as_deref() != Some("Bidirectional") {
        return;
    }
    let security = container.security_context.as_ref();
    if security.and_then(|security| security.privileged) != Some(true) {
        rules.error(
            &at,
            "Bidirectional mount propagation is available only to privileged containers",
        );
    }
    // They would be mounted on the other side as well, and stay there.
    if let Some(inner) = mounted_below(mount, container) {
        rules.error(
            &at,
            format!("cannot be Bidirectional: {inner} of the container is mounted in it"),
        );
    }
}

/// What the container has mounted below this mount.
fn mounted_below(mount: &VolumeMount, container: &Container) -> Option<String> {
    let outer = clean(&mount.mount_path);
    let mounts = container.volume_mounts.iter().flatten();
    let last_words = container.termination_message_path.as_deref();
    mounts
        .map(|mount| mount.mount_path.as_str())
        .chain(OWN_FILES)
        .chain(last_words)
        .find(|inner| {
            let inner = clean(inner);
            inner.len() > outer.len() && inner.starts_with(&outer)
        })
        .map(str::to_owned)
}

/// `validateMountRecursiveReadOnly`.
fn check_recursive(path: &str, mount: &VolumeMount, rules: &mut Rules<'_>) {
    let at = format!("{path}.recursiveReadOnly");
    rules.one_of(
        &at,
        mount.recursive_read_only.as_ref(),
        &["Disabled", "IfPossible", "Enabled"],
    );
    if !matches!(
        mount.recursive_read_only.as_deref(),
        Some("IfPossible" | "Enabled")
    ) {
        return;
    }
    if mount.read_only != Some(true) {
        rules.error(&at, "may only be specified when readOnly is true");
    }
    if !matches!(mount.mount_propagation.as_deref(), None | Some("None")) {
        rules.error(
            &at,
            "may only be specified when mountPropagation is None or not specified",
        );
    }
}

fn check_options(path: &str, mount: &VolumeMount, spec: &PodSpec, rules: &mut Rules<'_>) {
    let mut seen = HashSet::new();
    for (index, option) in mount.bind_mount_options.iter().flatten().enumerate() {
        let at = format!("{path}.bindMountOptions[{index}]");
        rules.one_of(&at, Some(option), &["noexec", "nodev", "nosuid"]);
        if !seen.insert(option) {
            rules.error(&at, format!("`{}` is there twice", option.escape_debug()));
        }
    }
    let mut volumes = spec.volumes.iter().flatten();
    let is_image = volumes.any(|volume| volume.name == mount.name && volume.image.is_some());
    if !seen.is_empty() && is_image {
        let at = format!("{path}.bindMountOptions");
        rules.error(&at, "is not supported with image volumes");
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_specs, first_error};

    #[test]
    fn attributes_of_a_mount_are_what_the_api_allows() {
        let spec = |mount: &str, container: &str| {
            format!(
                "volumes: [{{name: v}}, {{name: w}}], containers: [{{name: a, image: i, \
                 {container} volumeMounts: [{{name: v, mountPath: /v, {mount}}}, \
                 {{name: w, mountPath: /v/w}}]}}]"
            )
        };
        let privileged = "securityContext: {privileged: true},";
        let read_only = "readOnly: true, recursiveReadOnly:";
        for (mount, container, error) in [
            ("recursiveReadOnly: Disabled", "", ""),
            (
                "recursiveReadOnly: Enabled",
                "",
                "spec.containers[0].volumeMounts[0].recursiveReadOnly: may only be specified when \
                 readOnly is true",
            ),
            (&format!("{read_only} Enabled"), "", ""),
            (
                &format!("{read_only} IfPossible, mountPropagation: None"),
                "",
                "",
            ),
            (
                &format!("{read_only} IfPossible, mountPropagation: HostToContainer"),
                "",
                "spec.containers[0].volumeMounts[0].recursiveReadOnly: may only be specified when \
                 mountPropagation is None or not specified",
            ),
            (
                &format!("{read_only} Always"),
                "",
                "spec.containers[0].volumeMounts[0].recursiveReadOnly: `Always` is not one of \
                 Disabled, IfPossible, Enabled",
            ),
            (
                "mountPropagation: 'rshared,suid'",
                "",
                "spec.containers[0].volumeMounts[0].mountPropagation: `rshared,suid` is not one of \
                 None, HostToContainer, Bidirectional",
            ),
            (
                "mountPropagation: Bidirectional",
                "",
                "spec.containers[0].volumeMounts[0].mountPropagation: Bidirectional mount \
                 propagation is available only to privileged containers",
            ),
            (
                "mountPropagation: Bidirectional",
                privileged,
                "spec.containers[0].volumeMounts[0].mountPropagation: cannot be Bidirectional: \
                 /v/w of the container is mounted in it",
            ),
            ("bindMountOptions: [noexec, nodev, nosuid]", "", ""),
            (
                "bindMountOptions: [noexec, 'nosuid,suid']",
                "",
                "spec.containers[0].volumeMounts[0].bindMountOptions[1]: `nosuid,suid` is not one \
                 of noexec, nodev, nosuid",
            ),
            (
                "bindMountOptions: [noexec, noexec]",
                "",
                "spec.containers[0].volumeMounts[0].bindMountOptions[1]: `noexec` is there twice",
            ),
        ] {
            assert_eq!(first_error(&spec(mount, container)), error, "{mount}");
        }
    }

    #[test]
    fn what_podrun_mounts_in_etc_stays_in_the_container() {
        let spec = |path: &str| {
            format!(
                "volumes: [{{name: v}}], containers: [{{name: a, image: i, securityContext: \
                 {{privileged: true}}, volumeMounts: [{{name: v, mountPath: {path}, \
                 mountPropagation: Bidirectional}}]}}]"
            )
        };
        let error = "spec.containers[0].volumeMounts[0].mountPropagation: cannot be Bidirectional: \
                     /etc/hosts of the container is mounted in it";
        assert_specs(&[
            (&spec("/etc"), error),
            (&spec("/etcetera"), ""),
            (&spec("/mnt"), ""),
        ]);
    }
}
