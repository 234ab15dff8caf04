use std::fmt::Write;

use serde_json::{Value, json};

use super::*;

fn service(spec: &Value) -> Service {
    let metadata = json!({"name": "web", "namespace": "prod"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

/// A Ready pod `web-NUMBER` of `app: web` at 10.88.0.NUMBER and `fd00::NUMBER`, which calls 8080
/// `http`, with changes of its fields by their pointers.
fn pod(number: u8, changes: &[(&str, Value)]) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": format!("web-{number}"), "namespace": "prod", "uid": format!("uid-{number}"),
            "labels": {"app": "web", "tier": "front"}, "deletionTimestamp": null,
        },
        "spec": {
            "hostname": format!("h{number}"),
            "subdomain": "other",
            "initContainers": [
                {"name": "i", "ports": [{"name": "init", "containerPort": 7}]},
                {
                    "name": "s", "restartPolicy": "Always",
                    "ports": [{"name": "side", "containerPort": 9}],
                },
            ],
            "containers": [{
                "name": "a",
                "ports": [
                    {"name": "http", "containerPort": 8080, "protocol": "UDP"},
                    {"name": "http", "containerPort": 8081, "protocol": "TCP"},
                ],
            }],
        },
        "status": {
            "phase": "Running",
            "podIP": format!("10.88.0.{number}"),
            "podIPs": [{"ip": format!("10.88.0.{number}")}, {"ip": format!("fd00::{number}")}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    for (pointer, value) in changes {
        *pod.pointer_mut(pointer)
            .unwrap_or_else(|| panic!("{pointer}")) = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

fn not_ready() -> [(&'static str, Value); 1] {
    [("/status/conditions/0/status", json!("False"))]
}

/// `NAME:PORT -> ADDRESS:PORT[!] …` a port; `!` marks what is not ready.
fn shown(endpoints: &Endpoints) -> Vec<String> {
    let ports = endpoints.ports.iter();
    ports
        .map(|port| {
            let mut line = format!("{}:{}/{} ->", port.name, port.port, word(port.protocol));
            for target in &port.targets {
                let host = &endpoints.hosts[target.host];
                let mark = if host.is_ready { "" } else { "!" };
                write!(line, " {}:{}{mark}", host.addresses[0], target.port).unwrap();
            }
            line
        })
        .collect()
}

fn found(spec: &Value, pods: &[Pod]) -> Endpoints {
    endpoints(&service(spec), pods, Given::default())
}

#[test]
fn a_target_port_is_a_number_or_a_name_of_the_pod() {
    let udp = json!([{"port": 53, "protocol": "UDP", "targetPort": "http"}]);
    for (ports, expected) in [
        (json!([{"port": 80}]), vec![":80/TCP -> 10.88.0.2:80"]),
        (
            json!([{"port": 80, "targetPort": 8000}]),
            vec![":80/TCP -> 10.88.0.2:8000"],
        ),
        (
            json!([{"port": 80, "protocol": "TCP", "targetPort": "http"}]),
            vec![":80/TCP -> 10.88.0.2:8081"],
        ),
        (udp, vec![":53/UDP -> 10.88.0.2:8080"]),
        // Sidecars serve, other init containers do not.
        (
            json!([{"port": 80, "targetPort": "side"}]),
            vec![":80/TCP -> 10.88.0.2:9"],
        ),
        (
            json!([{"port": 80, "targetPort": "init"}]),
            vec![":80/TCP ->"],
        ),
        (
            json!([{"name": "a", "port": 80, "targetPort": "no"}, {"name": "b", "port": 81}]),
            vec!["a:80/TCP ->", "b:81/TCP -> 10.88.0.2:81"],
        ),
        (json!([{"port": 80, "protocol": "SCTP"}]), vec![]),
    ] {
        let spec = json!({"selector": {"app": "web"}, "ports": ports});
        assert_eq!(shown(&found(&spec, &[pod(2, &[])])), expected, "{ports}");
    }
}

#[test]
fn a_name_is_looked_up_in_each_pod() {
    let other = pod(
        3,
        &[("/spec/containers/0/ports/1/containerPort", json!(9090))],
    );
    let without = pod(4, &[("/spec/containers/0/ports", json!([]))]);
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]});
    let found = found(&spec, &[pod(2, &[]), other, without]);
    assert_eq!(shown(&found), [":80/TCP -> 10.88.0.2:8081 10.88.0.3:9090"]);
    assert_eq!(found.hosts.len(), 2);
}

#[test]
fn pods_are_behind_a_service_by_label_namespace_and_life() {
    let no_address = [
        ("/status/podIP", Value::Null),
        ("/status/podIPs", Value::Null),
    ];
    let deleted = [("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"))];
    for (changes, ready, published) in [
        (&[][..], "10.88.0.2:80", "10.88.0.2:80"),
        (&not_ready(), "10.88.0.2:80!", "10.88.0.2:80"),
        (&deleted, "10.88.0.2:80!", "10.88.0.2:80"),
        (&[("/metadata/namespace", json!("default"))], "", ""),
        (&[("/metadata/labels/tier", json!("back"))], "", ""),
        (&[("/status/phase", json!("Succeeded"))], "", ""),
        (&[("/status/phase", json!("Failed"))], "", ""),
        (&no_address, "", ""),
    ] {
        for (publishes, expected) in [(false, ready), (true, published)] {
            let found = found(
                &json!({
                    "selector": {"app": "web", "tier": "front"},
                    "publishNotReadyAddresses": publishes,
                    "ports": [{"port": 80}],
                }),
                &[pod(2, changes)],
            );
            let line = format!(":80/TCP -> {expected}");
            assert_eq!(shown(&found), [line.trim_end()], "{changes:?} {publishes}");
            let counts = found.ready(&found.ports[0]).count();
            let is_ready = !expected.is_empty() && !expected.ends_with('!');
            assert_eq!(counts, usize::from(is_ready), "{changes:?} {publishes}");
        }
    }
}

#[test]
fn all_addresses_of_a_pod_are_known() {
    let spec = json!({"selector": {"app": "web"}, "clusterIP": "None"});
    let found = found(&spec, &[pod(2, &[])]);
    let addresses: Vec<String> = found.hosts[0]
        .addresses
        .iter()
        .map(IpAddr::to_string)
        .collect();
    assert_eq!(addresses, ["10.88.0.2", "fd00::2"]);
    assert!(found.ports.is_empty());
}

#[test]
fn a_pod_has_a_name_where_its_subdomain_is_the_service() {
    let spec = json!({"selector": {"app": "web"}, "clusterIP": "None"});
    for (changes, expected) in [
        (vec![("/spec/subdomain", json!("web"))], Some("h2")),
        (vec![], None),
        (
            vec![
                ("/spec/subdomain", json!("web")),
                ("/spec/hostname", json!("")),
            ],
            None,
        ),
    ] {
        let found = found(&spec, &[pod(2, &changes)]);
        assert_eq!(found.hosts[0].hostname.as_deref(), expected, "{changes:?}");
    }
}

#[test]
fn a_name_of_elsewhere_leads_nowhere() {
    let spec = json!({"type": "ExternalName", "externalName": "a", "selector": {"app": "web"}});
    assert_eq!(found(&spec, &[pod(2, &[])]), Endpoints::default());
}

fn given_objects() -> (Vec<core::Endpoints>, Vec<EndpointSlice>) {
    let endpoints = |name: &str, namespace: &str| {
        json!({
            "metadata": {"name": name, "namespace": namespace},
            "subsets": [{
                "addresses": [{"ip": "192.0.2.1", "hostname": "one"}],
                "notReadyAddresses": [{"ip": "192.0.2.2"}],
                "ports": [{"name": "a", "port": 8080}, {"name": "b", "port": 53, "protocol": "UDP"}],
            }],
        })
    };
    let slice = |service: &str, kind: &str, address: &str| {
        json!({
            "metadata": {
                "name": "s", "namespace": "prod", "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": kind,
            "endpoints": [
                {"addresses": [address, "192.0.2.99"]},
                {"addresses": ["192.0.2.8"], "conditions": {"ready": false}},
            ],
            "ports": [{"name": "a", "port": 8888, "protocol": "TCP"}, {"name": "c"}],
        })
    };
    let all = json!([
        endpoints("web", "prod"),
        endpoints("web", "default"),
        endpoints("other", "prod"),
    ]);
    let slices = json!([
        slice("web", "IPv4", "192.0.2.7"),
        slice("web", "FQDN", "example.com"),
        slice("other", "IPv4", "192.0.2.6"),
    ]);
    (
        serde_json::from_value(all).unwrap(),
        serde_json::from_value(slices).unwrap(),
    )
}

#[test]
fn a_service_without_a_selector_leads_to_what_is_written() {
    let (all, slices) = given_objects();
    let given = Given {
        endpoints: &all,
        slices: &slices,
    };
    let ports = json!([
        {"name": "a", "port": 80, "targetPort": 1},
        {"name": "b", "port": 53, "protocol": "UDP"},
        {"name": "c", "port": 9},
    ]);
    let spec = json!({"ports": ports});
    let found = endpoints(&service(&spec), &[pod(2, &[])], given);
    assert_eq!(
        shown(&found),
        [
            "a:80/TCP -> 192.0.2.1:8080 192.0.2.2:8080! 192.0.2.7:8888 192.0.2.8:8888!",
            "b:53/UDP -> 192.0.2.1:53 192.0.2.2:53!",
            "c:9/TCP ->",
        ]
    );
    assert_eq!(found.hosts[0].hostname.as_deref(), Some("one"));
    // With one, what is written is the controller's.
    let spec = json!({"selector": {"app": "none"}, "ports": ports});
    assert!(endpoints(&service(&spec), &[], given).hosts.is_empty());
}

#[test]
fn the_object_has_hosts_with_the_same_ports_together() {
    let other = pod(
        4,
        &[("/spec/containers/0/ports/1/containerPort", json!(9090))],
    );
    let deleted = ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    let leaving = pod(5, &[deleted]);
    let service = service(&json!({
        "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
    }));
    let pods = [pod(2, &[]), pod(3, &not_ready()), other, leaving];
    let object = as_object(&service, &endpoints(&service, &pods, Given::default()));
    let address = |number: u8| {
        json!({
            "ip": format!("10.88.0.{number}"),
            "targetRef": {
                "kind": "Pod", "name": format!("web-{number}"), "namespace": "prod",
                "uid": format!("uid-{number}"),
            },
        })
    };
    let port = |port: u16| json!([{"name": "http", "port": port, "protocol": "TCP"}]);
    assert_eq!(
        serde_json::to_value(object).unwrap(),
        json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": "web", "namespace": "prod"},
            "subsets": [
                {"addresses": [address(2)], "notReadyAddresses": [address(3)], "ports": port(8081)},
                {"addresses": [address(4)], "ports": port(9090)},
            ],
        })
    );
}
