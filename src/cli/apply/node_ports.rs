//! Node ports that the host has free: what the node agent could not open is told, or not given out,
//! before anything starts.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;

use crate::cli::failure::{Failure, INVALID};
use crate::controller::{self, NodePort, Taken};
use crate::names::ObjectName;
use crate::net::listen;
use crate::plan::Protocol;
use crate::store::{PodRecord, Store};

/// How long the node agent has for closing what belonged to a Service that was removed just now.
const CLOSING: Duration = Duration::from_millis(500);

/// Between two looks meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// Gives a Service what it needs and has not, of what nobody else has. What the stored Service of
/// its name has had is the node agent's own.
///
/// # Errors
/// A Service that asks for what it cannot have.
pub(super) fn allocate(
    store: &Store,
    name: &ObjectName,
    service: &mut Service,
    stored: Option<&Service>,
    mut taken: Taken,
) -> Result<(), Failure> {
    let refused = |refusal| Failure::with_code(INVALID, format!("service/{name}: {refusal}"));
    let given = numbers(service);
    let agents = stored.map(numbers).unwrap_or_default();
    let has_agent = std::cell::LazyCell::new(|| has_agent(store));
    loop {
        let mut complete = service.clone();
        controller::allocate(&mut complete, &taken).map_err(refused)?;
        let in_use = controller::node_ports(&complete).into_iter().find(|port| {
            let key = (port.protocol, port.number);
            if agents.contains(&key) && *has_agent {
                return false;
            }
            let until = Instant::now().checked_add(CLOSING);
            let waits = given.contains(&key) && *has_agent;
            is_in_use(*port, until.filter(|_| waits))
        });
        match in_use {
            None => {
                *service = complete;
                return Ok(());
            }
            Some(port) if given.contains(&(port.protocol, port.number)) => {
                return Err(told(name, port));
            }
            Some(port) => {
                taken.node_ports.insert(port.number);
            }
        }
    }
}

fn numbers(service: &Service) -> HashSet<(Protocol, u16)> {
    let ports = controller::node_ports(service).into_iter();
    ports.map(|port| (port.protocol, port.number)).collect()
}

/// Whether there is a node agent, as there is while pods use the network.
fn has_agent(store: &Store) -> bool {
    let pods = store.pods().unwrap_or_default();
    pods.iter().any(PodRecord::uses_network)
}

/// Whether another process has the port, and goes on having it until then.
fn is_in_use(port: NodePort, until: Option<Instant>) -> bool {
    loop {
        if !listen::is_in_use(port.protocol, port.number) {
            return false;
        }
        if until.is_none_or(|until| until <= Instant::now()) {
            return true;
        }
        std::thread::sleep(LOOK);
    }
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
