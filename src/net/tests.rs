//! The node's network as a whole, in namespaces of its own: `host` stands for the machine, with
//! `outside` as the world it is connected to.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::Duration;

use netlink_packet_route::link::InfoKind;
use nix::sched::{CloneFlags, unshare};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::listen;
use super::nft::{self, Affinity, Networks, Outbound, Queue, Rules, ServicePort};
use super::node::{self, PodNetwork, within};
use super::route::{self, Pair, Requests, Route};
use super::uplink::{OutsideServices, Sockets, Uplink};
use crate::plan::{Addresses, Protocol, PublishedPort};

/// Set in the process that is alone in its namespaces.
const INSIDE: &str = "PODRUN_TEST_INSIDE";

/// How long an answer is waited for before the test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The limit from which it follows how many streams there are, and how many that are.
const DESCRIPTORS: u64 = 2048;
const STREAMS: usize = 64;

const PODS: Networks = Networks {
    v4: (Ipv4Addr::new(10, 88, 0, 0), 16),
    v6: Some((Ipv6Addr::new(0xfd00, 0x88, 0, 0, 0, 0, 0, 0), 64)),
};

const SERVICES: Networks = Networks {
    v4: (Ipv4Addr::new(10, 96, 0, 0), 16),
    v6: Some((Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0), 64)),
};

const GATEWAY: Addresses = addresses(1);

const fn addresses(host: u8) -> Addresses {
    Addresses {
        v4: Ipv4Addr::new(10, 88, 0, host),
        v6: Some(Ipv6Addr::new(0xfd00, 0x88, 0, 0, 0, 0, 0, host as u16)),
    }
}

fn each(addresses: Addresses) -> [IpAddr; 2] {
    [addresses.v4.into(), addresses.v6.unwrap().into()]
}

/// Runs the test once more, in a process that is alone in new namespaces.
fn alone_in(namespaces: &[&str], test: &str) {
    let output = Command::new("unshare")
        .args(namespaces)
        .arg("--")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words);
    assert!(output.status.success(), "{words}");
    assert!(words.contains("1 passed"), "{words}");
}

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

#[test]
fn pods_services_and_the_outside_are_reached_in_a_user_namespace() {
    if is_inside() {
        return the_whole_network();
    }
    let test = "net::tests::pods_services_and_the_outside_are_reached_in_a_user_namespace";
    alone_in(&["--user", "--map-root-user", "--net"], test);
}

#[test]
fn pods_services_and_the_outside_are_reached_as_root() {
    if is_inside() {
        return the_whole_network();
    }
    // An ordinary user has run the same in a namespace of its own.
    if rustix::process::geteuid().is_root() {
        let test = "net::tests::pods_services_and_the_outside_are_reached_as_root";
        alone_in(&["--net"], test);
    }
}

#[test]
fn published_ports_clash_as_the_kernel_has_it() {
    if is_inside() {
        return every_two_ports();
    }
    let test = "net::tests::published_ports_clash_as_the_kernel_has_it";
    alone_in(&["--user", "--map-root-user", "--net"], test);
}

fn every_two_ports() {
    let loopback = Requests::new().up(route::LOOPBACK_INDEX);
    Route::open().unwrap().make(loopback).unwrap();
    let addresses = ["", "0.0.0.0", "::", "127.0.0.1", "127.0.0.2", "::1"];
    let port = |ip: &str, protocol| PublishedPort {
        host_ip: (!ip.is_empty()).then(|| ip.parse().unwrap()),
        host_port: 8080,
        container_port: 80,
        protocol,
    };
    for only_ipv6 in ["0", "1"] {
        node::write_setting("net/ipv6/bindv6only", only_ipv6).unwrap();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for (one, other) in addresses
                .iter()
                .flat_map(|one| addresses.iter().map(move |other| (one, other)))
            {
                let (first, second) = (port(one, protocol), port(other, protocol));
                let _held = listen::open(&first).unwrap();
                let refused = listen::open(&second).err().map(|error| error.kind());
                let expected = first.clashes(&second).then_some(ErrorKind::AddrInUse);
                assert_eq!(refused, expected, "{protocol:?}: `{one}` and `{other}`");
            }
        }
    }
}

