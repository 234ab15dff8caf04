//! Services and their endpoints: stored before anything starts, because the pods look for them, and
//! with what a cluster's API server gives out.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use serde_json::{Value, json};

use crate::cli::apply::{Change, Changes, Prepared, facts, node_ports};
use crate::cli::failure::{Failure, INVALID};
use crate::controller::Taken;
use crate::names::{Namespace, ObjectKind, ObjectName};
use crate::store::{Object, Store, StoreLock};

/// Whether objects of this kind say where Services lead.
pub(crate) const fn is_network(kind: ObjectKind) -> bool {
    matches!(
        kind,
        ObjectKind::Service | ObjectKind::Endpoints | ObjectKind::EndpointSlice
    )
}

/// All Services, those of the files among them, with their addresses and node ports.
#[derive(Debug, Default)]
pub(crate) struct Services {
    all: BTreeMap<(Namespace, ObjectName), Service>,
    changed: BTreeSet<(Namespace, ObjectName)>,
}

impl Services {
    /// Reads what is stored, puts the files' Services over it and gives them what they need.
    ///
    /// # Errors
    /// A Service that asks for what it cannot have; a store that cannot be read.
    pub(crate) fn load(store: &Store, objects: &Changes<Object>) -> Result<Self, Failure> {
        let mut services = Self::default();
        let stored = store.objects(ObjectKind::Service);
        for object in stored.map_err(Failure::internal)? {
            services.take(&object)?;
        }
        for (object, change) in objects {
            if object.kind == ObjectKind::Service && *change != Change::Keep {
                services.take(object)?;
                let key = (object.namespace.clone(), object.name.clone());
                services.changed.insert(key);
            }
        }
        for key in services.changed.clone() {
            services.allocate(store, &key)?;
        }
        Ok(services)
    }

    fn take(&mut self, object: &Object) -> Result<(), Failure> {
        let service = serde_json::from_value(object.value.clone()).map_err(Failure::internal)?;
        let key = (object.namespace.clone(), object.name.clone());
        self.all.insert(key, service);
        Ok(())
    }

    fn allocate(&mut self, store: &Store, key: &(Namespace, ObjectName)) -> Result<(), Failure> {
        let mut taken = Taken::default();
        for (_, other) in self.all.iter().filter(|(known, _)| *known != key) {
            taken.add(other);
        }
        match self.all.get_mut(key) {
            Some(service) => node_ports::allocate(store, &key.1, service, taken),
            None => Ok(()),
        }
    }

    /// The Services of a namespace.
    pub(crate) fn of(&self, namespace: &Namespace) -> Vec<Service> {
        let own = self.all.iter().filter(|((of, _), _)| of == namespace);
        own.map(|(_, service)| service.clone()).collect()
    }
}

/// A file's object with what the stored one has beside it; says what it is to become.
///
/// # Errors
/// A field that may not change.
pub(crate) fn merged(
    kind: ObjectKind,
    name: &ObjectName,
    old: Option<&Value>,
    mut new: Value,
) -> Result<(Value, Change), Failure> {
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        let kept = |field: &str| old.and_then(|old| old.pointer(&format!("/metadata/{field}")));
        let uid = match kept("uid") {
            Some(uid) => uid.clone(),
            None => facts::new_uid()?.as_str().into(),
        };
        let created = kept("creationTimestamp").cloned();
        let created = created.unwrap_or_else(|| jiff::Timestamp::now().to_string().into());
        metadata.insert("uid".to_owned(), uid);
        metadata.insert("creationTimestamp".to_owned(), created);
    }
    if kind == ObjectKind::Service {
        new = merged_service(name, old, &new)?;
    }
    let change = match old {
        None => Change::Create,
        Some(old) if *old == new => Change::Keep,
        Some(_) => Change::Replace,
    };
    Ok((new, change))
}

/// `patchAllocatedValues` of the API server: a Service keeps its address, and its ports keep their
/// node ports by their names.
fn merged_service(name: &ObjectName, old: Option<&Value>, new: &Value) -> Result<Value, Failure> {
    let typed = |value: &Value| -> Result<Service, Failure> {
        serde_json::from_value(value.clone()).map_err(Failure::internal)
    };
    let mut service = typed(new)?;
    let old = old.map(typed).transpose()?.and_then(|old| old.spec);
    if let (Some(spec), Some(old)) = (&mut service.spec, &old) {
        let has_address = |spec: &ServiceSpec| spec.type_.as_deref() != Some("ExternalName");
        if has_address(spec) && has_address(old) && old.cluster_ip.is_some() {
            if spec.cluster_ip.is_some() && spec.cluster_ip != old.cluster_ip {
                let full = format!("service/{name}");
                let message = format!("{full}: spec.clusterIP is immutable after creation");
                return Err(Failure::with_code(INVALID, message)
                    .hinted(format!("remove it first: `podrun rm {full}`")));
            }
            spec.cluster_ip.clone_from(&old.cluster_ip);
            spec.cluster_ips.clone_from(&old.cluster_ips);
        }
        if has_node_ports(spec) && has_node_ports(old) {
            keep_node_ports(spec, old);
        }
    }
    let mut value = serde_json::to_value(service).map_err(Failure::internal)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("status".to_owned(), json!({"loadBalancer": {}}));
    }
    Ok(value)
}

fn has_node_ports(spec: &ServiceSpec) -> bool {
    match spec.type_.as_deref() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec.allocate_load_balancer_node_ports != Some(false),
        Some(_) | None => false,
    }
}

