//! Services and endpoints as people look at them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use crate::cli::failure::Failure;
use crate::controller::{self, Given};
use crate::names::ObjectKind;
use crate::store::{Object, PodRecord, Store};

/// How many endpoints of a Service are shown.
const MAX_SHOWN: usize = 3;

/// The Endpoints of all namespaces: where Services lead, and what was written.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn all_endpoints(store: &Store) -> Result<Vec<Object>, Failure> {
    let pods = store.pods().map_err(Failure::internal)?;
    let pods: Vec<Pod> = pods.iter().filter_map(PodRecord::pod).collect();
    let slices = store.objects(ObjectKind::EndpointSlice);
    let slices = slices.map_err(Failure::internal)?.into_iter();
    let slices: Vec<EndpointSlice> = slices
        .map(|object| serde_json::from_value(object.value))
        .collect::<Result<_, _>>()
        .map_err(Failure::internal)?;
    let written = store.objects(ObjectKind::Endpoints);
    let mut found = written.map_err(Failure::internal)?;
    for object in store
        .objects(ObjectKind::Service)
        .map_err(Failure::internal)?
    {
        let service: Service = serde_json::from_value(object.value).map_err(Failure::internal)?;
        let spec = service.spec.as_ref();
        if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
            continue;
        }
        let given = Given {
            endpoints: &[],
            slices: &slices,
        };
        let endpoints = controller::endpoints(&service, &pods, given);
        let selector = spec.and_then(|spec| spec.selector.as_ref());
        if selector.is_none_or(BTreeMap::is_empty) && endpoints.hosts.is_empty() {
            continue;
        }
        let value = serde_json::to_value(controller::as_object(&service, &endpoints));
        let computed = Object {
            kind: ObjectKind::Endpoints,
            value: value.map_err(Failure::internal)?,
            namespace: object.namespace,
            name: object.name,
        };
        found.retain(|known| {
            (&known.namespace, &known.name) != (&computed.namespace, &computed.name)
        });
        found.push(computed);
    }
    found.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(found)
}

/// `formatEndpoints`: `ADDRESS:PORT,…` of the ports of a name, or of all.
pub(super) fn endpoints_text(value: &Value, port_name: Option<&str>) -> String {
    let endpoints: Endpoints = serde_json::from_value(value.clone()).unwrap_or_default();
    let mut all = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let addresses = subset.addresses.as_deref().unwrap_or_default();
        let ports = subset.ports.as_deref().unwrap_or_default();
        if ports.is_empty() {
            all.extend(addresses.iter().map(|address| address.ip.clone()));
        }
        for port in ports {
            if port_name.is_some_and(|name| name != port.name.as_deref().unwrap_or_default()) {
                continue;
            }
            all.extend(
                addresses
                    .iter()
                    .map(|address| with_port(&address.ip, port.port)),
            );
        }
    }
    or_none(&first_of(all))
}

/// The first ones, and how many more there are.
fn first_of(mut all: Vec<String>) -> String {
    let more = all.len().saturating_sub(MAX_SHOWN);
    all.truncate(MAX_SHOWN);
    let first = all.join(",");
    if more == 0 {
        first
    } else {
        format!("{first} + {more} more...")
    }
}

/// `net.JoinHostPort`.
fn with_port(address: &str, port: i32) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

/// TYPE, CLUSTER-IP, EXTERNAL-IP and PORT(S) (`printService`).
pub(super) fn cells(value: &Value) -> Vec<String> {
    let service: Service = serde_json::from_value(value.clone()).unwrap_or_default();
    let spec = service.spec.unwrap_or_default();
    let kind = spec.type_.clone().unwrap_or_default();
    let externals = spec.external_ips.clone().unwrap_or_default().join(",");
    let external = match (kind.as_str(), externals.as_str()) {
        ("ExternalName", _) => spec.external_name.clone().unwrap_or_default(),
        ("LoadBalancer", "") => "<pending>".to_owned(),
        (_, "") => "<none>".to_owned(),
        (_, _) => externals,
    };
    let ports = spec.ports.iter().flatten();
    let ports: Vec<String> = ports.map(port_text).collect();
    vec![
        kind,
        or_none(&spec.cluster_ip.unwrap_or_default()),
        external,
        or_none(&ports.join(",")),
    ]
}

