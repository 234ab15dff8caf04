//! rtnetlink: links, addresses, routes and rules of one network namespace.
//!
//! A socket belongs to the namespace it was opened in, for its whole life. Requests are put in one
//! datagram, which the kernel works off in order before `sendmsg(2)` returns: setting up one end
//! of a pod costs two system calls and an answer for each request.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind,
    InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

use crate::net::netlink;
use crate::sys;

/// `lo` is the first interface of every network namespace (`loopback.c`).
pub const LOOPBACK_INDEX: u32 = 1;

/// Bytes of an interface's name without its end (`IFNAMSIZ` of `if.h`).
const MAX_NAME: usize = 15;

/// Queues of a pair's end. The kernel would make one for each processor, which costs time and
/// memory; without XDP they carry nothing.
const QUEUES: u32 = 1;

/// A hardware address.
pub type Mac = [u8; 6];

/// The hardware address that goes with a pod's or the gateway's IPv4 address: locally
/// administered, and as unique in the bridge as the address is.
pub fn mac_of(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// The name of the bridge's end of a pod's pair: `p` and as many hexadecimal digits of the pod's
/// uid as a name holds, which are 56 bits.
pub fn host_end(uid: &str) -> String {
    std::iter::once('p')
        .chain(uid.chars().filter(char::is_ascii_hexdigit))
        .take(MAX_NAME)
        .collect()
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name in its namespace.
    pub name: String,
    /// The number of the bridge it is a port of.
    pub bridge: Option<u32>,
}

/// A pair of interfaces that are each other's wire.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// The name of the end that is made here.
    pub host_end: &'a str,
    /// The bridge that end becomes a port of.
    pub bridge: u32,
    /// The namespace in which the other end is made.
    pub namespace: BorrowedFd<'a>,
    /// The other end's name there.
    pub name: &'a str,
    /// The other end's hardware address.
    pub mac: Mac,
}

/// Requests that are sent as one datagram.
#[derive(Debug, Default)]
#[must_use = "nothing is sent before `Route::make`"]
pub struct Requests(Vec<(RouteNetlinkMessage, u16)>);

impl Requests {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn create(mut self, message: RouteNetlinkMessage) -> Self {
        self.0.push((message, NLM_F_CREATE | NLM_F_EXCL));
        self
    }

    /// A bridge that is up, forwards from the first frame on and knows no multicast groups.
    pub fn bridge(self, name: &str, mac: Mac) -> Self {
        let mut link = up(0);
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![
                    InfoBridge::ForwardDelay(0),
                    InfoBridge::StpState(BridgeStpState::Disabled),
                    InfoBridge::MulticastSnooping(false),
                ])),
            ]),
        ];
        self.create(RouteNetlinkMessage::NewLink(link))
    }

    /// A pair, one end up and a port of the bridge, the other made where it belongs: moving it
    /// there later would cost a grace period of the kernel. That end is not set up here: the
    /// kernel makes it before it knows its peer (`veth_open` says ENOTCONN).
    pub fn pair(self, pair: Pair<'_>) -> Self {
        let mut there = LinkMessage::default();
        there.attributes = vec![
            LinkAttribute::IfName(pair.name.to_owned()),
            LinkAttribute::Address(pair.mac.to_vec()),
            LinkAttribute::NetNsFd(pair.namespace.as_raw_fd()),
            LinkAttribute::NumTxQueues(QUEUES),
            LinkAttribute::NumRxQueues(QUEUES),
        ];
        let mut here = up(0);
        here.attributes = vec![
            LinkAttribute::IfName(pair.host_end.to_owned()),
            LinkAttribute::Controller(pair.bridge),
            LinkAttribute::NumTxQueues(QUEUES),
            LinkAttribute::NumRxQueues(QUEUES),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(there))),
            ]),
        ];
        self.create(RouteNetlinkMessage::NewLink(here))
    }

    /// Lets a port reach the bridge itself but no other port: pods see one another through the
    /// gateway only, and none answers ARP or router solicitations for it.
    pub fn isolate(mut self, host_end: &str) -> Self {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(host_end.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(
                    true,
                )])),
            ]),
        ];
        self.0.push((RouteNetlinkMessage::NewLink(link), 0));
        self
    }

    /// Sets an interface up.
    pub fn up(mut self, index: u32) -> Self {
        self.0.push((RouteNetlinkMessage::SetLink(up(index)), 0));
        self
    }

    /// An address, usable at once: nobody else in the network can have it, so IPv6 does not ask
    /// around first.
    pub fn address(self, index: u32, address: IpAddr, prefix_len: u8) -> Self {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.index = index;
        message.header.prefix_len = prefix_len;
        message.attributes = vec![
            AddressAttribute::Local(address),
            AddressAttribute::Address(address),
        ];
        if address.is_ipv6() {
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        self.create(RouteNetlinkMessage::NewAddress(message))
    }

    /// The way to an address that is on the interface's link whatever the prefix of its own says.
    pub fn on_link(self, index: u32, address: IpAddr) -> Self {
        let mut route = route(family(address));
        route.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
        route.header.scope = RouteScope::Link;
        route.attributes = vec![
            RouteAttribute::Destination(address.into()),
            RouteAttribute::Oif(index),
        ];
        self.create(RouteNetlinkMessage::NewRoute(route))
    }

    /// The default route of the gateway's family.
    pub fn default_route(self, index: u32, gateway: IpAddr) -> Self {
        let mut route = route(family(gateway));
        route.attributes = vec![
            RouteAttribute::Gateway(gateway.into()),
            RouteAttribute::Oif(index),
        ];
        self.create(RouteNetlinkMessage::NewRoute(route))
    }

    /// Delivers here what carries the mark, whatever address it is for: a rule that sends it to
    /// the table, and a route in the table that calls every address local. For both families when
    /// `ipv6`.
    pub fn deliver_marked(mut self, mark: u32, table: u8, ipv6: bool) -> Self {
        let mut families = vec![AddressFamily::Inet];
        if ipv6 {
            families.push(AddressFamily::Inet6);
        }
        for family in families {
            let mut rule = RuleMessage::default();
            rule.header.family = family;
            rule.header.table = table;
            rule.header.action = RuleAction::ToTable;
            rule.attributes = vec![RuleAttribute::FwMark(mark)];
            let mut route = route(family);
            route.header.table = table;
            route.header.kind = RouteType::Local;
            route.header.scope = RouteScope::Host;
            route.attributes = vec![RouteAttribute::Oif(LOOPBACK_INDEX)];
            self = self
                .create(RouteNetlinkMessage::NewRule(rule))
                .create(RouteNetlinkMessage::NewRoute(route));
        }
        self
    }

    /// Removes an interface, and with it the other end of its pair.
    pub fn delete(mut self, index: u32) -> Self {
        let mut link = LinkMessage::default();
        link.header.index = index;
        self.0.push((RouteNetlinkMessage::DelLink(link), 0));
        self
    }
}

