//! The node agent, who starts it and who uses its network.
//!
//! ```text
//!  front end or supervisor             node agent
//!     │ spawn, socket as stdin             │
//!     │──── Begin + directories … ────────▶│  (the first only)
//!     │◀──── Ready ────────────────────────│
//!     │ connect to node.sock               │
//!     │──── Join ─────────────────────────▶│
//!     │◀──── Joined + namespaces … ────────│
//!     ┊ the connection stays open          ┊  as long as the pod lives
//!
//!  front end, once about each node port that is in use
//!     │──── HasPort ──────────────────────▶│
//!     │◀──── Port ─────────────────────────│
//! ```

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::plan::Protocol;

/// To the node agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToNode {
    /// The first message, over standard input.
    Begin(Box<Begin>),
    /// The first message of a connection: a pod uses the network until the connection ends.
    Join,
    /// The only message of a connection: whether it has this port of the host open, once it has
    /// read what is stored now.
    HasPort {
        /// The port's protocol.
        protocol: Protocol,
        /// Its number.
        port: u16,
    },
}

/// What the agent is for. Descriptors, in order: the runtime directory, then, after an agent that
/// has died, the network namespace that pods are in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Where sockets and locks are.
    pub runtime: PathBuf,
    /// Where pods and objects are.
    pub state: PathBuf,
    /// Where images are.
    pub data: PathBuf,
}

/// From the node agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNode {
    /// It can be joined.
    Ready,
    /// Descriptors, in order: the agent's user and mount namespace, the network namespace with the
    /// bridge, and a routing socket in it.
    Joined {
        /// The bridge's number there.
        bridge: u32,
        /// Why there are neither Services nor a way out, where the kernel has no rules for them.
        unruled: Option<String>,
    },
    /// The answer to [`ToNode::HasPort`].
    Port {
        /// It has it.
        is_open: bool,
    },
    /// There is no pod network here.
    Failed {
        /// Why, as part of a line for the user.
        message: String,
    },
}
