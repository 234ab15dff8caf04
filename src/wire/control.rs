//! Requests to a running pod over its control socket.

use serde::{Deserialize, Serialize};

use crate::names::ContainerName;

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
    /// End the pod and remove everything it had.
    Delete {
        /// Instead of `terminationGracePeriodSeconds`; 0 kills at once.
        grace_period_ms: Option<u64>,
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

/// What a supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The command's terminal, with its descriptor.
    Terminal,
    /// The command has ended.
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