/// `makePortString`.
fn port_text(port: &ServicePort) -> String {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match port.node_port {
        Some(node) => format!("{}:{node}/{protocol}", port.port),
        None => format!("{}/{protocol}", port.port),
    }
}

/// The labels that a Service selects by (`FormatLabels`).
pub(super) fn selector_text(value: &Value) -> String {
    let labels = value.pointer("/spec/selector").and_then(Value::as_object);
    let labels: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    or_none(&labels.join(","))
}

/// ADDRESSTYPE, PORTS and ENDPOINTS of an `EndpointSlice` (`printEndpointSlice`).
pub(super) fn slice_cells(value: &Value) -> Vec<String> {
    let list = |value: &Value, pointer: &str| -> Vec<Value> {
        let list = value.pointer(pointer).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let ports: Vec<String> = list(value, "/ports")
        .iter()
        .map(|port| port.get("port").map_or("*".to_owned(), ToString::to_string))
        .collect();
    let addresses: Vec<String> = list(value, "/endpoints")
        .iter()
        .flat_map(|endpoint| list(endpoint, "/addresses"))
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    let kind = value.get("addressType").and_then(Value::as_str);
    let unset = |text: String| {
        if text.is_empty() {
            "<unset>".to_owned()
        } else {
            text
        }
    };
    vec![
        kind.unwrap_or_default().to_owned(),
        unset(ports.join(",")),
        unset(first_of(addresses)),
    ]
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>" } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_are_shown_as_kubectl_shows_them() {
        for (spec, expected) in [
            (
                json!({"type": "ClusterIP", "clusterIP": "10.89.0.1", "ports": [
                    {"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"},
                ]}),
                ["ClusterIP", "10.89.0.1", "<none>", "80/TCP,53/UDP"],
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "None"}),
                ["ClusterIP", "None", "<none>", "<none>"],
            ),
            (
                json!({"type": "LoadBalancer", "clusterIP": "10.89.0.1", "ports": [
                    {"port": 80, "nodePort": 30080, "protocol": "TCP"},
                ]}),
                ["LoadBalancer", "10.89.0.1", "<pending>", "80:30080/TCP"],
            ),
            (
                json!({"type": "NodePort", "clusterIP": "10.89.0.1", "externalIPs": ["192.0.2.1"]}),
                ["NodePort", "10.89.0.1", "192.0.2.1", "<none>"],
            ),
            (
                json!({"type": "ExternalName", "externalName": "a.example"}),
                ["ExternalName", "<none>", "a.example", "<none>"],
            ),
        ] {
            assert_eq!(cells(&json!({"spec": spec})), expected, "{spec}");
        }
    }

    #[test]
    fn endpoints_are_shown_as_kubectl_shows_them() {
        let addresses = |count: u8| -> Value {
            (1..=count)
                .map(|number| json!({"ip": format!("192.0.2.{number}")}))
                .collect()
        };
        let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
        for (subsets, name, expected) in [
            (json!([]), None, "<none>"),
            (
                json!([{"notReadyAddresses": addresses(1), "ports": ports}]),
                None,
                "<none>",
            ),
            (
                json!([{"addresses": addresses(2)}]),
                None,
                "192.0.2.1,192.0.2.2",
            ),
            (
                json!([{"addresses": addresses(1), "ports": ports}]),
                None,
                "192.0.2.1:80,192.0.2.1:81",
            ),
            (
                json!([{"addresses": addresses(1), "ports": ports}]),
                Some("b"),
                "192.0.2.1:81",
            ),
            (
                json!([{"addresses": addresses(3), "ports": ports}]),
                None,
                "192.0.2.1:80,192.0.2.2:80,192.0.2.3:80 + 3 more...",
            ),
            (
                json!([{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 80}]}]),
                None,
                "[fd00::1]:80",
            ),
        ] {
            let shown = endpoints_text(&json!({"subsets": subsets}), name);
            assert_eq!(shown, expected, "{subsets}");
        }
    }
}
