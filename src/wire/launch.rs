//! The start of a pod: front end and supervisor.

use serde::{Deserialize, Serialize};

use k8s_openapi::api::core::v1::PodStatus;

use super::Begin;

/// From the front end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// Which user namespace it is to enter, where podrun does not run as root: that of the
    /// descriptor, or a new one without.
    Enter,
    /// The id maps of the supervisor's user namespace are written.
    Mapped,
    /// What to run.
    Launch(Launch),
    /// Keep the pod when this socket closes.
    Adopt(Adopt),
}

/// What to run. Descriptors, in order: the plan (a sealed memfd), the pod's directory (locked by
/// the front end; the lock goes with the descriptor), the runtime directory; with `node` the
/// connection to the agent, a mount namespace for another agent, the network namespace and a routing
/// socket in it; then one listening socket for each of the plan's ports, then one tree of
/// mounts for each hostPath or claim that a container mounts `Bidirectional`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Absolute path of the pod's directory, opened again in the supervisor's mount namespace and
    /// compared with the descriptor.
    pub pod_dir: String,
    /// Which ids the user namespace has.
    pub ids: IdSpace,
    /// The pod network, for a pod that is in it.
    pub node: Option<Node>,
}

/// The pod network as a supervisor must know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// How an agent that has died is started again.
    pub begin: Begin,
    /// The bridge's number.
    pub bridge: u32,
}

/// What pause is told once its pod is known. Descriptors, in order: the plan, an empty directory,
/// then a routing socket of the namespace with the bridge, for a wire that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseLaunch {
    /// The bridge's number, for a wire that is to be made.
    pub bridge: Option<u32>,
    /// The pod's wire is made.
    pub is_wired: bool,
}

/// Which ids exist where the pod runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdSpace {
    /// The machine's own: podrun runs as root.
    Machine,
    /// A user namespace with the user's subordinate ranges.
    Ranges,
    /// A user namespace of one pod's (`hostUsers: false`), which root has made.
    Own,
    /// A user namespace with id 0 only; groups cannot be set (`user_namespaces(7)`).
    Single,
}

impl IdSpace {
    /// The word that tells a re-executed process.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Ranges => "ranges",
            Self::Own => "own",
            Self::Single => "single",
        }
    }

    /// The id space that a re-executed process is told to enter.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Machine, Self::Ranges, Self::Single]
            .into_iter()
            .find(|ids| ids.word() == word)
    }
}

/// How to keep a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// Remove the pod and its record when all its containers have ended.
    pub remove_when_done: bool,
}

/// From the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromSupervisor {
    /// It is in a new user namespace that waits for its id maps.
    Unshared,
    /// The pod's status has changed.
    Status(Box<PodStatus>),
    /// The pod's status has changed, and is too long for a message: it is in the pod's directory.
    StatusWritten,
    /// The pod could not be set up; everything is undone.
    Failed {
        /// One line for the user.
        message: String,
    },
    /// The pod has ended, its processes and mounts are gone; the record stays if it was adopted.
    Ended,
}