fn new_namespace() -> OwnedFd {
    let made = thread::Builder::new().spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        std::fs::File::open("/proc/thread-self/ns/net").unwrap()
    });
    made.unwrap().join().unwrap().into()
}

struct Net {
    node: OwnedFd,
    bridge: u32,
    rules: Rules,
    outbound: Outbound,
    elsewhere: OutsideServices,
    outside: OwnedFd,
    pods: [OwnedFd; 2],
    sockets: Option<Sockets>,
}

/// The address of the machine, and of the outside as it sees it.
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

const NETWORK: PodNetwork = PodNetwork {
    gateway: GATEWAY,
    v4_len: 16,
    v6_len: 64,
};

fn connect_outside() -> OwnedFd {
    let outside = new_namespace();
    let mut route = Route::open().unwrap();
    let bridge = Requests::new().bridge("uplink0", route::mac_of(HOST));
    route.make(bridge).unwrap();
    let index = route::index_of("uplink0").unwrap();
    let pair = Pair {
        host_end: "port",
        bridge: index,
        namespace: outside.as_fd(),
        name: "eth0",
        mac: route::mac_of(OUTSIDE),
    };
    let requests = Requests::new()
        .up(route::LOOPBACK_INDEX)
        .pair(pair)
        .address(index, HOST.into(), 24)
        .address(index, HOST6.into(), 64);
    route.make(requests).unwrap();
    within(outside.as_fd(), || {
        let index = route::index_of("eth0")?;
        let requests = Requests::new()
            .up(index)
            .address(index, OUTSIDE.into(), 24)
            .address(index, OUTSIDE6.into(), 64);
        Route::open()?.make(requests)
    })
    .unwrap();
    outside
}

fn whole_net() -> Net {
    let outside = connect_outside();
    let node = new_namespace();
    let (bridge, sockets, mut route, rules, outbound) = within(node.as_fd(), || {
        let bridge = node::set_up(&NETWORK)?;
        let sockets = Sockets::open(true)?;
        let outbound = Outbound {
            pods: PODS,
            services: SERVICES,
            tcp: sockets.tcp_ports()?,
            udp: sockets.udp_ports()?,
            waits: None,
        };
        let rules = Rules::open()?;
        let outbound = rules.begin(outbound, sockets.queue_number())?;
        assert!(outbound.waits.is_some());
        Ok((bridge, sockets, Route::open()?, rules, outbound))
    })
    .unwrap();
    let pods = [2, 3].map(|host| {
        let pod = new_namespace();
        let own = addresses(host);
        let uid = format!("{host:08x}-0000-4000-8000-000000000000");
        node::connect_pod(&mut route, bridge, &uid, pod.as_fd(), own.v4).unwrap();
        within(pod.as_fd(), || {
            node::write_setting("net/ipv4/ping_group_range", "0 0")?;
            node::configure_pod(own, GATEWAY)
        })
        .unwrap();
        pod
    });
    Net {
        node,
        bridge,
        rules,
        outbound,
        elsewhere: OutsideServices::default(),
        outside,
        pods,
        sockets: Some(sockets),
    }
}

