//! Claims and persistent volumes: bound before anything starts, and kept when the pods go.
//!
//! A claim without a persistent volume of the user's gets a directory and a `PersistentVolume` that
//! podrun writes, as a provisioner does in a cluster. Which directory it is follows from the claim's
//! name alone; what a record says is never removed.

mod removal;

pub(crate) use removal::{claims_of_pod, remove_claim, remove_discarded, remove_volume, users};

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, ObjectReference, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeClaimStatus, PersistentVolumeSpec, PersistentVolumeStatus, PodSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::Value;

use crate::cli::apply::{Change, Changes, Prepared, facts, own_directories, uses_storage};
use crate::cli::failure::{Failure, INVALID};
use crate::names::{Namespace, ObjectKind, ObjectName};
use crate::plan::{self, Binding, BoundClaim, HostPathType};
use crate::store::{Object, Store, StoreLock};

/// Whose volumes they are that podrun makes (`volume.AnnDynamicallyProvisioned`).
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const PROVISIONER: &str = "podrun";

/// Whether objects of this kind are stored before pods start, with their directories.
pub(crate) const fn is_storage(kind: ObjectKind) -> bool {
    matches!(
        kind,
        ObjectKind::PersistentVolumeClaim | ObjectKind::PersistentVolume
    )
}

/// All claims and persistent volumes, those of the files among them.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    claims: BTreeMap<(Namespace, ObjectName), PersistentVolumeClaim>,
    volumes: BTreeMap<ObjectName, PersistentVolume>,
    changed_claims: BTreeSet<(Namespace, ObjectName)>,
    changed_volumes: BTreeSet<ObjectName>,
}

