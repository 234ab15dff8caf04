//! TCP sockets of a pod's network namespace for a process that is not in it: a socket stays in the
//! namespace where it was made, whoever connects it.
//!
//! ```text
//!  podrun port-forward              a process in the pod's namespace
//!      │──── the address family ────────▶│
//!      │◀─── error number, or a socket ──│
//! ```

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socket_with};

use crate::sys::seqpacket;

/// The two requests.
const V4: u8 = b'4';
const V6: u8 = b'6';

/// The end at which sockets are asked for.
#[derive(Debug)]
pub struct PodSockets(OwnedFd);

impl PodSockets {
    /// Of the connection to whoever is in the pod's namespace.
    pub const fn new(connection: OwnedFd) -> Self {
        Self(connection)
    }

    /// A socket that can be connected to this address, and does not block.
    ///
    /// # Errors
    /// As `socket(2)`; EPIPE when the other side is gone; EMFILE when this process has no room for
    /// the descriptor.
    pub(super) fn make(&self, address: IpAddr) -> io::Result<OwnedFd> {
        let family = if address.is_ipv4() { V4 } else { V6 };
        seqpacket::send(&self.0, &[family], &[], SendFlags::empty())?;
        let mut answer = [0; 4];
        let (length, descriptors) = seqpacket::receive(&self.0, &mut answer, RecvFlags::empty())?;
        if length == 0 {
            return Err(io::Error::from_raw_os_error(libc::EPIPE));
        }
        match (i32::from_ne_bytes(answer), descriptors.into_iter().next()) {
            (0, Some(socket)) => Ok(socket),
            // The kernel drops descriptors for which there is no room (`unix(7)`).
            (0, None) => Err(io::Error::from_raw_os_error(libc::EMFILE)),
            (number, _) => Err(io::Error::from_raw_os_error(number)),
        }
    }
}

impl AsFd for PodSockets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes the sockets that are asked for until the connection or the lifeline ends. The caller has
/// joined the pod's network namespace.
///
/// # Errors
/// As `poll(2)`, `recvmsg(2)` and `sendmsg(2)`.
pub fn serve(connection: BorrowedFd<'_>, lifeline: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        let mut waited = [
            PollFd::from_borrowed_fd(lifeline, PollFlags::IN),
            PollFd::from_borrowed_fd(connection, PollFlags::IN),
        ];
        match poll(&mut waited, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let [lifeline_ready, asked] = waited.map(|one| !one.revents().is_empty());
        if lifeline_ready {
            return Ok(());
        }
        if !asked {
            continue;
        }
        let mut request = [0; 1];
        let (length, _) = seqpacket::receive(connection, &mut request, RecvFlags::empty())?;
        if length == 0 {
            return Ok(());
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let made = match request {
            [V4] => socket_with(AddressFamily::INET, SocketType::STREAM, flags, None),
            [V6] => socket_with(AddressFamily::INET6, SocketType::STREAM, flags, None),
            _ => Err(Errno::INVAL),
        };
        let number = made.as_ref().err().map_or(0, |errno| errno.raw_os_error());
        let sockets: Vec<BorrowedFd<'_>> = made.iter().map(AsFd::as_fd).collect();
        let answer = number.to_ne_bytes();
        seqpacket::send(connection, &answer, &sockets, SendFlags::empty())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use rustix::net::sockopt;
    use rustix::pipe::{PipeFlags, pipe_with};

    #[test]
    fn each_request_gets_a_socket_until_one_side_ends() {
        let (ours, theirs) = seqpacket::pair().unwrap();
        let (lifeline, held) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| serve(theirs.as_fd(), lifeline.as_fd()));
            let sockets = PodSockets::new(ours);
            for (address, family) in [
                (IpAddr::V4(Ipv4Addr::LOCALHOST), AddressFamily::INET),
                (IpAddr::V6(Ipv6Addr::LOCALHOST), AddressFamily::INET6),
            ] {
                let socket = sockets.make(address).unwrap();
                assert_eq!(sockopt::socket_domain(&socket), Ok(family));
                assert_eq!(sockopt::socket_type(&socket), Ok(SocketType::STREAM));
            }
            drop(held);
            serving.join().unwrap().unwrap();
        });
        let sockets = PodSockets::new(theirs);
        let gone = sockets.make(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::EPIPE));
    }
}
