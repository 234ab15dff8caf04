//! Requests to a running pod over its control socket.

use serde::{Deserialize, Serialize};

use crate::names::ContainerName;
use crate::plan::ContainerPlan;

/// What a command asks of a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Run a command in a container. Without `terminal` the message carries three descriptors:
    /// stdin, stdout and stderr of the command.
    Exec {
        /// Which container.
        container: ContainerName,
        /// The command; never empty.
        argv: Vec<String>,
        /// Give it a terminal of the container's own of this size.
        terminal: Option<TerminalSize>,
    },
    /// Copy a tree, with the container's own user and in its own mount namespace; nothing of the
    /// image is run. The message carries three descriptors: an archive that comes in, one that goes
    /// out, and lines about what was left out.
    Copy {
        /// Which container.
        container: ContainerName,
        /// What to copy.
        job: CopyJob,
    },
    /// Get a container's output from now on. The message carries two descriptors, the write ends
    /// of pipes for its standard output and error; while they are full the container waits.
    Attach {
        /// Which container.
        container: ContainerName,
        /// Get a descriptor for its input as well, if it has one.
        stdin: bool,
    },
    /// Add an ephemeral container. With `attach` the message carries what [`Request::Attach`]'s
    /// does.
    Debug {
        /// The container.
        plan: Box<ContainerPlan>,
        /// As `spec.ephemeralContainers` shows it.
        written: serde_json::Value,
        /// Attach to it from its first byte on.
        attach: bool,
    },
    /// Make TCP sockets in the pod's network namespace, for `port-forward`.
    PortForward,
    /// Set a condition that a readiness gate of the pod may wait for.
    SetCondition {
        /// Its type.
        kind: String,
        /// Whether it is `True`.
        is_true: bool,
    },
    /// Replace the files of volumes that podrun writes. The message carries a sealed memfd with
    /// their plans (a list of `VolumePlan`).
    UpdateVolumes,
    /// Say what the containers use of processors and memory.
    Usage,
    /// Stop all containers and start them again, init containers first.
    Restart,
    /// End the pod and remove everything it had.
    Delete {
        /// Instead of `terminationGracePeriodSeconds`; 0 kills at once.
        grace_period_ms: Option<u64>,
    },
}

/// One direction of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyJob {
    /// Out of the container. The entries of the archive begin with `name`.
    Send {
        /// What to copy.
        path: String,
        /// The first component of the entries.
        name: String,
    },
    /// Into the container.
    Receive {
        /// Where to.
        path: String,
        /// What it is called in a directory that exists; with nothing `path` must be a directory,
        /// and the entries keep their names.
        name: Option<String>,
    },
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// What a container uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUsage {
    /// Which container.
    pub name: ContainerName,
    /// Billionths of a processor, on average over the last second.
    pub nanocores: u64,
    /// Bytes of memory that it cannot do without: what the kernel counts for its cgroup but for files
    /// that have not been read for long (the kubelet's working set), else its processes' parts of
    /// the machine's pages.
    pub memory: u64,
}

/// What a supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The command's terminal, with its descriptor.
    Terminal,
    /// The client is attached; the message carries the descriptor of the container's input if it
    /// was asked for and there is one.
    Attached {
        /// Whether it is a terminal.
        is_terminal: bool,
    },
    /// The message carries a connection to a process in the pod's network namespace, which makes
    /// sockets there until the connection or the pod ends.
    PodSockets,
    /// What the containers that run use, in the Pod's order.
    Usage {
        /// One for each.
        containers: Vec<ContainerUsage>,
    },
    /// What was asked for is done.
    Done,
    /// The command, or the container that was attached to, has ended.
    Exited {
        /// Its code, or 128 plus its signal.
        code: i32,
    },
    /// The command did not start, or the request cannot be served.
    Refused {
        /// The exit code that says why: 126, 127, 4 or 125.
        code: i32,
        /// One line for the user.
        message: String,
    },
    /// The pod has ended and its directory is gone.
    Deleted,
}