impl Storage {
    /// Reads what is stored, puts the files' objects over it and binds what is not bound.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn load(store: &Store, objects: &Changes<Object>) -> Result<Self, Failure> {
        let mut storage = Self::default();
        let stored = |kind| store.objects(kind).map_err(Failure::internal);
        for object in stored(ObjectKind::PersistentVolumeClaim)? {
            storage.take_claim(&object)?;
        }
        for object in stored(ObjectKind::PersistentVolume)? {
            storage.take_volume(&object)?;
        }
        for (object, change) in objects {
            let is_new = *change != Change::Keep;
            match object.kind {
                ObjectKind::PersistentVolumeClaim if is_new => {
                    storage.take_claim(object)?;
                    let key = (object.namespace.clone(), object.name.clone());
                    storage.changed_claims.insert(key);
                }
                ObjectKind::PersistentVolume if is_new => {
                    storage.take_volume(object)?;
                    storage.changed_volumes.insert(object.name.clone());
                }
                _ => {}
            }
        }
        storage.bind(store)?;
        Ok(storage)
    }

    fn take_claim(&mut self, object: &Object) -> Result<(), Failure> {
        let claim = serde_json::from_value(object.value.clone()).map_err(Failure::internal)?;
        let key = (object.namespace.clone(), object.name.clone());
        self.claims.insert(key, claim);
        Ok(())
    }

    fn take_volume(&mut self, object: &Object) -> Result<(), Failure> {
        let volume = serde_json::from_value(object.value.clone()).map_err(Failure::internal)?;
        self.volumes.insert(object.name.clone(), volume);
        Ok(())
    }

    fn bind(&mut self, store: &Store) -> Result<(), Failure> {
        let is_bound = |claim: &PersistentVolumeClaim| phase(claim) == "Bound";
        let waiting: Vec<_> = self
            .claims
            .iter()
            .filter(|(_, claim)| !is_bound(claim))
            .map(|(key, _)| key.clone())
            .collect();
        for key in waiting {
            let Some(claim) = self.claims.get_mut(&key) else {
                continue;
            };
            let volumes: Vec<&PersistentVolume> = self.volumes.values().collect();
            let name = match plan::bind(claim, &volumes) {
                Binding::Volume(name) => ObjectName::new(name).map_err(Failure::internal)?,
                Binding::Provision => {
                    let uid = claim.metadata.uid.clone().unwrap_or_default();
                    let name = ObjectName::new(format!("pvc-{uid}")).map_err(Failure::internal)?;
                    let volume = provisioned(store, &key.0, &key.1, &name, claim);
                    self.volumes.insert(name.clone(), volume);
                    name
                }
                Binding::Pending(_) => {
                    let status = claim.status.get_or_insert_default();
                    status.phase = Some("Pending".to_owned());
                    continue;
                }
            };
            let Some(volume) = self.volumes.get_mut(&name) else {
                continue;
            };
            join(claim, volume, &name);
            self.changed_claims.insert(key);
            self.changed_volumes.insert(name);
        }
        for (name, volume) in &mut self.volumes {
            if volume.status.is_none() && self.changed_volumes.contains(name) {
                volume.status = Some(PersistentVolumeStatus {
                    phase: Some("Available".to_owned()),
                    ..PersistentVolumeStatus::default()
                });
            }
        }
        Ok(())
    }

    /// The claims that a Pod uses.
    pub(crate) fn claims_of(
        &self,
        store: &Store,
        spec: &PodSpec,
        namespace: &Namespace,
        pod: &ObjectName,
    ) -> plan::Claims {
        let mut found = plan::Claims::new();
        for name in plan::named_claims(spec, pod.as_str()) {
            let Ok(key) = ObjectName::new(name.as_str()) else {
                continue;
            };
            if let Some(claim) = self.claims.get(&(namespace.clone(), key.clone())) {
                found.insert(name, self.place(store, namespace, &key, claim));
            }
        }
        found
    }

    /// Where a claim's data is, or why there is none.
    fn place(
        &self,
        store: &Store,
        namespace: &Namespace,
        name: &ObjectName,
        claim: &PersistentVolumeClaim,
    ) -> Result<BoundClaim, String> {
        if phase(claim) != "Bound" {
            let volumes: Vec<&PersistentVolume> = self.volumes.values().collect();
            return Err(match plan::bind(claim, &volumes) {
                Binding::Pending(why) => why,
                Binding::Volume(_) | Binding::Provision => "it waits".to_owned(),
            });
        }
        let bound_to = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.volume_name.clone());
        let bound_to = bound_to.unwrap_or_default();
        let mut volumes = self.volumes.iter();
        let Some((_, volume)) = volumes.find(|(name, _)| name.as_str() == bound_to) else {
            return Err(format!("it has lost persistentvolume `{bound_to}`"));
        };
        if is_provisioned(volume) {
            return Ok(BoundClaim {
                path: store.claim_dir(namespace, name),
                kind: HostPathType::Directory,
                takes_group: true,
            });
        }
        let spec = volume.spec.clone().unwrap_or_default();
        let bound = match (spec.local, spec.host_path) {
            (Some(local), _) => BoundClaim {
                path: PathBuf::from(local.path),
                kind: HostPathType::Directory,
                takes_group: true,
            },
            (None, host) => {
                let host = host.unwrap_or_default();
                BoundClaim {
                    path: PathBuf::from(host.path),
                    kind: match host.type_.as_deref() {
                        Some("DirectoryOrCreate") => HostPathType::DirectoryOrCreate,
                        Some("Directory") => HostPathType::Directory,
                        _ => HostPathType::Unset,
                    },
                    takes_group: false,
                }
            }
        };
        own_directories::refuse(store, &bound.path)?;
        Ok(bound)
    }

    /// Makes the directories of new claims and stores what has changed: before pods start, so that
    /// no other command gives the same volume to another claim.
    ///
    /// # Errors
    /// As `mkdir(2)` and `write(2)`.
    pub(crate) fn store(&self, store: &Store, lock: &StoreLock) -> Result<(), Failure> {
        for (name, volume) in &self.volumes {
            if self.changed_volumes.contains(name) {
                store
                    .put_object(&volume_object(name, volume)?)
                    .map_err(Failure::internal)?;
            }
        }
        for (key, claim) in &self.claims {
            if !self.changed_claims.contains(key) {
                continue;
            }
            let (namespace, name) = key;
            let bound_to = claim
                .spec
                .as_ref()
                .and_then(|spec| spec.volume_name.as_ref());
            let mut volumes = self.volumes.iter();
            let volume =
                volumes.find(|(name, _)| Some(name.as_str()) == bound_to.map(String::as_str));
            if volume.is_some_and(|(_, volume)| is_provisioned(volume)) {
                store
                    .make_claim_dir(namespace, name, lock)
                    .map_err(Failure::internal)?;
            }
            store
                .put_object(&Object {
                    kind: ObjectKind::PersistentVolumeClaim,
                    namespace: namespace.clone(),
                    name: name.clone(),
                    value: serde_json::to_value(claim).map_err(Failure::internal)?,
                })
                .map_err(Failure::internal)?;
        }
        Ok(())
    }

    /// Whether only one pod may use a claim at a time.
    fn is_of_one_pod(&self, namespace: &Namespace, name: &ObjectName) -> bool {
        let claim = self.claims.get(&(namespace.clone(), name.clone()));
        let modes = claim.and_then(|claim| claim.spec.as_ref()?.access_modes.as_ref());
        modes.is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteOncePod"))
    }
}

