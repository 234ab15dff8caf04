//! Volumes of files that are taken from objects and from the pod itself (validation.go
//! `validateConfigMapVolumeSource`, `validateSecretVolumeSource`, `validateDownwardAPIVolumeSource`,
//! `validateProjectedVolumeSource`).

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Volume};

use super::{Rules, env};

/// `fileModeErrorMsg`: the permission bits.
const MAX_MODE: i64 = 0o777;

pub(super) fn check(path: &str, volume: &Volume, rules: &mut Rules<'_>) {
    // Files of one volume are in one directory, whatever they are from.
    let mut paths = HashSet::new();
    if let Some(map) = &volume.config_map {
        let path = format!("{path}.configMap");
        env::check_object(&format!("{path}.name"), &map.name, rules);
        check_mode(&format!("{path}.defaultMode"), map.default_mode, rules);
        rules.id(&format!("{path}.defaultUser"), map.default_user);
        check_items(&path, map.items.as_deref(), &mut paths, rules);
    }
    if let Some(secret) = &volume.secret {
        let path = format!("{path}.secret");
        let name = secret.secret_name.as_deref().unwrap_or_default();
        env::check_object(&format!("{path}.secretName"), name, rules);
        check_mode(&format!("{path}.defaultMode"), secret.default_mode, rules);
        rules.id(&format!("{path}.defaultUser"), secret.default_user);
        check_items(&path, secret.items.as_deref(), &mut paths, rules);
    }
    if let Some(downward) = &volume.downward_api {
        let path = format!("{path}.downwardAPI");
        check_mode(&format!("{path}.defaultMode"), downward.default_mode, rules);
        rules.id(&format!("{path}.defaultUser"), downward.default_user);
        check_downward(&path, downward.items.as_deref(), &mut paths, rules);
    }
    let Some(projected) = &volume.projected else {
        return;
    };
    let path = format!("{path}.projected");
    check_mode(
        &format!("{path}.defaultMode"),
        projected.default_mode,
        rules,
    );
    rules.id(&format!("{path}.defaultUser"), projected.default_user);
    for (index, source) in projected.sources.iter().flatten().enumerate() {
        let path = format!("{path}.sources[{index}]");
        let given = [
            source.config_map.is_some(),
            source.secret.is_some(),
            source.downward_api.is_some(),
        ];
        match given.into_iter().filter(|is_given| *is_given).count() {
            // One that is refused by name is written all the same.
            0 if [
                "serviceAccountToken",
                "clusterTrustBundle",
                "podCertificate",
            ]
            .iter()
            .any(|refused| rules.is_written(&format!("{path}.{refused}"))) => {}
            0 => rules.error(
                &path,
                "must specify one of: `configMap`, `secret`, `downwardAPI`",
            ),
            1 => {}
            _ => rules.error(&path, "may not have more than one source"),
        }
        if let Some(map) = &source.config_map {
            let path = format!("{path}.configMap");
            env::check_object(&format!("{path}.name"), &map.name, rules);
            check_items(&path, map.items.as_deref(), &mut paths, rules);
        }
        if let Some(secret) = &source.secret {
            let path = format!("{path}.secret");
            env::check_object(&format!("{path}.name"), &secret.name, rules);
            check_items(&path, secret.items.as_deref(), &mut paths, rules);
        }
        if let Some(downward) = &source.downward_api {
            let path = format!("{path}.downwardAPI");
            check_downward(&path, downward.items.as_deref(), &mut paths, rules);
        }
    }
}

fn check_mode(path: &str, mode: Option<i32>, rules: &mut Rules<'_>) {
    if let Some(mode) = mode
        && !(0..=MAX_MODE).contains(&i64::from(mode))
    {
        rules.error_hint(
            path,
            "must be between 0 and 0777",
            "modes are octal: write a leading 0, or the decimal number in JSON",
        );
    }
}

fn check_items(
    path: &str,
    items: Option<&[KeyToPath]>,
    paths: &mut HashSet<String>,
    rules: &mut Rules<'_>,
) {
    for (index, item) in items.into_iter().flatten().enumerate() {
        let path = format!("{path}.items[{index}]");
        env::check_key(&format!("{path}.key"), &item.key, rules);
        check_path(&format!("{path}.path"), &item.path, paths, rules);
        check_mode(&format!("{path}.mode"), item.mode, rules);
        rules.id(&format!("{path}.user"), item.user);
    }
}

fn check_downward(
    path: &str,
    items: Option<&[DownwardAPIVolumeFile]>,
    paths: &mut HashSet<String>,
    rules: &mut Rules<'_>,
) {
    for (index, item) in items.into_iter().flatten().enumerate() {
        let path = format!("{path}.items[{index}]");
        check_path(&format!("{path}.path"), &item.path, paths, rules);
        check_mode(&format!("{path}.mode"), item.mode, rules);
        rules.id(&format!("{path}.user"), item.user);
        match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), None) => {
                env::check_field(
                    &format!("{path}.fieldRef"),
                    field,
                    env::Place::Volume,
                    rules,
                );
            }
            (None, Some(resource)) => {
                let path = format!("{path}.resourceFieldRef");
                if resource.container_name.as_deref().is_none_or(str::is_empty) {
                    rules.error(&format!("{path}.containerName"), "is required");
                }
                env::check_resource(&path, resource, rules);
            }
            (None, None) => {
                rules.error(&path, "must specify one of: `fieldRef`, `resourceFieldRef`");
            }
            (Some(_), Some(_)) => rules.error(&path, "may not have more than one source"),
        }
    }
}

