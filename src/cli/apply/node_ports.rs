//! Node ports that the host has free: what the node agent could not open is told, or not given out,
//! before anything starts.

use std::collections::HashSet;
use std::os::fd::AsFd;

use k8s_openapi::api::core::v1::Service;

use crate::cli::failure::{Failure, INVALID};
use crate::controller::{self, NodePort, Taken};
use crate::names::ObjectName;
use crate::net::listen;
use crate::plan::Protocol;
use crate::runtime::node;
use crate::store::Store;

/// Gives a Service what it needs and has not, of what nobody else has.
///
/// # Errors
/// A Service that asks for what it cannot have.
pub(super) fn allocate(
    store: &Store,
    name: &ObjectName,
    service: &mut Service,
    mut taken: Taken,
) -> Result<(), Failure> {
    let refused = |refusal| Failure::with_code(INVALID, format!("service/{name}: {refusal}"));
    let given: HashSet<NodePort> = controller::node_ports(service).into_iter().collect();
    loop {
        let mut complete = service.clone();
        controller::allocate(&mut complete, &taken).map_err(refused)?;
        let mut all = controller::node_ports(&complete).into_iter();
        match all.find(|port| is_others(store, *port)) {
            None => {
                *service = complete;
                return Ok(());
            }
            Some(port) if given.contains(&port) => return Err(told(name, port)),
            Some(port) => {
                taken.node_ports.insert(port.number);
            }
        }
    }
}

/// Whether a process has the port that is not the node agent: what that one has is this store's to
/// give. It is asked only about a port that is in use, and closes what belonged to a Service that was
/// removed just now before it answers.
fn is_others(store: &Store, port: NodePort) -> bool {
    let is_in_use = || listen::is_in_use(port.protocol, port.number);
    if !is_in_use() {
        return false;
    }
    let is_agents = store.open_runtime_dir().is_ok_and(|directory| {
        node::has_port(directory.as_fd(), port.protocol, port.number).unwrap_or(false)
    });
    !is_agents && is_in_use()
}

fn told(name: &ObjectName, port: NodePort) -> Failure {
    let protocol = match port.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    };
    let message = format!(
        "service/{name}: {}: {protocol} port {} of the host is in use",
        controller::node_port_path(port.index),
        port.number
    );
    Failure::with_code(INVALID, message)
        .hinted("choose another nodePort, or end what listens there (`ss -ltnup` shows it)")
}
