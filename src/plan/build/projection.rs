//! The files of configMap, secret, downwardAPI and projected volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector, Volume, VolumeProjection,
};

use super::env::{self, Facts};
use super::{Input, PlanProblem, ids, problem};
use crate::names::ObjectKind;
use crate::plan::{FileContent, ProjectedFile};

/// `ConfigMapVolumeSourceDefaultMode` and its like.
const DEFAULT_MODE: i32 = 0o644;

/// Whether podrun writes this volume's files.
pub(super) const fn is_projected(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// The files of a volume; nothing for a volume of another kind.
pub(super) fn files(
    path: &str,
    volume: &Volume,
    input: &Input<'_>,
    problems: &mut Vec<PlanProblem>,
) -> Option<Vec<ProjectedFile>> {
    let facts = Facts {
        input,
        addresses: &[],
    };
    let mut tree = Tree {
        files: Vec::new(),
        problems,
    };
    if let Some(map) = &volume.config_map {
        let reference = Reference {
            name_field: "name",
            kind: ObjectKind::ConfigMap,
            name: &map.name,
            items: map.items.as_deref(),
            optional: map.optional,
        };
        let path = format!("{path}.configMap");
        let rights = tree.default(&path, map.default_mode, map.default_user, &facts);
        tree.add_object(&path, &reference, rights, &facts);
    } else if let Some(secret) = &volume.secret {
        let reference = Reference {
            name_field: "secretName",
            kind: ObjectKind::Secret,
            name: secret.secret_name.as_deref().unwrap_or_default(),
            items: secret.items.as_deref(),
            optional: secret.optional,
        };
        let path = format!("{path}.secret");
        let rights = tree.default(&path, secret.default_mode, secret.default_user, &facts);
        tree.add_object(&path, &reference, rights, &facts);
    } else if let Some(downward) = &volume.downward_api {
        let path = format!("{path}.downwardAPI");
        let items = downward.items.as_deref().unwrap_or_default();
        let (mode, user) = (downward.default_mode, downward.default_user);
        let rights = tree.default(&path, mode, user, &facts);
        tree.add_fields(&path, items, rights, &facts);
    } else if let Some(projected) = &volume.projected {
        let path = format!("{path}.projected");
        let (mode, user) = (projected.default_mode, projected.default_user);
        let rights = tree.default(&path, mode, user, &facts);
        for (index, source) in projected.sources.iter().flatten().enumerate() {
            let path = format!("{path}.sources[{index}]");
            tree.add_projection(&path, source, rights, &facts);
        }
    } else {
        return None;
    }
    Some(tree.files)
}

/// A reference to an object whose keys become files.
struct Reference<'a> {
    name_field: &'static str,
    kind: ObjectKind,
    name: &'a str,
    items: Option<&'a [KeyToPath]>,
    optional: Option<bool>,
}

/// Whose a file is, and who may read it.
#[derive(Clone, Copy)]
struct Rights {
    mode: Option<i32>,
    /// Checked.
    user: Option<u32>,
}

struct Tree<'a> {
    files: Vec<ProjectedFile>,
    problems: &'a mut Vec<PlanProblem>,
}

