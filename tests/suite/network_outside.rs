//! What pods reach of the machine and beyond it, and what of the machine stays as it was.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};

use serde_json::json;

use crate::harness::{Podrun, until, with_a_pod};
use crate::network::{addresses, ask, backend, client, service, until_heard, up_all};

const ECONNREFUSED: &str = "errno 111";

const ENETUNREACH: &str = "errno 101";

const EHOSTUNREACH: &str = "errno 113";

/// Addresses of this machine that are not its loopback: IPv4, and IPv6 where it has one.
fn own_addresses() -> Vec<IpAddr> {
    let mut found = Vec::new();
    // Nothing is sent: the kernel only chooses where from (RFC 5737's documentation network).
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    if socket.connect("198.51.100.1:9").is_ok() {
        found.push(socket.local_addr().unwrap().ip());
    }
    let table = fs::read_to_string("/proc/self/net/if_inet6").unwrap_or_default();
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let address = Ipv6Addr::from(u128::from_str_radix(fields[0], 16).unwrap());
        // Scope: global.
        if fields[3] == "00" {
            found.push(address.into());
            break;
        }
    }
    found.retain(|address| !address.is_loopback());
    found
}

/// The byte at a place of a large transfer, and the sum of them, as the probe has both.
fn transfer(length: u32) -> (Vec<u8>, u64) {
    let byte = |place: u32| place.wrapping_mul(2_654_435_761).to_be_bytes()[0];
    let bytes: Vec<u8> = (0..length).map(byte).collect();
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (bytes, sum)
}

#[test]
fn large_transfers_arrive_whole_and_close_each_way_by_itself() {
    let own = own_addresses();
    require!(!own.is_empty(), "the machine has its loopback only");
    let length = 16 << 20;
    let (bytes, sum) = transfer(length);
    let expected = format!("{length} {sum}\n");
    let podrun = with_a_pod();
    for address in own {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let at = listener.local_addr().unwrap().to_string();
        // Ends when the pod's side is closed, and sends only then.
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            stream.write_all(&got).unwrap();
        });
        let count = length.to_string();
        let said = podrun.probe("pod", "a", &["exchange", &at, &count]);
        assert_eq!(said, expected, "{at}");
        server.join().unwrap();

        let listener = TcpListener::bind((address, 0)).unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let sent = bytes.clone();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            got
        });
        let said = podrun.probe("pod", "a", &["exchange-after", &at, &count]);
        assert_eq!(said, expected, "{at}");
        assert!(server.join().unwrap() == bytes, "{at} got something else");
    }
}

#[test]
fn datagrams_go_out_and_come_back_and_a_closed_port_refuses() {
    let own = own_addresses();
    require!(!own.is_empty(), "the machine has its loopback only");
    let podrun = with_a_pod();
    for address in own {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        let at = socket.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let mut buffer = [0; 16];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"?");
            socket
                .send_to(from.ip().to_string().as_bytes(), from)
                .unwrap();
        });
        // It seems to come from the machine.
        assert_eq!(ask(&podrun, "pod", "udp", &at), address.to_string());
        server.join().unwrap();
        let port = TcpListener::bind((address, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let closed = port.to_string();
        assert_eq!(ask(&podrun, "pod", "tcp", &closed), ECONNREFUSED);
    }
}

/// What a host's service waits at.
#[derive(Debug)]
struct Loopback {
    addresses: Vec<SocketAddr>,
    /// They accept nothing; the kernel completes connections to them.
    held: Vec<TcpListener>,
    sockets: Vec<UdpSocket>,
}

impl Loopback {
    fn new() -> Self {
        let mut this = Self {
            addresses: Vec::new(),
            held: Vec::new(),
            sockets: Vec::new(),
        };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let at = listener.local_addr().unwrap();
            this.addresses.push(at);
            this.held.push(listener);
            this.sockets.extend(UdpSocket::bind(at));
        }
        this
    }
}

#[test]
fn a_pod_reaches_no_loopback_service_of_the_host() {
    let podrun = with_a_pod();
    let loopback = Loopback::new();
    let port = |address: &SocketAddr| address.port();
    let mut tried = Vec::new();
    for at in &loopback.addresses {
        tried.push(*at);
        tried.push(SocketAddr::new("127.0.0.2".parse().unwrap(), port(at)));
        tried.push(SocketAddr::new("0.0.0.0".parse().unwrap(), port(at)));
        tried.push(SocketAddr::new("::".parse().unwrap(), port(at)));
        tried.push(SocketAddr::new(
            "::ffff:127.0.0.1".parse().unwrap(),
            port(at),
        ));
        // The gateway and the machine's own addresses are no way to it.
        tried.push(SocketAddr::new("10.88.0.1".parse().unwrap(), port(at)));
        tried.push(SocketAddr::new("fd00:10:88::1".parse().unwrap(), port(at)));
        tried.extend(
            own_addresses()
                .into_iter()
                .map(|own| SocketAddr::new(own, port(at))),
        );
    }
    for address in tried {
        let address = address.to_string();
        let heard = ask(&podrun, "pod", "tcp", &address);
        assert!(
            [ECONNREFUSED, ENETUNREACH, EHOSTUNREACH].contains(&heard.as_str()),
            "{address}: {heard}"
        );
        // Refused, or lost: the answer would come within its patience.
        let heard = ask(&podrun, "pod", "udp", &address);
        assert!(heard.starts_with("errno "), "{address}: {heard}");
    }
    for listener in &loopback.held {
        listener.set_nonblocking(true).unwrap();
        let came = listener.accept();
        assert!(came.is_err(), "a connection came: {came:?}");
    }
    for socket in &loopback.sockets {
        socket.set_nonblocking(true).unwrap();
        let came = socket.recv(&mut [0; 16]);
        assert!(
            came.is_err(),
            "a datagram came to {:?}",
            socket.local_addr()
        );
    }
}

