//! Node ports: ports of the host that lead to the ready endpoints of a Service.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
};
use std::time::Duration;

use serde_json::{Value, json};

use crate::census;
use crate::harness::{Podrun, container, container_with, documents, free_port, lasting, until};
use crate::network::{backend, client, service, up_all};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A Service of `app: web` with a node port of each protocol.
fn node_service(more: &Value) -> Value {
    let mut spec = json!({
        "type": "NodePort",
        "ports": [
            { "name": "http", "port": 80, "targetPort": "web" },
            { "name": "ask", "port": 80, "targetPort": "ask", "protocol": "UDP" },
        ],
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    service("web", &spec)
}

/// The node ports of a Service in their order.
fn node_ports(podrun: &Podrun, name: &str) -> Vec<u16> {
    let shown = podrun.run(["get", &format!("svc/{name}"), "-o", "json"]);
    let service: Value = serde_json::from_str(&shown.ok().stdout).unwrap();
    let ports = service["spec"]["ports"].as_array().unwrap().iter();
    ports
        .map(|port| u16::try_from(port["nodePort"].as_u64().unwrap()).unwrap())
        .collect()
}

/// A node port that nobody has.
fn free_node_port() -> u16 {
    let mut free = (30_000..30_086).rev().filter(|port| {
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_err();
        !taken && UdpSocket::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok()
    });
    // Another test looks for one at the same time.
    let nth = usize::from(free_port()) % 16;
    free.nth(nth).unwrap()
}

fn hosts() -> Vec<IpAddr> {
    let mut hosts = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        hosts.push(IpAddr::V6(Ipv6Addr::LOCALHOST));
    }
    hosts
}

/// Which pod answers there.
fn ask_tcp(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let name = text.split(' ').next().unwrap_or_default();
    if name.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(name.to_owned())
}

fn ask_udp(address: SocketAddr) -> io::Result<String> {
    hear_udp(&udp_client(address)?)
}

fn udp_client(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(address)?;
    Ok(socket)
}

fn hear_udp(socket: &UdpSocket) -> io::Result<String> {
    socket.send(b"who?")?;
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer)?;
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

/// Until exactly these pods answer there, with no error in between.
#[track_caller]
fn until_answering(address: SocketAddr, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
    until(&format!("{expected:?} answer {address}"), || {
        let names: io::Result<BTreeSet<String>> = (0..8).map(|_| ask_tcp(address)).collect();
        names.is_ok_and(|names| names == expected)
    });
}

#[track_caller]
fn until_refused(address: SocketAddr) {
    until(&format!("{address} refuses"), || {
        let refused = TcpStream::connect(address).map_err(|error| error.kind());
        matches!(refused, Err(io::ErrorKind::ConnectionRefused))
    });
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn ready_while_there_is_a_file() -> Value {
    json!({ "readinessProbe": {
        "exec": { "command": ["/probe", "exists", "/ready"] },
        "periodSeconds": 1, "failureThreshold": 1,
    } })
}

#[test]
fn a_node_port_leads_to_the_ready_pods_and_to_no_others() {
    let podrun = Podrun::new();
    let late = backend("late", &ready_while_there_is_a_file());
    up_all(
        &podrun,
        &[node_service(&json!({})), backend("b", &json!({}))],
    );
    podrun.start(&late);
    podrun.wait_for_log("late", "a", "listening");
    let [tcp, udp]: [u16; 2] = node_ports(&podrun, "web").try_into().unwrap();
    for host in hosts() {
        until_answering(SocketAddr::new(host, tcp), &["b"]);
        assert_eq!(ask_udp(SocketAddr::new(host, udp)).unwrap(), "b", "{host}");
    }
    // A client that stays has one pod as long as there is that pod.
    let stays = udp_client(local(udp)).unwrap();
    for _ in 0..2 {
        assert_eq!(hear_udp(&stays).unwrap(), "b");
    }
    podrun.probe("late", "a", &["write", "/ready", ""]);
    for host in hosts() {
        until_answering(SocketAddr::new(host, tcp), &["b", "late"]);
    }
    podrun.run(["rm", "b"]).ok();
    until_answering(local(tcp), &["late"]);
    assert_eq!(ask_udp(local(udp)).unwrap(), "late");
    assert_eq!(hear_udp(&stays).unwrap(), "late");
    // None is ready: refused, and a Service that has none is not waited for.
    podrun.probe("late", "a", &["unlink", "/ready"]);
    until_refused(local(tcp));
    podrun.probe("late", "a", &["write", "/ready", ""]);
    until_answering(local(tcp), &["late"]);
    podrun.run(["rm", "service/web"]).ok();
    until_refused(local(tcp));
    // Its ports are free at once for another.
    let ports = json!({ "ports": [
        { "name": "http", "port": 80, "targetPort": "web", "nodePort": tcp },
    ] });
    up_all(&podrun, &[node_service(&ports)]);
    until_answering(local(tcp), &["late"]);
    podrun.run(["rm", "--all", "--force"]).ok();
    podrun.nothing_left();
    until_refused(local(tcp));
}

#[test]
fn a_connection_outlives_the_readiness_of_its_pod() {
    let podrun = Podrun::new();
    let mut echo = lasting(
        "echo",
        &[container_with(
            "a",
            &["tcp-echo", "8000"],
            &ready_while_there_is_a_file(),
        )],
    );
    echo["metadata"]["labels"] = json!({ "app": "web" });
    let ports = json!({ "ports": [{ "port": 80, "targetPort": 8000 }] });
    podrun.start(&node_service(&ports));
    podrun.start(&echo);
    podrun.wait_for_log("echo", "a", "listening");
    podrun.probe("echo", "a", &["write", "/ready", ""]);
    let address = local(node_ports(&podrun, "web")[0]);
    let mut stream = None;
    until("the port is open", || {
        stream = TcpStream::connect(address).ok();
        stream.is_some()
    });
    let mut stream = stream.unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    podrun.probe("echo", "a", &["unlink", "/ready"]);
    until_refused(address);
    stream.write_all(b"still there").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "still there");
}

#[test]
fn a_node_port_comes_back_with_the_agent() {
    let podrun = Podrun::new();
    up_all(
        &podrun,
        &[node_service(&json!({})), backend("b", &json!({}))],
    );
    let address = local(node_ports(&podrun, "web")[0]);
    until_answering(address, &["b"]);
    let agent = census::agents(&podrun.root()).into_iter().next().unwrap();
    agent.kill();
    until("another agent", || {
        let now = census::agents(&podrun.root()).into_iter().next();
        now.is_some_and(|now| now != agent)
    });
    until_answering(address, &["b"]);
}

#[test]
fn a_node_port_that_is_in_use_is_told_before_anything_starts() {
    let podrun = Podrun::new();
    let port = free_node_port();
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let ports = json!({ "ports": [{ "port": 80, "targetPort": "web", "nodePort": port }] });
    let all = [node_service(&ports), backend("b", &json!({}))];
    let manifest = podrun.manifest_text("all.yaml", &documents(&all));
    let refused = podrun.run(["up", &manifest]).code(3);
    let expected = format!(
        "error: service/web: spec.ports[0].nodePort: TCP port {port} of the host is in use\n"
    );
    assert!(refused.stderr.starts_with(&expected), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("hint: choose another nodePort"),
        "{}",
        refused.stderr
    );
    podrun.nothing_left();
    drop(held);
    podrun.run(["up", &manifest]).ok();
    until_answering(local(port), &["b"]);
    // What the agent has is no other process', whichever Service has had it.
    let said = podrun.run(["up", &manifest]).ok();
    assert!(
        said.stdout.contains("service/web unchanged"),
        "{}",
        said.stdout
    );
    let more = json!({ "ports": [{ "port": 81, "targetPort": "web", "nodePort": port }] });
    up_all(&podrun, &[node_service(&more)]);
    until_answering(local(port), &["b"]);
}

#[test]
fn services_may_exchange_their_node_ports() {
    let podrun = Podrun::new();
    let other = |port: Option<u16>| {
        let mut port_spec = json!({ "port": 80, "targetPort": "web" });
        if let Some(port) = port {
            port_spec["nodePort"] = port.into();
        }
        let spec = json!({ "type": "NodePort", "selector": { "app": "web" } });
        let mut made = service("other", &spec);
        made["spec"]["ports"] = json!([port_spec]);
        made
    };
    let web = |port: Option<u16>| {
        let mut made = other(port);
        made["metadata"]["name"] = "web".into();
        made
    };
    up_all(&podrun, &[web(None), other(None), backend("b", &json!({}))]);
    let [first, second] = ["web", "other"].map(|name| node_ports(&podrun, name)[0]);
    for port in [first, second] {
        until_answering(local(port), &["b"]);
    }
    up_all(&podrun, &[web(Some(second)), other(Some(first))]);
    assert_eq!(node_ports(&podrun, "web"), [second]);
    assert_eq!(node_ports(&podrun, "other"), [first]);
    for port in [first, second] {
        until_answering(local(port), &["b"]);
    }
}

#[test]
fn a_node_port_leads_to_endpoints_outside_the_pod_network() {
    let own = own_address();
    require!(own.is_some(), "the machine has its loopback only");
    let own = own.unwrap();
    let podrun = Podrun::new();
    let outside = TcpListener::bind((own, 0)).unwrap();
    let number = outside.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = outside.accept().unwrap();
        stream.write_all(b"outside ").unwrap();
    });
    let mut service = service(
        "web",
        &json!({ "type": "NodePort", "ports": [{ "port": 80, "targetPort": number }] }),
    );
    service["spec"].as_object_mut().unwrap().remove("selector");
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "web" },
        "subsets": [{ "addresses": [{ "ip": own.to_string() }], "ports": [{ "port": number }] }],
    });
    up_all(&podrun, &[service, endpoints, client()]);
    let address = local(node_ports(&podrun, "web")[0]);
    let mut heard = Err(io::ErrorKind::NotFound.into());
    until("the outside answers", || {
        heard = ask_tcp(address);
        heard.is_ok()
    });
    assert_eq!(heard.unwrap(), "outside");
    answering.join().unwrap();
}

/// An address of the host that is not its loopback's. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[test]
fn the_same_client_has_the_same_pod_where_the_service_says_so() {
    let podrun = Podrun::new();
    let pods: Vec<Value> = ["b1", "b2", "b3"]
        .map(|name| backend(name, &json!({})))
        .into();
    let affine = node_service(&json!({ "sessionAffinity": "ClientIP" }));
    up_all(&podrun, &pods);
    up_all(
        &podrun,
        &[
            affine,
            lasting("other", &[container("a", &["ready-sleep"])]),
        ],
    );
    let address = local(node_ports(&podrun, "web")[0]);
    until("one answers always", || {
        let names: io::Result<BTreeSet<String>> = (0..12).map(|_| ask_tcp(address)).collect();
        names.is_ok_and(|names| names.len() == 1)
    });
}
