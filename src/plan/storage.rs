//! Which persistent volume a claim is bound to, and where its data is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PersistentVolumeSpec, PodSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::HostPathType;
use crate::manifest::parse_quantity;

/// The claims of a namespace that a Pod names, as far as they exist: where each one's data is, or why
/// it is bound to nothing.
pub type Claims = BTreeMap<String, Result<BoundClaim, String>>;

/// Where a claim's data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundClaim {
    /// An absolute path of the machine.
    pub path: PathBuf,
    /// What must be there.
    pub kind: HostPathType,
    /// Whether the pod's `fsGroup` is for it; never for a volume that is a hostPath
    /// (`host_path.go` `GetAttributes`).
    pub takes_group: bool,
}

/// What becomes of a claim (`syncUnboundClaim` of `pv_controller.go`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// This persistent volume is its own.
    Volume(String),
    /// It gets a new directory.
    Provision,
    /// It waits, and why.
    Pending(String),
}

/// The claims that a Pod of this name uses: those that it names, and the names that its ephemeral
/// volumes would have.
pub fn named_claims(spec: &PodSpec, pod: &str) -> Vec<String> {
    let volumes = spec.volumes.iter().flatten();
    volumes
        .filter_map(|volume| {
            if let Some(claim) = &volume.persistent_volume_claim {
                Some(claim.claim_name.clone())
            } else {
                volume
                    .ephemeral
                    .as_ref()
                    .map(|_| ephemeral_name(pod, &volume.name))
            }
        })
        .collect()
}

/// The claim of an ephemeral volume (`ephemeral.VolumeClaimName`).
pub(super) fn ephemeral_name(pod: &str, volume: &str) -> String {
    format!("{pod}-{volume}")
}

fn storage(
    amounts: Option<&BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>,
) -> u64 {
    let storage = amounts.and_then(|amounts| amounts.get("storage"));
    storage.map_or(0, |quantity| {
        parse_quantity(&quantity.0).unwrap_or_default()
    })
}

/// The bytes that a claim asks for.
fn requested(spec: &PersistentVolumeClaimSpec) -> u64 {
    storage(spec.resources.as_ref().and_then(|r| r.requests.as_ref()))
}

/// Whether a volume was promised to this claim, or may be its (`IsVolumeBoundToClaim`).
fn is_promised(reference: &ObjectReference, claim: &PersistentVolumeClaim) -> bool {
    reference.name == claim.metadata.name
        && reference.namespace == claim.metadata.namespace
        && (reference.uid.is_none() || reference.uid == claim.metadata.uid)
}

/// Why a volume cannot be this claim's, its promises aside (`checkVolumeSatisfyClaim`).
fn mismatch(
    volume: &PersistentVolumeSpec,
    claim: &PersistentVolumeClaimSpec,
) -> Option<&'static str> {
    let class = |name: Option<&String>| name.cloned().unwrap_or_default();
    let modes = claim.access_modes.iter().flatten();
    let offered = volume.access_modes.as_deref().unwrap_or_default();
    if storage(volume.capacity.as_ref()) < requested(claim) {
        Some("is too small")
    } else if class(volume.storage_class_name.as_ref()) != class(claim.storage_class_name.as_ref())
    {
        Some("has another storageClassName")
    } else if modes.into_iter().any(|mode| !offered.contains(mode)) {
        Some("does not have all of the accessModes")
    } else {
        None
    }
}

/// Whether labels fit a selector (`metav1.LabelSelectorAsSelector`).
fn fits(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    equal
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|wanted| {
            let label = labels.get(&wanted.key);
            let values = wanted.values.as_deref().unwrap_or_default();
            match wanted.operator.as_str() {
                "In" => label.is_some_and(|label| values.contains(label)),
                "NotIn" => label.is_none_or(|label| !values.contains(label)),
                "Exists" => label.is_some(),
                _ => label.is_none(),
            }
        })
}