fn phase(claim: &PersistentVolumeClaim) -> &str {
    let status = claim.status.as_ref();
    status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

fn is_provisioned(volume: &PersistentVolume) -> bool {
    let annotations = volume.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(PROVISIONED_BY))
        .map(String::as_str)
        == Some(PROVISIONER)
}

/// The volume that a claim gets when none of the user's fits.
fn provisioned(
    store: &Store,
    namespace: &Namespace,
    claim_name: &ObjectName,
    name: &ObjectName,
    claim: &PersistentVolumeClaim,
) -> PersistentVolume {
    let wanted = claim.spec.clone().unwrap_or_default();
    let path = store.claim_dir(namespace, claim_name);
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name.to_string()),
            creation_timestamp: Some(Time(jiff::Timestamp::now())),
            annotations: Some(BTreeMap::from([(
                PROVISIONED_BY.to_owned(),
                PROVISIONER.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: wanted.access_modes,
            capacity: wanted.resources.and_then(|resources| resources.requests),
            storage_class_name: wanted.storage_class_name,
            volume_mode: wanted.volume_mode,
            persistent_volume_reclaim_policy: Some("Delete".to_owned()),
            host_path: Some(HostPathVolumeSource {
                path: path.display().to_string(),
                type_: Some("Directory".to_owned()),
            }),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// Makes each one the other's.
fn join(claim: &mut PersistentVolumeClaim, volume: &mut PersistentVolume, name: &ObjectName) {
    let of_volume = volume.spec.get_or_insert_default();
    of_volume.claim_ref = Some(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        ..ObjectReference::default()
    });
    claim.spec.get_or_insert_default().volume_name = Some(name.to_string());
    claim.status = Some(PersistentVolumeClaimStatus {
        access_modes: of_volume.access_modes.clone(),
        capacity: of_volume.capacity.clone(),
        phase: Some("Bound".to_owned()),
        ..PersistentVolumeClaimStatus::default()
    });
    volume.status = Some(PersistentVolumeStatus {
        phase: Some("Bound".to_owned()),
        ..PersistentVolumeStatus::default()
    });
}

fn volume_object(name: &ObjectName, volume: &PersistentVolume) -> Result<Object, Failure> {
    Ok(Object {
        kind: ObjectKind::PersistentVolume,
        namespace: Object::namespace_of_none(),
        name: name.clone(),
        value: serde_json::to_value(volume).map_err(Failure::internal)?,
    })
}

/// A file's claim or volume with what the stored one has beside it; says what it is to become.
///
/// # Errors
/// A field that may not change.
pub(crate) fn merged(
    kind: ObjectKind,
    name: &ObjectName,
    old: Option<&Value>,
    mut new: Value,
) -> Result<(Value, Change), Failure> {
    let Some(old) = old else {
        if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
            let created = jiff::Timestamp::now().to_string();
            metadata.insert("uid".to_owned(), facts::new_uid()?.as_str().into());
            metadata.insert("creationTimestamp".to_owned(), created.into());
        }
        return Ok((new, Change::Create));
    };
    for pointer in [
        "/metadata/uid",
        "/metadata/creationTimestamp",
        "/status",
        "/spec/volumeName",
        "/spec/claimRef",
    ] {
        let Some(kept) = old.pointer(pointer) else {
            continue;
        };
        let (parent, field) = pointer.rsplit_once('/').unwrap_or_default();
        let parent = new.pointer_mut(parent).and_then(Value::as_object_mut);
        if let Some(parent) = parent {
            let given = parent.entry(field).or_insert_with(|| kept.clone());
            // A promise in a file has no uid, and the kept one may be of the claim that has it.
            if field == "claimRef" && given.get("name") == kept.get("name") {
                given.clone_from(kept);
            }
        }
    }
    if new == *old {
        return Ok((new, Change::Keep));
    }
    let fixed = |value: &Value| {
        let mut spec = value.get("spec").cloned().unwrap_or_default();
        if kind == ObjectKind::PersistentVolumeClaim
            && let Some(spec) = spec.as_object_mut()
        {
            spec.remove("resources");
            return Value::Object(spec.clone());
        }
        serde_json::json!([
            spec.get("hostPath"),
            spec.get("local"),
            spec.get("volumeMode")
        ])
    };
    if fixed(&new) != fixed(old) {
        let what = if kind == ObjectKind::PersistentVolumeClaim {
            "spec is immutable after creation except resources.requests"
        } else {
            "where it is cannot be changed after creation"
        };
        let full = format!("{}/{name}", kind.word());
        return Err(Failure::with_code(INVALID, format!("{full}: {what}"))
            .hinted(format!("remove it first: `podrun rm {full}`")));
    }
    Ok((new, Change::Replace))
}

impl Prepared {
    /// Binds the claims for good. What was decided before is decided again: other commands may have
    /// taken volumes meanwhile, and now none can.
    pub(super) fn store_storage(&self, lock: &StoreLock) -> Result<Storage, Failure> {
        if !uses_storage(&self.pods, &self.objects) {
            return Ok(Storage::default());
        }
        for (object, change) in &self.objects {
            let is_new = is_storage(object.kind) && *change == Change::Create;
            let there = || {
                self.store
                    .object(object.kind, &object.namespace, &object.name)
            };
            if is_new && there().map_err(Failure::internal)?.is_some() {
                let full = format!("{}/{}", object.kind.word(), object.name);
                let message = format!("{full} was made by another command meanwhile");
                return Err(Failure::with_code(INVALID, message));
            }
        }
        let storage = Storage::load(&self.store, &self.objects)?;
        self.check_claims_of_one_pod(&storage)?;
        storage.store(&self.store, lock)?;
        Ok(storage)
    }

    /// `ReadWriteOncePod`; the scheduler of a cluster would let the second pod wait for ever.
    fn check_claims_of_one_pod(&self, storage: &Storage) -> Result<(), Failure> {
        let mut taken = BTreeMap::new();
        for (wanted, change) in &self.pods {
            let Some(spec) = &wanted.checked.pod.spec else {
                continue;
            };
            for name in plan::named_claims(spec, wanted.name.as_str()) {
                let Ok(claim) = ObjectName::new(name) else {
                    continue;
                };
                if !storage.is_of_one_pod(&wanted.namespace, &claim) {
                    continue;
                }
                let user = if *change == Change::Keep {
                    None
                } else {
                    let users = users(&self.store, &wanted.namespace, &claim)?;
                    users.into_iter().next()
                };
                let key = (&wanted.namespace, claim.clone());
                let other = taken.insert(key, wanted.name.clone()).or(user);
                if let Some(other) = other.filter(|other| *other != wanted.name) {
                    let message = format!(
                        "pod/{}: persistentvolumeclaim/{claim} is ReadWriteOncePod, and pod/{other} uses it",
                        wanted.name
                    );
                    return Err(Failure::with_code(INVALID, message)
                        .hinted(format!("remove the other first: `podrun rm {other}`")));
                }
            }
        }
        Ok(())
    }

    /// Takes back the claims and volumes that are new, with the data in them, and what was stored of
    /// Services: nothing is kept of what failed.
    pub(crate) fn undo_stored(&self) {
        self.undo_network();
        let new = self
            .objects
            .iter()
            .filter(|(object, change)| is_storage(object.kind) && *change == Change::Create);
        let (claims, volumes): (Vec<_>, Vec<_>) = new
            .map(|(object, _)| object)
            .partition(|object| object.kind == ObjectKind::PersistentVolumeClaim);
        // One that another command's pod has taken meanwhile stays.
        for claim in claims {
            remove_claim(&self.store, &claim.namespace, &claim.name, true).ok();
        }
        for volume in volumes {
            remove_volume(&self.store, &volume.name).ok();
        }
    }
}
