//! Becoming the supervisor of a pod: the process' own state, and what it is told to run.

use std::io;
use std::os::fd::OwnedFd;

use crate::runtime::resident;
use crate::supervisor::sandbox;
use crate::sys::process::SingleThread;
use crate::sys::signal;

/// The process' own state.
pub(super) fn become_supervisor() -> io::Result<SingleThread> {
    resident::settle()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    rustix::thread::set_name(c"podrun-pod")?;
    signal::block_all()?;
    SingleThread::prove()
}

/// The path must lead to the directory that the front end has locked.
pub(super) fn same_directory(dir: &OwnedFd, path: &std::path::Path) -> io::Result<()> {
    let locked = rustix::fs::fstat(dir)?;
    let named = rustix::fs::fstat(sandbox::open_directory(path)?)?;
    if (locked.st_dev, locked.st_ino) == (named.st_dev, named.st_ino) {
        Ok(())
    } else {
        Err(io::Error::other("the pod's directory was replaced"))
    }
}
