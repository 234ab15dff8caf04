//! Where a Service leads (pkg/controller/endpoint and pkg/controller/endpointslice).
//!
//! The resolver, the forwarding and `get endpoints` read the same: a Service with a selector leads
//! to the pods that it selects, one without to what was written for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    self as core, EndpointAddress, EndpointPort, EndpointSubset, ObjectReference, Pod, Service,
    ServicePort,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::plan::Protocol;

/// `LabelServiceName`: which Service an `EndpointSlice` is of.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Where a Service leads.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Endpoints {
    /// All that is behind it, in the order of the pods.
    pub hosts: Vec<Host>,
    /// The Service's ports in its order; none of a headless Service without ports.
    pub ports: Vec<Port>,
}

/// A pod behind a Service, or what was written in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Its addresses, the one that counts first; at least one.
    pub addresses: Vec<IpAddr>,
    /// It is to be connected to: the pod is Ready and not being deleted, or the Service publishes
    /// those that are not.
    pub is_ready: bool,
    /// The pod is being deleted; it is ready only where the Service publishes such, too.
    pub is_terminating: bool,
    /// Its name below that of a headless Service.
    pub hostname: Option<String>,
    /// The pod, or whatever else was written.
    pub target: Option<ObjectReference>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name; empty when it has none.
    pub name: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The Service's own number.
    pub port: u16,
    /// The host's port that leads there too.
    pub node_port: Option<u16>,
    /// Where it leads.
    pub targets: Vec<Target>,
}

/// Where a port of a Service leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Which of [`Endpoints::hosts`].
    pub host: usize,
    /// That one's port.
    pub port: u16,
}

impl Endpoints {
    /// The hosts that a port leads to now, each with its port there.
    pub fn ready<'a>(&'a self, port: &'a Port) -> impl Iterator<Item = (&'a Host, u16)> {
        let targets = port.targets.iter();
        targets
            .filter_map(|target| Some((self.hosts.get(target.host)?, target.port)))
            .filter(|(host, _)| host.is_ready)
    }
}

/// Endpoints that were written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// `v1.Endpoints` of any name.
    pub endpoints: &'a [core::Endpoints],
    /// `EndpointSlice`s of any Service.
    pub slices: &'a [EndpointSlice],
}

/// Where a Service leads: its selector says to which of the pods, and without one `given` does.
/// Pods and objects of other namespaces are passed over.
pub fn endpoints(service: &Service, pods: &[Pod], given: Given<'_>) -> Endpoints {
    let spec = service.spec.as_ref();
    if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        return Endpoints::default();
    }
    let selector = spec.and_then(|spec| spec.selector.as_ref());
    match selector.filter(|selector| !selector.is_empty()) {
        Some(selector) => of_pods(service, selector, pods),
        None => of_given(service, given),
    }
}

fn same_namespace(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    let of = |metadata: &ObjectMeta| metadata.namespace.clone().unwrap_or_default();
    of(a) == of(b)
}

fn service_ports(service: &Service) -> &[ServicePort] {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default()
}

/// The ports without what they lead to; one that no Service may have is passed over.
fn bare_ports(service: &Service) -> Vec<(&ServicePort, Port)> {
    let ports = service_ports(service).iter();
    ports
        .filter_map(|written| {
            let port = Port {
                name: written.name.clone().unwrap_or_default(),
                protocol: protocol(written.protocol.as_deref())?,
                port: port_number(written.port)?,
                node_port: written.node_port.and_then(port_number),
                targets: Vec::new(),
            };
            Some((written, port))
        })
        .collect()
}

/// A port's number.
fn port_number(value: i32) -> Option<u16> {
    u16::try_from(value).ok().filter(|port| *port != 0)
}

pub(super) fn protocol(word: Option<&str>) -> Option<Protocol> {
    match word {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some(_) => None,
    }
}

