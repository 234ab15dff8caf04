//! Addresses and node ports of Services (`alloc.go` of the API server's service registry).

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::endpoints::protocol;
use crate::plan::{NODE_PORTS, Protocol};

/// The network that Services have their addresses from, and the length of its prefix: beside that of
/// the pods (`--service-cluster-ip-range` of the API server).
pub const SERVICE_NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 89, 0, 0), 16);

/// Its host numbers but for those of the network itself and of its broadcast address.
const HOSTS: RangeInclusive<u32> = 1..=0xfffe;

/// How many node ports, the first ones, are given out only when the others are in use: people
/// choose theirs there (KEP-3668; of 2768 ports, a thirty-second).
const CHOSEN: usize = 86;

/// What other Services have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Their addresses.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// Their node ports; one is a Service's for every protocol.
    pub node_ports: BTreeSet<u16>,
}

impl Taken {
    /// Adds what a Service has.
    pub fn add(&mut self, service: &Service) {
        let Some(spec) = &service.spec else { return };
        let address = spec.cluster_ip.as_deref();
        self.addresses
            .extend(address.and_then(|ip| ip.parse::<Ipv4Addr>().ok()));
        let node_ports = of_spec(spec).into_iter();
        self.node_ports.extend(node_ports.map(|port| port.number));
    }
}

/// A node port that a Service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodePort {
    /// Which of the Service's ports.
    pub index: usize,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The host's port.
    pub number: u16,
}

/// The node ports that a Service has.
pub fn node_ports(service: &Service) -> Vec<NodePort> {
    service.spec.as_ref().map(of_spec).unwrap_or_default()
}

fn of_spec(spec: &ServiceSpec) -> Vec<NodePort> {
    let ports = spec.ports.iter().flatten().enumerate();
    let node_ports = ports.filter_map(|(index, port)| {
        Some(NodePort {
            index,
            protocol: protocol(port.protocol.as_deref())?,
            number: u16::try_from(port.node_port?).ok()?,
        })
    });
    node_ports.collect()
}

/// The path of a node port in a Service.
pub fn node_port_path(index: usize) -> String {
    format!("spec.ports[{index}].nodePort")
}

/// Why a Service cannot have what it asks for: the field and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The field.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

fn refusal(path: impl Into<String>, message: impl Into<String>) -> Refusal {
    Refusal {
        path: path.into(),
        message: message.into(),
    }
}

/// Gives a Service the address and the node ports that it needs and has not: the first address that
/// is free, and any ports: those that come first for it follow from its uid, because other users of
/// the machine want some too. What it asks for itself it gets if nobody else has it.
///
/// # Errors
/// What it asks for is taken or out of range, or nothing is left.
pub fn allocate(service: &mut Service, taken: &Taken) -> Result<(), Refusal> {
    let Some(spec) = &mut service.spec else {
        return Ok(());
    };
    allocate_address(spec, taken)?;
    allocate_node_ports(spec, taken, service.metadata.uid.as_deref())
}

fn allocate_address(spec: &mut ServiceSpec, taken: &Taken) -> Result<(), Refusal> {
    const PATH: &str = "spec.clusterIP";
    if spec.type_.as_deref() == Some("ExternalName") {
        return Ok(());
    }
    let (network, prefix) = SERVICE_NETWORK;
    let base = u32::from(network);
    match spec.cluster_ip.as_deref() {
        Some("None") => Ok(()),
        Some(given) => {
            let address: Option<Ipv4Addr> = given.parse().ok();
            let host = address.and_then(|address| u32::from(address).checked_sub(base));
            let Some(address) = address.filter(|_| host.is_some_and(|host| HOSTS.contains(&host)))
            else {
                let message =
                    format!("{given} is not one of {network}/{prefix}, the addresses of Services");
                return Err(refusal(PATH, message));
            };
            if taken.addresses.contains(&address) {
                let message = format!("{given} is another Service's");
                return Err(refusal(PATH, message));
            }
            Ok(())
        }
        None => {
            let mut free = HOSTS.map(|host| Ipv4Addr::from(base.saturating_add(host)));
            let Some(address) = free.find(|address| !taken.addresses.contains(address)) else {
                return Err(refusal(PATH, "all addresses of Services are in use"));
            };
            spec.cluster_ip = Some(address.to_string());
            spec.cluster_ips = Some(vec![address.to_string()]);
            Ok(())
        }
    }
}

fn allocate_node_ports(
    spec: &mut ServiceSpec,
    taken: &Taken,
    uid: Option<&str>,
) -> Result<(), Refusal> {
    let needs = match spec.type_.as_deref() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec.allocate_load_balancer_node_ports != Some(false),
        Some(_) | None => return Ok(()),
    };
    for port in of_spec(spec) {
        if taken.node_ports.contains(&port.number) {
            let message = format!("{} is another Service's", port.number);
            return Err(refusal(node_port_path(port.index), message));
        }
    }
    let own = of_spec(spec).into_iter();
    let mut own: BTreeSet<u16> = own.map(|port| port.number).collect();
    for (index, port) in spec.ports.iter_mut().flatten().enumerate() {
        if !needs || port.node_port.is_some() {
            continue;
        }
        let is_free = |port: &u16| !taken.node_ports.contains(port) && !own.contains(port);
        let Some(free) = in_turn(uid).find(is_free) else {
            return Err(refusal(node_port_path(index), "all node ports are in use"));
        };
        own.insert(free);
        port.node_port = Some(i32::from(free));
    }
    Ok(())
}