fn the_whole_network() {
    // Of the host, as distributions set it.
    node::write_setting("net/ipv4/ping_group_range", "0 0").unwrap();
    let mut route = Route::open().unwrap();
    assert!(route.has_pairs().unwrap());
    let other = InfoKind::Other("podrun-none".to_owned());
    assert!(!route.has_kind(other).unwrap());
    // One that is another's is passed by.
    let queues = [Queue::open().unwrap(), Queue::open().unwrap()];
    assert_ne!(queues[0].number(), queues[1].number());
    let mut net = whole_net();
    let sockets = net.sockets.take().unwrap();
    let listener = SocketAddr::from((GATEWAY.v4, sockets.tcp_ports().unwrap()[0]));
    let node = net.node.try_clone().unwrap();
    let limit = getrlimit(Resource::Nofile);
    let few = Rlimit {
        current: Some(DESCRIPTORS),
        ..limit
    };
    setrlimit(Resource::Nofile, few).unwrap();
    let uplink = Uplink::new(node, sockets, vec![PODS, SERVICES], net.elsewhere.clone()).unwrap();
    setrlimit(Resource::Nofile, limit).unwrap();
    let (lifeline, end) = io::pipe().unwrap();
    thread::scope(|scope| {
        // Ends the uplink's thread when a check fails, too.
        let end = end;
        let running = scope.spawn(|| uplink.run(lifeline.as_fd()));
        pods_reach_each_other(&net);
        services_lead_to_endpoints(&net);
        the_outside_answers(&net);
        refusals_arrive(&net, listener);
        one_port_makes_a_connection_to_each(&net);
        no_pod_takes_all_streams(&net);
        wires_are_found_and_removed(&net);
        drop(end);
        running.join().unwrap().unwrap();
    });
}

fn listen(namespace: &OwnedFd, address: SocketAddr) -> TcpListener {
    within(namespace.as_fd(), || TcpListener::bind(address)).unwrap()
}

fn connect(namespace: &OwnedFd, address: SocketAddr) -> io::Result<TcpStream> {
    within(namespace.as_fd(), || {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        // A connect that blocks says why it failed. The standard library's, with a time limit, asks
        // the socket later, which by then may know no more.
        let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
        let timeout = rustix::net::sockopt::Timeout::Send;
        rustix::net::sockopt::set_socket_timeout(&socket, timeout, Some(PATIENCE))?;
        rustix::net::connect(&socket, &address)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    })
}

