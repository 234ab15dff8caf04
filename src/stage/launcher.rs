//! From the supervisor into the pod: a container's init must be the supervisor's child (for its
//! exit code) while it lives in a pid namespace nested in pause's (so that it dies with pause).
//!
//! ```text
//!  supervisor ─clone─▶ launcher   setns(pause): net ipc uts pid
//!       ▲                 └─clone─▶ entrant   is inside pause's pid namespace
//!       │                              └─clone(CLONE_PARENT | new pid, mnt, cgroup)─▶ container
//!       └──────── launcher ends; the container's parent is now the supervisor (subreaper) ───┘
//! ```
//!
//! Two clones, because `clone(CLONE_NEWPID)` right after `setns(CLONE_NEWPID)` is EINVAL in one
//! process, and because a supervisor that joined pause's pid namespace itself could never fork
//! again after pause has died.

use std::os::fd::{AsFd, BorrowedFd};

use crate::stage::{At, Reporter};
use crate::sys::process::{
    CloneFlags, Cloned, SingleThread, clone_process, die_with_parent, exit_now, join_namespaces,
    reap,
};
use crate::wire::{Failure, Report, Step};

/// Where a new process goes.
#[derive(Debug)]
pub struct Destination<'a> {
    /// A process whose namespaces are joined.
    pub target: BorrowedFd<'a>,
    /// `CLONE_NEW*` bits of the namespaces to join; 0 joins none.
    pub join: libc::c_int,
    /// A process whose pid namespace is joined instead of the target's.
    pub pid_of: Option<BorrowedFd<'a>>,
    /// `CLONE_NEW*` bits of the namespaces the new process gets of its own.
    pub create: libc::c_int,
}

/// The rest of the launcher's life: goes to the destination and runs `inside` in the new process.
/// Never returns.
pub fn launch(
    proof: &SingleThread,
    reporter: &Reporter,
    destination: &Destination<'_>,
    inside: impl FnOnce(&SingleThread, &Reporter) -> Failure,
) -> ! {
    if let Err(failure) = enter(proof, reporter, destination, inside) {
        reporter.send(&Report::Failed(failure), &[]);
    }
    exit_now(0)
}

fn enter(
    proof: &SingleThread,
    reporter: &Reporter,
    destination: &Destination<'_>,
    inside: impl FnOnce(&SingleThread, &Reporter) -> Failure,
) -> Result<(), Failure> {
    if destination.join != 0 {
        join_namespaces(destination.target, destination.join).at(Step::Namespaces, "")?;
    }
    if let Some(process) = destination.pid_of {
        join_namespaces(process, libc::CLONE_NEWPID).at(Step::Namespaces, "")?;
    }
    match clone_process(proof, CloneFlags::default()).at(Step::Clone, "")? {
        // The launcher waits, so that the container is an orphan when the supervisor hears of it.
        Cloned::Parent(entrant) => {
            reap(&entrant).at(Step::Clone, "")?;
            return Ok(());
        }
        // It lives among the container's processes, which may stop it: it must not outlive the
        // launcher that waits for it.
        Cloned::Child => die_with_parent().at(Step::ProcessState, "")?,
    }
    let flags = CloneFlags {
        namespaces: destination.create,
        sibling: true,
    };
    match clone_process(proof, flags).at(Step::Clone, "")? {
        Cloned::Parent(pidfd) => {
            reporter.send(&Report::Born, &[pidfd.as_fd()]);
            exit_now(0)
        }
        Cloned::Child => {
            let failure = inside(proof, reporter);
            let code = match failure.step {
                Step::CommandNotFound => 127,
                Step::Execute => 126,
                _ => 125,
            };
            reporter.send(&Report::Failed(failure), &[]);
            exit_now(code)
        }
    }
}
