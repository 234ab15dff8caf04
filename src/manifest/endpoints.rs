//! The rules for Endpoints and `EndpointSlice`s (validation.go `ValidateEndpoints` of core and
//! `ValidateEndpointSlice` of discovery).

use std::collections::HashSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use super::problem::{Positions, Problem};
use super::rules::Rules;
use super::{CheckedData, kinds};
use crate::names::{ObjectKind, check_dns_label, check_dns_subdomain};

/// `maxEndpoints`, and `maxAddresses` of one of them.
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;

/// Checks Endpoints or an `EndpointSlice`.
pub(super) fn check(
    kind: ObjectKind,
    value: Value,
    places: &Positions,
    problems: &mut Vec<Problem>,
) -> Option<CheckedData> {
    let metadata = value.get("metadata").cloned().unwrap_or_default();
    let (name, namespace) = kinds::names(&metadata, places, problems);
    let mut rules = Rules { places, problems };
    rules.required_name(&metadata);
    let completed = if kind == ObjectKind::EndpointSlice {
        slice(value, &mut rules)
    } else {
        endpoints(value, &mut rules)
    };
    Some(CheckedData {
        kind,
        name: name?,
        namespace,
        value: completed?,
        source: places.source(),
    })
}

fn endpoints(value: Value, rules: &mut Rules<'_>) -> Option<Value> {
    let mut endpoints: Endpoints = rules.typed(value)?;
    for (index, subset) in endpoints.subsets.iter_mut().flatten().enumerate() {
        let path = format!("subsets[{index}]");
        let ready = subset.addresses.as_deref().unwrap_or_default();
        let others = subset.not_ready_addresses.as_deref().unwrap_or_default();
        if ready.is_empty() && others.is_empty() {
            rules.error(&path, "must have `addresses` or `notReadyAddresses`");
        }
        check_addresses(&format!("{path}.addresses"), ready, rules);
        check_addresses(&format!("{path}.notReadyAddresses"), others, rules);
        let ports = subset.ports.as_deref_mut().unwrap_or_default();
        let has_several = ports.len() > 1;
        for (number, port) in ports.iter_mut().enumerate() {
            let path = format!("{path}.ports[{number}]");
            let name = port.name.as_deref().unwrap_or_default();
            if name.is_empty() && has_several {
                let message = "is required where there is more than one port";
                rules.error(&format!("{path}.name"), message);
            } else if !name.is_empty()
                && let Err(error) = check_dns_label(name)
            {
                rules.error(&format!("{path}.name"), error.rule);
            }
            rules.between(&format!("{path}.port"), i64::from(port.port), 1, 65_535);
            check_protocol(&path, port.protocol.as_ref(), rules);
            check_app_protocol(&path, port.app_protocol.as_deref(), rules);
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
    }
    serde_json::to_value(endpoints).ok()
}

fn check_addresses(path: &str, addresses: &[EndpointAddress], rules: &mut Rules<'_>) {
    for (index, address) in addresses.iter().enumerate() {
        let path = format!("{path}[{index}]");
        check_address(&format!("{path}.ip"), &address.ip, rules);
        if let Some(name) = address.hostname.as_deref().filter(|name| !name.is_empty())
            && let Err(error) = check_dns_label(name)
        {
            rules.error(&format!("{path}.hostname"), error.rule);
        }
    }
}

/// `ValidateEndpointIP`. None of the machine's own loopback services is to be reached through a
/// Service.
fn check_address(path: &str, text: &str, rules: &mut Rules<'_>) -> Option<IpAddr> {
    match text.parse() {
        Err(_) => {
            rules.error(path, "must be an IP address");
            None
        }
        Ok(address) if is_special(address) => {
            rules.error(
                path,
                "may not be an unspecified, loopback, link-local or multicast address",
            );
            None
        }
        Ok(address) => Some(address),
    }
}

/// `ValidateNonSpecialIP`; an IPv4 address is one in IPv6 clothes, too.
pub(super) fn is_special(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
        }
    }
}

fn slice(value: Value, rules: &mut Rules<'_>) -> Option<Value> {
    let mut slice: EndpointSlice = rules.typed(value)?;
    let kinds = ["IPv4", "IPv6", "FQDN"];
    rules.required_one_of("addressType", &slice.address_type, &kinds);
    let endpoints = slice.endpoints.as_deref().unwrap_or_default();
    if endpoints.len() > MAX_ENDPOINTS {
        let message = format!("must not have more than {MAX_ENDPOINTS} endpoints");
        rules.error("endpoints", message);
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = format!("endpoints[{index}]");
        let at = format!("{path}.addresses");
        if endpoint.addresses.is_empty() || endpoint.addresses.len() > MAX_ADDRESSES {
            let message = format!("must have 1 to {MAX_ADDRESSES} addresses");
            rules.error(&at, message);
        }
        for (number, address) in endpoint.addresses.iter().enumerate() {
            let at = format!("{at}[{number}]");
            if slice.address_type == "FQDN" {
                if let Err(error) = check_dns_subdomain(address) {
                    rules.error(&at, error.rule);
                }
            } else if let Some(address) = check_address(&at, address, rules)
                && address.is_ipv4() != (slice.address_type == "IPv4")
            {
                let message = format!("must be an {} address", slice.address_type);
                rules.error(&at, message);
            }
        }
        if let Some(name) = &endpoint.hostname
            && let Err(error) = check_dns_label(name)
        {
            rules.error(&format!("{path}.hostname"), error.rule);
        }
    }
    if slice.address_type == "FQDN" && !endpoints.is_empty() {
        let message =
            "names are not forwarded to, as in a cluster: use a Service of type ExternalName";
        rules.note("addressType", message);
    }
    let mut names = HashSet::new();
    for (index, port) in slice.ports.iter_mut().flatten().enumerate() {
        let path = format!("ports[{index}]");
        let name = port.name.get_or_insert_default();
        if !name.is_empty()
            && let Err(error) = check_dns_label(name)
        {
            rules.error(&format!("{path}.name"), error.rule);
        }
        if !names.insert(name.clone()) {
            rules.error(&format!("{path}.name"), "another port has this name");
        }
        if let Some(number) = port.port {
            rules.between(&format!("{path}.port"), i64::from(number), 1, 65_535);
        }
        check_protocol(&path, port.protocol.as_ref(), rules);
        check_app_protocol(&path, port.app_protocol.as_deref(), rules);
        port.protocol.get_or_insert_with(|| "TCP".to_owned());
    }
    serde_json::to_value(slice).ok()
}