fn datagrams(namespace: &OwnedFd, address: SocketAddr) -> UdpSocket {
    let socket = within(namespace.as_fd(), || UdpSocket::bind(address)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn any(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// A UDP socket that only hears the address it talks to.
fn talk_to(namespace: &OwnedFd, address: SocketAddr) -> UdpSocket {
    let socket = datagrams(namespace, any(address));
    socket.connect(address).unwrap();
    socket
}

/// The address that the server sees a connection come from.
fn seen(namespace: &OwnedFd, to: SocketAddr, server: &TcpListener) -> IpAddr {
    let stream = connect(namespace, to).unwrap();
    let (_, from) = server.accept().unwrap();
    drop(stream);
    from.ip()
}

fn pods_reach_each_other(net: &Net) {
    let [a, b] = &net.pods;
    for (own, other) in each(addresses(2)).into_iter().zip(each(addresses(3))) {
        let address = SocketAddr::new(other, 8000);
        let server = listen(b, address);
        assert_eq!(seen(a, address, &server), own);
    }
    for address in each(addresses(3)).into_iter().chain(each(GATEWAY)) {
        ping(a, address).unwrap();
    }
}

/// An ICMP echo (RFC 792) by a ping socket: the kernel fills in identifier and checksum.
fn ping(namespace: &OwnedFd, address: IpAddr) -> io::Result<()> {
    let (domain, protocol, kinds) = match address {
        IpAddr::V4(_) => (AddressFamily::INET, rustix::net::ipproto::ICMP, [8, 0]),
        IpAddr::V6(_) => (
            AddressFamily::INET6,
            rustix::net::ipproto::ICMPV6,
            [128, 129],
        ),
    };
    let request = [kinds[0], 0, 0, 0, 0, 0, 0, 1, 7];
    let (answer, from) = within(namespace.as_fd(), || {
        let socket = rustix::net::socket(domain, SocketType::DGRAM, Some(protocol))?;
        let timeout = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&socket, timeout, Some(PATIENCE))?;
        rustix::net::connect(&socket, &SocketAddr::new(address, 0))?;
        rustix::net::send(&socket, &request, SendFlags::empty())?;
        let mut answer = [0; 9];
        let (_, _, from) = rustix::net::recvfrom(&socket, &mut answer[..], RecvFlags::empty())?;
        Ok((answer, SocketAddr::try_from(from.unwrap())?))
    })?;
    assert_eq!(
        (answer[0], answer[7], answer[8]),
        (kinds[1], 1, 7),
        "{address}"
    );
    assert_eq!(from.ip(), address);
    Ok(())
}

/// The first answer is from one that is asked after it.
fn nobody_answers_for(namespace: &OwnedFd, address: IpAddr, other: IpAddr) {
    let (domain, protocol, kind) = match address {
        IpAddr::V4(_) => (AddressFamily::INET, rustix::net::ipproto::ICMP, 8),
        IpAddr::V6(_) => (AddressFamily::INET6, rustix::net::ipproto::ICMPV6, 128),
    };
    let from = within(namespace.as_fd(), || {
        let socket = rustix::net::socket(domain, SocketType::DGRAM, Some(protocol))?;
        let timeout = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&socket, timeout, Some(PATIENCE))?;
        for asked in [address, other] {
            let to = SocketAddr::new(asked, 0);
            rustix::net::sendto(
                &socket,
                &[kind, 0, 0, 0, 0, 0, 0, 1],
                SendFlags::empty(),
                &to,
            )?;
        }
        let (_, _, from) = rustix::net::recvfrom(&socket, &mut [0; 8][..], RecvFlags::empty())?;
        Ok(SocketAddr::try_from(from.unwrap())?)
    });
    assert_eq!(from.unwrap().ip(), other);
}

fn service(address: &str, protocol: Protocol, endpoints: &[SocketAddr]) -> ServicePort {
    let address: SocketAddr = address.parse().unwrap();
    ServicePort {
        address: address.ip(),
        protocol,
        port: address.port(),
        endpoints: endpoints.to_vec(),
        affinity: Affinity::None,
    }
}

fn set_services(net: &Net, services: &[ServicePort]) {
    net.elsewhere.set(services, &PODS);
    let batch = nft::services(services, &net.outbound);
    net.rules.apply(batch).unwrap();
}

fn services_lead_to_endpoints(net: &Net) {
    let [a, b] = &net.pods;
    let gateways = each(GATEWAY);
    for (index, name) in ["10.96.0.1:80", "[fd00:96::1]:80"].into_iter().enumerate() {
        let [own, other] = [2, 3].map(|host| each(addresses(host))[index]);
        let ends = [SocketAddr::new(own, 8080), SocketAddr::new(other, 8081)];
        let [at_a, at_b] = [listen(a, ends[0]), listen(b, ends[1])];
        let to: SocketAddr = name.parse().unwrap();
        // An endpoint sees the client's own address; a pod that is its own endpoint the gateway's.
        set_services(net, &[service(name, Protocol::Tcp, &ends[1..])]);
        assert_eq!(seen(a, to, &at_b), own);
        set_services(net, &[service(name, Protocol::Tcp, &ends[..1])]);
        assert_eq!(seen(a, to, &at_a), gateways[index]);
        // Both have their turn, or with affinity one of them always.
        let mut both = service(name, Protocol::Tcp, &ends);
        set_services(net, std::slice::from_ref(&both));
        let [mut first, mut second] = [0, 0];
        while first == 0 || second == 0 {
            let answered = answered_by(a, to, &at_a, &at_b);
            first += usize::from(answered == 0);
            second += usize::from(answered == 1);
            assert!(first + second < 200, "{first} and {second}");
        }
        both.affinity = Affinity::ClientIp;
        set_services(net, &[both]);
        let first = answered_by(a, to, &at_a, &at_b);
        for _ in 0..16 {
            assert_eq!(answered_by(a, to, &at_a, &at_b), first);
        }
        let server = datagrams(b, ends[1]);
        set_services(net, &[service(name, Protocol::Udp, &ends[1..])]);
        let client = talk_to(a, to);
        echo(&client, &server);
    }
}

/// Which of two servers a connection came to.
fn answered_by(
    namespace: &OwnedFd,
    to: SocketAddr,
    first: &TcpListener,
    second: &TcpListener,
) -> usize {
    let stream = connect(namespace, to).unwrap();
    let servers = [first, second];
    let mut watched =
        servers.map(|server| rustix::event::PollFd::new(server, rustix::event::PollFlags::IN));
    rustix::event::poll(&mut watched, None).unwrap();
    let answered = watched
        .iter()
        .position(|one| !one.revents().is_empty())
        .unwrap();
    servers[answered].accept().unwrap();
    drop(stream);
    answered
}

fn echo(client: &UdpSocket, server: &UdpSocket) -> SocketAddr {
    let mut buffer = [0; 16];
    client.send(b"question").unwrap();
    let (bytes, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..bytes], b"question");
    server.send_to(b"answer", from).unwrap();
    let bytes = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..bytes], b"answer");
    from
}

