//! Entering the user namespace in which a rootless pod, or a layer's unpacking, has its ids.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{RecvFlags, SendFlags};
use rustix::thread::set_thread_groups;

use crate::sys::process::{self, SingleThread};
use crate::sys::seqpacket;
use crate::wire::{self, FromSupervisor, IdSpace, ToSupervisor};

/// Makes the user namespace, a mount namespace with it, and waits until the parent has written
/// the id maps. As root it makes the mount namespace only.
///
/// # Errors
/// One line for the user.
pub fn enter(proof: &SingleThread, ids: IdSpace, parent: impl AsFd) -> Result<(), String> {
    let unshare = |namespaces| {
        process::unshare(proof, namespaces).map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::ENOSPC) if namespaces & libc::CLONE_NEWUSER != 0 => format!(
                "user namespaces are not available to this user: {error}; `podrun doctor` says what to change"
            ),
            _ => format!("namespaces: {error}"),
        })
    };
    match ids {
        IdSpace::Machine => unshare(libc::CLONE_NEWNS),
        IdSpace::Ranges => {
            unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
            wait_for_maps(parent)?;
            // The caller's supplementary groups end here; with a map of one id they cannot
            // (CVE-2018-7169), which `up` says.
            set_thread_groups(&[]).map_err(|errno| format!("groups: {errno}"))
        }
        IdSpace::Own => Err("a pod's own user namespace is not entered so".to_owned()),
        IdSpace::Single => {
            // Before the change: afterwards both are the overflow id.
            let uid = rustix::process::geteuid().as_raw();
            let gid = rustix::process::getegid().as_raw();
            unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
            // The order is user_namespaces(7)'s: without a privilege outside, a group map may only
            // be written once setgroups is denied.
            for (file, content) in [
                ("setgroups", "deny".to_owned()),
                ("uid_map", format!("0 {uid} 1")),
                ("gid_map", format!("0 {gid} 1")),
            ] {
                write_own(file, &content).map_err(|error| format!("/proc/self/{file}: {error}"))?;
            }
            Ok(())
        }
    }
}

/// Enters a user namespace that is there, with a mount namespace of its own.
///
/// # Errors
/// One line for the user.
pub fn join(proof: &SingleThread, ids: IdSpace, users: BorrowedFd<'_>) -> Result<(), String> {
    let joined = process::join_namespaces(users, libc::CLONE_NEWUSER)
        .and_then(|()| process::unshare(proof, libc::CLONE_NEWNS));
    joined.map_err(|error| format!("the user namespace of the pod network: {error}"))?;
    if ids == IdSpace::Ranges {
        set_thread_groups(&[]).map_err(|errno| format!("groups: {errno}"))?;
    }
    Ok(())
}

fn wait_for_maps(parent: impl AsFd) -> Result<(), String> {
    let bytes = wire::encode(&FromSupervisor::Unshared).map_err(|e| e.to_string())?;
    seqpacket::send(parent.as_fd(), &bytes, &[], SendFlags::empty()).map_err(|e| e.to_string())?;
    let mut buffer = [0; 256];
    let (length, _) = seqpacket::receive(parent.as_fd(), &mut buffer, RecvFlags::empty())
        .map_err(|e| e.to_string())?;
    match wire::decode(buffer.get(..length).unwrap_or_default()) {
        Ok(ToSupervisor::Mapped) => Ok(()),
        _ => Err("the id maps were not written".to_owned()),
    }
}

fn write_own(file: &str, content: &str) -> io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/self/{file}"))?
        .write_all(content.as_bytes())
}
