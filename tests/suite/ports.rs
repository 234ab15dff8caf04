//! Ports of the host that lead to the pod.

use std::io::{Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
};
use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Mode, Podrun, container, container_with, documents, free_port, has_loopback6, lasting, mode,
    require_mode, until,
};

fn get(port: u16) -> String {
    get_at(Ipv4Addr::LOCALHOST, port)
}

fn get_at(address: impl Into<IpAddr>, port: u16) -> String {
    let mut stream = TcpStream::connect(SocketAddr::new(address.into(), port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_host_port_leads_to_the_container_until_the_pod_is_gone() {
    let podrun = Podrun::new();
    let port = free_port();
    let ports = json!({ "ports": [{ "containerPort": 8000, "hostPort": port }] });
    let container = container_with("a", &["tcp-serve", "8000", "through the port"], &ports);
    podrun.up(&lasting("port", &[container])).ok();
    podrun.wait_for_log("port", "a", "listening");
    for _ in 0..3 {
        assert_eq!(get(port), "through the port");
    }
    podrun.run(["rm", "port"]).ok();
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "the port is still open"
    );
    podrun.nothing_left();
}

#[test]
fn publish_does_what_a_host_port_does() {
    let podrun = Podrun::new();
    let port = free_port();
    let path = podrun.manifest(
        "pod",
        &lasting(
            "published",
            &[container("a", &["tcp-serve", "8000", "published"])],
        ),
    );
    podrun
        .run(["up", "--publish", &format!("127.0.0.1:{port}:8000"), &path])
        .ok();
    podrun.wait_for_log("published", "a", "listening");
    assert_eq!(get(port), "published");
}

#[test]
fn much_data_goes_both_ways_and_ends_where_it_ended() {
    let podrun = Podrun::new();
    let port = free_port();
    let ports = json!({ "ports": [{ "containerPort": 8000, "hostPort": port }] });
    podrun
        .up(&lasting(
            "echo",
            &[container_with("a", &["tcp-echo", "8000"], &ports)],
        ))
        .ok();
    podrun.wait_for_log("echo", "a", "listening");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let sent: Vec<u8> = (0..8_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut writer = stream.try_clone().unwrap();
    let to_send = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&to_send).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(
        received == sent,
        "{} of {} bytes",
        received.len(),
        sent.len()
    );
}

#[test]
fn datagrams_find_their_way_back() {
    let podrun = Podrun::new();
    let port = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let ports =
        json!({ "ports": [{ "containerPort": 8000, "hostPort": port, "protocol": "UDP" }] });
    podrun
        .up(&lasting(
            "udp",
            &[container_with("a", &["udp-echo", "8000"], &ports)],
        ))
        .ok();
    podrun.wait_for_log("udp", "a", "listening");
    let sockets: Vec<UdpSocket> = (0..3)
        .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
        .collect();
    for (i, socket) in sockets.iter().enumerate() {
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        socket
            .send_to(format!("datagram {i}").as_bytes(), ("127.0.0.1", port))
            .unwrap();
    }
    for (i, socket) in sockets.iter().enumerate() {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], format!("datagram {i}").as_bytes());
    }
}

/// A Pod that answers with its name, at a host port.
fn serving(name: &str, mut port: serde_json::Value) -> serde_json::Value {
    port["containerPort"] = 8000.into();
    let ports = json!({ "ports": [port] });
    let words = ["tcp-serve", "8000", name];
    lasting(name, &[container_with("a", &words, &ports)])
}

#[test]
fn a_host_port_is_open_in_ipv4_and_ipv6() {
    require!(has_loopback6(), "the loopback has no IPv6 address");
    let podrun = Podrun::new();
    let (published, port) = (free_port(), free_port());
    let path = podrun.manifest("pod", &serving("both", json!({ "hostPort": port })));
    let publish = format!("{published}:8000");
    podrun.run(["up", "--publish", &publish, &path]).ok();
    podrun.wait_for_log("both", "a", "listening");
    for port in [port, published] {
        assert_eq!(get_at(Ipv4Addr::LOCALHOST, port), "both");
        assert_eq!(get_at(Ipv6Addr::LOCALHOST, port), "both");
    }
}

#[test]
fn datagrams_of_ipv4_and_ipv6_find_their_way_back() {
    require!(has_loopback6(), "the loopback has no IPv6 address");
    let podrun = Podrun::new();
    let port = free_port();
    let ports =
        json!({ "ports": [{ "containerPort": 8000, "hostPort": port, "protocol": "UDP" }] });
    podrun
        .up(&lasting(
            "udp",
            &[container_with("a", &["udp-echo", "8000"], &ports)],
        ))
        .ok();
    podrun.wait_for_log("udp", "a", "listening");
    for address in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        // The answer must come from the address that was asked.
        socket.connect((address, port)).unwrap();
        socket.send(b"datagram").unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"datagram");
    }
}

#[test]
fn a_host_address_is_of_its_own_family_only() {
    require!(has_loopback6(), "the loopback has no IPv6 address");
    let podrun = Podrun::new();
    let port = free_port();
    // Side by side: each takes in what the others do not.
    for (name, ip) in [("four", "0.0.0.0"), ("six", "::")] {
        podrun
            .up(&serving(name, json!({ "hostPort": port, "hostIP": ip })))
            .ok();
        podrun.wait_for_log(name, "a", "listening");
    }
    assert_eq!(get_at(Ipv4Addr::LOCALHOST, port), "four");
    assert_eq!(get_at(Ipv6Addr::LOCALHOST, port), "six");
    podrun.run(["rm", "four"]).ok();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());

    let port = free_port();
    let path = podrun.manifest("pod", &serving("one", json!({})));
    let publish = format!("[::1]:{port}:8000");
    podrun.run(["up", "--publish", &publish, &path]).ok();
    podrun.wait_for_log("one", "a", "listening");
    assert_eq!(get_at(Ipv6Addr::LOCALHOST, port), "one");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
}

