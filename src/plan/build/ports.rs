//! The ports of the machine that lead to the pod.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerPort, PodSpec};

use super::{PlanProblem, containers, problem};
use crate::plan::{Protocol, PublishedPort};

/// The host ports that a stored Pod asks for; a Pod in the host's network has none to forward.
pub fn host_ports(spec: &PodSpec) -> Vec<PublishedPort> {
    if spec.host_network == Some(true) {
        return Vec::new();
    }
    // What is wrong with them was said when the Pod was started.
    published(spec, &[], &mut Vec::new())
}

/// Those that a container asks for, init containers too, and those of `--publish`.
pub(super) fn published(
    spec: &PodSpec,
    publish: &[PublishedPort],
    problems: &mut Vec<PlanProblem>,
) -> Vec<PublishedPort> {
    let mut ports: Vec<PublishedPort> = Vec::new();
    for (path, _, container) in containers(spec) {
        for (number, port) in container.ports.iter().flatten().enumerate() {
            let path = format!("{path}.ports[{number}]");
            match host_port(port) {
                Ok(None) => {}
                Ok(Some(port)) => add_port(&mut ports, port, &path, problems),
                Err(message) => problems.push(problem(path, message)),
            }
        }
    }
    for port in publish {
        add_port(&mut ports, *port, "--publish", problems);
    }
    ports
}

fn add_port(
    ports: &mut Vec<PublishedPort>,
    port: PublishedPort,
    path: &str,
    problems: &mut Vec<PlanProblem>,
) {
    match ports.iter().find(|known| known.clashes(&port)) {
        None => ports.push(port),
        Some(known) if *known == port => {}
        Some(_) => {
            problems.push(problem(
                path,
                format!("host port {} is published twice", port.host_port),
            ));
        }
    }
}

fn host_port(port: &ContainerPort) -> Result<Option<PublishedPort>, String> {
    let Some(host) = port.host_port.filter(|host| *host != 0) else {
        return Ok(None);
    };
    let number = |value: i32| u16::try_from(value).map_err(|_| format!("{value} is not a port"));
    let host_ip = match port.host_ip.as_deref().filter(|ip| !ip.is_empty()) {
        None => None,
        Some(ip) => {
            let parsed = ip.parse::<IpAddr>();
            let parsed = parsed.map_err(|_| format!("hostIP `{ip}` is not an address"))?;
            Some(parsed.to_canonical())
        }
    };
    Ok(Some(PublishedPort {
        host_ip,
        host_port: number(host)?,
        container_port: number(port.container_port)?,
        protocol: match port.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("TCP") | None => Protocol::Tcp,
            Some(other) => {
                return Err(format!(
                    "host ports with protocol {other} are not supported"
                ));
            }
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, host_port: i32) -> PublishedPort {
        let written = ContainerPort {
            container_port: 80,
            host_port: Some(host_port),
            host_ip: Some(ip.to_owned()),
            ..ContainerPort::default()
        };
        super::host_port(&written).unwrap().unwrap()
    }

    #[test]
    fn ports_clash_where_one_address_takes_in_the_other() {
        for (one, other, expected) in [
            ("", "", true),
            ("", "0.0.0.0", true),
            ("", "::", true),
            ("", "127.0.0.1", true),
            ("", "::1", true),
            ("0.0.0.0", "127.0.0.1", true),
            ("::", "::1", true),
            ("::1", "::1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("0.0.0.0", "::", false),
            ("0.0.0.0", "::1", false),
            ("::", "127.0.0.1", false),
            ("127.0.0.1", "::1", false),
            ("::1", "::2", false),
        ] {
            for (a, b) in [(one, other), (other, one)] {
                let found = port(a, 8080).clashes(&port(b, 8080));
                assert_eq!(found, expected, "`{a}` and `{b}`");
                assert!(!port(a, 8080).clashes(&port(b, 8081)), "`{a}` and `{b}`");
            }
        }
    }
}
