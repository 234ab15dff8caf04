//! The sockets in the node's network namespace.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{
    IpTransparent, Ipv4OrigDstAddr, Ipv4PacketInfo, Ipv6OrigDstAddr, Ipv6RecvPacketInfo, Mark,
};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen, socket_with,
    sockopt,
};

use super::Family;
use crate::net::nft::Queue;
use crate::net::node::ANSWER_MARK;

/// Connections that wait to be accepted; the kernel's own bound is 4096 as well.
const BACKLOG: i32 = 4096;

/// A socket of each family.
pub(super) type Pair = Vec<(Family, OwnedFd)>;

/// The sockets that pods' connections and datagrams come to, on ports of the kernel's choice.
#[derive(Debug)]
pub struct Sockets {
    pub(super) tcp: Pair,
    pub(super) udp: Pair,
    /// Raw, for ICMP.
    pub(super) icmp: Pair,
    /// Connections that pods want, where the kernel has it.
    pub(super) queue: Option<Queue>,
}

impl Sockets {
    /// Opens them in this thread's network namespace.
    ///
    /// # Errors
    /// As `socket(2)`, `bind(2)` and `listen(2)`; EPERM without `CAP_NET_ADMIN` there.
    pub fn open(ipv6: bool) -> io::Result<Self> {
        let mut families = vec![Family::V4];
        if ipv6 {
            families.push(Family::V6);
        }
        let (mut tcp, mut udp, mut icmp) = (Vec::new(), Vec::new(), Vec::new());
        for family in families {
            let socket = open(family, SocketType::STREAM)?;
            bind(&socket, &any(family))?;
            listen(&socket, BACKLOG)?;
            tcp.push((family, socket));
            let socket = open(family, SocketType::DGRAM)?;
            setsockopt(&socket, IpTransparent, &true)?;
            match family {
                Family::V4 => setsockopt(&socket, Ipv4OrigDstAddr, &true)?,
                Family::V6 => setsockopt(&socket, Ipv6OrigDstAddr, &true)?,
            }
            bind(&socket, &any(family))?;
            udp.push((family, socket));
            // Without CAP_NET_RAW, which not every container has that podrun runs in, it is only
            // pings that stay inside.
            if let Ok(socket) = open_icmp(family) {
                icmp.push((family, socket));
            }
        }
        let queue = Queue::open().ok();
        Ok(Self {
            tcp,
            udp,
            icmp,
            queue,
        })
    }

    /// The queue in which connections wait until the outside has taken them, if there is one.
    pub fn queue_number(&self) -> Option<u16> {
        self.queue.as_ref().map(Queue::number)
    }

    /// The ports of the listeners, IPv4's and IPv6's.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    pub fn tcp_ports(&self) -> io::Result<[u16; 2]> {
        ports(&self.tcp)
    }

    /// The ports of the sockets for datagrams, IPv4's and IPv6's.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    pub fn udp_ports(&self) -> io::Result<[u16; 2]> {
        ports(&self.udp)
    }
}

/// Without IPv6 nothing comes by its rule, so its port does not matter.
fn ports(sockets: &Pair) -> io::Result<[u16; 2]> {
    let mut ports = [1, 1];
    for (place, (_, socket)) in ports.iter_mut().zip(sockets) {
        *place = SocketAddr::try_from(getsockname(socket)?)?.port();
    }
    Ok(ports)
}

fn open(family: Family, kind: SocketType) -> io::Result<OwnedFd> {
    let domain = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(domain, kind, flags, None)?;
    if family == Family::V6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

/// A socket that gets pods' echo requests, and sends answers from addresses of the outside. They
/// are marked: the kernel's own would be wrong.
fn open_icmp(family: Family) -> io::Result<OwnedFd> {
    let (domain, protocol) = match family {
        Family::V4 => (AddressFamily::INET, ipproto::ICMP),
        Family::V6 => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(domain, SocketType::RAW, flags, Some(protocol))?;
    match family {
        Family::V4 => {
            setsockopt(&socket, Ipv4PacketInfo, &true)?;
            setsockopt(&socket, IpTransparent, &true)?;
        }
        Family::V6 => {
            setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
            // Enough to send from any address in IPv6.
            sockopt::set_ipv6_freebind(&socket, true)?;
        }
    }
    setsockopt(&socket, Mark, &ANSWER_MARK)?;
    Ok(socket)
}

fn any(family: Family) -> SocketAddr {
    match family {
        Family::V4 => (Ipv4Addr::UNSPECIFIED, 0).into(),
        Family::V6 => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// A socket that sends from an address of the outside, in this thread's network namespace.
pub(super) fn open_as(outside: SocketAddr) -> io::Result<OwnedFd> {
    let family = if outside.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let socket = open(family, SocketType::DGRAM)?;
    setsockopt(&socket, IpTransparent, &true)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &outside)?;
    Ok(socket)
}
