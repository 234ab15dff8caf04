//! What the machine is told and what it asks for.

use serde::{Deserialize, Serialize};

use crate::plan::{ContainerPlan, ResolvedUser};

/// The time of an event, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of the clock that timers use; it never jumps.
    pub monotonic_ms: u64,
    /// For what people read.
    pub wall: jiff::Timestamp,
}

/// Which probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProbeKind {
    /// `startupProbe`
    Startup,
    /// `livenessProbe`
    Liveness,
    /// `readinessProbe`
    Readiness,
}

impl ProbeKind {
    /// As the kubelet's messages begin with it (`probeType.String()`).
    pub const fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// Which hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hook {
    /// `lifecycle.postStart`
    PostStart,
    /// `lifecycle.preStop`
    PreStop,
}

/// What a probe has found (`probe.Result` of pkg/probe).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeVerdict {
    /// It succeeded.
    Success,
    /// It counts as a success, and there is something to say (a redirect to another host).
    Warning,
    /// It failed.
    Failure,
    /// It could not be made; that says nothing about the container.
    Unknown,
}

/// One run of one container. Containers are numbered as in
/// [`PodPlan::containers`](crate::plan::PodPlan::containers), those that `debug` added after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId {
    /// Which container.
    pub container: usize,
    /// How often it was started before; what an earlier run is still heard of changes nothing.
    pub attempt: u32,
}

/// Something has happened.
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
        /// Its last words (`terminationMessagePath`).
        message: Option<String>,
    },
    /// A probe that was asked for has ended.
    Probed {
        /// Of which run.
        run: RunId,
        /// Which probe.
        probe: ProbeKind,
        /// What it found.
        verdict: ProbeVerdict,
        /// What it says, for people.
        output: String,
    },
    /// A hook that was asked for has ended.
    HookEnded {
        /// Of which run.
        run: RunId,
        /// Which hook.
        hook: Hook,
        /// Why it failed, if it did.
        failure: Option<String>,
    },
    /// The pod is to end. A later one can only make it quicker.
    Delete {
        /// Instead of `terminationGracePeriodSeconds`; 0 kills at once.
        grace_period_ms: Option<u64>,
    },
    /// The pod uses more of the disk than it may.
    Evict {
        /// Why, in the kubelet's words.
        message: String,
    },
    /// All containers are to be stopped and started again, the init containers first.
    RestartAll,
    /// A container joins the running pod.
    AddEphemeral {
        /// It; its role is [`Role::Ephemeral`](crate::plan::Role::Ephemeral).
        plan: Box<ContainerPlan>,
    },
    /// A condition that a readiness gate may wait for is set.
    SetCondition {
        /// Its type.
        kind: String,
        /// Whether it is `True`.
        is_true: bool,
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
    /// Probe a container once; [`Event::Probed`] answers.
    Probe {
        /// Which run.
        run: RunId,
        /// Which probe.
        probe: ProbeKind,
    },
    /// Run a hook that is not a sleep; [`Event::HookEnded`] answers. The end of the container
    /// ends it, and then no answer is needed.
    RunHook {
        /// Which run.
        run: RunId,
        /// Which hook.
        hook: Hook,
    },
    /// Something people should be able to read later.
    Record(PodEvent),
    /// Nothing runs and nothing will: the sandbox can go. Asked for once.
    Finish,
}

/// What becomes a `v1.Event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodEvent {
    /// Whether it is a `Warning`, not `Normal`.
    pub is_warning: bool,
    /// The kubelet's word (pkg/kubelet/events/event.go).
    pub reason: String,
    /// The kubelet's text.
    pub message: String,
    /// The container it is about; the pod when absent.
    pub container: Option<usize>,
}
