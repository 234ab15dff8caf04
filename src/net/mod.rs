//! The pod's network: its namespace's interfaces, its address and its published ports; the node's
//! network that the pods share, the way out of it, and the names that pods find others by.

pub mod address;
pub mod endpoints;
pub mod forward;
pub mod listen;
pub mod names;
pub mod namespace;
mod netlink;
pub mod nft;
pub mod node;
pub mod pod_sockets;
pub mod port_forward;
pub mod route;
mod stream;
pub mod uplink;

#[cfg(test)]
mod tests;
