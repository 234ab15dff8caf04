//! The pod's network: its namespace's interfaces, its address and its published ports.

pub mod address;
pub mod forward;
pub mod listen;
pub mod namespace;
