//! Which kind a document is, and what that means here.

use std::path::PathBuf;

use serde_json::Value;

use super::check::{Checker, positions};
use super::fields::{
    CONFIG_MAP, ENDPOINT_SLICE, ENDPOINTS, Kind, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD,
    SECRET, SERVICE,
};
use super::problem::{Positions, Problem, Severity};
use super::tree::{Content, Node};
use super::{CheckedData, Manifest, Object, Strictness, data, endpoints, pod, service, storage};
use crate::names::{Namespace, ObjectKind, ObjectName};

/// Where checked objects and problems go.
pub(super) struct Context<'a> {
    pub(super) source: usize,
    pub(super) folder: Option<&'a PathBuf>,
    pub(super) strictness: Strictness,
    pub(super) manifest: &'a mut Manifest,
}

/// Kinds that have no effect here (a word about each pod's own fields is elsewhere).
const WITHOUT_EFFECT: [(&str, &str); 17] = [
    ("ServiceAccount", "there is no API server"),
    ("Role", "there is no API server"),
    ("RoleBinding", "there is no API server"),
    ("ClusterRole", "there is no API server"),
    ("ClusterRoleBinding", "there is no API server"),
    ("PodDisruptionBudget", "nothing evicts pods"),
    ("HorizontalPodAutoscaler", "nothing scales pods"),
    ("NetworkPolicy", "it is NOT enforced"),
    ("ResourceQuota", "it is not enforced"),
    ("LimitRange", "it is not enforced"),
    ("PriorityClass", "there is no scheduler"),
    (
        "StorageClass",
        "every class gives a directory of podrun's own",
    ),
    ("Ingress", "there is no ingress controller"),
    ("IngressClass", "there is no ingress controller"),
    ("Gateway", "there is no gateway controller"),
    ("HTTPRoute", "there is no gateway controller"),
    ("Namespace", "namespaces exist when they are used"),
];

/// Kinds that will work.
const NOT_YET: [&str; 6] = [
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
];

/// Kinds that work.
const WORKING: [&str; 8] = [
    "Pod",
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "PersistentVolume",
    "Service",
    "Endpoints",
    "EndpointSlice",
];

/// The API version of a kind that works.
fn version_of(kind: &str) -> &'static str {
    match kind {
        "EndpointSlice" => "discovery.k8s.io/v1",
        _ => "v1",
    }
}

/// Kinds that only a cluster can have.
const NEVER: [&str; 4] = [
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "APIService",
];

const LISTS: [&str; 9] = [
    "List",
    "PodList",
    "ConfigMapList",
    "SecretList",
    "PersistentVolumeClaimList",
    "PersistentVolumeList",
    "ServiceList",
    "EndpointsList",
    "EndpointSliceList",
];

/// Takes one document, or one item of a list.
pub(super) fn take(context: &mut Context<'_>, node: &Node, inside: &str) {
    let places = positions(context.source, node, false);
    let mut say = |severity, path: &str, message: String, hint: Option<String>| {
        context
            .manifest
            .problems
            .push(places.problem(severity, path, message, hint));
    };
    let Content::Mapping(_) = &node.content else {
        say(
            Severity::Error,
            "",
            format!("{inside}expected a Kubernetes object"),
            None,
        );
        return;
    };
    let at = |key: &str| {
        node.get(key)
            .map(|value| positions(context.source, value, false))
    };
    let kind = node
        .get("kind")
        .and_then(Node::text)
        .unwrap_or_default()
        .to_owned();
    let version = node
        .get("apiVersion")
        .and_then(Node::text)
        .unwrap_or_default()
        .to_owned();
    if kind.is_empty() || version.is_empty() {
        let field = if kind.is_empty() {
            "kind"
        } else {
            "apiVersion"
        };
        let example = if kind.is_empty() {
            "kind: Pod"
        } else {
            "apiVersion: v1"
        };
        say(
            Severity::Error,
            field,
            "is required".to_owned(),
            Some(format!("write `{example}`")),
        );
        return;
    }
    let kind_place = at("kind").unwrap_or_default();
    let mut about_kind = |severity, message: String, hint: Option<String>| {
        let mut problem = kind_place.problem(severity, "", message, hint);
        "kind".clone_into(&mut problem.path);
        context.manifest.problems.push(problem);
    };
    if LISTS.contains(&kind.as_str()) {
        return take_list(context, node);
    }
    if WORKING.contains(&kind.as_str()) {
        let right = version_of(&kind);
        if version == right {
            return take_object(context, node, &kind);
        }
        let place = at("apiVersion").unwrap_or_default();
        let mut problem = place.problem(
            Severity::Error,
            "",
            format!(
                "`{}` is not an API version of {kind}",
                version.escape_debug()
            ),
            Some(format!("write `apiVersion: {right}`")),
        );
        "apiVersion".clone_into(&mut problem.path);
        context.manifest.problems.push(problem);
        return;
    }
    if let Some((_, why)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == kind) {
        about_kind(Severity::Note, format!("{kind} has no effect: {why}"), None);
    } else if NOT_YET.contains(&kind.as_str()) {
        about_kind(
            Severity::Error,
            format!("{kind} is not supported yet"),
            Some(format!("{} are", WORKING.join(", "))),
        );
    } else if NEVER.contains(&kind.as_str()) {
        about_kind(Severity::Error, format!("{kind} needs an API server"), None);
    } else {
        let known = WORKING
            .into_iter()
            .chain(NOT_YET)
            .max_by(|a, b| {
                strsim::jaro_winkler(a, &kind).total_cmp(&strsim::jaro_winkler(b, &kind))
            })
            .filter(|known| strsim::jaro_winkler(known, &kind) >= 0.8);
        about_kind(
            Severity::Error,
            format!("`{}` is not a kind that podrun knows", kind.escape_debug()),
            known.map(|known| format!("did you mean `{known}`?")),
        );
    }
}

