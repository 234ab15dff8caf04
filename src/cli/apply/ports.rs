//! The host's side of published ports.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Pod;

use super::{Change, Prepared};
use crate::cli::failure::{Failure, INVALID};
use crate::names::{Namespace, ObjectName};
use crate::net::listen;
use crate::plan::{self, PodPlan, Protocol, PublishedPort};
use crate::store::{Liveness, PodRecord};

impl Prepared {
    /// Looks for ports that two Pods want, while the Pods that are to be replaced still run.
    ///
    /// What `--publish` gave to a pod that runs is not stored with it; the kernel refuses that one
    /// when it is opened.
    ///
    /// # Errors
    /// Two Pods of these files want one port, or a pod that stays has it.
    pub(super) fn check_ports(&self, plans: &[PodPlan]) -> Result<(), Failure> {
        if plans.iter().all(|plan| plan.ports.is_empty()) {
            return Ok(());
        }
        let mut taken: Vec<(Namespace, ObjectName, PublishedPort)> = Vec::new();
        for pod in self.store.pods().map_err(Failure::internal)? {
            let is_replaced = self.pods.iter().any(|(wanted, change)| {
                *change != Change::Keep
                    && wanted.namespace == pod.record.namespace
                    && wanted.name == pod.record.name
            });
            if !is_replaced {
                let (namespace, name) = (&pod.record.namespace, &pod.record.name);
                let ports = ports_in_use(&pod).into_iter();
                taken.extend(ports.map(|port| (namespace.clone(), name.clone(), port)));
            }
        }
        for plan in plans {
            for port in &plan.ports {
                let owner = taken.iter().find(|(_, _, other)| other.clashes(port));
                if let Some((namespace, name, _)) = owner {
                    return Err(clash(plan, port, namespace, name));
                }
            }
            let ports = plan.ports.iter();
            taken.extend(ports.map(|port| (plan.namespace.clone(), plan.name.clone(), *port)));
        }
        Ok(())
    }
}

/// The host ports of a pod whose forwarder still runs.
fn ports_in_use(pod: &PodRecord) -> Vec<PublishedPort> {
    let has_ended = || matches!(pod.status().phase.as_deref(), Some("Succeeded" | "Failed"));
    if pod.liveness != Liveness::Alive || has_ended() {
        return Vec::new();
    }
    let stored = pod.dir.read_pod();
    let spec = stored
        .and_then(|value| serde_json::from_value::<Pod>(value).ok())
        .and_then(|pod| pod.spec);
    spec.map(|spec| plan::host_ports(&spec)).unwrap_or_default()
}

fn clash(
    plan: &PodPlan,
    port: &PublishedPort,
    namespace: &Namespace,
    owner: &ObjectName,
) -> Failure {
    let start = port_of_host(&plan.name, port);
    let place = if plan.namespace == *namespace {
        String::new()
    } else {
        format!(" in namespace {namespace}")
    };
    Failure::with_code(INVALID, format!("{start} is pod/{owner}'s{place}"))
        .hinted("choose another hostPort, or another hostIP for each")
}

/// Opens the host's side of the published ports; a port 0 becomes the one the kernel chose.
pub(super) fn open_ports(plan: &mut PodPlan) -> Result<Vec<std::os::fd::OwnedFd>, Failure> {
    let mut sockets = Vec::new();
    for port in &mut plan.ports {
        match listen::open(port) {
            Ok((socket, number)) => {
                port.host_port = number;
                sockets.push(socket);
            }
            Err(error) => return Err(port_failure(&plan.name, port, &error)),
        }
    }
    Ok(sockets)
}

/// How a message about the port begins.
fn port_of_host(name: &ObjectName, port: &PublishedPort) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    };
    let number = port.host_port;
    let place = port.host_ip.map_or_else(
        || number.to_string(),
        |ip| SocketAddr::new(ip, number).to_string(),
    );
    format!("pod/{name}: {protocol} port {place} of the host")
}

fn port_failure(name: &ObjectName, port: &PublishedPort, error: &std::io::Error) -> Failure {
    let start = port_of_host(name, port);
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => Failure::with_code(INVALID, format!("{start} is in use"))
            .hinted("choose another hostPort, or end what listens there (`ss -ltnup` shows it)"),
        Some(libc::EACCES) => {
            Failure::with_code(INVALID, format!("{start} may not be opened by this user")).hinted(
                "ports below net.ipv4.ip_unprivileged_port_start (1024) are root's; choose a higher one",
            )
        }
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT) => {
            Failure::with_code(INVALID, format!("{start}: the host has no such address"))
        }
        _ => Failure::with_code(INVALID, format!("{start} cannot be opened: {error}")),
    }
}

/// `[IP:]HOST:CTR[/udp]`
pub(super) fn parse_publish(text: &str) -> Result<PublishedPort, Failure> {
    let bad = || {
        Failure::with_code(
            2,
            format!("--publish: `{}` is not a port", text.escape_debug()),
        )
        .hinted("write HOST:CTR or IP:HOST:CTR, with `/udp` for UDP")
    };
    let (ports, protocol) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, "tcp" | "TCP")) => (ports, Protocol::Tcp),
        Some((ports, "udp" | "UDP")) => (ports, Protocol::Udp),
        Some(_) => return Err(bad()),
    };
    let (rest, container) = ports.rsplit_once(':').ok_or_else(bad)?;
    let (ip, host) = match rest.rsplit_once(':') {
        None => (None, rest),
        Some((ip, host)) => (Some(ip.trim_start_matches('[').trim_end_matches(']')), host),
    };
    let host_ip = match ip {
        None => None,
        Some(ip) => {
            let parsed = ip.parse::<IpAddr>().map_err(|_| bad())?;
            Some(parsed.to_canonical())
        }
    };
    Ok(PublishedPort {
        host_ip,
        host_port: host.parse().map_err(|_| bad())?,
        container_port: container
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(bad)?,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports_have_an_address_and_a_protocol_or_not() {
        let port = parse_publish("8080:80").unwrap();
        assert_eq!(
            (port.host_port, port.container_port, port.protocol),
            (8080, 80, Protocol::Tcp)
        );
        assert_eq!(port.host_ip, None);
        let port = parse_publish("127.0.0.1:53:5353/udp").unwrap();
        assert_eq!(
            (port.host_ip, port.protocol),
            (Some("127.0.0.1".parse().unwrap()), Protocol::Udp)
        );
        let port = parse_publish("[::1]:1:2").unwrap();
        assert_eq!(port.host_ip, Some("::1".parse().unwrap()));
        for bad in ["80", "a:80", "80:0", "1:2/sctp", "x:1:2", "70000:1"] {
            assert!(parse_publish(bad).is_err(), "{bad}");
        }
    }
}
