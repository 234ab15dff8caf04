//! Becoming the supervisor of a pod: the process' own state, and what it is told to run.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::DumpableBehavior;

use crate::supervisor::sandbox;
use crate::sys::process::{self, SingleThread};
use crate::sys::{inheritance, signal};

/// The process' own state: no descriptor of the caller's, no terminal, no directory, nothing that
/// another process of the same user could read.
pub(super) fn become_supervisor() -> io::Result<SingleThread> {
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    for number in 0..=2 {
        process::install_descriptor(null.as_fd(), number)?;
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(
        rustix::process::Resource::Core,
        rustix::process::Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    // A container takes five descriptors, and the usual soft limit is 1024.
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit {
            current: descriptors.maximum,
            ..descriptors
        },
    )?;
    inheritance::reset();
    rustix::process::chdir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
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