fn take_list(context: &mut Context<'_>, node: &Node) {
    match node.get("items").map(|items| &items.content) {
        Some(Content::Sequence(items)) => {
            for (index, item) in items.iter().enumerate() {
                take(context, item, &format!("items[{index}]: "));
            }
        }
        Some(Content::Scalar { .. } | Content::Mapping(_)) | None => {
            let places = positions(context.source, node, false);
            context.manifest.problems.push(places.problem(
                Severity::Error,
                "items",
                "is required: a list of objects",
                None,
            ));
        }
    }
}

/// Checks an object beside Pods.
type Check = fn(ObjectKind, Value, &Positions, &mut Vec<Problem>) -> Option<CheckedData>;

fn take_object(context: &mut Context<'_>, node: &Node, kind: &str) {
    let is_secret = kind == "Secret";
    let fields = match kind {
        "Pod" => POD,
        "ConfigMap" => CONFIG_MAP,
        "PersistentVolumeClaim" => PERSISTENT_VOLUME_CLAIM,
        "PersistentVolume" => PERSISTENT_VOLUME,
        "Service" => SERVICE,
        "Endpoints" => ENDPOINTS,
        "EndpointSlice" => ENDPOINT_SLICE,
        _ => SECRET,
    };
    let mut problems = Vec::new();
    let mut checker = Checker {
        strictness: context.strictness,
        positions: positions(context.source, node, is_secret),
        problems: &mut problems,
    };
    let value = checker.value("", node, &Kind::Object(fields));
    let places = checker.positions;
    let Some(value) = value else {
        context.manifest.problems.extend(problems);
        return;
    };
    let checked = match kind {
        "Pod" => None,
        "PersistentVolumeClaim" => {
            Some((ObjectKind::PersistentVolumeClaim, storage::check as Check))
        }
        "PersistentVolume" => Some((ObjectKind::PersistentVolume, storage::check as Check)),
        "ConfigMap" => Some((ObjectKind::ConfigMap, data::check as Check)),
        "Service" => Some((ObjectKind::Service, service::check as Check)),
        "Endpoints" => Some((ObjectKind::Endpoints, endpoints::check as Check)),
        "EndpointSlice" => Some((ObjectKind::EndpointSlice, endpoints::check as Check)),
        _ => Some((ObjectKind::Secret, data::check as Check)),
    };
    let object = match checked {
        Some((kind, check)) => {
            check(kind, value, &places, &mut problems).map(|data| Object::Data(Box::new(data)))
        }
        None => pod::check(value, places, context.folder, &mut problems)
            .map(|pod| Object::Pod(Box::new(pod))),
    };
    let is_fine = problems
        .iter()
        .all(|problem| problem.severity != Severity::Error);
    context.manifest.problems.extend(problems);
    if let (true, Some(object)) = (is_fine, object) {
        context.manifest.objects.push(object);
    }
}

/// `metadata.name` and `metadata.namespace` of any kind.
pub(super) fn names(
    metadata: &Value,
    places: &Positions,
    problems: &mut Vec<Problem>,
) -> (Option<ObjectName>, Option<Namespace>) {
    let text = |field: &str| metadata.get(field).and_then(Value::as_str);
    let mut checked = |field: &str, error: crate::names::NameError| {
        let path = format!("metadata.{field}");
        problems.push(places.problem(Severity::Error, &path, error.rule, error.hint));
    };
    let name = text("name")
        .filter(|name| !name.is_empty())
        .and_then(|name| {
            ObjectName::new(name)
                .map_err(|error| checked("name", error))
                .ok()
        });
    let namespace = text("namespace")
        .filter(|name| !name.is_empty())
        .and_then(|name| {
            Namespace::new(name)
                .map_err(|error| checked("namespace", error))
                .ok()
        });
    (name, namespace)
}
