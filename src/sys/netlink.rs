//! A netlink socket that another process has opened.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use netlink_sys::Socket;

/// The socket behind a descriptor. It stays one of the network namespace it was opened in, wherever
/// it is used (`netlink(7)`, `sock_net`).
pub fn socket_of(descriptor: OwnedFd) -> Socket {
    // SAFETY: the descriptor was owned, and is the socket's alone from here on.
    unsafe { Socket::from_raw_fd(descriptor.into_raw_fd()) }
}
