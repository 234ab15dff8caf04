//! Children of this process whose pidfds it does not hold.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::wait::{self, WaitPidFlag};
use nix::unistd::Pid;
use rustix::process::{WaitId, WaitIdOptions};

/// As [`reap`](crate::sys::process::reap), for the first process of a pid namespace: while that one waits for processes of its
/// namespace which are this one's children, they are reaped as well, and their codes are lost.
///
/// # Errors
/// As `waitid(2)`.
pub fn reap_with_others(pidfd: impl AsFd) -> io::Result<()> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), look) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let any = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::All, any).ok();
        // If it is the one that is waited for, it is not lost: the next look fails with ECHILD.
        rustix::process::waitid(WaitId::All, look)?;
    }
}

/// A child that has ended and was not reaped, if there is one; it stays as it is.
pub fn ended_child() -> Option<Pid> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match wait::waitid(wait::Id::All, look) {
            Ok(status) => return status.pid(),
            Err(nix::errno::Errno::EINTR) => {}
            // There is no child at all.
            Err(_) => return None,
        }
    }
}

/// Whether this child is the one that [`ended_child`] has found.
pub fn has_ended_as(pidfd: BorrowedFd<'_>, pid: Pid) -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    wait::waitid(wait::Id::PIDFd(pidfd), look).is_ok_and(|status| status.pid() == Some(pid))
}

/// Reaps a child that [`ended_child`] has found: until that is done its number is nobody else's.
///
/// # Errors
/// As `waitid(2)`.
pub fn reap_pid(pid: Pid) -> io::Result<()> {
    wait::waitid(
        wait::Id::Pid(pid),
        WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG,
    )?;
    Ok(())
}

/// Kills and reaps every child of this process and what becomes its child by that. Where the kernel
/// does not list them (`CONFIG_PROC_CHILDREN`), those that have ended are reaped and the others left.
pub fn end_all_children() {
    loop {
        let listed = std::fs::read_to_string("/proc/thread-self/children");
        for pid in listed.iter().flat_map(|list| list.split_ascii_whitespace()) {
            if let Ok(pid) = pid.parse() {
                // A child that is not reaped keeps its number.
                nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::SIGKILL).ok();
            }
        }
        let mut look = WaitPidFlag::WEXITED;
        look.set(WaitPidFlag::WNOHANG, listed.is_err());
        match wait::waitid(wait::Id::All, look) {
            Ok(wait::WaitStatus::StillAlive) => return,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