#[test]
fn a_pod_reaches_no_abstract_socket_of_the_host() {
    let podrun = with_a_pod();
    let name = podrun.scratch().to_str().unwrap();
    let address = UnixAddress::from_abstract_name(name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let heard = podrun.probe("pod", "a", &["abstract", name]);
    assert_eq!(heard, "errno 111\n");
    drop(listener);
}

#[test]
fn the_gateway_offers_names_and_nothing_else() {
    let podrun = with_a_pod();
    for (index, gateway) in ["10.88.0.1", "fd00:10:88::1"].iter().enumerate() {
        if index < addresses(&podrun, "pod").len() {
            let open = podrun.probe("pod", "a", &["scan", gateway]);
            assert_eq!(open, "53\n", "{gateway}");
        }
    }
}

#[test]
fn pods_of_another_root_are_not_there() {
    let (one, other) = (Podrun::new(), Podrun::new());
    let pods: Vec<_> = ["b1", "b2", "b3"]
        .map(|name| backend(name, &json!({})))
        .into();
    up_all(&one, &pods);
    up_all(&one, &[service("web", &json!({})), client()]);
    up_all(&other, &[client()]);
    // Both roots begin with the same address.
    for name in ["b2", "b3"] {
        let address = SocketAddr::new(addresses(&one, name)[0], 8080).to_string();
        assert!(ask(&one, "client", "tcp", &address).starts_with(name));
        for protocol in ["tcp", "udp"] {
            let heard = ask(&other, "client", protocol, &address);
            assert!(heard.starts_with("errno "), "{protocol} {address}: {heard}");
        }
    }
    let expected = {
        until("the Service answers", || {
            ask(&one, "client", "tcp", "web:80").starts_with('b')
        });
        other.probe(
            "client",
            "a",
            &["dns", "web.default.svc.cluster.local", "1"],
        )
    };
    assert_eq!(expected, "rcode 3 answers 0\n");
}

#[test]
fn nobody_tells_a_pod_a_route() {
    let podrun = with_a_pod();
    if fs::exists("/proc/sys/net/ipv6").unwrap() {
        let path = "/proc/sys/net/ipv6/conf/eth0/accept_ra";
        assert_eq!(podrun.probe("pod", "a", &["read", path]), "0\n");
    }
}

/// The machine's sockets that wait for somebody, in the network namespace of this process.
fn listening() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // TCP_LISTEN; a datagram socket without a peer is TCP_CLOSE.
            let waits = if table.starts_with("tcp") { "0A" } else { "07" };
            if fields[3] == waits {
                // With its inode: another socket may get the port later.
                found.insert(format!("{table} {} {}", fields[1], fields[9]));
            }
        }
    }
    found
}

/// Links, addresses, routes and what decides over forwarding, of this process' network namespace.
fn configuration() -> Vec<String> {
    let read =
        |name: &str| fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
    // What is counted changes by itself.
    let columns = |name: &str, kept: &[usize]| -> Vec<String> {
        let pick = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let words = kept.iter().filter_map(|index| words.get(*index).copied());
            format!("{name} {}", words.collect::<Vec<_>>().join(" "))
        };
        read(name).lines().map(pick).collect()
    };
    let mut found = columns("dev", &[0]);
    found.extend(columns("route", &[0, 1, 2, 3, 6, 7]));
    found.extend(columns("if_inet6", &[0, 2, 3, 5]));
    found.extend(columns("ipv6_route", &[0, 1, 2, 3, 4, 5, 9]));
    found.extend(columns("ip_tables_names", &[0]));
    for setting in [
        "ipv4/ip_forward",
        "ipv4/conf/all/rp_filter",
        "ipv4/conf/all/route_localnet",
        "ipv6/conf/all/forwarding",
    ] {
        let value = fs::read_to_string(format!("/proc/sys/net/{setting}"));
        found.push(format!("{setting} {value:?}"));
    }
    found
}

#[test]
fn the_hosts_network_stays_as_it_was() {
    let (sockets, before) = (listening(), configuration());
    assert!(
        before.iter().any(|line| line.starts_with("dev lo")),
        "{before:#?}"
    );
    let podrun = Podrun::new();
    up_all(
        &podrun,
        &[
            service("web", &json!({})),
            backend("b", &json!({})),
            client(),
        ],
    );
    let own = addresses(&podrun, "client")[0];
    until_heard(&podrun, "tcp", "web:80", &format!("b {own}"));
    assert_eq!(configuration(), before);
    // Other tests open sockets as well: those of this pod's are there as long as it is.
    let mut new: BTreeSet<String> = &listening() - &sockets;
    until("nothing of podrun's waits on the host", || {
        new = &new & &listening();
        new.is_empty()
    });
    podrun.run(["rm", "--all", "--force"]).ok();
    assert_eq!(configuration(), before);
    podrun.nothing_left();
}
