//! The parent side of the stages: from the front end to a supervisor, from a supervisor to pause
//! and containers.

pub mod client;
pub mod control_socket;
pub mod idmap;
pub mod inside;
pub mod node;
pub mod pod_ids;
pub mod resident;
pub mod sealed;
pub mod spawn;
pub mod trial;
pub mod unpack;
pub mod wording;