/// All node ports, those that are to be given out first in front.
fn in_turn(uid: Option<&str>) -> impl Iterator<Item = u16> {
    let others = NODE_PORTS.count().saturating_sub(CHOSEN);
    let first = uid.map_or(0, |uid| {
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        usize::try_from(hasher.finish() >> 33).unwrap_or(0)
    });
    let first = first.checked_rem(others).unwrap_or(0);
    let in_turn = NODE_PORTS.skip(CHOSEN).cycle().skip(first).take(others);
    in_turn.chain(NODE_PORTS.take(CHOSEN))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn taken(addresses: &[&str], node_ports: &[u16]) -> Taken {
        Taken {
            addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
            node_ports: node_ports.iter().copied().collect(),
        }
    }

    /// What a Service with this spec has then: its address and its node ports; or what is wrong.
    fn has(spec: &Value, taken: &Taken) -> Result<(Option<String>, Vec<Option<i32>>), String> {
        let mut service: Service = serde_json::from_value(json!({"spec": spec})).unwrap();
        allocate(&mut service, taken).map_err(|refusal| refusal.to_string())?;
        let spec = service.spec.unwrap();
        let ports = spec.ports.unwrap_or_default();
        Ok((
            spec.cluster_ip,
            ports.iter().map(|port| port.node_port).collect(),
        ))
    }

    #[test]
    fn a_service_gets_the_first_address_that_is_free_or_the_one_it_names() {
        let others = taken(&["10.89.0.1", "10.89.0.3"], &[]);
        for (spec, expected) in [
            (json!({}), Ok(Some("10.89.0.2"))),
            (json!({"clusterIP": "10.89.7.7"}), Ok(Some("10.89.7.7"))),
            (json!({"clusterIP": "None"}), Ok(Some("None"))),
            (json!({"type": "ExternalName"}), Ok(None)),
            (
                json!({"clusterIP": "10.89.0.3"}),
                Err("spec.clusterIP: 10.89.0.3 is another Service's"),
            ),
            (
                json!({"clusterIP": "10.96.0.1"}),
                Err(
                    "spec.clusterIP: 10.96.0.1 is not one of 10.89.0.0/16, the addresses of Services",
                ),
            ),
            (
                json!({"clusterIP": "10.89.255.255"}),
                Err(
                    "spec.clusterIP: 10.89.255.255 is not one of 10.89.0.0/16, the addresses of Services",
                ),
            ),
            (
                json!({"clusterIP": "fd00::1"}),
                Err(
                    "spec.clusterIP: fd00::1 is not one of 10.89.0.0/16, the addresses of Services",
                ),
            ),
        ] {
            let expected = expected
                .map(|ip| ip.map(str::to_owned))
                .map_err(str::to_owned);
            assert_eq!(has(&spec, &others).map(|(ip, _)| ip), expected, "{spec}");
        }
    }

    #[test]
    fn node_ports_are_some_that_are_free_or_those_it_names() {
        let others = taken(&[], &[30_086, 30_002]);
        let ports = json!([{"port": 80}, {"port": 81, "nodePort": 30001}, {"port": 82}]);
        for (kind, expected) in [
            ("NodePort", vec![Some(30_087), Some(30_001), Some(30_088)]),
            (
                "LoadBalancer",
                vec![Some(30_087), Some(30_001), Some(30_088)],
            ),
        ] {
            let spec = json!({"type": kind, "ports": ports});
            assert_eq!(has(&spec, &others).unwrap().1, expected, "{kind}");
        }
        let spec = json!({"type": "ClusterIP", "ports": [{"port": 80}]});
        assert_eq!(has(&spec, &others).unwrap().1, [None]);
        let spec = json!({
            "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}],
        });
        assert_eq!(has(&spec, &others).unwrap().1, [None]);
        let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30002}]});
        assert_eq!(
            has(&spec, &others).unwrap_err(),
            "spec.ports[0].nodePort: 30002 is another Service's"
        );
        let ports = json!([{"port": 80}, {"port": 81, "nodePort": 30002}]);
        let spec = json!({"type": "NodePort", "ports": ports});
        assert_eq!(
            has(&spec, &others).unwrap_err(),
            "spec.ports[1].nodePort: 30002 is another Service's"
        );
    }

    #[test]
    fn every_node_port_has_its_turn_and_those_that_people_choose_come_last() {
        for uid in [None, Some("a"), Some("b")] {
            let all: Vec<u16> = in_turn(uid).collect();
            let in_order: BTreeSet<u16> = all.iter().copied().collect();
            assert_eq!(in_order, NODE_PORTS.collect());
            assert_eq!(all.len(), in_order.len());
            assert!(all.ends_with(&NODE_PORTS.take(CHOSEN).collect::<Vec<u16>>()));
        }
        assert_eq!(in_turn(None).next(), Some(30_086));
        assert_ne!(in_turn(Some("a")).next(), in_turn(Some("b")).next());
    }

    #[test]
    fn nothing_is_given_when_nothing_is_left() {
        let addresses = HOSTS.map(|host| Ipv4Addr::from(u32::from(SERVICE_NETWORK.0) + host));
        let full = Taken {
            addresses: addresses.collect(),
            node_ports: NODE_PORTS.collect(),
        };
        assert_eq!(
            has(&json!({}), &full).unwrap_err(),
            "spec.clusterIP: all addresses of Services are in use"
        );
        let spec = json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]});
        assert_eq!(
            has(&spec, &full).unwrap_err(),
            "spec.ports[0].nodePort: all node ports are in use"
        );
    }

    #[test]
    fn what_a_service_has_is_taken() {
        let service: Service = serde_json::from_value(json!({"spec": {
            "clusterIP": "10.89.0.1", "ports": [{"port": 80, "nodePort": 30000}, {"port": 81}],
        }}))
        .unwrap();
        let mut all = Taken::default();
        all.add(&service);
        assert_eq!(all, taken(&["10.89.0.1"], &[30_000]));
    }
}
