//! Removing claims, and who uses them.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use serde_json::Value;

use super::{is_provisioned, volume_object};
use crate::cli::apply::facts;
use crate::cli::failure::{FAILED, Failure};
use crate::names::{Namespace, ObjectKind, ObjectName};
use crate::runtime::idmap::IdMap;
use crate::runtime::inside;
use crate::store::{Liveness, Object, PodRecord, Store};
use crate::sys::tree::remove_tree;

/// The pods that use a claim and have not ended.
///
/// # Errors
/// When the pods cannot be read.
pub(crate) fn users(
    store: &Store,
    namespace: &Namespace,
    claim: &ObjectName,
) -> Result<Vec<ObjectName>, Failure> {
    let pods = store.pods().map_err(Failure::internal)?;
    let uses = |pod: &PodRecord| {
        pod.record.namespace == *namespace
            && pod.liveness == Liveness::Alive
            && claims_of_pod(pod).contains(claim)
            && !pod.has_ended()
    };
    Ok(pods
        .into_iter()
        .filter(uses)
        .map(|pod| pod.record.name)
        .collect())
}

/// The claims that a pod names.
pub(crate) fn claims_of_pod(pod: &PodRecord) -> BTreeSet<ObjectName> {
    let value = pod.dir.read_pod().unwrap_or_default();
    let written: Option<Pod> = serde_json::from_value(value).ok();
    let volumes = written
        .and_then(|pod| pod.spec?.volumes)
        .unwrap_or_default();
    let named = volumes.into_iter().filter_map(|volume| {
        let claim = volume.persistent_volume_claim?;
        ObjectName::new(claim.claim_name).ok()
    });
    named.collect()
}

/// Removes a claim with the data that podrun made for it; says whether there was one. A volume of the
/// user's is not touched: it is free again when `is_undone`, otherwise it is Released, as one whose
/// data has been another's.
///
/// # Errors
/// A claim that pods use; data that cannot be removed.
pub(crate) fn remove_claim(
    store: &Store,
    namespace: &Namespace,
    name: &ObjectName,
    is_undone: bool,
) -> Result<bool, Failure> {
    let lock = store.lock().map_err(Failure::internal)?;
    let kind = ObjectKind::PersistentVolumeClaim;
    let Some(object) = store
        .object(kind, namespace, name)
        .map_err(Failure::internal)?
    else {
        return Ok(false);
    };
    if let Some(pod) = users(store, namespace, name)?.first() {
        let message = format!("persistentvolumeclaim/{name} is used by pod/{pod}");
        return Err(Failure::with_code(FAILED, message)
            .hinted(format!("remove the pod first: `podrun rm {pod}`")));
    }
    store
        .discard_claim_dir(namespace, name, &facts::new_uid()?, &lock)
        .map_err(Failure::internal)?;
    let bound_to = object
        .value
        .pointer("/spec/volumeName")
        .and_then(Value::as_str);
    if let Some(volume) = bound_to.and_then(|name| ObjectName::new(name).ok()) {
        release(store, &volume, is_undone)?;
    }
    let was_there = store
        .remove_object(kind, namespace, name)
        .map_err(Failure::internal)?;
    drop(lock);
    remove_discarded(store)?;
    Ok(was_there)
}

/// Removes the data of claims that are no more.
///
/// # Errors
/// What cannot be removed; it is tried again with the next claim, and by `prune`.
pub(crate) fn remove_discarded(store: &Store) -> Result<(), Failure> {
    for path in store.discarded_claim_dirs() {
        remove_data(&path)
            .map_err(|error| Failure::internal(format!("the data of a claim: {error}")))?;
    }
    Ok(())
}

/// A claim's directory; only the pods' own ids may remove what their users have made.
fn remove_data(path: &Path) -> Result<(), String> {
    let parent = path.parent().unwrap_or(path);
    let name = path.file_name().and_then(|name| name.to_str());
    match remove_tree(parent, name.unwrap_or_default()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            inside::remove(&IdMap::of_this_user(), path)
        }
        Err(error) => Err(format!("{} cannot be removed: {error}", path.display())),
    }
}

fn release(store: &Store, name: &ObjectName, is_undone: bool) -> Result<(), Failure> {
    let kind = ObjectKind::PersistentVolume;
    let namespace = Object::namespace_of_none();
    let Some(object) = store
        .object(kind, &namespace, name)
        .map_err(Failure::internal)?
    else {
        return Ok(());
    };
    let mut volume: PersistentVolume =
        serde_json::from_value(object.value).map_err(Failure::internal)?;
    if is_provisioned(&volume) {
        store
            .remove_object(kind, &namespace, name)
            .map_err(Failure::internal)?;
        return Ok(());
    }
    let phase = if is_undone {
        volume.spec.get_or_insert_default().claim_ref = None;
        "Available"
    } else {
        "Released"
    };
    volume.status.get_or_insert_default().phase = Some(phase.to_owned());
    store
        .put_object(&volume_object(name, &volume)?)
        .map_err(Failure::internal)
}

/// Removes a persistent volume; says whether there was one.
///
/// # Errors
/// One that a claim is bound to.
pub(crate) fn remove_volume(store: &Store, name: &ObjectName) -> Result<bool, Failure> {
    let _lock = store.lock().map_err(Failure::internal)?;
    let claims = store
        .objects(ObjectKind::PersistentVolumeClaim)
        .map_err(Failure::internal)?;
    let mut bound = claims.iter().filter(|claim| {
        let bound_to = claim
            .value
            .pointer("/spec/volumeName")
            .and_then(Value::as_str);
        bound_to == Some(name.as_str())
    });
    if let Some(claim) = bound.next() {
        let message = format!(
            "persistentvolume/{name} is bound to persistentvolumeclaim/{} (namespace {})",
            claim.name, claim.namespace
        );
        return Err(Failure::with_code(FAILED, message).hinted("remove the claim first"));
    }
    store
        .remove_object(
            ObjectKind::PersistentVolume,
            &Object::namespace_of_none(),
            name,
        )
        .map_err(Failure::internal)
}
