//! Children of the supervisor that it has not been told of.
//!
//! A launcher's processes become the supervisor's when the launcher ends. The entrant that should
//! report a birth lives among the container's processes, which may kill it first, and with the
//! container's first process the kernel kills everything there. Such a child must be reaped all the
//! same: until it is, the first process of its pid namespace does not end (`pid_namespaces(7)`,
//! `zap_pid_ns_processes`). With `hostPID` every process that a container leaves behind is such a
//! child.

use std::os::fd::{AsFd, BorrowedFd};

use crate::supervisor::container::Live;
use crate::supervisor::exec::Session;
use crate::supervisor::pod::Pod;
use crate::sys::children;

impl Pod {
    /// Reaps the strangers that have ended; to be called when a child has ended. False when there
    /// may be more behind a child whose end has not been handled yet.
    pub(super) fn reap_strangers(&mut self) -> bool {
        while let Some(pid) = children::ended_child() {
            // Its birth may be reported and not read. The report is always sent before a child
            // becomes the supervisor's, so what is read now is complete for this one.
            self.hear_of_births();
            if self
                .children()
                .any(|child| children::has_ended_as(child, pid))
            {
                return false;
            }
            children::reap_pid(pid).ok();
        }
        true
    }

    fn hear_of_births(&mut self) {
        let unborn: Vec<u32> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.is_unborn())
            .map(|(number, _)| *number)
            .collect();
        for number in unborn {
            self.command_spoke(number, false);
        }
        let unborn: Vec<u32> = self
            .containers
            .values()
            .filter(|live| live.is_unborn())
            .map(|live| live.number)
            .collect();
        for number in unborn {
            self.container_spoke(number, false);
        }
    }

    /// All children it knows.
    fn children(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let own = [self.pause.as_ref().map(|pause| pause.pidfd.as_fd())];
        own.into_iter()
            .flatten()
            .chain(self.forwarder.iter().map(AsFd::as_fd))
            .chain(self.checks.child())
            .chain(self.usage.child())
            .chain(self.sweepers.values().map(AsFd::as_fd))
            .chain(self.containers.values().flat_map(Live::children))
            .chain(self.sessions.values().flat_map(Session::children))
    }
}
