//! The pods' network namespace, and what the agent serves in it: names and the way out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::net::names::{self, HostServers, Resolver, Zone};
use crate::net::nft::{self, Outbound, Rules, ServicePort};
use crate::net::route::Route;
use crate::net::uplink::{OutsideServices, Sockets, Uplink};
use crate::net::{address, node};
use crate::node::ports::NodePorts;
use crate::node::world::View;
use crate::plan::Protocol;
use crate::sys::{namespace, process};

/// Where pods ask for names (RFC 1035, 4.2).
const DOMAIN_PORT: u16 = 53;

/// Connections for names that wait to be accepted.
const CONNECTIONS: i32 = 128;

/// The namespace with the bridge.
#[derive(Debug)]
pub(super) struct Network {
    namespace: OwnedFd,
    bridge: u32,
    ipv6: bool,
    /// Names, and what there is of the way out.
    pub(super) resolver: Resolver,
    /// The kernel's rules; why there are none where it has no `nf_tables`.
    rules: Result<(Rules, Outbound), String>,
    /// What the kernel cannot forward: endpoints outside.
    outside: OutsideServices,
    /// Where Services lead, as the kernel was told last; nothing before that.
    forwarded: Option<Vec<ServicePort>>,
    node_ports: NodePorts,
}

/// What is opened in the namespace.
struct Opened {
    bridge: u32,
    datagrams: UdpSocket,
    connections: TcpListener,
    rules: io::Result<(Rules, Outbound, Sockets)>,
}

impl Network {
    /// Takes over the namespace that pods are in, or makes a new one, and sets up what is missing.
    ///
    /// # Errors
    /// One line for the user.
    pub(super) fn open(pods: Option<OwnedFd>) -> Result<Self, String> {
        let namespace = match pods {
            Some(namespace) => namespace,
            None => namespace::new_network()
                .map_err(|error| format!("a network namespace cannot be made: {error}"))?,
        };
        let ipv6 = node::has_ipv6();
        let opened = node::within(namespace.as_fd(), || open(ipv6))
            .map_err(|error| format!("it cannot be set up: {error}"))?;
        let outside = OutsideServices::default();
        let rules = match opened.rules {
            Ok((rules, outbound, sockets)) => {
                serve_uplink(&namespace, sockets, &outbound, outside.clone())
                    .map_err(|error| format!("the way out cannot be made: {error}"))?;
                Ok((rules, outbound))
            }
            Err(error) => Err(error.to_string()),
        };
        let host = HostServers::of_machine();
        let resolver = Resolver::new(opened.datagrams, opened.connections, host, Zone::default())
            .map_err(|error| format!("the resolver cannot be made: {error}"))?;
        let inside = namespace
            .try_clone()
            .map_err(|error| format!("the node agent: {error}"))?;
        Ok(Self {
            node_ports: NodePorts::new(inside, address::pods(ipv6)),
            namespace,
            bridge: opened.bridge,
            ipv6,
            resolver,
            rules,
            outside,
            forwarded: None,
        })
    }

    /// A routing socket in the namespace, for a supervisor.
    ///
    /// # Errors
    /// As `socket(2)` and `clone(2)`.
    pub(super) fn open_route(&self) -> io::Result<OwnedFd> {
        node::within(self.namespace.as_fd(), || Route::open()?.to_descriptor())
    }

    pub(super) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// Why there are neither Services nor a way out, where that is so.
    pub(super) fn unruled(&self) -> Option<String> {
        self.rules.as_ref().err().cloned()
    }

    /// Whether a node port is open.
    pub(super) fn has_port(&self, protocol: Protocol, port: u16) -> bool {
        self.node_ports.is_open(protocol, port)
    }

    /// The bridge's number.
    pub(super) fn bridge(&self) -> u32 {
        self.bridge
    }

    /// Answers and forwards by this from now on.
    ///
    /// # Errors
    /// The kernel's answer to the rules; a node port that is another process'.
    pub(super) fn show(&mut self, view: View) -> io::Result<()> {
        let mut networks = Vec::new();
        for known in [address::pods(self.ipv6), address::services(self.ipv6)] {
            let (v4, bits) = known.v4;
            networks.push(zone_network(IpAddr::V4(v4), bits));
            networks.extend(
                known
                    .v6
                    .map(|(v6, bits)| zone_network(IpAddr::V6(v6), bits)),
            );
        }
        let zone = Zone::new(view.services, view.pods, networks);
        self.resolver.set_zone(zone);
        let opened = self.node_ports.show(&view.node_ports);
        let Ok((rules, outbound)) = &self.rules else {
            return opened;
        };
        if self.forwarded.as_ref() != Some(&view.ports) {
            self.outside.set(&view.ports, &outbound.pods);
            rules.apply(nft::services(&view.ports, outbound))?;
            self.forwarded = Some(view.ports);
        }
        opened
    }
}

fn zone_network(address: IpAddr, bits: u8) -> names::Network {
    names::Network {
        address,
        prefix: bits,
    }
}

/// In the namespace.
fn open(ipv6: bool) -> io::Result<Opened> {
    // Told now, every pod is alone; told by the first pod's pair, none would start.
    if !Route::open()?.has_pairs()? {
        let message = "this kernel has no pairs of interfaces (CONFIG_VETH)";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    let bridge = node::set_up(&address::pod_network(ipv6))?;
    let own = if ipv6 {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, DOMAIN_PORT))
    } else {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, DOMAIN_PORT))
    };
    let datagrams = UdpSocket::from(bound(own, SocketType::DGRAM)?);
    let connections = bound(own, SocketType::STREAM)?;
    listen(&connections, CONNECTIONS)?;
    let connections = TcpListener::from(connections);
    let rule = || -> io::Result<(Rules, Outbound, Sockets)> {
        let sockets = Sockets::open(ipv6)?;
        let outbound = Outbound {
            pods: address::pods(ipv6),
            services: address::services(ipv6),
            tcp: sockets.tcp_ports()?,
            udp: sockets.udp_ports()?,
            waits: None,
        };
        let rules = Rules::open()?;
        let outbound = rules.begin(outbound, sockets.queue_number())?;
        Ok((rules, outbound, sockets))
    };
    Ok(Opened {
        bridge,
        datagrams,
        connections,
        rules: rule(),
    })
}

/// A socket of the resolver's. An agent that was killed may not have closed its own yet when a
/// supervisor starts the next.
fn bound(own: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = match own {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &own)?;
    Ok(socket)
}

/// Connections to the outside are a thread's: a large transfer delays nobody's names.
fn serve_uplink(
    namespace: &OwnedFd,
    sockets: Sockets,
    outbound: &Outbound,
    outside: OutsideServices,
) -> io::Result<()> {
    let inside = vec![outbound.pods, outbound.services];
    let uplink = Uplink::new(namespace.try_clone()?, sockets, inside, outside)?;
    // It lives as long as the agent: the end that would stop it is never closed.
    let (end, held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    std::thread::Builder::new()
        .name("podrun-uplink".to_owned())
        .spawn(move || {
            uplink.run(end.as_fd()).ok();
            drop(held);
            // Another agent takes its place: a supervisor sees to that.
            process::exit_now(1)
        })?;
    Ok(())
}
