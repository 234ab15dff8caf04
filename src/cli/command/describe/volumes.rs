//! The volumes of a pod (`describeVolumes`).

use serde_json::Value;

use super::{Lines, WIDTH, list, plain, text};

/// The column of the values.
const VALUES: usize = 15;

/// Each volume with what it is made of.
pub(super) fn volumes(lines: &mut Lines, pod: &Value) {
    let volumes: Vec<&Value> = list(pod, "/spec/volumes").collect();
    if volumes.is_empty() {
        lines.pair(0, WIDTH, "Volumes", "<none>");
        return;
    }
    lines.line(0, "Volumes:");
    for volume in volumes {
        lines.line(2, &format!("{}:", text(volume, "/name")));
        let (kind, pairs) = about(volume);
        lines.pair(4, VALUES, "Type", kind);
        for (name, value) in pairs {
            lines.pair(4, VALUES, name, &value);
        }
    }
}

fn about(volume: &Value) -> (&'static str, Vec<(&'static str, String)>) {
    let text = |pointer: &str| plain(volume.pointer(pointer));
    let flag = |value: Option<&Value>| (value == Some(&Value::Bool(true))).to_string();
    let object = |name: &'static str, value: &Value| {
        let key = if value.get("secretName").is_some() {
            "secretName"
        } else {
            "name"
        };
        [
            (name, plain(value.get(key))),
            ("Optional", flag(value.get("optional"))),
        ]
    };
    if volume.get("hostPath").is_some() {
        let pairs = vec![
            ("Path", text("/hostPath/path")),
            ("HostPathType", text("/hostPath/type")),
        ];
        ("HostPath", pairs)
    } else if let Some(map) = volume.get("configMap") {
        ("ConfigMap", object("Name", map).into())
    } else if let Some(secret) = volume.get("secret") {
        ("Secret", object("SecretName", secret).into())
    } else if volume.get("downwardAPI").is_some() {
        let items = list(volume, "/downwardAPI/items").map(item);
        ("DownwardAPI", items.collect())
    } else if volume.get("projected").is_some() {
        let mut pairs = Vec::new();
        for source in list(volume, "/projected/sources") {
            if let Some(map) = source.get("configMap") {
                pairs.extend(object("ConfigMapName", map));
            } else if let Some(secret) = source.get("secret") {
                pairs.extend(object("SecretName", secret));
            } else {
                pairs.extend(list(source, "/downwardAPI/items").map(item));
            }
        }
        ("Projected", pairs)
    } else if let Some(claim) = volume.get("persistentVolumeClaim") {
        let pairs = vec![
            ("ClaimName", plain(claim.get("claimName"))),
            ("ReadOnly", flag(claim.get("readOnly"))),
        ];
        ("PersistentVolumeClaim", pairs)
    } else if volume.get("ephemeral").is_some() {
        let spec = "/ephemeral/volumeClaimTemplate/spec";
        let pairs = vec![
            ("StorageClass", text(&format!("{spec}/storageClassName"))),
            (
                "Requested",
                text(&format!("{spec}/resources/requests/storage")),
            ),
        ];
        ("EphemeralVolume", pairs)
    } else if volume.get("image").is_some() {
        let pairs = vec![
            ("Reference", text("/image/reference")),
            ("PullPolicy", text("/image/pullPolicy")),
        ];
        ("Image", pairs)
    } else {
        let limit = Some(text("/emptyDir/sizeLimit")).filter(|limit| !limit.is_empty());
        let pairs = vec![
            ("Medium", text("/emptyDir/medium")),
            ("SizeLimit", limit.unwrap_or_else(|| "<unset>".to_owned())),
        ];
        ("EmptyDir", pairs)
    }
}

/// A file of the downward API: where its value is from, and its path.
fn item(item: &Value) -> (&'static str, String) {
    let field = plain(item.pointer("/fieldRef/fieldPath"));
    let resource = plain(item.pointer("/resourceFieldRef/resource"));
    let path = plain(item.get("path"));
    ("Item", format!("{field}{resource} -> {path}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_volume_is_named_for_what_it_is() {
        for (source, kind, pairs) in [
            (json!({}), "EmptyDir", "Medium= SizeLimit=<unset>"),
            (
                json!({"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
                "EmptyDir",
                "Medium=Memory SizeLimit=1Mi",
            ),
            (
                json!({"hostPath": {"path": "/a", "type": "Directory"}}),
                "HostPath",
                "Path=/a HostPathType=Directory",
            ),
            (
                json!({"configMap": {"name": "m", "optional": true}}),
                "ConfigMap",
                "Name=m Optional=true",
            ),
            (
                json!({"secret": {"secretName": "s"}}),
                "Secret",
                "SecretName=s Optional=false",
            ),
            (
                json!({"downwardAPI": {"items": [
                    {"path": "n", "fieldRef": {"fieldPath": "metadata.name"}},
                ]}}),
                "DownwardAPI",
                "Item=metadata.name -> n",
            ),
            (
                json!({"projected": {"sources": [
                    {"secret": {"name": "s"}},
                    {"downwardAPI": {"items": [
                        {"path": "c", "resourceFieldRef": {"resource": "limits.cpu"}},
                    ]}},
                ]}}),
                "Projected",
                "SecretName=s Optional=false Item=limits.cpu -> c",
            ),
            (
                json!({"persistentVolumeClaim": {"claimName": "c", "readOnly": true}}),
                "PersistentVolumeClaim",
                "ClaimName=c ReadOnly=true",
            ),
            (
                json!({"ephemeral": {"volumeClaimTemplate": {"spec": {
                    "resources": {"requests": {"storage": "1Gi"}},
                }}}}),
                "EphemeralVolume",
                "StorageClass= Requested=1Gi",
            ),
            (
                json!({"image": {"reference": "i:1", "pullPolicy": "Never"}}),
                "Image",
                "Reference=i:1 PullPolicy=Never",
            ),
        ] {
            let (found, all) = about(&source);
            let all: Vec<String> = all.iter().map(|(k, v)| format!("{k}={v}")).collect();
            assert_eq!((found, all.join(" ").as_str()), (kind, pairs), "{source}");
        }
    }
}
