//! What the resolver knows, and the records each name has by Kubernetes' DNS specification.
//!
//! Pure: a [`Zone`] is made from the Services and pods of a moment and replaced as a whole when
//! they change.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::reverse::{Network, Tree};
use crate::plan::Protocol;

/// The cluster's domain; every name below it is answered here and nowhere else.
pub const DOMAIN: &str = "cluster.local";

/// The version of the schema (the specification, 2.2).
const SCHEMA: &str = "1.1.0";

/// A port as a name finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name; the one port of a Service may have none, and has no SRV record then.
    pub name: Option<String>,
    /// Its transport.
    pub protocol: Protocol,
    /// Its number: of a Service the port, of an endpoint what targetPort is in that pod.
    pub port: u16,
}

/// An address behind a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's address; a pod with two has an endpoint for each.
    pub address: IpAddr,
    /// The pod's hostname where its subdomain is the Service's name.
    pub hostname: Option<String>,
    /// The Service's ports as this pod has them.
    pub ports: Vec<Port>,
}

/// How a Service is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// By addresses of its own (`clusterIPs`).
    ClusterIps(Vec<IpAddr>),
    /// Headless: by the addresses of its endpoints.
    Endpoints,
    /// By another name (`externalName`).
    ExternalName(String),
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What its name leads to.
    pub reach: Reach,
    /// Its ports.
    pub ports: Vec<Port>,
    /// The endpoints to be found by name: the ready ones, or all with `publishNotReadyAddresses`.
    pub endpoints: Vec<Endpoint>,
}

/// A pod with the addresses it has names for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// All that has a name at one moment.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    /// By namespace and name.
    services: BTreeMap<String, BTreeMap<String, Service>>,
    pods: BTreeMap<String, BTreeSet<IpAddr>>,
    /// The names of addresses.
    pub(super) names: BTreeMap<IpAddr, Vec<String>>,
    pub(super) networks: Vec<Network>,
}

/// One record's data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(String),
    Ptr(String),
    Srv { port: u16, target: String },
    Txt(&'static str),
    Soa,
}

/// What a look-up finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The name is none of ours.
    Elsewhere,
    /// The name is ours to answer.
    Here {
        /// The zone it is in, for the SOA record of a negative answer.
        apex: String,
        /// Its records of all types, or none where there is no such name.
        records: Option<Vec<Data>>,
    },
}

impl Zone {
    /// The zone of these Services and pods. Addresses of the networks, of pods and of Services,
    /// are looked up here and nowhere else.
    pub fn new(services: Vec<Service>, pods: Vec<Pod>, networks: Vec<Network>) -> Self {
        let mut zone = Self {
            networks,
            ..Self::default()
        };
        for mut service in services {
            service.namespace.make_ascii_lowercase();
            service.name.make_ascii_lowercase();
            for endpoint in &mut service.endpoints {
                if let Some(hostname) = &mut endpoint.hostname {
                    hostname.make_ascii_lowercase();
                }
            }
            zone.name_addresses(&service);
            zone.services
                .entry(service.namespace.clone())
                .or_default()
                .insert(service.name.clone(), service);
        }
        for pod in pods {
            zone.pods
                .entry(pod.namespace.to_ascii_lowercase())
                .or_default()
                .extend(pod.addresses);
        }
        zone
    }

    fn name_addresses(&mut self, service: &Service) {
        let mut add = |address: IpAddr, name: String| {
            let names = self.names.entry(address).or_default();
            if !names.contains(&name) {
                names.push(name);
            }
        };
        let name = service.domain_name();
        match &service.reach {
            Reach::ClusterIps(addresses) => {
                for address in addresses {
                    add(*address, name.clone());
                }
            }
            Reach::Endpoints => {}
            Reach::ExternalName(_) => return,
        }
        for endpoint in &service.endpoints {
            add(endpoint.address, endpoint.domain_name(service));
        }
    }

    /// Looks a name up, given by its labels from the root on, in lower case.
    pub(super) fn find(&self, labels: &[&str]) -> Found {
        match labels {
            ["local", "cluster", below @ ..] => Found::Here {
                apex: DOMAIN.to_owned(),
                records: self.in_domain(below),
            },
            ["arpa", "in-addr", digits @ ..] => self.reverse(digits, Tree::InAddr),
            ["arpa", "ip6", digits @ ..] => self.reverse(digits, Tree::Ip6),
            // There is no API server: who asks for it learns so at once, whatever the host's
            // resolvers would say (or not say) to a name without a real top-level domain.
            ["default", "kubernetes"] => nothing_below("default"),
            ["svc", "default", "kubernetes"] => nothing_below("svc"),
            _ => Found::Elsewhere,
        }
    }

    /// The records of a name below the domain; an intermediate name exists and has none.
    fn in_domain(&self, labels: &[&str]) -> Option<Vec<Data>> {
        match *labels {
            [] => Some(vec![Data::Soa]),
            ["dns-version"] => Some(vec![Data::Txt(SCHEMA)]),
            ["svc" | "pod"] => Some(Vec::new()),
            ["pod", namespace] => self.pods.get(namespace).map(|_| Vec::new()),
            ["pod", namespace, dashed] => {
                let address = from_dashes(dashed)?;
                let known = self.pods.get(namespace)?.contains(&address);
                known.then(|| vec![address.into()])
            }
            ["svc", namespace] => self.services.get(namespace).map(|_| Vec::new()),
            ["svc", namespace, name, ref below @ ..] => {
                self.services.get(namespace)?.get(name)?.records(below)
            }
            _ => None,
        }
    }
}