#[test]
fn a_port_that_is_taken_in_one_family_is_not_free() {
    require!(has_loopback6(), "the loopback has no IPv6 address");
    let podrun = Podrun::new();
    let taken = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    podrun
        .up(&serving("web", json!({ "hostPort": port })))
        .code(3)
        .says(&format!("pod/web: TCP port {port} of the host is in use"));
    podrun
        .up(&serving(
            "web",
            json!({ "hostPort": port, "hostIP": "::1" }),
        ))
        .code(3)
        .says(&format!("TCP port [::1]:{port} of the host is in use"));
    podrun
        .up(&serving(
            "web",
            json!({ "hostPort": port, "hostIP": "2001:db8::1" }),
        ))
        .code(3)
        .says("the host has no such address");
    podrun.nothing_left();
}

#[test]
fn a_port_of_roots_is_explained() {
    require_mode!(Mode::User, Mode::Single);
    let podrun = Podrun::new();
    podrun
        .up(&serving("web", json!({ "hostPort": 80 })))
        .code(3)
        .says("TCP port 80 of the host may not be opened by this user")
        .says("ip_unprivileged_port_start");
    podrun.nothing_left();
}

#[test]
fn a_port_where_nothing_listens_in_the_pod_refuses() {
    let podrun = Podrun::new();
    let port = free_port();
    let ports = json!({ "ports": [{ "containerPort": 8000, "hostPort": port }] });
    podrun
        .up(&lasting(
            "silent",
            &[container_with("a", &["ready-sleep"], &ports)],
        ))
        .ok();
    // The listener is podrun's, so the connection is made and then closed.
    until("the connection is closed", || {
        match TcpStream::connect(("127.0.0.1", port)) {
            Err(_) => true,
            Ok(mut stream) => {
                stream
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .unwrap();
                matches!(stream.read(&mut [0]), Ok(0) | Err(_))
            }
        }
    });
}

#[test]
fn a_client_that_leaves_without_reading_breaks_its_own_connection_only() {
    let podrun = Podrun::new();
    let port = free_port();
    let ports = json!({ "ports": [{ "containerPort": 8000, "hostPort": port }] });
    podrun
        .up(&lasting(
            "echo",
            &[container_with("a", &["tcp-echo", "8000"], &ports)],
        ))
        .ok();
    podrun.wait_for_log("echo", "a", "listening");
    for _ in 0..50 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nonblocking(true).unwrap();
        while stream.write(&[7; 4096]).is_ok() {}
        stream.shutdown(Shutdown::Write).unwrap();
        stream.set_nonblocking(false).unwrap();
        // All is said, and what comes back is refused while more is on its way: the kernel calls it
        // a broken pipe and sends the signal of that name.
        stream.read_exact(&mut vec![0; 1 << 20]).unwrap();
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"still there").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "still there");
}

/// A Pod that waits, with one host port.
fn with_port(name: &str, port: &serde_json::Value) -> serde_json::Value {
    let ports = json!({ "ports": [port] });
    lasting(name, &[container_with("a", &["ready-sleep"], &ports)])
}

#[test]
fn a_port_that_two_pods_want_is_told_with_the_name_before_anything_starts() {
    let podrun = Podrun::new();
    let port = free_port();
    let everywhere = json!({ "containerPort": 8000, "hostPort": port });
    let loopback = json!({ "containerPort": 8000, "hostPort": port, "hostIP": "127.0.0.1" });

    let both = documents(&[with_port("one", &everywhere), with_port("two", &loopback)]);
    let path = podrun.manifest_text("both", &both);
    let refused = podrun.run(["up", &path]);
    assert_ne!(refused.code, 0);
    refused.says(&format!(
        "pod/two: TCP port 127.0.0.1:{port} of the host is pod/one's"
    ));
    assert!(podrun.pods().is_empty(), "a pod was started");

    podrun.up(&with_port("one", &everywhere)).ok();
    let uid = podrun.pod("one")["metadata"]["uid"].clone();
    let refused = podrun.up(&with_port("two", &loopback));
    assert_ne!(refused.code, 0);
    refused.says("of the host is pod/one's");

    let six = json!({ "containerPort": 8000, "hostPort": port, "hostIP": "::1" });
    podrun.up(&with_port("two", &six)).code(3).says(&format!(
        "pod/two: TCP port [::1]:{port} of the host is pod/one's"
    ));

    // The same number for UDP is another port, and a pod may change while it keeps its own.
    let udp = json!({ "containerPort": 8000, "hostPort": port, "protocol": "UDP" });
    podrun.up(&with_port("two", &udp)).ok();
    podrun.up(&with_port("one", &loopback)).ok();
    assert_ne!(podrun.pod("one")["metadata"]["uid"], uid);

    // Pods that would be replaced go on when their new ports are somebody else's.
    let uid = podrun.pod("two")["metadata"]["uid"].clone();
    podrun.up(&with_port("two", &loopback)).says("is pod/one's");
    podrun.up(&with_port("two", &everywhere)).says(&format!(
        "pod/two: TCP port {port} of the host is pod/one's"
    ));
    assert_eq!(podrun.pod("two")["metadata"]["uid"], uid);
}
