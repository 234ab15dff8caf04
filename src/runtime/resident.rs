//! What the processes have in common that outlive the command which started them.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use crate::sys::{inheritance, process};

/// Becomes one: with no terminal and no directory of the caller's, and nothing that another process
/// of the same user could read.
///
/// # Errors
/// As the system calls.
pub fn settle() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for number in 0..=2 {
        process::install_descriptor(null.as_fd(), number)?;
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, nothing)?;
    // A container takes five descriptors, a connection to the outside up to eight, and the usual
    // soft limit is 1024.
    let descriptors = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit {
            current: descriptors.maximum,
            ..descriptors
        },
    )?;
    inheritance::reset();
    rustix::process::chdir("/")?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    Ok(())
}
