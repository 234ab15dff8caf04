//! Messages between the front end, the supervisor and the stages. Pure: values and their bytes.
//!
//! ```text
//!  front end                      supervisor                         launcher → container
//!     │ spawn, socket as stdin        │                                      │
//!     │───────────── Enter ──────────▶│  (not as root)                       │
//!     │◀──────────── Unshared ────────│  (a new one with id ranges)               │
//!     │ newuidmap, newgidmap          │                                      │
//!     │───────────── Mapped ─────────▶│                                      │
//!     │──── Launch + plan, dir … ────▶│                                      │
//!     │                               │─────────── clone ───────────────────▶│
//!     │                               │◀──────── Born + pidfd ───────────────│
//!     │                               │◀──────── Resolved user ──────────────│
//!     │                               │──────────────── go ─────────────────▶│
//!     │◀──────────── Status ──────────│◀──────── end of file = executed ─────│
//!     │───────────── Adopt ──────────▶│
//! ```
//!
//! Until `Adopt` the end of the front end's socket undoes everything the supervisor has made; so
//! a front end that is killed leaves nothing behind.

mod control;
mod inside;
mod launch;
mod node;
mod probe;
mod report;

pub use crate::lifecycle::ProbeVerdict;
pub use control::{ContainerUsage, CopyJob, Reply, Request, TerminalSize};
pub use inside::{Outcome, Task};
pub use launch::{Adopt, FromSupervisor, IdSpace, Launch, Node, PauseLaunch, ToSupervisor};
pub use node::{Begin, FromNode, ToNode};
pub use probe::{MAX_PROBE_OUTPUT, ProbeReply, ProbeRequest};
pub use report::{Failure, GO, Report, Step};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version in every message; a peer with another one is told so.
pub const PROTOCOL_VERSION: u32 = 1;

#[derive(Serialize)]
struct Outgoing<'a, T> {
    version: u32,
    body: &'a T,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
struct Incoming<T> {
    body: T,
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireError {
    /// The peer speaks another version of the protocol.
    Version(u32),
    /// The bytes are not what this version says.
    Malformed(String),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(theirs) => write!(
                f,
                "the other side speaks protocol version {theirs}, this podrun speaks {PROTOCOL_VERSION}"
            ),
            Self::Malformed(why) => write!(f, "malformed message: {why}"),
        }
    }
}

impl std::error::Error for WireError {}

/// The bytes of a message.
///
/// # Errors
/// [`WireError::Malformed`] when the value has no JSON form.
pub fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, WireError> {
    serde_json::to_vec(&Outgoing {
        version: PROTOCOL_VERSION,
        body,
    })
    .map_err(|error| WireError::Malformed(error.to_string()))
}

/// The message in some bytes.
///
/// # Errors
/// As [`WireError`] says.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let malformed = |error: serde_json::Error| WireError::Malformed(error.to_string());
    let head: Version = serde_json::from_slice(bytes).map_err(malformed)?;
    if head.version != PROTOCOL_VERSION {
        return Err(WireError::Version(head.version));
    }
    serde_json::from_slice::<Incoming<T>>(bytes)
        .map(|message| message.body)
        .map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_wire() {
        let request = Request::Delete {
            grace_period_ms: Some(3000),
        };
        assert_eq!(decode::<Request>(&encode(&request).unwrap()), Ok(request));
    }

    #[test]
    fn another_version_is_named_whatever_its_body_is() {
        let bytes = br#"{"version":7,"body":{"Unheard":{"of":1}}}"#;
        assert_eq!(decode::<Request>(bytes), Err(WireError::Version(7)));
    }
}