/// Finds what a claim that is not bound is to be bound to: the volume it names, one that was promised
/// to it, the smallest that fits, or a new directory.
pub fn bind(claim: &PersistentVolumeClaim, volumes: &[&PersistentVolume]) -> Binding {
    let wanted = claim.spec.clone().unwrap_or_default();
    let name = |volume: &PersistentVolume| volume.metadata.name.clone().unwrap_or_default();
    let promise = |volume: &PersistentVolume| volume.spec.as_ref()?.claim_ref.clone();
    if let Some(named) = wanted
        .volume_name
        .as_deref()
        .filter(|name| !name.is_empty())
    {
        let mut all = volumes.iter();
        let Some(volume) = all.find(|volume| name(volume) == named) else {
            return Binding::Pending(format!("there is no persistentvolume `{named}`"));
        };
        if promise(volume).is_some_and(|reference| !is_promised(&reference, claim)) {
            return Binding::Pending(format!("persistentvolume `{named}` is another claim's"));
        }
        let spec = volume.spec.clone().unwrap_or_default();
        return match mismatch(&spec, &wanted) {
            Some(why) => Binding::Pending(format!("persistentvolume `{named}` {why}")),
            None => Binding::Volume(named.to_owned()),
        };
    }
    let fitting = volumes.iter().filter(|volume| {
        let labels = volume.metadata.labels.clone().unwrap_or_default();
        let selected = wanted
            .selector
            .as_ref()
            .is_none_or(|selector| fits(selector, &labels));
        let spec = volume.spec.clone().unwrap_or_default();
        let is_free = promise(volume).is_none_or(|reference| is_promised(&reference, claim));
        is_free && selected && mismatch(&spec, &wanted).is_none()
    });
    let best = fitting.min_by_key(|volume| {
        let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
        (promise(volume).is_none(), storage(capacity), name(volume))
    });
    match best {
        Some(volume) => Binding::Volume(name(volume)),
        None if wanted.storage_class_name.as_deref() == Some("") => Binding::Pending(
            "no persistentvolume fits, and storageClassName \"\" asks for no new one".to_owned(),
        ),
        None if wanted.selector.is_some() => Binding::Pending(
            "no persistentvolume fits, and with a selector none is made".to_owned(),
        ),
        None => Binding::Provision,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claim(spec: &Value) -> PersistentVolumeClaim {
        let mut spec = spec.clone();
        if spec.get("accessModes").is_none() {
            spec["accessModes"] = json!(["ReadWriteOnce"]);
        }
        spec["resources"] = json!({"requests": {"storage": "5Gi"}});
        let metadata = json!({"name": "c", "namespace": "n", "uid": "u"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn volume(name: &str, more: &Value) -> PersistentVolume {
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
            "capacity": {"storage": "10Gi"},
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let metadata = json!({"name": name, "labels": {"tier": name}});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn bound(claim: &Value, volumes: &[PersistentVolume]) -> Binding {
        let volumes: Vec<&PersistentVolume> = volumes.iter().collect();
        bind(&self::claim(claim), &volumes)
    }

    fn to(name: &str) -> Binding {
        Binding::Volume(name.to_owned())
    }

    #[test]
    fn the_smallest_volume_that_fits_is_taken() {
        let volumes = [
            volume("large", &json!({"capacity": {"storage": "20Gi"}})),
            volume("fits", &json!({})),
            volume("small", &json!({"capacity": {"storage": "4Gi"}})),
            volume("other", &json!({"storageClassName": "other"})),
        ];
        assert_eq!(bound(&json!({}), &volumes), to("fits"));
        assert_eq!(
            bound(&json!({"storageClassName": "other"}), &volumes),
            to("other")
        );
        let all = json!({"accessModes": ["ReadWriteMany"]});
        assert_eq!(bound(&all, &volumes), Binding::Provision);
        let read_only = json!({"accessModes": ["ReadOnlyMany"]});
        assert_eq!(bound(&read_only, &volumes), to("fits"));
    }

    #[test]
    fn a_promise_is_kept_and_another_claims_volume_is_left() {
        let of = |reference: Value| volume("v", &json!({ "claimRef": reference }));
        let ours = of(json!({"namespace": "n", "name": "c"}));
        let smaller = volume("a", &json!({"capacity": {"storage": "5Gi"}}));
        assert_eq!(bound(&json!({}), &[smaller, ours]), to("v"));
        for foreign in [
            json!({"namespace": "n", "name": "d"}),
            json!({"namespace": "m", "name": "c"}),
            // Of a claim that was deleted: the volume is Released.
            json!({"namespace": "n", "name": "c", "uid": "old"}),
        ] {
            assert_eq!(bound(&json!({}), &[of(foreign)]), Binding::Provision);
        }
    }

    #[test]
    fn a_claim_that_names_its_volume_waits_for_it() {
        let named = json!({"volumeName": "v"});
        let why = |volumes: &[PersistentVolume]| match bound(&named, volumes) {
            Binding::Pending(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(&[]), "there is no persistentvolume `v`");
        let small = volume("v", &json!({"capacity": {"storage": "1Gi"}}));
        assert_eq!(why(&[small]), "persistentvolume `v` is too small");
        let foreign = volume("v", &json!({"claimRef": {"namespace": "n", "name": "d"}}));
        assert_eq!(why(&[foreign]), "persistentvolume `v` is another claim's");
        assert_eq!(bound(&named, &[volume("v", &json!({}))]), to("v"));
    }

    #[test]
    fn selectors_choose_and_forbid_a_new_directory() {
        let volumes = [volume("a", &json!({})), volume("b", &json!({}))];
        let with = |expression: Value| json!({"selector": {"matchExpressions": [expression]}});
        let select = |key: &str, operator: &str, values: &[&str]| {
            bound(
                &with(json!({"key": key, "operator": operator, "values": values})),
                &volumes,
            )
        };
        assert_eq!(select("tier", "In", &["b"]), to("b"));
        assert_eq!(select("tier", "NotIn", &["a"]), to("b"));
        assert_eq!(select("tier", "Exists", &[]), to("a"));
        assert_eq!(select("zone", "DoesNotExist", &[]), to("a"));
        assert!(matches!(select("zone", "Exists", &[]), Binding::Pending(_)));
        let labels = json!({"selector": {"matchLabels": {"tier": "b"}}});
        assert_eq!(bound(&labels, &volumes), to("b"));
    }

    #[test]
    fn an_empty_class_asks_for_a_volume_that_is_there() {
        let none = json!({"storageClassName": ""});
        assert!(matches!(bound(&none, &[]), Binding::Pending(_)));
        assert_eq!(bound(&none, &[volume("v", &json!({}))]), to("v"));
        assert_eq!(
            bound(&json!({"storageClassName": "fast"}), &[]),
            Binding::Provision
        );
    }
}
