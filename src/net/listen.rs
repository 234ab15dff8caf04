//! Opening published ports on the host, before anything is started.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use crate::plan::{Protocol, PublishedPort};

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
