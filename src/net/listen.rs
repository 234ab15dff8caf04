//! Opening ports on the host: for what is published before anything is started, for node ports, and
//! for `port-forward`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt,
};

use crate::plan::{Protocol, PublishedPort};

/// Connections that may wait to be accepted; the kernel's own bound is `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// What an IPv6 socket takes in (`ipv6(7)`, `IPV6_V6ONLY`), whatever `net.ipv6.bindv6only` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Families {
    /// Its own family.
    Own,
    /// IPv4 as well; it must be bound to `::`.
    Both,
}

/// Opens the host's side of a published port and says which port it got.
///
/// # Errors
/// As `bind(2)`: EADDRINUSE, EADDRNOTAVAIL, EACCES for a privileged port; EAFNOSUPPORT for an
/// IPv6 address without IPv6.
pub fn open(port: &PublishedPort) -> io::Result<(OwnedFd, u16)> {
    match port.host_ip {
        Some(ip) => {
            let address = SocketAddr::new(ip, port.host_port);
            opened(bound(address, port.protocol, Families::Own)?, port.protocol)
        }
        None => everywhere(port.protocol, port.host_port),
    }
}

/// Opens a port at all of the host's addresses of IPv4 and IPv6, or of IPv4 where the kernel has no
/// other.
///
/// # Errors
/// As [`open`].
pub fn everywhere(protocol: Protocol, port: u16) -> io::Result<(OwnedFd, u16)> {
    opened(bound_everywhere(protocol, port)?, protocol)
}

/// Whether [`everywhere`] would find the port in use. Nothing listens on it meanwhile: a client that
/// comes would be lost.
pub fn is_in_use(protocol: Protocol, port: u16) -> bool {
    let tried = bound_everywhere(protocol, port);
    tried.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn bound_everywhere(protocol: Protocol, port: u16) -> io::Result<OwnedFd> {
    let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match bound(all, protocol, Families::Both) {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            bound(all, protocol, Families::Own)
        }
        bound => bound,
    }
}

/// Listens for TCP, on this address only: `::` takes in no IPv4. Says which port it got.
///
/// # Errors
/// As [`open`].
pub fn tcp(address: SocketAddr) -> io::Result<(OwnedFd, u16)> {
    opened(bound(address, Protocol::Tcp, Families::Own)?, Protocol::Tcp)
}

/// A bound socket that listens, if it is for TCP, and its port.
fn opened(socket: OwnedFd, protocol: Protocol) -> io::Result<(OwnedFd, u16)> {
    if protocol == Protocol::Tcp {
        listen(&socket, BACKLOG)?;
    }
    let port = SocketAddr::try_from(getsockname(&socket)?)?.port();
    Ok((socket, port))
}

/// A socket that does not block, bound.
fn bound(address: SocketAddr, protocol: Protocol, families: Families) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, kind, flags, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, families == Families::Own)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of an earlier listener may linger.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}
