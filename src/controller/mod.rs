//! What follows from objects: which addresses a Service has, and where it leads. Pure.
#![warn(
    clippy::wildcard_enum_match_arm,
    clippy::arithmetic_side_effects,
    reason = "objects come from anywhere"
)]

mod allocation;
mod endpoints;

pub use allocation::{
    NodePort, Refusal, SERVICE_NETWORK, Taken, allocate, node_port_path, node_ports,
};
pub use endpoints::{Endpoints, Given, Host, Port, Target, as_object, endpoints};
