//! Claims and persistent volumes (`describePersistentVolumeClaim`, `describePersistentVolume`).

use super::{Lines, map, text};
use crate::cli::command::objects::access_modes;
use crate::names::ObjectName;
use crate::store::Object;

/// The column of the values.
const WIDTH: usize = 15;

fn labels_and_annotations(lines: &mut Lines, object: &Object) {
    for (name, pointer) in [
        ("Labels", "/metadata/labels"),
        ("Annotations", "/metadata/annotations"),
    ] {
        map(lines, WIDTH, name, object.value.pointer(pointer));
    }
}

/// What is not there, as kubectl says it.
fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// A claim, and the pods that use it.
pub(super) fn claim(object: &Object, users: &[ObjectName]) -> String {
    let mut lines = Lines(String::new());
    let value = &object.value;
    let phase = Some(text(value, "/status/phase")).filter(|phase| !phase.is_empty());
    lines.pair(0, WIDTH, "Name", object.name.as_str());
    lines.pair(0, WIDTH, "Namespace", object.namespace.as_str());
    let class = text(value, "/spec/storageClassName");
    lines.pair(0, WIDTH, "StorageClass", class);
    lines.pair(0, WIDTH, "Status", phase.unwrap_or("Pending"));
    lines.pair(0, WIDTH, "Volume", text(value, "/spec/volumeName"));
    labels_and_annotations(&mut lines, object);
    let capacity = text(value, "/status/capacity/storage");
    lines.pair(0, WIDTH, "Capacity", capacity);
    let modes = access_modes(value.pointer("/status/accessModes"));
    lines.pair(0, WIDTH, "Access Modes", &modes);
    lines.pair(0, WIDTH, "VolumeMode", text(value, "/spec/volumeMode"));
    let names: Vec<&str> = users.iter().map(ObjectName::as_str).collect();
    lines.pair(0, WIDTH, "Used By", or_none(&names.join(", ")));
    lines.0
}

/// A persistent volume.
pub(super) fn persistent_volume(object: &Object) -> String {
    let mut lines = Lines(String::new());
    let value = &object.value;
    lines.pair(0, WIDTH, "Name", object.name.as_str());
    labels_and_annotations(&mut lines, object);
    let class = text(value, "/spec/storageClassName");
    lines.pair(0, WIDTH, "StorageClass", class);
    lines.pair(0, WIDTH, "Status", text(value, "/status/phase"));
    let claim = text(value, "/spec/claimRef/name");
    let claim = if claim.is_empty() {
        String::new()
    } else {
        format!("{}/{claim}", text(value, "/spec/claimRef/namespace"))
    };
    lines.pair(0, WIDTH, "Claim", &claim);
    let policy = text(value, "/spec/persistentVolumeReclaimPolicy");
    lines.pair(0, WIDTH, "Reclaim Policy", policy);
    let modes = access_modes(value.pointer("/spec/accessModes"));
    lines.pair(0, WIDTH, "Access Modes", &modes);
    lines.pair(0, WIDTH, "VolumeMode", text(value, "/spec/volumeMode"));
    lines.pair(0, WIDTH, "Capacity", text(value, "/spec/capacity/storage"));
    lines.line(0, "Source:");
    let local = text(value, "/spec/local/path");
    let (kind, path) = if local.is_empty() {
        ("HostPath", text(value, "/spec/hostPath/path"))
    } else {
        ("LocalVolume", local)
    };
    lines.pair(4, WIDTH.saturating_sub(4), "Type", kind);
    lines.pair(4, WIDTH.saturating_sub(4), "Path", path);
    lines.0
}
