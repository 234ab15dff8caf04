//! Opening published ports on the host, before anything is started.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt,
};

use crate::net::node;
use crate::plan::{Protocol, PublishedPort};

/// Connections that may wait to be accepted; the kernel's own bound is `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Listens for TCP, on this address only: `::` takes in no IPv4. Says which port it got.
///
/// # Errors
/// As `socket(2)`, `bind(2)` and `listen(2)`: EADDRINUSE, EADDRNOTAVAIL, EACCES for a privileged
/// port, EAFNOSUPPORT without IPv6.
pub fn tcp(address: SocketAddr) -> io::Result<(OwnedFd, u16)> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // Connections of an earlier listener may linger.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    let bound = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((socket, bound.port()))
}

/// Opens the host's side of a published port and says which port it got.
///
/// # Errors
/// As `bind(2)`: EADDRINUSE, EADDRNOTAVAIL, EACCES for a privileged port.
pub fn open(port: &PublishedPort) -> io::Result<(OwnedFd, u16)> {
    let address = SocketAddr::new(port.host_ip, port.host_port);
    match port.protocol {
        Protocol::Tcp => {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let bound = listener.local_addr()?.port();
            Ok((listener.into(), bound))
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            let bound = socket.local_addr()?.port();
            Ok((socket.into(), bound))
        }
    }
}

/// Opens a port at every address of the host, of IPv6 too where there is IPv6.
///
/// # Errors
/// As `bind(2)`: EADDRINUSE when it is taken at one of them.
pub fn open_for_all(protocol: Protocol, port: u16) -> io::Result<OwnedFd> {
    let (family, address) = if node::has_ipv6() {
        (AddressFamily::INET6, IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    } else {
        (AddressFamily::INET, IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, kind, flags, None)?;
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    if protocol == Protocol::Tcp {
        // Beside connections of before that the kernel still knows (`tcp(7)`, TIME_WAIT).
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(address, port))?;
    if protocol == Protocol::Tcp {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}
