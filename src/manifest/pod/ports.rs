//! The ports of a container.

use std::collections::HashSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::Rules;

/// What a name must look like.
pub(in crate::manifest) const NAME_RULE: &str =
    "must have at most 15 lower case letters, digits or '-', and at least one letter";

/// Address, port and protocol on the host.
pub(super) type HostPort = (String, i32, String);

/// `validateContainerPorts` and `checkHostPortConflicts`.
pub(super) fn check(
    path: &str,
    container: &Container,
    spec: &PodSpec,
    host_ports: &mut HashSet<HostPort>,
    rules: &mut Rules<'_>,
) {
    let mut names = HashSet::new();
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let path = format!("{path}.ports[{index}]");
        if !(1..=65_535).contains(&port.container_port) {
            rules.error(
                &format!("{path}.containerPort"),
                "must be between 1 and 65535",
            );
        }
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            if !is_service_name(name) {
                rules.error(&format!("{path}.name"), NAME_RULE);
            }
            if !names.insert(name) {
                rules.error(&format!("{path}.name"), "another port has this name");
            }
        }
        let protocol = port.protocol.clone().unwrap_or_default();
        rules.one_of(
            &format!("{path}.protocol"),
            Some(&protocol),
            &["TCP", "UDP", "SCTP"],
        );
        if let Some(ip) = port.host_ip.as_deref().filter(|ip| !ip.is_empty())
            && ip.parse::<IpAddr>().is_err()
        {
            rules.error(&format!("{path}.hostIP"), "must be an IP address");
        }
        let Some(host) = port.host_port.filter(|host| *host != 0) else {
            continue;
        };
        let at = format!("{path}.hostPort");
        if !(1..=65_535).contains(&host) {
            rules.error(&at, "must be between 1 and 65535");
        }
        if protocol == "SCTP" {
            rules.error(&at, "SCTP ports are not forwarded");
        }
        if spec.host_network == Some(true) && host != port.container_port {
            rules.error(&at, "must be the containerPort when hostNetwork is true");
        }
        let key = (port.host_ip.clone().unwrap_or_default(), host, protocol);
        if !host_ports.insert(key) {
            rules.error(&at, format!("port {host} of the host is used twice"));
        }
    }
}

/// `IANA_SVC_NAME` (RFC 6335).
pub(in crate::manifest) fn is_service_name(name: &str) -> bool {
    name.len() <= 15
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}
