//! What rtnetlink and nfnetlink have in common: a socket to the kernel, and its answers.

use std::io;

use netlink_sys::{Socket, SocketAddr};

/// Room for an answer: a header, an error and the header it is about; the request may follow.
const ANSWER: usize = 4096;

/// A socket of this thread's network namespace, connected to the kernel.
pub(super) fn open(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // An answer then has no copy of its request.
    socket.set_cap_ack(true).ok();
    Ok(socket)
}

/// Takes the kernel's answers until the one to the request with that sequence number. They were
/// queued before the system call that sent the requests ended, so none is waited for.
///
/// # Errors
/// The first refusal among the answers.
pub(super) fn answers(socket: &Socket, last: u32) -> io::Result<()> {
    let mut refusal = None;
    let mut answer = Vec::with_capacity(ANSWER);
    loop {
        answer.clear();
        match socket.recv(&mut answer, libc::MSG_DONTWAIT) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let silence = || io::Error::other("the kernel does not answer");
                return Err(refusal.unwrap_or_else(silence));
            }
            Err(error) => return Err(error),
        }
        let (sequence, code) = read(&answer).ok_or(io::ErrorKind::InvalidData)?;
        if code != 0 && refusal.is_none() {
            refusal = Some(io::Error::from_raw_os_error(code.saturating_neg()));
        }
        if sequence == last {
            return refusal.map_or(Ok(()), Err);
        }
    }
}

/// Whether a question has an answer that is not a refusal. It was queued before the system call that
/// sent the question ended.
pub(super) fn is_granted(socket: &Socket) -> bool {
    let mut answer = Vec::with_capacity(ANSWER);
    let received = socket.recv(&mut answer, libc::MSG_DONTWAIT).is_ok();
    let kind = answer.get(4..).and_then(|kind| kind.first_chunk());
    // `NLMSG_ERROR`
    received && kind.is_some_and(|kind| u16::from_ne_bytes(*kind) != 2)
}

/// Throws away what was left unread of earlier answers.
pub(super) fn forget(socket: &Socket) {
    let mut answer = Vec::with_capacity(ANSWER);
    while socket.recv(&mut answer, libc::MSG_DONTWAIT).is_ok() {
        answer.clear();
    }
}

/// The sequence number of an `NLMSG_ERROR` and its negative error number, 0 for success.
fn read(answer: &[u8]) -> Option<(u32, i32)> {
    let sequence = answer.get(8..)?.first_chunk()?;
    let code = answer.get(16..)?.first_chunk()?;
    Some((u32::from_ne_bytes(*sequence), i32::from_ne_bytes(*code)))
}
