//! Volumes, and where containers have them.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume, VolumeMount};

use super::{Rules, mounts, projections};
use crate::manifest::{page_size_of_medium, parse_quantity, storage};
use crate::names::{check_dns_label, check_dns_subdomain};

/// Permissions and the bit that keeps others from removing files.
const MOST_MODE: i32 = 0o1777;

/// `ValidateVolumes`.
pub(super) fn check(spec: &PodSpec, rules: &mut Rules<'_>) {
    let mut names = HashSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = format!("spec.volumes[{index}]");
        if volume.name.is_empty() {
            rules.error(&format!("{path}.name"), "is required");
        } else if let Err(error) = check_dns_label(&volume.name) {
            rules.error(&format!("{path}.name"), error.rule);
        } else if !names.insert(volume.name.as_str()) {
            rules.error(
                &format!("{path}.name"),
                format!("another volume is named `{}`", volume.name),
            );
        }
        let sources = [
            volume.empty_dir.is_some(),
            volume.host_path.is_some(),
            volume.config_map.is_some(),
            volume.secret.is_some(),
            volume.downward_api.is_some(),
            volume.projected.is_some(),
            volume.persistent_volume_claim.is_some(),
            volume.ephemeral.is_some(),
            volume.image.is_some(),
        ];
        if sources.into_iter().filter(|is_given| *is_given).count() > 1 {
            rules.error(&path, "has more than one source");
        }
        projections::check(&path, volume, rules);
        check_claims(&path, volume, rules);
        if let Some(image) = &volume.image {
            let at = format!("{path}.image.reference");
            if image.reference.as_deref().unwrap_or_default().is_empty() {
                rules.error(&at, "is required");
            }
            rules.one_of(
                &format!("{path}.image.pullPolicy"),
                image.pull_policy.as_ref(),
                &["Always", "IfNotPresent", "Never"],
            );
        }
        if let Some(empty) = &volume.empty_dir {
            match empty.medium.as_deref() {
                None | Some("" | "Memory") => {}
                Some(medium) if medium.starts_with("HugePages") => {
                    if let Err(message) = page_size_of_medium(spec, medium) {
                        rules.error(&format!("{path}.emptyDir.medium"), message);
                    }
                }
                Some(_) => rules.one_of(
                    &format!("{path}.emptyDir.medium"),
                    empty.medium.as_ref(),
                    &["", "Memory", "HugePages"],
                ),
            }
            if let Some(mode) = empty.mode
                && !(0..=MOST_MODE).contains(&mode)
            {
                rules.error(
                    &format!("{path}.emptyDir.mode"),
                    "must be between 0 and 01777",
                );
            }
            if let Some(Err(message)) = empty.size_limit.as_ref().map(|q| parse_quantity(&q.0)) {
                rules.error(&format!("{path}.emptyDir.sizeLimit"), message);
            }
        }
        if let Some(host) = &volume.host_path {
            if host.path.is_empty() {
                rules.error(&format!("{path}.hostPath.path"), "is required");
            }
            rules.plain_text(&format!("{path}.hostPath.path"), &host.path);
            rules.one_of(
                &format!("{path}.hostPath.type"),
                host.type_.as_ref(),
                &[
                    "",
                    "DirectoryOrCreate",
                    "Directory",
                    "FileOrCreate",
                    "File",
                    "Socket",
                    "CharDevice",
                    "BlockDevice",
                ],
            );
        }
    }
}

/// `validatePersistentClaimVolumeSource` and `validateEphemeralVolumeSource`.
fn check_claims(path: &str, volume: &Volume, rules: &mut Rules<'_>) {
    if let Some(claim) = &volume.persistent_volume_claim {
        let at = format!("{path}.persistentVolumeClaim.claimName");
        if claim.claim_name.is_empty() {
            rules.error(&at, "is required");
        } else if let Err(error) = check_dns_subdomain(&claim.claim_name) {
            rules.error(&at, error.rule);
        }
    }
    if let Some(ephemeral) = &volume.ephemeral {
        let at = format!("{path}.ephemeral.volumeClaimTemplate");
        match &ephemeral.volume_claim_template {
            Some(template) => storage::check_claim(&format!("{at}.spec"), &template.spec, rules),
            None => rules.error(&at, "is required"),
        }
    }
}