fn keep_node_ports(spec: &mut ServiceSpec, old: &ServiceSpec) {
    let given = spec.ports.iter().flatten();
    let mut used: BTreeSet<i32> = given.filter_map(|port| port.node_port).collect();
    for port in spec.ports.iter_mut().flatten() {
        let mut before = old.ports.iter().flatten();
        let kept = before
            .find(|before| before.name == port.name)
            .and_then(|before| before.node_port);
        if port.node_port.is_none()
            && let Some(kept) = kept
            && used.insert(kept)
        {
            port.node_port = Some(kept);
        }
    }
}

impl Prepared {
    fn network_objects(&self) -> impl Iterator<Item = (&Object, Change)> {
        let all = self.objects.iter();
        all.filter(|(object, _)| is_network(object.kind))
            .map(|(object, change)| (object, *change))
    }

    /// Stores the Services and endpoints of the files. What was given out before is given out again:
    /// other commands may have taken it meanwhile, and now none can.
    pub(super) fn store_network(&self, lock: &StoreLock) -> Result<Services, Failure> {
        for (object, change) in self.network_objects() {
            let there = || {
                self.store
                    .object(object.kind, &object.namespace, &object.name)
            };
            if change == Change::Create && there().map_err(Failure::internal)?.is_some() {
                let full = format!("{}/{}", object.kind.word(), object.name);
                let message = format!("{full} was made by another command meanwhile");
                return Err(Failure::with_code(INVALID, message));
            }
        }
        let services = Services::load(&self.store, &self.objects)?;
        self.put_network(&services, lock)
            .inspect_err(|_| self.undo_network())?;
        Ok(services)
    }

    fn put_network(&self, services: &Services, _lock: &StoreLock) -> Result<(), Failure> {
        let changed = self.network_objects();
        for (object, _) in changed.filter(|(_, change)| *change != Change::Keep) {
            let key = (object.namespace.clone(), object.name.clone());
            let service = services.all.get(&key);
            let mut object = object.clone();
            if let Some(service) = service.filter(|_| object.kind == ObjectKind::Service) {
                object.value = serde_json::to_value(service).map_err(Failure::internal)?;
            }
            self.store.put_object(&object).map_err(Failure::internal)?;
        }
        Ok(())
    }

    /// Takes back the Services and endpoints of the files, but for those that another command has
    /// removed meanwhile, or made anew.
    pub(super) fn undo_network(&self) {
        let is_stored = |object: &Object| {
            let (namespace, name) = (&object.namespace, &object.name);
            let stored = self.store.object(object.kind, namespace, name);
            let uid = |object: &Object| object.value.pointer("/metadata/uid").cloned();
            stored.is_ok_and(|stored| stored.is_some_and(|stored| uid(&stored) == uid(object)))
        };
        for (object, change) in self.network_objects() {
            if change == Change::Create && is_stored(object) {
                let (namespace, name) = (&object.namespace, &object.name);
                self.store.remove_object(object.kind, namespace, name).ok();
            }
        }
        for object in self.before.iter().filter(|object| is_stored(object)) {
            self.store.put_object(object).ok();
        }
    }
}

/// The stored Services and endpoints that the files replace.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn before(store: &Store, objects: &Changes<Object>) -> Result<Vec<Object>, Failure> {
    let mut found = Vec::new();
    for (object, change) in objects {
        if is_network(object.kind) && *change == Change::Replace {
            let old = store.object(object.kind, &object.namespace, &object.name);
            found.extend(old.map_err(Failure::internal)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(old: &Value, new: &Value) -> Result<(Value, Change), String> {
        let of = |spec: &Value| {
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec,
            })
        };
        let name = ObjectName::new("web").unwrap();
        let (stored, _) = merged(ObjectKind::Service, &name, None, of(old)).unwrap();
        merged(ObjectKind::Service, &name, Some(&stored), of(new))
            .map(|(value, change)| (value["spec"].clone(), change))
            .map_err(|failure| failure.message)
    }

    #[test]
    fn a_service_keeps_what_it_was_given() {
        let old = json!({
            "type": "NodePort", "clusterIP": "10.89.0.9", "clusterIPs": ["10.89.0.9"],
            "ports": [
                {"name": "a", "port": 80, "nodePort": 30001},
                {"name": "b", "port": 81, "nodePort": 30002},
            ],
        });
        let new = json!({
            "type": "NodePort",
            "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}],
        });
        assert_eq!(merge(&old, &new).unwrap(), (old.clone(), Change::Keep));
        // A port that was given one anew leaves its old one, and takes another's.
        let new = json!({
            "type": "NodePort",
            "ports": [{"name": "b", "port": 81}, {"name": "a", "port": 80, "nodePort": 30002}],
        });
        let (spec, change) = merge(&old, &new).unwrap();
        assert_eq!(change, Change::Replace);
        assert_eq!(spec["clusterIP"], "10.89.0.9");
        assert_eq!(spec["ports"][0].get("nodePort"), None);
        assert_eq!(spec["ports"][1]["nodePort"], 30002);
        // One that is for the inside alone has no node ports.
        let new = json!({"type": "ClusterIP", "ports": [{"name": "a", "port": 80}]});
        let (spec, _) = merge(&old, &new).unwrap();
        assert_eq!(spec["ports"][0].get("nodePort"), None);
    }

    #[test]
    fn the_address_of_a_service_does_not_change() {
        let old = json!({"clusterIP": "10.89.0.9"});
        let new = json!({"clusterIP": "10.89.0.8"});
        assert_eq!(
            merge(&old, &new).unwrap_err(),
            "service/web: spec.clusterIP is immutable after creation"
        );
        let external = json!({"type": "ExternalName", "externalName": "a"});
        let (spec, _) = merge(&old, &external).unwrap();
        assert_eq!(spec.get("clusterIP"), None);
    }
}