fn of_pods(service: &Service, selector: &BTreeMap<String, String>, pods: &[Pod]) -> Endpoints {
    let spec = service.spec.as_ref();
    let publishes_all = spec.and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let mut ports = bare_ports(service);
    let mut hosts = Vec::new();
    for pod in pods {
        let labels = pod.metadata.labels.as_ref();
        let has = |key: &String, value: &String| labels.and_then(|l| l.get(key)) == Some(value);
        if !same_namespace(&service.metadata, &pod.metadata)
            || !selector.iter().all(|(key, value)| has(key, value))
        {
            continue;
        }
        let Some(host) = host_of(service, pod, publishes_all) else {
            continue;
        };
        let index = hosts.len();
        let mut is_behind = ports.is_empty();
        for (written, port) in &mut ports {
            if let Some(number) = target_port(pod, written) {
                port.targets.push(Target {
                    host: index,
                    port: number,
                });
                is_behind = true;
            }
        }
        // A pod that has none of the ports is none of the endpoints.
        if is_behind {
            hosts.push(host);
        }
    }
    Endpoints {
        hosts,
        ports: ports.into_iter().map(|(_, port)| port).collect(),
    }
}

/// A pod as an endpoint; nothing for one that has ended or has no address yet
/// (`ShouldPodBeInEndpoints`).
fn host_of(service: &Service, pod: &Pod, publishes_all: bool) -> Option<Host> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    let listed = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
    for ip in status.pod_ip.iter().chain(listed) {
        if let Ok(ip) = ip.parse()
            && !addresses.contains(&ip)
        {
            addresses.push(ip);
        }
    }
    if addresses.is_empty() {
        return None;
    }
    let conditions = status.conditions.iter().flatten();
    let serves = conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let is_terminating = pod.metadata.deletion_timestamp.is_some();
    let spec = pod.spec.as_ref();
    let subdomain = spec.and_then(|spec| spec.subdomain.as_deref());
    // `ShouldSetHostname`
    let hostname = spec
        .and_then(|spec| spec.hostname.clone())
        .filter(|name| !name.is_empty() && subdomain == service.metadata.name.as_deref());
    Some(Host {
        addresses,
        is_ready: publishes_all || (serves && !is_terminating),
        is_terminating,
        hostname,
        target: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}

/// The port of a pod that a Service's port leads to; nothing where the pod has none of its name
/// (`FindPort`).
fn target_port(pod: &Pod, port: &ServicePort) -> Option<u16> {
    let name = match port.target_port.as_ref() {
        None => return port_number(port.port),
        Some(IntOrString::Int(number)) => return port_number(*number),
        Some(IntOrString::String(name)) => name,
    };
    let wanted = protocol(port.protocol.as_deref())?;
    let spec = pod.spec.as_ref()?;
    let inits = spec.init_containers.iter().flatten();
    let sidecars = inits.filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().chain(sidecars);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let found = ports.find(|port| {
        port.name.as_ref() == Some(name) && protocol(port.protocol.as_deref()) == Some(wanted)
    });
    port_number(found?.container_port)
}

/// Endpoints that were written for a Service: those of its name, and the slices labelled with it.
fn of_given(service: &Service, given: Given<'_>) -> Endpoints {
    let mut found = Endpoints {
        hosts: Vec::new(),
        ports: bare_ports(service)
            .into_iter()
            .map(|(_, port)| port)
            .collect(),
    };
    let own = given.endpoints.iter().filter(|endpoints| {
        endpoints.metadata.name == service.metadata.name
            && same_namespace(&endpoints.metadata, &service.metadata)
    });
    for subset in own.flat_map(|endpoints| endpoints.subsets.iter().flatten()) {
        let ports: Vec<GivenPort<'_>> = subset
            .ports
            .iter()
            .flatten()
            .filter_map(|port| {
                GivenPort::of(
                    port.name.as_deref(),
                    port.protocol.as_deref(),
                    Some(port.port),
                )
            })
            .collect();
        let ready = subset.addresses.iter().flatten().map(|one| (one, true));
        let others = subset.not_ready_addresses.iter().flatten();
        for (address, is_ready) in ready.chain(others.map(|one| (one, false))) {
            let Ok(ip) = address.ip.parse() else { continue };
            let host = Host {
                addresses: vec![ip],
                is_ready,
                is_terminating: false,
                hostname: address.hostname.clone().filter(|name| !name.is_empty()),
                target: address.target_ref.clone(),
            };
            found.add(host, &ports);
        }
    }
    let own = given.slices.iter().filter(|slice| {
        let labels = slice.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(SERVICE_NAME)) == service.metadata.name.as_ref()
            && same_namespace(&slice.metadata, &service.metadata)
            // kube-proxy passes names over.
            && slice.address_type != "FQDN"
    });
    for slice in own {
        let ports: Vec<GivenPort<'_>> = slice
            .ports
            .iter()
            .flatten()
            .filter_map(|port| {
                GivenPort::of(port.name.as_deref(), port.protocol.as_deref(), port.port)
            })
            .collect();
        for endpoint in slice.endpoints.iter().flatten() {
            // All of an endpoint's addresses lead to the same; consumers take the first.
            let Some(ip) = endpoint.addresses.first().and_then(|ip| ip.parse().ok()) else {
                continue;
            };
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let host = Host {
                addresses: vec![ip],
                // One that is not known counts as ready.
                is_ready: conditions.ready != Some(false),
                is_terminating: conditions.terminating == Some(true),
                hostname: endpoint.hostname.clone().filter(|name| !name.is_empty()),
                target: endpoint.target_ref.clone(),
            };
            found.add(host, &ports);
        }
    }
    found
}