fn nothing_below(apex: &str) -> Found {
    Found::Here {
        apex: apex.to_owned(),
        records: None,
    }
}

impl Service {
    fn domain_name(&self) -> String {
        format!("{}.{}.svc.{DOMAIN}", self.name, self.namespace)
    }

    /// The records of the Service's name and of those below it.
    fn records(&self, below: &[&str]) -> Option<Vec<Data>> {
        match (&self.reach, below) {
            (Reach::ExternalName(name), []) => Some(vec![Data::Cname(name.clone())]),
            (Reach::ExternalName(_), _) => None,
            (Reach::ClusterIps(addresses), []) => {
                Some(some(addresses.iter().copied().map(Data::from)).unwrap_or_default())
            }
            // The specification, 2.4.1: without endpoints there is no such name.
            (Reach::Endpoints, []) => some(
                self.endpoints
                    .iter()
                    .map(|endpoint| endpoint.address.into()),
            ),
            (_, [label]) => match protocol_of(label) {
                Some(protocol) => self
                    .has_named_port(|port| port.protocol == protocol)
                    .then(Vec::new),
                None => some(
                    self.endpoints
                        .iter()
                        .filter(|endpoint| endpoint.is_called(label))
                        .map(|endpoint| endpoint.address.into()),
                ),
            },
            (_, [protocol, name]) => {
                self.services_at(protocol_of(protocol)?, name.strip_prefix('_')?)
            }
            _ => None,
        }
    }

    /// The SRV records of a named port.
    fn services_at(&self, protocol: Protocol, name: &str) -> Option<Vec<Data>> {
        let is_it = |port: &Port| port.protocol == protocol && port.is_called(name);
        if self.reach != Reach::Endpoints {
            let of_service = |port: &Port| Data::Srv {
                port: port.port,
                target: self.domain_name(),
            };
            return some(self.ports.iter().filter(|port| is_it(port)).map(of_service));
        }
        let of_endpoint = |endpoint: &Endpoint| {
            let target = endpoint.domain_name(self);
            let ports = endpoint.ports.iter().filter(|port| is_it(port));
            let record = |port: &Port| Data::Srv {
                port: port.port,
                target: target.clone(),
            };
            ports.map(record).collect::<Vec<_>>()
        };
        some(self.endpoints.iter().flat_map(of_endpoint))
    }

    /// Whether a port that has SRV records is as asked.
    fn has_named_port(&self, asked: impl Fn(&Port) -> bool) -> bool {
        let asked = |port: &Port| port.name.is_some() && asked(port);
        match self.reach {
            Reach::Endpoints => self.endpoints.iter().any(|one| one.ports.iter().any(asked)),
            Reach::ClusterIps(_) | Reach::ExternalName(_) => self.ports.iter().any(asked),
        }
    }
}

impl Port {
    fn is_called(&self, name: &str) -> bool {
        self.name
            .as_ref()
            .is_some_and(|own| own.eq_ignore_ascii_case(name))
    }
}

impl Endpoint {
    fn domain_name(&self, service: &Service) -> String {
        let service_name = service.domain_name();
        match &self.hostname {
            Some(hostname) => format!("{hostname}.{service_name}"),
            None => format!("{}.{service_name}", dashes(self.address)),
        }
    }

    fn is_called(&self, label: &str) -> bool {
        match &self.hostname {
            Some(hostname) => hostname == label,
            None => from_dashes(label) == Some(self.address),
        }
    }
}

impl From<IpAddr> for Data {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::A(address),
            IpAddr::V6(address) => Self::Aaaa(address),
        }
    }
}

/// The records, or no such name where there are none. Each is there once (RFC 2181, 5), though
/// an address may be several endpoints, with a port each, and a pod with two addresses has one
/// hostname.
fn some(records: impl Iterator<Item = Data>) -> Option<Vec<Data>> {
    let mut seen = HashSet::new();
    let distinct: Vec<Data> = records.filter(|one| seen.insert(one.clone())).collect();
    (!distinct.is_empty()).then_some(distinct)
}

fn protocol_of(label: &str) -> Option<Protocol> {
    match label {
        "_tcp" => Some(Protocol::Tcp),
        "_udp" => Some(Protocol::Udp),
        _ => None,
    }
}

/// An address as a label, `10-88-0-5`; one that begins or ends with colons gets a zero there, as
/// a hostname neither begins nor ends with a dash (RFC 1123).
fn dashes(address: IpAddr) -> String {
    let text = match address {
        IpAddr::V4(address) => address.to_string().replace('.', "-"),
        IpAddr::V6(address) => address.to_string().replace(':', "-"),
    };
    let before = if text.starts_with('-') { "0" } else { "" };
    let after = if text.ends_with('-') { "0" } else { "" };
    format!("{before}{text}{after}")
}

fn from_dashes(label: &str) -> Option<IpAddr> {
    if let Ok(address) = label.replace('-', ".").parse::<Ipv4Addr>() {
        return Some(address.into());
    }
    let address: Ipv6Addr = label.replace('-', ":").parse().ok()?;
    Some(address.into())
}
