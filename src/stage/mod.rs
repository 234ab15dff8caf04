//! The code of the processes between `clone(2)` and `execve(2)`, and of pause.
//!
//! They are clones of the supervisor, which is itself re-executed, has one thread, an empty
//! environment and runs from a read-only mount of the binary; so nothing of the caller is in them,
//! and what they map cannot be written from a container (CVE-2019-5736). Each function reads top
//! down in the order things happen and says why the order is the order. A step that fails becomes
//! a [`Failure`]; the supervisor, which knows the names, words it.

pub mod apparmor;
pub mod confine;
pub mod container;
pub mod copy;
pub mod devices;
pub mod exec;
pub mod host_devices;
pub mod host_root;
pub mod inside;
pub mod launcher;
pub mod masks;
pub mod oom_score;
pub mod own_users;
pub mod pause;
pub mod prober;
pub mod program;
pub mod rootfs;
pub mod sealed_plan;
pub mod trial;
pub mod unpack;
pub mod user_namespace;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};

use crate::sys::seqpacket;
use crate::wire::{self, Failure, GO, PauseLaunch, Report, Step};

/// Names the step and the object of an error.
pub(crate) trait At<T> {
    /// The value, or the failure of this step on this object.
    fn at(self, step: Step, object: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: Step, object: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            step,
            object: object.into(),
            errno: error.into().raw_os_error().unwrap_or(0),
        })
    }
}

/// The stage's end of the report socket.
#[derive(Debug)]
pub struct Reporter(OwnedFd);

impl Reporter {
    /// Wraps the socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends one report; a supervisor that is gone is no reason to stop here, since the pod's pid
    /// namespace ends with it.
    pub fn send(&self, report: &Report, descriptors: &[BorrowedFd<'_>]) {
        if let Ok(bytes) = wire::encode(report) {
            seqpacket::send(&self.0, &bytes, descriptors, SendFlags::empty()).ok();
        }
    }
}

impl Reporter {
    /// Waits for the supervisor's word that the command may be executed. Nothing is executed
    /// without it: the socket's end means that the supervisor has given up or is gone.
    pub(crate) fn wait_for_go(&self) -> Result<(), Failure> {
        let mut word = [0; GO.len()];
        let (length, _) =
            seqpacket::receive(&self.0, &mut word, RecvFlags::empty()).at(Step::Namespaces, "")?;
        if word.get(..length) == Some(GO) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ECANCELED)).at(Step::Namespaces, "")
        }
    }

    /// Waits for what pause is told.
    pub(crate) fn receive(&self) -> Result<(PauseLaunch, Vec<OwnedFd>), Failure> {
        let mut buffer = [0; 256];
        let (length, descriptors) = seqpacket::receive(&self.0, &mut buffer, RecvFlags::empty())
            .at(Step::Namespaces, "")?;
        let launch = wire::decode(buffer.get(..length).unwrap_or_default())
            .map_err(|_| io::Error::from_raw_os_error(libc::ECANCELED))
            .at(Step::Namespaces, "")?;
        Ok((launch, descriptors))
    }
}

impl AsFd for Reporter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
