//! What the machine is told and what it asks for.

use crate::plan::ResolvedUser;

/// The time of an event, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of the clock that timers use; it never jumps.
    pub monotonic_ms: u64,
    /// For what people read.
    pub wall: jiff::Timestamp,
}

/// Something has happened. Containers are numbered in `spec.containers` order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Namespaces, network and volumes exist.
    SandboxReady,
    /// A container was executed.
    Started {
        /// Which.
        container: usize,
        /// Its id.
        id: String,
        /// Who it runs as.
        user: Option<ResolvedUser>,
    },
    /// A container could not be executed.
    StartFailed {
        /// Which.
        container: usize,
        /// The kubelet's word for it.
        reason: String,
        /// One line for the user.
        message: String,
        /// The exit code it counts as.
        exit_code: i32,
    },
    /// A container has ended.
    Exited {
        /// Which.
        container: usize,
        /// Its code, or 128 plus the signal that killed it.
        code: i32,
        /// The kernel killed it for want of memory.
        oom_killed: bool,
    },
    /// The pod is to end. A later one can only make it quicker.
    Delete {
        /// Instead of `terminationGracePeriodSeconds`; 0 kills at once.
        grace_period_ms: Option<u64>,
    },
    /// The time that [`Machine::next_deadline`](super::Machine::next_deadline) named has come.
    Tick,
}

/// Something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a container with a fresh root file system.
    Start {
        /// Which.
        container: usize,
        /// How often it was started before.
        attempt: u32,
    },
    /// Build a container so far that `Start` only has to let it go; it comes next and waits for
    /// nothing but its turn.
    Prepare {
        /// Which.
        container: usize,
    },
    /// Send a signal to a container's first process.
    Signal {
        /// Which.
        container: usize,
        /// The signal's number.
        signal: i32,
    },
    /// Kill everything in a container.
    Kill {
        /// Which.
        container: usize,
    },
    /// Nothing runs and nothing will: the sandbox can go. Asked for once.
    Finish,
}