/// `protocol` of a port of these kinds and of a Service.
pub(super) fn check_protocol(path: &str, protocol: Option<&String>, rules: &mut Rules<'_>) {
    let path = format!("{path}.protocol");
    if protocol.is_some_and(|protocol| protocol == "SCTP") {
        rules.error(&path, "SCTP is not supported: TCP and UDP are");
    } else {
        rules.one_of(&path, protocol, &["TCP", "UDP"]);
    }
}

/// `appProtocol`: a qualified name, which nothing here looks at.
pub(super) fn check_app_protocol(path: &str, name: Option<&str>, rules: &mut Rules<'_>) {
    let Some(name) = name else { return };
    let last = name.rsplit_once('/').map_or(name, |(_, last)| last);
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if last.is_empty() || last.len() > 63 || !last.chars().all(is_word) {
        let message = "must be a name such as http or example.com/protocol";
        rules.error(&format!("{path}.appProtocol"), message);
    }
}

#[cfg(test)]
mod tests {
    use super::is_special;
    use crate::manifest::Object;
    use crate::manifest::rules::tests::{errors_of, read_text};

    #[test]
    fn endpoints_follow_the_rules_of_the_api_server() {
        for (subsets, error) in [
            ("[{addresses: [{ip: 192.0.2.1}], ports: [{port: 80}]}]", ""),
            ("[]", ""),
            (
                "[{ports: [{port: 80}]}]",
                "subsets[0]: must have `addresses` or `notReadyAddresses`",
            ),
            (
                "[{addresses: [{ip: web}]}]",
                "subsets[0].addresses[0].ip: must be an IP address",
            ),
            (
                "[{notReadyAddresses: [{ip: 127.0.0.1}]}]",
                "subsets[0].notReadyAddresses[0].ip: may not be an unspecified, loopback, link-local or multicast address",
            ),
            (
                "[{addresses: [{ip: 192.0.2.1}], ports: [{port: 80}, {name: b, port: 81}]}]",
                "subsets[0].ports[0].name: is required where there is more than one port",
            ),
            (
                "[{addresses: [{ip: 192.0.2.1}], ports: [{port: 80, protocol: SCTP}]}]",
                "subsets[0].ports[0].protocol: SCTP is not supported: TCP and UDP are",
            ),
        ] {
            let manifest = read_text(format!(
                "{{apiVersion: v1, kind: Endpoints, metadata: {{name: a}}, subsets: {subsets}}}"
            ));
            let expected: Vec<&str> = Some(error).filter(|e| !e.is_empty()).into_iter().collect();
            assert_eq!(errors_of(&manifest), expected, "{subsets}");
        }
    }

    #[test]
    fn slices_follow_the_rules_of_the_api_server() {
        for (fields, error) in [
            (
                "addressType: IPv4, endpoints: [{addresses: [192.0.2.1]}], ports: [{port: 80}]",
                "",
            ),
            (
                "endpoints: []",
                "addressType: is required: one of IPv4, IPv6, FQDN",
            ),
            (
                "addressType: IPv6, endpoints: [{addresses: [192.0.2.1]}]",
                "endpoints[0].addresses[0]: must be an IPv6 address",
            ),
            (
                "addressType: IPv4, endpoints: [{addresses: []}]",
                "endpoints[0].addresses: must have 1 to 100 addresses",
            ),
            (
                "addressType: IPv4, endpoints: [], ports: [{name: a, port: 1}, {name: a, port: 2}]",
                "ports[1].name: another port has this name",
            ),
        ] {
            let manifest = read_text(format!(
                "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: a}}, {fields}}}"
            ));
            let expected: Vec<&str> = Some(error).filter(|e| !e.is_empty()).into_iter().collect();
            assert_eq!(errors_of(&manifest), expected, "{fields}");
        }
    }

    #[test]
    fn the_protocol_is_tcp_unless_it_is_written() {
        let manifest = read_text(
            "{apiVersion: v1, kind: Endpoints, metadata: {name: a}, subsets: [{addresses: [{ip: 192.0.2.1}], ports: [{port: 80}]}]}"
                .to_owned(),
        );
        let Some(Object::Data(data)) = manifest.objects.first() else {
            panic!("{:?}", manifest.problems);
        };
        let protocol = data.value.pointer("/subsets/0/ports/0/protocol").unwrap();
        assert_eq!(protocol, "TCP");
    }

    #[test]
    fn addresses_that_are_no_ones_are_known() {
        for special in [
            "0.0.0.0",
            "127.0.0.9",
            "169.254.1.1",
            "224.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_special(special.parse().unwrap()), "{special}");
        }
        for plain in ["10.88.0.2", "192.0.2.1", "fd00::1"] {
            assert!(!is_special(plain.parse().unwrap()), "{plain}");
        }
    }
}