/// A port of endpoints that were written.
#[derive(Debug, Clone, Copy)]
struct GivenPort<'a> {
    name: &'a str,
    protocol: Protocol,
    port: u16,
}

impl<'a> GivenPort<'a> {
    fn of(name: Option<&'a str>, word: Option<&str>, port: Option<i32>) -> Option<Self> {
        Some(Self {
            name: name.unwrap_or_default(),
            protocol: protocol(word)?,
            port: port_number(port?)?,
        })
    }
}

impl Endpoints {
    /// Adds a host; its ports are the Service's of the same name (`ServicePortName` of kube-proxy).
    /// One that is there already, in another object, is the same one.
    fn add(&mut self, host: Host, ports: &[GivenPort<'_>]) {
        let known = self
            .hosts
            .iter()
            .position(|known| known.addresses == host.addresses && known.hostname == host.hostname);
        let index = known.unwrap_or(self.hosts.len());
        if known.is_none() {
            self.hosts.push(host);
        }
        for port in &mut self.ports {
            let fits =
                |given: &&GivenPort<'_>| given.name == port.name && given.protocol == port.protocol;
            for given in ports.iter().filter(fits) {
                let target = Target {
                    host: index,
                    port: given.port,
                };
                if !port.targets.contains(&target) {
                    port.targets.push(target);
                }
            }
        }
    }
}

/// As `v1.Endpoints`, which the endpoints controller of a cluster writes: hosts with the same ports
/// together, of each its first address. A host that is being deleted is left out, unless it is
/// published all the same.
pub fn as_object(service: &Service, endpoints: &Endpoints) -> core::Endpoints {
    let mut subsets: BTreeMap<BTreeSet<(String, &str, u16)>, EndpointSubset> = BTreeMap::new();
    for (index, host) in endpoints.hosts.iter().enumerate() {
        if host.is_terminating && !host.is_ready {
            continue;
        }
        let Some(ip) = host.addresses.first() else {
            continue;
        };
        let mut ports = BTreeSet::new();
        for port in &endpoints.ports {
            let own = port.targets.iter().filter(|target| target.host == index);
            ports.extend(own.map(|target| (port.name.clone(), word(port.protocol), target.port)));
        }
        let subset = subsets.entry(ports).or_default();
        let list = if host.is_ready {
            &mut subset.addresses
        } else {
            &mut subset.not_ready_addresses
        };
        list.get_or_insert_default().push(EndpointAddress {
            hostname: host.hostname.clone(),
            ip: ip.to_string(),
            node_name: None,
            target_ref: host.target.clone(),
        });
    }
    let subsets: Vec<EndpointSubset> = subsets
        .into_iter()
        .map(|(ports, subset)| {
            let ports: Vec<EndpointPort> = ports
                .into_iter()
                .map(|(name, protocol, port)| EndpointPort {
                    name: Some(name).filter(|name| !name.is_empty()),
                    port: i32::from(port),
                    protocol: Some(protocol.to_owned()),
                    app_protocol: None,
                })
                .collect();
            EndpointSubset {
                ports: Some(ports).filter(|ports| !ports.is_empty()),
                ..subset
            }
        })
        .collect();
    core::Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: service.metadata.labels.clone(),
            creation_timestamp: service.metadata.creation_timestamp.clone(),
            ..ObjectMeta::default()
        },
        subsets: Some(subsets).filter(|subsets| !subsets.is_empty()),
    }
}

const fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

#[cfg(test)]
mod tests;