impl Tree<'_> {
    /// The rights of the files that say nothing themselves.
    fn default(
        &mut self,
        path: &str,
        mode: Option<i32>,
        user: Option<i64>,
        facts: &Facts<'_>,
    ) -> Rights {
        let none = Rights {
            mode: None,
            user: None,
        };
        self.rights(path, "defaultUser", mode, user, none, facts)
    }

    /// What is said at `path`, and otherwise what `or` says.
    fn rights(
        &mut self,
        path: &str,
        field: &str,
        mode: Option<i32>,
        user: Option<i64>,
        or: Rights,
        facts: &Facts<'_>,
    ) -> Rights {
        let input = facts.input;
        let count = input
            .pod
            .spec
            .as_ref()
            .and_then(|spec| ids::count(spec, input));
        let user = user
            .and_then(|user| ids::existing(format!("{path}.{field}"), user, count, self.problems));
        Rights {
            mode: mode.or(or.mode),
            user: user.or(or.user),
        }
    }

    fn add(&mut self, at: String, path: &str, rights: Rights, content: Vec<u8>) {
        // Without `.` and doubled slashes, as the name is on the disk.
        let parts: Vec<&str> = path
            .split('/')
            .filter(|part| !matches!(*part, "" | "."))
            .collect();
        let path = parts.join("/");
        let is_within = |inner: &str, outer: &str| {
            inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if let Some(known) = self
            .files
            .iter()
            .find(|file| is_within(&file.path, &path) || is_within(&path, &file.path))
        {
            let message = if known.path == path {
                format!("another source of the volume has a file `{path}`")
            } else {
                format!("`{path}` and `{}` cannot be in one directory", known.path)
            };
            self.problems.push(problem(at, message));
            return;
        }
        self.files.push(ProjectedFile {
            path,
            mode: u32::try_from(rights.mode.unwrap_or(DEFAULT_MODE)).unwrap_or_default(),
            user: rights.user,
            content: FileContent(content),
        });
    }

    fn add_projection(
        &mut self,
        path: &str,
        source: &VolumeProjection,
        rights: Rights,
        facts: &Facts<'_>,
    ) {
        let (field, reference) = if let Some(map) = &source.config_map {
            let reference = Reference {
                name_field: "name",
                kind: ObjectKind::ConfigMap,
                name: &map.name,
                items: map.items.as_deref(),
                optional: map.optional,
            };
            ("configMap", reference)
        } else if let Some(secret) = &source.secret {
            let reference = Reference {
                name_field: "name",
                kind: ObjectKind::Secret,
                name: &secret.name,
                items: secret.items.as_deref(),
                optional: secret.optional,
            };
            ("secret", reference)
        } else {
            let items = source.downward_api.iter().flat_map(|source| &source.items);
            let items: Vec<DownwardAPIVolumeFile> = items.flatten().cloned().collect();
            return self.add_fields(&format!("{path}.downwardAPI"), &items, rights, facts);
        };
        self.add_object(&format!("{path}.{field}"), &reference, rights, facts);
    }

    /// `collectData` of the configMap and secret plugins.
    fn add_object(
        &mut self,
        path: &str,
        reference: &Reference<'_>,
        rights: Rights,
        facts: &Facts<'_>,
    ) {
        let name_path = format!("{path}.{}", reference.name_field);
        let (kind, name) = (reference.kind, reference.name);
        let problems = &mut *self.problems;
        let Some(object) = env::object(&name_path, kind, name, reference.optional, facts, problems)
        else {
            return;
        };
        let all: BTreeMap<&String, &Vec<u8>> = object.data.iter().chain(&object.binary).collect();
        let Some(items) = reference.items.filter(|items| !items.is_empty()) else {
            for (key, content) in all {
                self.add(name_path.clone(), key, rights, content.clone());
            }
            return;
        };
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}.items[{index}]");
            match all.get(&item.key) {
                Some(content) => {
                    let rights = self.rights(&path, "user", item.mode, item.user, rights, facts);
                    self.add(
                        format!("{path}.path"),
                        &item.path,
                        rights,
                        (*content).clone(),
                    );
                }
                None if reference.optional == Some(true) => {}
                None => {
                    let keys: Vec<&str> = all.keys().map(|key| key.as_str()).collect();
                    let missing = env::missing_key(&path, kind, name, &item.key, &keys);
                    self.problems.push(missing);
                }
            }
        }
    }

    fn add_fields(
        &mut self,
        path: &str,
        items: &[DownwardAPIVolumeFile],
        rights: Rights,
        facts: &Facts<'_>,
    ) {
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}.items[{index}]");
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => Some(field_text(field, facts)),
                (None, Some(resource)) => {
                    let path = format!("{path}.resourceFieldRef");
                    env::resource_field(&path, resource, None, facts, self.problems)
                }
                (None, None) => None,
            };
            if let Some(value) = value {
                let rights = self.rights(&path, "user", item.mode, item.user, rights, facts);
                self.add(
                    format!("{path}.path"),
                    &item.path,
                    rights,
                    value.into_bytes(),
                );
            }
        }
    }
}

/// `ExtractFieldPathAsString`: whole maps are lines in the order of their keys.
fn field_text(field: &ObjectFieldSelector, facts: &Facts<'_>) -> String {
    let metadata = &facts.input.pod.metadata;
    let map = match field.field_path.as_str() {
        "metadata.labels" => &metadata.labels,
        "metadata.annotations" => &metadata.annotations,
        _ => return env::pod_field(field, facts),
    };
    let lines: Vec<String> = map
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", quoted(value)))
        .collect();
    lines.join("\n")
}

fn hexadecimal(kind: char, width: usize, c: char) -> [String; 1] {
    [format!("\\{kind}{:0width$x}", u32::from(c))]
}

/// A text as Go's `%q` writes it (`FormatMap`).
fn quoted(text: &str) -> String {
    let mut result = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => result.extend(['\\', c]),
            '\u{7}' => result.push_str("\\a"),
            '\u{8}' => result.push_str("\\b"),
            '\u{b}' => result.push_str("\\v"),
            '\u{c}' => result.push_str("\\f"),
            '\n' => result.push_str("\\n"),
            '\r' => result.push_str("\\r"),
            '\t' => result.push_str("\\t"),
            c if c < ' ' || c == '\u{7f}' => result.extend(hexadecimal('x', 2, c)),
            c if is_printable(c) => result.push(c),
            c if u32::from(c) <= 0xffff => result.extend(hexadecimal('u', 4, c)),
            c => result.extend(hexadecimal('U', 8, c)),
        }
    }
    result.push('"');
    result
}

