//! Messages with descriptors over a `SOCK_SEQPACKET` UNIX socket: one message is one datagram, so
//! there is no framing to get wrong and no partial read to buffer.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The most bytes one message may have.
pub const MAX_MESSAGE: usize = 128 * 1024;

/// The most descriptors one message may carry (`SCM_MAX_FD` is 253; published ports need most).
pub const MAX_DESCRIPTORS: usize = 128;

/// A connected pair, close-on-exec.
///
/// # Errors
/// As `socketpair(2)`.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one message.
///
/// # Errors
/// As `sendmsg(2)`: EPIPE when the peer is gone, EMSGSIZE when it is too long.
pub fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    loop {
        match rustix::net::sendmsg(
            socket.as_fd(),
            &[IoSlice::new(bytes)],
            &mut control,
            flags | SendFlags::NOSIGNAL,
        ) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one message into `buffer`; zero bytes mean that the peer has closed, whether or not it
/// had read everything.
///
/// # Errors
/// As `recvmsg(2)`; EMSGSIZE for a message longer than the buffer.
pub fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(
            socket.as_fd(),
            &mut parts,
            &mut control,
            flags | RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(message) => break message,
            // ECONNRESET, told once: the peer has closed without reading everything. What it sent
            // before is still here, and after it the end of file.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let mut descriptors = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = item {
            descriptors.extend(received);
        }
    }
    if message.flags.contains(rustix::net::ReturnFlags::TRUNC) {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    Ok((message.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_sent_before_it_left_unread_messages_behind_arrives() {
        let (ours, theirs) = pair().unwrap();
        send(&ours, b"never read", &[], SendFlags::empty()).unwrap();
        send(&theirs, b"last words", &[], SendFlags::empty()).unwrap();
        drop(theirs);
        let mut buffer = [0; 64];
        let (length, _) = receive(&ours, &mut buffer, RecvFlags::empty()).unwrap();
        assert_eq!(&buffer[..length], b"last words");
        let (length, _) = receive(&ours, &mut buffer, RecvFlags::empty()).unwrap();
        assert_eq!(length, 0);
    }
}
