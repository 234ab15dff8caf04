//! The parent side of the stages: from the front end to a supervisor, from a supervisor to pause
//! and containers.

pub mod client;
pub mod control_socket;
pub mod idmap;
pub mod spawn;
pub mod wording;