/// `ValidateLocalNonReservedPath`.
fn check_path(at: &str, path: &str, paths: &mut HashSet<String>, rules: &mut Rules<'_>) {
    if path.is_empty() {
        rules.error(at, "is required");
        return;
    }
    rules.plain_text(at, path);
    if path.starts_with('/') {
        rules.error(at, "must be a relative path");
        return;
    }
    if path.split('/').any(|part| part == "..") {
        rules.error(at, "must not contain '..'");
        return;
    }
    let names = super::volumes::clean(path);
    match names.first() {
        None => rules.error(at, "names no file"),
        Some(first) if first.starts_with("..") => rules.error(at, "must not start with '..'"),
        Some(_) if !paths.insert(names.join("/")) => {
            rules.error(at, "another file of the volume has this path");
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::pod::tests::assert_specs;

    fn assert_volume(source: &str, error: &str) {
        let spec = format!("containers: [{{name: a, image: i}}], volumes: [{{name: v, {source}}}]");
        let expected = match error {
            "" => String::new(),
            error if error.starts_with(':') => format!("spec.volumes[0]{error}"),
            error => format!("spec.volumes[0].{error}"),
        };
        assert_specs(&[(&spec, &expected)]);
    }

    #[test]
    fn files_of_objects_have_relative_paths_and_modes() {
        const MODE: &str = "must be between 0 and 0777 (modes are octal: write a leading 0, or the \
                            decimal number in JSON)";
        for (items, error) in [
            ("[]", String::new()),
            ("[{key: k, path: a/b.c, mode: 0400}]", String::new()),
            ("[{key: k}]", "[0].path: is required".to_owned()),
            ("[{path: p}]", "[0].key: is required".to_owned()),
            (
                "[{key: k, path: /p}]",
                "[0].path: must be a relative path".to_owned(),
            ),
            (
                "[{key: k, path: a/../p}]",
                "[0].path: must not contain '..'".to_owned(),
            ),
            (
                "[{key: k, path: ./..data}]",
                "[0].path: must not start with '..'".to_owned(),
            ),
            (
                "[{key: k, path: ./.}]",
                "[0].path: names no file".to_owned(),
            ),
            (
                "[{key: k, path: ..p}]",
                "[0].path: must not start with '..'".to_owned(),
            ),
            (
                "[{key: k, path: p, mode: 01000}]",
                format!("[0].mode: {MODE}"),
            ),
            (
                "[{key: k, path: p}, {key: l, path: ./p}]",
                "[1].path: another file of the volume has this path".to_owned(),
            ),
        ] {
            for (head, field) in [
                ("configMap: {name: m", "configMap"),
                ("secret: {secretName: s", "secret"),
            ] {
                let error = if error.is_empty() {
                    String::new()
                } else {
                    format!("{field}.items{error}")
                };
                assert_volume(&format!("{head}, items: {items}}}"), &error);
            }
        }
        assert_volume("configMap: {}", "configMap.name: is required");
        assert_volume("secret: {}", "secret.secretName: is required");
        assert_volume(
            "secret: {secretName: s, defaultMode: 1024}",
            &format!("secret.defaultMode: {MODE}"),
        );
        assert_volume(
            "configMap: {name: m}, emptyDir: {}",
            ": has more than one source",
        );
    }

    #[test]
    fn files_of_the_pod_itself_have_one_source() {
        for (item, error) in [
            ("path: p, fieldRef: {fieldPath: metadata.labels}", ""),
            (
                "path: p, fieldRef: {fieldPath: \"metadata.annotations['a']\"}",
                "",
            ),
            (
                "path: p, resourceFieldRef: {containerName: a, resource: limits.cpu}",
                "",
            ),
            (
                "path: p",
                ": must specify one of: `fieldRef`, `resourceFieldRef`",
            ),
            (
                "path: p, resourceFieldRef: {resource: limits.cpu}",
                ".resourceFieldRef.containerName: is required",
            ),
            (
                "path: p, fieldRef: {fieldPath: status.podIP}",
                ".fieldRef.fieldPath: `status.podIP` cannot be had in a volume (use one of \
                 metadata.name, metadata.namespace, metadata.uid, metadata.labels, \
                 metadata.annotations, metadata.labels['<KEY>'], metadata.annotations['<KEY>'])",
            ),
        ] {
            let error = if error.is_empty() {
                String::new()
            } else {
                format!("downwardAPI.items[0]{error}")
            };
            assert_volume(&format!("downwardAPI: {{items: [{{{item}}}]}}"), &error);
        }
    }

    #[test]
    fn projected_sources_share_one_directory() {
        for (sources, error) in [
            ("[{configMap: {name: m}}, {secret: {name: s}}]", ""),
            (
                "[{}]",
                "[0]: must specify one of: `configMap`, `secret`, `downwardAPI`",
            ),
            (
                "[{configMap: {name: m}, secret: {name: s}}]",
                "[0]: may not have more than one source",
            ),
            (
                "[{configMap: {name: m, items: [{key: k, path: p}]}}, \
                 {secret: {name: s, items: [{key: k, path: p}]}}]",
                "[1].secret.items[0].path: another file of the volume has this path",
            ),
            (
                "[{serviceAccountToken: {path: t}}]",
                "[0].serviceAccountToken: needs an API server that signs tokens (put a token of \
                 your own into a Secret)",
            ),
        ] {
            let error = if error.is_empty() {
                String::new()
            } else {
                format!("projected.sources{error}")
            };
            assert_volume(&format!("projected: {{sources: {sources}}}"), &error);
        }
    }
}