/// A mark that combines with the letter before it can be printed where there is one.
fn is_printable(c: char) -> bool {
    c == '\'' || format!("a{c}").escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::plan;
    use super::*;
    use crate::plan::VolumeSource;

    /// The files of a volume as `path mode content`, or the problems as `path: message` below it.
    fn files_of(mut volume: Value) -> Result<Vec<String>, String> {
        volume["name"] = "v".into();
        let spec = json!({
            "containers": [{ "name": "a", "image": "i" }],
            "volumes": [volume],
        });
        match plan(&spec) {
            Ok(plan) => {
                let VolumeSource::Projected { files } = &plan.volumes[0].source else {
                    panic!("{plan:?}");
                };
                let shown = files.iter().map(|file| {
                    let content = String::from_utf8_lossy(&file.content.0).into_owned();
                    format!("{} {:o} {content}", file.path, file.mode)
                });
                Ok(shown.collect())
            }
            Err(problems) => {
                let shown = problems.iter().map(|problem| {
                    let path = problem.path.strip_prefix("spec.volumes[0].").unwrap();
                    format!("{path}: {}", problem.message)
                });
                Err(shown.collect::<Vec<_>>().join("\n"))
            }
        }
    }

    #[test]
    fn without_items_every_key_is_a_file() {
        let map = json!({ "configMap": { "name": "map" } });
        assert_eq!(
            files_of(map).unwrap(),
            ["a 644 1", "b.c 644 $(a)", "bin 644 \u{fffd}"]
        );
        let secret = json!({ "secret": { "secretName": "secret", "defaultMode": 0o400 } });
        assert_eq!(
            files_of(secret).unwrap(),
            ["a 400 secret", "raw 400 \u{fffd}", "word 400 word"]
        );
    }

    #[test]
    fn items_choose_rename_and_set_modes() {
        let items =
            json!([{ "key": "a", "path": "x/./y" }, { "key": "b.c", "path": "z", "mode": 0o700 }]);
        let map = json!({ "configMap": { "name": "map", "items": items, "defaultMode": 0o440 } });
        assert_eq!(files_of(map).unwrap(), ["x/y 440 1", "z 700 $(a)"]);
    }

    #[test]
    fn what_is_missing_is_named_unless_it_is_optional() {
        let missing = |optional: bool| {
            let items = json!([{ "key": "aa", "path": "p" }]);
            [
                json!({ "configMap": { "name": "other", "optional": optional } }),
                json!({ "secret": { "secretName": "other", "optional": optional } }),
                json!({ "configMap": { "name": "map", "items": items, "optional": optional } }),
            ]
        };
        let errors = [
            "configMap.name: configmap/other is not in namespace default",
            "secret.secretName: secret/other is not in namespace default",
            "configMap.items[0].key: configmap/map has no key `aa`",
        ];
        for (volume, error) in missing(false).into_iter().zip(errors) {
            assert_eq!(files_of(volume).unwrap_err(), error);
        }
        for volume in missing(true) {
            assert!(files_of(volume).unwrap().is_empty());
        }
    }

    #[test]
    fn fields_of_the_pod_are_written_as_the_kubelet_does() {
        let items = json!([
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "notes", "fieldRef": { "fieldPath": "metadata.annotations" }, "mode": 0o600 },
            { "path": "one", "fieldRef": { "fieldPath": "metadata.labels['app']" } },
            { "path": "cpu", "resourceFieldRef": { "containerName": "a", "resource": "limits.cpu" } },
        ]);
        assert_eq!(
            files_of(json!({ "downwardAPI": { "items": items } })).unwrap(),
            [
                "labels 644 app=\"web\"",
                "notes 600 a/b=\"x\\ny\"",
                "one 644 web",
                "cpu 644 2"
            ]
        );
        assert_eq!(
            quoted("a\"\\\t\u{1}\u{7f}\u{85}é"),
            "\"a\\\"\\\\\\t\\x01\\x7f\\u0085é\""
        );
        // What is no letter and no control character either, and a mark on its letter.
        assert_eq!(
            quoted("\u{a0}\u{200b}\u{e0001}'e\u{301}"),
            "\"\\u00a0\\u200b\\U000e0001'e\u{301}\""
        );
    }

    #[test]
    fn sources_of_a_projected_volume_must_not_collide() {
        let map = json!({ "configMap": { "name": "map" } });
        let secret = |path: &str| json!({ "secret": { "name": "secret", "items": [{ "key": "a", "path": path }] } });
        let volume = |path: &str| json!({ "projected": { "sources": [map, secret(path)] } });
        assert_eq!(files_of(volume("c/d")).unwrap()[3], "c/d 644 secret");
        assert_eq!(
            files_of(volume("a")).unwrap_err(),
            "projected.sources[1].secret.items[0].path: another source of the volume has a file `a`"
        );
        assert_eq!(
            files_of(volume("a/b")).unwrap_err(),
            "projected.sources[1].secret.items[0].path: `a/b` and `a` cannot be in one directory"
        );
    }
}
