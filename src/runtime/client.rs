//! The commands' side of a pod's control socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, socket_with,
};

use crate::names::PodUid;
use crate::runtime::control_socket;
use crate::sys::seqpacket;
use crate::wire::{self, Reply, Request};

/// A connection to one pod's supervisor.
#[derive(Debug)]
pub struct Connection(OwnedFd);

impl Connection {
    /// Connects to the pod's control socket in the runtime directory.
    ///
    /// # Errors
    /// As `connect(2)`: ENOENT or ECONNREFUSED when nobody listens.
    pub fn open(runtime_dir: BorrowedFd<'_>, uid: &PodUid) -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let name = control_socket::name(uid);
        connect(&socket, &control_socket::address(runtime_dir, &name)?)?;
        Ok(Self(socket))
    }

    /// Sends a request with its descriptors.
    ///
    /// # Errors
    /// EMSGSIZE for a request that is too long, EPIPE for a supervisor that is gone.
    pub fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = wire::encode(request).map_err(io::Error::other)?;
        if bytes.len() > seqpacket::MAX_MESSAGE {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        seqpacket::send(&self.0, &bytes, descriptors, SendFlags::empty())
    }

    /// Waits for an answer; nothing at the end of the socket.
    ///
    /// # Errors
    /// As `recvmsg(2)`, and for an answer that is not in the protocol.
    pub fn receive(&self) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; seqpacket::MAX_MESSAGE];
        let (length, descriptors) = seqpacket::receive(&self.0, &mut buffer, RecvFlags::empty())?;
        if length == 0 {
            return Ok(None);
        }
        let reply =
            wire::decode(buffer.get(..length).unwrap_or_default()).map_err(io::Error::other)?;
        Ok(Some((reply, descriptors)))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
