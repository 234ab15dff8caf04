//! The `ConfigMap`s and Secrets of a pod's namespace, and which of them a Pod names.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;

use crate::names::ObjectKind;

/// What an object holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectData {
    /// `data`, decoded.
    pub data: BTreeMap<String, Vec<u8>>,
    /// `binaryData` of a `ConfigMap`, decoded; it is in files and never in an environment.
    pub binary: BTreeMap<String, Vec<u8>>,
}

impl ObjectData {
    /// The data of an object that was checked; what has no meaning counts for nothing.
    pub fn of(kind: ObjectKind, object: &Value) -> Self {
        let entries = |field: &str, is_base64: bool| -> BTreeMap<String, Vec<u8>> {
            let map = object.get(field).and_then(Value::as_object);
            map.into_iter()
                .flatten()
                .filter_map(|(key, text)| {
                    let text = text.as_str().unwrap_or_default();
                    let bytes = if is_base64 {
                        // Line breaks are passed over, as Go's decoder does.
                        let digits: Vec<u8> = text
                            .bytes()
                            .filter(|byte| !matches!(byte, b'\n' | b'\r'))
                            .collect();
                        BASE64_STANDARD.decode(digits).ok()?
                    } else {
                        text.as_bytes().to_vec()
                    };
                    Some((key.clone(), bytes))
                })
                .collect()
        };
        Self {
            data: entries("data", kind == ObjectKind::Secret),
            binary: entries("binaryData", true),
        }
    }
}

/// The objects that a Pod may use, by kind and name.
pub type Objects = BTreeMap<(ObjectKind, String), ObjectData>;

/// The objects that the volumes of a Pod name.
pub fn objects_of_volumes(spec: &PodSpec) -> BTreeSet<(ObjectKind, String)> {
    let mut names = BTreeSet::new();
    for volume in spec.volumes.iter().flatten() {
        let map = volume.config_map.iter();
        names.extend(map.map(|map| (ObjectKind::ConfigMap, map.name.clone())));
        let secret = volume
            .secret
            .iter()
            .filter_map(|secret| secret.secret_name.clone());
        names.extend(secret.map(|name| (ObjectKind::Secret, name)));
        let projected = volume
            .projected
            .iter()
            .flat_map(|projected| &projected.sources);
        for source in projected.flatten() {
            let map = source.config_map.iter();
            names.extend(map.map(|map| (ObjectKind::ConfigMap, map.name.clone())));
            let secret = source.secret.iter();
            names.extend(secret.map(|secret| (ObjectKind::Secret, secret.name.clone())));
        }
    }
    names
}

/// The objects that a Pod's volumes and the environments of its containers name.
pub fn named_objects(spec: &PodSpec) -> BTreeSet<(ObjectKind, String)> {
    let mut names = objects_of_volumes(spec);
    let inits = spec.init_containers.iter().flatten();
    for container in inits.chain(&spec.containers) {
        for source in container.env_from.iter().flatten() {
            let map = source.config_map_ref.iter();
            names.extend(map.map(|map| (ObjectKind::ConfigMap, map.name.clone())));
            let secret = source.secret_ref.iter();
            names.extend(secret.map(|secret| (ObjectKind::Secret, secret.name.clone())));
        }
        let sources = container.env.iter().flatten();
        for source in sources.filter_map(|variable| variable.value_from.as_ref()) {
            let map = source.config_map_key_ref.iter();
            names.extend(map.map(|map| (ObjectKind::ConfigMap, map.name.clone())));
            let secret = source.secret_key_ref.iter();
            names.extend(secret.map(|secret| (ObjectKind::Secret, secret.name.clone())));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secrets_data_is_decoded_and_a_config_maps_is_what_it_says() {
        let value = json!({
            "data": { "a": "YQ\n==" },
            "binaryData": { "b": "/w==" },
        });
        let secret = ObjectData::of(ObjectKind::Secret, &value);
        assert_eq!(secret.data["a"], b"a");
        let map = ObjectData::of(ObjectKind::ConfigMap, &value);
        assert_eq!(map.data["a"], b"YQ\n==");
        assert_eq!(map.binary["b"], [0xff]);
    }
}
