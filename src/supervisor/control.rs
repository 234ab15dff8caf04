//! The control socket: a path of the user's own, checked with the peer's credentials.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
    sockopt,
};

use crate::names::PodUid;
use crate::runtime::control_socket;
use crate::sys::seqpacket;
use crate::wire::{self, Reply};

/// Commands that may wait to be accepted.
const BACKLOG: i32 = 64;

/// Opens the control socket of a pod. The supervisor's umask makes it 0600, its directory is 0700.
pub(super) fn open(runtime_dir: BorrowedFd<'_>, uid: &PodUid) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    bind(
        &socket,
        &control_socket::address(runtime_dir, &control_socket::name(uid))?,
    )?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Accepts one command of the same user; nothing for anybody else.
pub(super) fn accept(listener: &OwnedFd) -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let client = accept_with(listener, flags).ok()?;
    let peer = sockopt::socket_peercred(&client).ok()?;
    (peer.uid == rustix::process::geteuid()).then_some(client)
}

/// Answers a command; one that does not read is no reason to wait.
pub(super) fn answer(client: impl AsFd, reply: &Reply) {
    if let Ok(bytes) = wire::encode(reply) {
        seqpacket::send(client, &bytes, &[], SendFlags::DONTWAIT).ok();
    }
}