fn up(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn route(family: AddressFamily) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Static;
    route.header.scope = RouteScope::Universe;
    route.header.kind = RouteType::Unicast;
    route
}

/// A routing socket of one network namespace.
#[derive(Debug)]
pub struct Route {
    socket: Socket,
    sequence: u32,
}

impl Route {
    /// A socket of this thread's network namespace.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: netlink::open(NETLINK_ROUTE)?,
            sequence: 0,
        })
    }

    /// A routing socket that was opened elsewhere, for requests in its network namespace.
    pub fn of(socket: OwnedFd) -> Self {
        Self {
            socket: sys::netlink::socket_of(socket),
            sequence: 0,
        }
    }

    /// The socket, to be used by another process.
    ///
    /// # Errors
    /// As `fcntl(2)`.
    pub fn to_descriptor(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Makes all requests. Those after a failed one have been tried as well.
    ///
    /// # Errors
    /// The kernel's answer to the first request that failed.
    pub fn make(&mut self, requests: Requests) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (message, flags) in requests.0 {
            self.append(&mut bytes, message, NLM_F_ACK | flags);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.socket.send(&bytes, 0)?;
        netlink::answers(&self.socket, self.sequence)
    }

    /// Whether the kernel has pairs. Nothing is made.
    ///
    /// # Errors
    /// As [`Route::make`], but for what answers the question.
    pub fn has_pairs(&mut self) -> io::Result<bool> {
        self.has_kind(InfoKind::Veth)
    }

    /// The kernel looks for a kind of interface before it looks at how many queues there are to be, of
    /// which there must be one (`rtnl_create_link`).
    pub(super) fn has_kind(&mut self, kind: InfoKind) -> io::Result<bool> {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::NumTxQueues(0),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]),
        ];
        let question = Requests::new().create(RouteNetlinkMessage::NewLink(link));
        match self.make(question) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(true),
            result => result.map(|()| true),
        }
    }

    /// All interfaces of the namespace.
    ///
    /// # Errors
    /// As `send(2)` and `recv(2)`, or the kernel's answer.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut bytes = Vec::new();
        let all = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.append(&mut bytes, all, NLM_F_DUMP);
        self.socket.send(&bytes, 0)?;
        let mut links = Vec::new();
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let mut rest = answer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(io::Error::other)?;
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(links),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                        links.push(described(&link));
                    }
                    _ => {}
                }
                // Messages begin at multiples of four (`NLMSG_ALIGN`).
                let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
                let length = length.checked_next_multiple_of(4).unwrap_or(usize::MAX);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }

    fn append(&mut self, bytes: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let start = bytes.len();
        let end = start.saturating_add(packet.buffer_len());
        bytes.resize(end, 0);
        if let Some(place) = bytes.get_mut(start..) {
            packet.serialize(place);
        }
        bytes.resize(end.next_multiple_of(4), 0);
    }
}

fn described(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        bridge: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Controller(index) => link.bridge = Some(*index),
            _ => {}
        }
    }
    link
}

/// The number of an interface of this thread's network namespace.
///
/// # Errors
/// ENODEV when there is none of that name; as `socket(2)`.
pub fn index_of(name: &str) -> io::Result<u32> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_end_is_named_after_the_uid_and_fits() {
        let name = host_end("0a1b2c3d-4e5f-6789-abcd-ef0123456789");
        assert_eq!(name, "p0a1b2c3d4e5f67");
        assert_eq!(name.len(), MAX_NAME);
    }

    #[test]
    fn a_hardware_address_is_local_and_of_one_machine() {
        let mac = mac_of(Ipv4Addr::new(10, 88, 0, 5));
        assert_eq!(mac, [0x0a, 0x58, 10, 88, 0, 5]);
        // IEEE 802: bit 0 is for groups, bit 1 for addresses that nobody assigned.
        assert_eq!(mac[0] & 3, 2);
    }
}
