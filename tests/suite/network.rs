//! Pods that talk: by address, by name and through Services.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use crate::harness::{Podrun, container, container_with, documents, lasting, until};

/// The container of a pod that answers with the pod's name and who asks.
pub(crate) fn server(name: &str, fields: &Value) -> Value {
    let mut fields = fields.clone();
    fields["ports"] = json!([
        { "name": "web", "containerPort": 8080 },
        { "name": "ask", "containerPort": 8080, "protocol": "UDP" },
    ]);
    container_with("a", &["serve", "8080", name], &fields)
}

/// A pod of `app: web` that answers so.
pub(crate) fn backend(name: &str, fields: &Value) -> Value {
    let mut pod = lasting(name, &[server(name, fields)]);
    pod["metadata"]["labels"] = json!({ "app": "web" });
    pod
}

/// Ready while there is a file.
fn ready_while_there_is_a_file() -> Value {
    json!({ "readinessProbe": {
        "exec": { "command": ["/probe", "exists", "/ready"] },
        "periodSeconds": 1, "failureThreshold": 1,
    } })
}

pub(crate) fn client() -> Value {
    lasting("client", &[container("a", &["ready-sleep"])])
}

/// A Service of `app: web`, on port 80.
pub(crate) fn service(name: &str, more: &Value) -> Value {
    let mut spec = json!({
        "selector": { "app": "web" },
        "ports": [{ "name": "http", "port": 80, "targetPort": "web" }],
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": spec })
}

pub(crate) fn up_all(podrun: &Podrun, all: &[Value]) {
    let manifest = podrun.manifest_text("all.yaml", &documents(all));
    podrun.run(["up", &manifest]).ok();
}

/// The addresses of a pod, the first of them of IPv4.
pub(crate) fn addresses(podrun: &Podrun, name: &str) -> Vec<IpAddr> {
    let pod = podrun.pod(name);
    let ips = pod["status"]["podIPs"].as_array().unwrap();
    ips.iter()
        .map(|ip| ip["ip"].as_str().unwrap().parse().unwrap())
        .collect()
}

/// What a pod hears when it asks this address.
pub(crate) fn ask(podrun: &Podrun, pod: &str, protocol: &str, address: &str) -> String {
    let said = podrun.probe(pod, "a", &["ask", protocol, address]);
    said.trim_end().to_owned()
}

/// The names of the servers that answer an address, and no errors.
fn answering(podrun: &Podrun, protocol: &str, address: &str) -> BTreeSet<String> {
    let said = podrun.probe("client", "a", &["ask", protocol, address, "40"]);
    let names = said.lines();
    names
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect()
}

#[track_caller]
fn until_answering(podrun: &Podrun, protocol: &str, address: &str, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
    let mut last = BTreeSet::new();
    until(&format!("{expected:?} answer {address}"), || {
        let now = answering(podrun, protocol, address);
        if now != last {
            eprintln!("{address}: {now:?}");
        }
        last = now;
        last == expected
    });
}

/// Until a pod hears this.
#[track_caller]
pub(crate) fn until_heard(podrun: &Podrun, protocol: &str, address: &str, expected: &str) {
    let mut last = String::new();
    until(&format!("{address} says {expected}"), || {
        let now = ask(podrun, "client", protocol, address);
        if now != last {
            eprintln!("{address}: {now}");
        }
        last = now;
        last == expected
    });
}

#[test]
fn pods_reach_each_other_by_address_and_see_who_asks() {
    let podrun = Podrun::new();
    up_all(&podrun, &[backend("b", &json!({})), client()]);
    let (ours, theirs) = (addresses(&podrun, "client"), addresses(&podrun, "b"));
    assert_eq!(ours.len(), theirs.len());
    let has_ipv6 = fs::exists("/proc/sys/net/ipv6").unwrap();
    assert_eq!(theirs.len(), if has_ipv6 { 2 } else { 1 }, "{theirs:?}");
    for (own, other) in ours.into_iter().zip(theirs) {
        let address = SocketAddr::new(other, 8080).to_string();
        for protocol in ["tcp", "udp"] {
            let heard = ask(&podrun, "client", protocol, &address);
            assert_eq!(heard, format!("b {own}"), "{protocol} {address}");
        }
        // Nobody listens there: the answer comes at once.
        let closed = SocketAddr::new(other, 8081).to_string();
        for protocol in ["tcp", "udp"] {
            let heard = ask(&podrun, "client", protocol, &closed);
            assert_eq!(heard, "errno 111", "{protocol} {closed}");
        }
    }
}

#[test]
fn a_headless_service_names_its_pods() {
    let podrun = Podrun::new();
    let mut pod = backend("b", &json!({}));
    pod["spec"]["hostname"] = "one".into();
    pod["spec"]["subdomain"] = "set".into();
    let set = service("set", &json!({ "clusterIP": "None" }));
    up_all(&podrun, &[set, pod, client()]);
    let own = addresses(&podrun, "client")[0];
    for name in ["one.set", "set", "one.set.default.svc.cluster.local"] {
        // Both addresses are in the name; which is asked first is the client's choice.
        let address = format!("{name}:8080");
        until(&format!("{name} answers"), || {
            ask(&podrun, "client", "tcp", &address).starts_with("b ")
        });
    }
    let address = addresses(&podrun, "b")[0];
    let by_address = format!("{}.default.pod", address.to_string().replace('.', "-"));
    let heard = ask(&podrun, "client", "tcp", &format!("{by_address}:8080"));
    assert_eq!(heard, format!("b {own}"));
    let port = "_http._tcp.set.default.svc.cluster.local";
    let heard = podrun.probe("client", "a", &["dns", port, "33"]);
    assert!(heard.starts_with("rcode 0 answers "), "{heard}");
    assert_ne!(heard, "rcode 0 answers 0\n");
    // Another pod's hostname is none of the Service's.
    let heard = podrun.probe(
        "client",
        "a",
        &["dns", "two.set.default.svc.cluster.local", "1"],
    );
    assert_eq!(heard, "rcode 3 answers 0\n");
}

#[test]
fn only_ready_pods_answer_for_a_service() {
    let podrun = Podrun::new();
    let names = ["b1", "b2", "b3"];
    let mut all = vec![service("web", &json!({})), client()];
    all.extend(names.map(|name| backend(name, &ready_while_there_is_a_file())));
    // Ready whether they are or not.
    all.push(service("any", &json!({ "publishNotReadyAddresses": true })));
    for pod in &all {
        podrun.start(pod);
    }
    for name in names {
        podrun.wait_for_log(name, "a", "listening");
    }
    podrun.wait_for_log("client", "a", "ready");
    until_answering(&podrun, "tcp", "any:80", &names);
    // There is such a port, but nobody behind it: refused, not lost.
    until_heard(&podrun, "tcp", "web:80", "errno 111");
    podrun.probe("b1", "a", &["write", "/ready", ""]);
    until_answering(&podrun, "tcp", "web:80", &["b1"]);
    podrun.probe("b3", "a", &["write", "/ready", ""]);
    until_answering(&podrun, "tcp", "web:80", &["b1", "b3"]);
    let is_ready = |name: &str| {
        let pod = podrun.pod(name);
        let all = pod["status"]["conditions"].as_array().unwrap().clone();
        all.iter()
            .any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    podrun.probe("b1", "a", &["unlink", "/ready"]);
    until("b1 is not ready", || !is_ready("b1"));
    until_answering(&podrun, "tcp", "web:80", &["b3"]);
    podrun.probe("b1", "a", &["write", "/ready", ""]);
    podrun.probe("b2", "a", &["write", "/ready", ""]);
    until_answering(&podrun, "tcp", "web:80", &names);
    // One that is gone answers no more.
    podrun.run(["rm", "b2"]).ok();
    until_answering(&podrun, "tcp", "web:80", &["b1", "b3"]);
}

#[test]
fn services_come_before_and_after_their_pods() {
    let podrun = Podrun::new();
    let udp = json!({ "ports": [
        { "name": "u", "port": 53, "protocol": "UDP", "targetPort": "ask" },
        { "name": "t", "port": 54, "targetPort": 8080 },
    ] });
    up_all(&podrun, &[service("before", &udp), client()]);
    until_heard(&podrun, "udp", "before:53", "errno 111");
    podrun.up(&backend("b", &json!({}))).ok();
    let own = addresses(&podrun, "client")[0];
    let expected = format!("b {own}");
    until_heard(&podrun, "udp", "before:53", &expected);
    until_heard(&podrun, "tcp", "before:54", &expected);
    podrun.up(&service("after", &json!({}))).ok();
    for name in ["after", "after.default", "after.default.svc"] {
        until_heard(&podrun, "tcp", &format!("{name}:80"), &expected);
    }
    // A port that the Service does not have.
    until_heard(&podrun, "tcp", "after:81", "errno 111");
    podrun.run(["rm", "service/after"]).ok();
    let full = "after.default.svc.cluster.local";
    until("the name is gone", || {
        podrun.probe("client", "a", &["dns", full, "1"]) == "rcode 3 answers 0\n"
    });
    for name in ["kubernetes", "nobody"] {
        let full = format!("{name}.default.svc.cluster.local");
        let heard = podrun.probe("client", "a", &["dns", &full, "1"]);
        assert_eq!(heard, "rcode 3 answers 0\n", "{full}");
    }
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let podrun = Podrun::new();
    up_all(
        &podrun,
        &[service("web", &json!({})), backend("b", &json!({}))],
    );
    until("the pod answers itself", || {
        ask(&podrun, "b", "tcp", "web:80").starts_with("b ")
    });
}

#[test]
fn a_client_stays_with_its_pod_where_the_service_says_so() {
    let podrun = Podrun::new();
    let names = ["b1", "b2", "b3", "b4"];
    let mut all = vec![
        service("sticky", &json!({ "sessionAffinity": "ClientIP" })),
        service("any", &json!({})),
        client(),
    ];
    all.extend(names.map(|name| backend(name, &json!({}))));
    up_all(&podrun, &all);
    until_answering(&podrun, "tcp", "any:80", &names);
    until("one pod only", || {
        let heard = answering(&podrun, "tcp", "sticky:80");
        heard.len() == 1 && heard.iter().all(|name| name.starts_with('b'))
    });
    assert_eq!(
        answering(&podrun, "tcp", "sticky:80"),
        answering(&podrun, "tcp", "sticky:80")
    );
}

#[test]
fn a_service_of_another_namespace_is_named_with_it() {
    let podrun = Podrun::new();
    let (mut pod, mut web) = (backend("b", &json!({})), service("web", &json!({})));
    for object in [&mut pod, &mut web] {
        object["metadata"]["namespace"] = "other".into();
    }
    up_all(&podrun, &[pod, web, client()]);
    let own = addresses(&podrun, "client")[0];
    until_heard(&podrun, "tcp", "web.other:80", &format!("b {own}"));
    let heard = podrun.probe(
        "client",
        "a",
        &["dns", "web.default.svc.cluster.local", "1"],
    );
    assert_eq!(heard, "rcode 3 answers 0\n");
}
