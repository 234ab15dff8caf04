//! The first moments of a supervisor: its namespaces, its ids, and a read-only copy of itself.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context;
use rustix::fs::CWD;
use rustix::io::FdFlags;
use rustix::mount::{
    MountAttrFlags, MountPropagationFlags, OpenTreeFlags, mount_change, open_tree,
};
use rustix::net::{RecvFlags, SendFlags};

use crate::stage::user_namespace;
use crate::sys::mount::{Depth, add_attributes};
use crate::sys::process::{self, SingleThread};
use crate::sys::seqpacket;
use crate::wire::{self, FromSupervisor, IdSpace, ToSupervisor};

/// Enters the namespaces of the mode and executes the supervisor from a read-only mount of this
/// program. Returns only on failure, after the front end was told.
pub fn enter(mode: &str) -> u8 {
    let Ok(socket) = process::inherited(0) else {
        return 125;
    };
    let Err(error) = go(mode, &socket);
    let failed = FromSupervisor::Failed {
        message: format!("{error:#}"),
    };
    if let Ok(bytes) = wire::encode(&failed) {
        seqpacket::send(&socket, &bytes, &[], SendFlags::empty()).ok();
    }
    125
}

fn go(mode: &str, socket: &OwnedFd) -> anyhow::Result<Infallible> {
    process::close_on_exec_from(3).context("descriptors")?;
    // Out of the terminal's foreground group first: an interrupt is the front end's to handle.
    rustix::process::setsid().context("session")?;
    let proof = SingleThread::prove().context("threads")?;
    let ids = IdSpace::from_word(mode).context("this is podrun's own command")?;
    let users = match ids {
        IdSpace::Machine => None,
        _ => told_where(socket)?,
    };
    match users {
        Some(users) => user_namespace::join(&proof, ids, users.as_fd()),
        None => user_namespace::enter(&proof, ids, socket),
    }
    .map_err(anyhow::Error::msg)?;
    // Nothing mounted here reaches the host; what the host mounts still arrives.
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .context("mount propagation")?;
    let program = read_only_program().context("a read-only view of podrun's own binary")?;
    // The supervisor keeps it open: closing the last descriptor of a mount that is in no namespace
    // takes it apart, and execve would wait for the kernel to do that (synchronize_rcu).
    rustix::io::fcntl_setfd(&program, FdFlags::empty()).context("descriptors")?;
    let argv = [c"podrun".to_owned(), c"__supervisor".to_owned()];
    Err(process::execute_descriptor(program.as_fd(), &argv, &[])).context("execveat")
}

/// The user namespace of the pod network, if the front end has one.
fn told_where(socket: &OwnedFd) -> anyhow::Result<Option<OwnedFd>> {
    let mut buffer = [0; 256];
    let (length, descriptors) = seqpacket::receive(socket, &mut buffer, RecvFlags::empty())?;
    match wire::decode(buffer.get(..length).unwrap_or_default())? {
        ToSupervisor::Enter => Ok(descriptors.into_iter().next()),
        _ => anyhow::bail!("the front end says something else"),
    }
}

/// This program behind a read-only mount that is in no namespace: whoever gets at it through
/// `/proc/PID/exe` inside of a container cannot write to it (CVE-2019-5736), and it costs no copy.
///
/// It is found by its path, because only a mount of the new namespace can be copied, and the one
/// behind `/proc/self/exe` is still the old namespace's.
fn read_only_program() -> io::Result<OwnedFd> {
    let path = std::fs::read_link("/proc/self/exe")?;
    let program = open_tree(
        CWD,
        &path,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    let running = rustix::fs::stat("/proc/self/exe")?;
    let found = rustix::fs::fstat(&program)?;
    if (running.st_dev, running.st_ino) != (found.st_dev, found.st_ino) {
        return Err(io::Error::other(
            "the file was replaced a moment ago; run podrun again",
        ));
    }
    add_attributes(
        program.as_fd(),
        MountAttrFlags::MOUNT_ATTR_RDONLY,
        Depth::Single,
    )?;
    Ok(program)
}