fn the_outside_answers(net: &Net) {
    let [a, _] = &net.pods;
    let worlds: [(IpAddr, IpAddr); 2] = [
        (HOST.into(), OUTSIDE.into()),
        (HOST6.into(), OUTSIDE6.into()),
    ];
    for (host, outside) in worlds {
        let address = SocketAddr::new(outside, 7000);
        let server = listen(&net.outside, address);
        let mut client = connect(a, address).unwrap();
        let (mut served, from) = server.accept().unwrap();
        assert_eq!(from.ip(), host);
        served.set_read_timeout(Some(PATIENCE)).unwrap();
        // More than the buffers on the way hold, and a half-close after it.
        let sent = vec![7; 32 << 20];
        let received = thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let mut received = Vec::new();
                served.read_to_end(&mut received).unwrap();
                served.write_all(&received).unwrap();
                received.len()
            });
            client.write_all(&sent).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            assert!(answer == sent);
            reading.join().unwrap()
        });
        assert_eq!(received, sent.len());
        let server = datagrams(&net.outside, address);
        let clients = [talk_to(a, address), talk_to(a, address)];
        for client in &clients {
            assert_eq!(echo(client, &server).ip(), host);
        }
        ping(a, outside).unwrap();
        // The first flow is still its own.
        echo(&clients[0], &server);
    }
    nobody_answers_for(a, "192.0.2.99".parse().unwrap(), OUTSIDE.into());
    nobody_answers_for(a, "2001:db8::99".parse().unwrap(), OUTSIDE6.into());
    // A Service may lead there.
    for (name, outside) in [
        ("10.96.0.1:80", OUTSIDE.into()),
        ("[fd00:96::1]:80", OUTSIDE6.into()),
    ] {
        let end = SocketAddr::new(outside, 7002);
        let ports = [Protocol::Tcp, Protocol::Udp].map(|protocol| service(name, protocol, &[end]));
        set_services(net, &ports);
        let server = listen(&net.outside, end);
        seen(a, name.parse().unwrap(), &server);
        let server = datagrams(&net.outside, end);
        echo(&talk_to(a, name.parse().unwrap()), &server);
    }
    // The machine's own address is one of the outside.
    let server = TcpListener::bind((HOST, 0)).unwrap();
    assert_eq!(seen(a, server.local_addr().unwrap(), &server), HOST);
}

