//! The resolver of the pod network: what a pod finds behind the `nameserver` of its
//! `/etc/resolv.conf`.
//!
//! ```text
//!            pod network                │                 host's network
//!                                       │
//!  pod ──query──▶ Resolver ──answer()──▶ names of cluster.local and of the networks'
//!                    ▲                  │   addresses: answered from the Zone
//!                    │                  │
//!                    └── all the others ┼──question, own id and port──▶ nameservers of the
//!                                       │                              host's resolv.conf
//! ```
//!
//! `zone` and [`answer`] are pure: a [`Zone`] is a value, and a query's bytes become an
//! [`Answer`](answer::Answer). [`Resolver`] has the sockets, and no thread; its descriptor is
//! watched in the loop of the process that holds it.
//!
//! Names follow Kubernetes' DNS specification, schema 1.1.0. What lies in `cluster.local` is
//! never asked of the host's resolvers, nor is an address of the pod and Service networks; a name
//! outside is never answered here. An `ExternalName` is: as the alias it is, with what the host's
//! resolvers say about its target.

pub mod answer;
mod client;
mod frames;
mod host;
mod message;
mod pending;
mod resolver;
mod reverse;
mod upstream;
mod zone;

pub use host::HostServers;
pub use resolver::Resolver;
pub use reverse::Network;
pub use zone::{DOMAIN, Endpoint, Pod, Port, Reach, Service, Zone};

#[cfg(test)]
mod tests;
