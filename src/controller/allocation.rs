//! Addresses and node ports of Services (`alloc.go` of the API server's service registry).

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use crate::plan::NODE_PORTS;

/// The network that Services have their addresses from, and the length of its prefix: beside that of
/// the pods (`--service-cluster-ip-range` of the API server).
pub const SERVICE_NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 89, 0, 0), 16);

/// Its host numbers but for those of the network itself and of its broadcast address.
const HOSTS: RangeInclusive<u32> = 1..=0xfffe;

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
        self.node_ports.extend(node_ports(spec));
    }
}

/// The node ports that a Service has.
fn node_ports(spec: &ServiceSpec) -> impl Iterator<Item = u16> {
    let ports = spec.ports.iter().flatten();
    ports.filter_map(|port| u16::try_from(port.node_port?).ok())
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

/// Gives a Service the address and the node ports that it needs and has not: the first that are
/// free. What it asks for itself it gets if nobody else has it.
///
/// # Errors
/// What it asks for is taken or out of range, or nothing is left.
pub fn allocate(service: &mut Service, taken: &Taken) -> Result<(), Refusal> {
    let Some(spec) = &mut service.spec else {
        return Ok(());
    };
    allocate_address(spec, taken)?;
    allocate_node_ports(spec, taken)
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

fn allocate_node_ports(spec: &mut ServiceSpec, taken: &Taken) -> Result<(), Refusal> {
    let needs = match spec.type_.as_deref() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec.allocate_load_balancer_node_ports != Some(false),
        Some(_) | None => return Ok(()),
    };
    for (index, port) in node_ports(spec).enumerate() {
        if taken.node_ports.contains(&port) {
            let path = format!("spec.ports[{index}].nodePort");
            return Err(refusal(path, format!("{port} is another Service's")));
        }
    }
    let mut own: BTreeSet<u16> = node_ports(spec).collect();
    for (index, port) in spec.ports.iter_mut().flatten().enumerate() {
        if !needs || port.node_port.is_some() {
            continue;
        }
        let is_free = |port: &u16| !taken.node_ports.contains(port) && !own.contains(port);
        let Some(free) = NODE_PORTS.into_iter().find(is_free) else {
            let path = format!("spec.ports[{index}].nodePort");
            return Err(refusal(path, "all node ports are in use"));
        };
        own.insert(free);
        port.node_port = Some(i32::from(free));
    }
    Ok(())
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
    fn node_ports_are_the_first_that_are_free_or_those_it_names() {
        let others = taken(&[], &[30_000, 30_002]);
        let ports = json!([{"port": 80}, {"port": 81, "nodePort": 30001}, {"port": 82}]);
        for (kind, expected) in [
            ("NodePort", vec![Some(30_003), Some(30_001), Some(30_004)]),
            (
                "LoadBalancer",
                vec![Some(30_003), Some(30_001), Some(30_004)],
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