/// `ValidateVolumeMounts`.
pub(super) fn check_mounts(
    path: &str,
    container: &Container,
    spec: &PodSpec,
    rules: &mut Rules<'_>,
) {
    let mut paths = HashSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        let known = spec
            .volumes
            .iter()
            .flatten()
            .any(|volume| volume.name == mount.name);
        if !known {
            let nearest = spec
                .volumes
                .iter()
                .flatten()
                .map(|volume| volume.name.as_str())
                .find(|name| strsim::jaro_winkler(name, &mount.name) >= 0.8);
            let message = format!("the pod has no volume `{}`", mount.name.escape_debug());
            match nearest {
                Some(name) => {
                    rules.error_hint(
                        &format!("{path}.name"),
                        message,
                        format!("did you mean `{name}`?"),
                    );
                }
                None => rules.error(&format!("{path}.name"), message),
            }
        }
        check_sub_path(&path, mount, rules);
        mounts::check(&path, mount, container, spec, rules);
        let at = format!("{path}.mountPath");
        if mount.mount_path.is_empty() {
            rules.error(&at, "is required");
            continue;
        }
        rules.plain_text(&at, &mount.mount_path);
        if mount.mount_path.contains(':') {
            rules.error(&at, "must not contain ':'");
        }
        let clean = clean(&mount.mount_path);
        // The kernel's file systems are there; a mount over them would hide what guards the host
        // or send the runtime's own writes elsewhere (CVE-2025-52881).
        let reserved = clean
            .first()
            .is_none_or(|first| matches!(first.as_str(), "proc" | "sys" | "dev"));
        if reserved {
            let message = format!("nothing can be mounted at /{}", clean.join("/"));
            rules.error_hint(
                &at,
                message,
                "/, /proc, /sys and /dev belong to the container itself",
            );
        }
        if !paths.insert(clean) {
            rules.error(&at, "another volume is mounted there");
        }
    }
}

/// `validateLocalDescendingPath`, of `subPath` and of `subPathExpr`.
fn check_sub_path(path: &str, mount: &VolumeMount, rules: &mut Rules<'_>) {
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if given(&mount.sub_path) && given(&mount.sub_path_expr) {
        let message = "subPathExpr and subPath are mutually exclusive";
        rules.error(&format!("{path}.subPathExpr"), message);
    }
    for (name, text) in [
        ("subPath", &mount.sub_path),
        ("subPathExpr", &mount.sub_path_expr),
    ] {
        let text = text.as_deref().unwrap_or_default();
        let at = format!("{path}.{name}");
        rules.plain_text(&at, text);
        if text.starts_with('/') {
            rules.error(&at, "must be a relative path");
        }
        if text.split('/').any(|name| name == "..") {
            rules.error(&at, "must not contain '..'");
        }
    }
}

/// The names of a path, without `.`, `..` and doubled slashes.
pub(super) fn clean(path: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name.to_owned()),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use crate::manifest::pod::tests::assert_specs;

    #[test]
    fn an_empty_dir_has_a_mode_and_a_medium() {
        const MODE: &str = "spec.volumes[0].emptyDir.mode: must be between 0 and 01777";
        let spec = |volume: &str, limits: &str| {
            format!(
                "volumes: [{{name: v, emptyDir: {volume}}}], containers: [{{name: a, image: i, \
                 resources: {{limits: {limits}}}}}]"
            )
        };
        let one = "{memory: 1Gi, hugepages-2Mi: 2Mi}";
        let two = "{memory: 1Gi, hugepages-2Mi: 2Mi, hugepages-1Gi: 1Gi}";
        let medium = |message: &str| format!("spec.volumes[0].emptyDir.medium: {message}");
        for (volume, limits, error) in [
            ("{mode: 0}", "{}", String::new()),
            ("{mode: 01777}", "{}", String::new()),
            ("{mode: 0o700}", "{}", String::new()),
            ("{mode: 02000}", "{}", MODE.to_owned()),
            ("{mode: -1}", "{}", MODE.to_owned()),
            ("{medium: HugePages}", one, String::new()),
            ("{medium: HugePages-2Mi}", two, String::new()),
            (
                "{medium: HugePages}",
                "{}",
                medium("needs a container with a limit of huge pages"),
            ),
            (
                "{medium: HugePages}",
                two,
                medium("does not say of which size: the pod has limits of several"),
            ),
            (
                "{medium: HugePages-1Gi}",
                one,
                medium("needs a container with a limit of pages of this size"),
            ),
            (
                "{medium: HugePages2Mi}",
                one,
                medium("must be HugePages or HugePages-<size>, such as HugePages-2Mi"),
            ),
        ] {
            assert_specs(&[(&spec(volume, limits), &error)]);
        }
    }
}
