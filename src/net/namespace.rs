//! Inside a new network namespace: `lo`, and `eth0` with the pod's address.
//!
//! `eth0` is a bridge without ports: the one link type that needs no peer, is in every
//! distribution's kernel (`dummy` is not) and delivers to its own address without a carrier.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::plan::{Network, PodPlan};

/// `lo` is the first interface of every network namespace (`loopback.c`).
const LOOPBACK_INDEX: u32 = 1;

/// Sets up this process' network namespace for the plan's pod.
///
/// # Errors
/// The kernel's answer to the request that failed.
pub fn configure(plan: &PodPlan) -> io::Result<()> {
    let Network::Pod {
        address,
        prefix_len,
        ..
    } = plan.network
    else {
        return Ok(());
    };
    let mut route = Route::open()?;
    route.set_up(LOOPBACK_INDEX)?;
    route.add_bridge("eth0")?;
    let index = interface_index("eth0")?;
    route.add_address(index, address, prefix_len)?;
    route.set_up(index)?;
    set_defaults()
}

/// Ping without `NET_RAW` and port 80 without root, as on a cluster; no router advertisement is
/// believed. The files are those of this process' namespace.
fn set_defaults() -> io::Result<()> {
    // In a user namespace the range may only name mapped groups; a kernel without ping sockets, or
    // a map without such a range, costs exactly ping.
    for range in ["0 2147483647", "0 65535", "0 0"] {
        if write_setting("/proc/sys/net/ipv4/ping_group_range", range).is_ok() {
            break;
        }
    }
    write_setting("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
    match write_setting("/proc/sys/net/ipv6/conf/all/accept_ra", "0") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_setting(path: &str, value: &str) -> io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(value.as_bytes())
}

fn interface_index(name: &str) -> io::Result<u32> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}

/// A routing socket: one request, one answer.
struct Route {
    socket: Socket,
    sequence: u32,
}

impl Route {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    fn set_up(&mut self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(link), 0)
    }

    fn add_bridge(&mut self, name: &str) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        link.attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
                InfoKind::Bridge,
            )]));
        self.request(
            RouteNetlinkMessage::NewLink(link),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    fn add_address(&mut self, index: u32, address: Ipv4Addr, prefix_len: u8) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = netlink_packet_route::AddressFamily::Inet;
        message.header.index = index;
        message.header.prefix_len = prefix_len;
        message
            .attributes
            .push(AddressAttribute::Local(IpAddr::V4(address)));
        message
            .attributes
            .push(AddressAttribute::Address(IpAddr::V4(address)));
        self.request(
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
            .map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            _ => Ok(()),
        }
    }
}