fn refusals_arrive(net: &Net, uplink: SocketAddr) {
    let [a, _] = &net.pods;
    set_services(net, &[service("10.96.0.1:80", Protocol::Tcp, &[])]);
    // Without endpoints; another port; a Service that is none; ports of the node agent.
    for refused in [
        "10.96.0.1:80",
        "10.96.0.1:81",
        "[fd00:96::5]:80",
        "10.88.0.1:80",
    ] {
        let error = connect(a, refused.parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{refused}");
    }
    let error = connect(a, uplink).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    for refused in ["10.96.0.1:80", "[fd00:96::1]:80", "10.88.0.1:80"] {
        let client = talk_to(a, refused.parse().unwrap());
        client.send(b"question").unwrap();
        let error = client.recv(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{refused}");
    }
    for outside in [OUTSIDE.into(), OUTSIDE6.into()] {
        let client = talk_to(a, SocketAddr::new(outside, 7999));
        client.send(b"question").unwrap();
        let error = client.recv(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{outside}");
    }
    // Nobody listens there, no host has the address, no way leads there: as without podrun between.
    for (address, kind) in [
        ("192.0.2.2:7999", ErrorKind::ConnectionRefused),
        ("[2001:db8::2]:7999", ErrorKind::ConnectionRefused),
        ("192.0.2.99:80", ErrorKind::HostUnreachable),
        ("[2001:db8::99]:80", ErrorKind::HostUnreachable),
        ("203.0.113.9:80", ErrorKind::NetworkUnreachable),
        ("[2001:db8:1::9]:80", ErrorKind::NetworkUnreachable),
    ] {
        let error = connect(a, address.parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), kind, "{address}: {error}");
    }
    // A reset arrives as one.
    let server = listen(&net.outside, (OUTSIDE, 7001).into());
    let mut client = connect(a, (OUTSIDE, 7001).into()).unwrap();
    let (served, _) = server.accept().unwrap();
    super::stream::reset(&served);
    drop(served);
    let error = client.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// A client may have one port for two connections; where they are redirected to one place, the
/// kernel gives the second another.
fn one_port_makes_a_connection_to_each(net: &Net) {
    let addresses = [7005, 7006].map(|port| SocketAddr::from((OUTSIDE, port)));
    let servers = addresses.map(|address| listen(&net.outside, address));
    let clients = within(net.pods[0].as_fd(), || {
        addresses
            .into_iter()
            .map(|address| {
                let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
                rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
                rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, 40_000)))?;
                rustix::net::connect(&socket, &address)?;
                Ok(TcpStream::from(socket))
            })
            .collect::<io::Result<Vec<TcpStream>>>()
    })
    .unwrap();
    for (server, mut client) in servers.into_iter().zip(clients) {
        let (mut served, _) = server.accept().unwrap();
        client.write_all(b"?").unwrap();
        served.read_exact(&mut [0]).unwrap();
        // It was the only one.
        server.set_nonblocking(true).unwrap();
        let another = server.accept().unwrap_err();
        assert_eq!(another.kind(), ErrorKind::WouldBlock);
    }
}

fn no_pod_takes_all_streams(net: &Net) {
    let [a, b] = &net.pods;
    let address = (OUTSIDE, 7004).into();
    let server = listen(&net.outside, address);
    let mut held = Vec::new();
    let refused = loop {
        match connect(a, address) {
            Ok(stream) => held.push((stream, server.accept().unwrap())),
            Err(error) => break error,
        }
        assert!(held.len() <= STREAMS / 2, "{}", held.len());
    };
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    connect(b, address).unwrap();
    // What ends makes room.
    held.clear();
    let began = std::time::Instant::now();
    while connect(a, address).is_err() {
        assert!(began.elapsed() < PATIENCE);
    }
}

fn wires_are_found_and_removed(net: &Net) {
    let [a, b] = &net.pods;
    let names = within(net.node.as_fd(), || {
        assert_eq!(node::set_up(&NETWORK)?, net.bridge);
        let mut route = Route::open()?;
        let links = route.links()?;
        let ports = |links: &[route::Link]| -> Vec<String> {
            let ports = links.iter().filter(|link| link.bridge == Some(net.bridge));
            ports.map(|link| link.name.clone()).collect()
        };
        let all = ports(&links);
        let first = links.iter().find(|link| link.name == all[0]).unwrap();
        route.make(Requests::new().delete(first.index))?;
        assert_eq!(ports(&route.links()?), all[1..]);
        Ok(all)
    })
    .unwrap();
    assert_eq!(names, ["p00000002000040", "p00000003000040"]);
    let gone = within(a.as_fd(), || route::index_of("eth0")).unwrap_err();
    assert_eq!(gone.raw_os_error(), Some(libc::ENODEV));
    within(b.as_fd(), || route::index_of("eth0")).unwrap();
}
