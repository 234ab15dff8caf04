//! The rules for a Service, and what the API server fills in (validation.go `ValidateService`,
//! defaults.go `SetDefaults_Service`).

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec, SessionAffinityConfig};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::endpoints::{check_app_protocol, check_protocol, is_special};
use super::pod::{PORT_NAME_RULE, is_service_name};
use super::problem::{Positions, Problem};
use super::rules::Rules;
use super::{CheckedData, kinds};
use crate::names::{ObjectKind, check_dns_label, check_dns_subdomain};

/// `DefaultClientIPServiceAffinitySeconds`: three hours.
const AFFINITY_SECONDS: i32 = 10_800;

/// `MaxClientIPServiceAffinitySeconds`: a day.
const MAX_AFFINITY_SECONDS: i64 = 86_400;

/// The ports of the machine that Services get (`--service-node-port-range` of the API server).
pub const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

/// Checks a Service.
pub(super) fn check(
    kind: ObjectKind,
    value: Value,
    places: &Positions,
    problems: &mut Vec<Problem>,
) -> Option<CheckedData> {
    let metadata = value.get("metadata").cloned().unwrap_or_default();
    let (name, namespace) = kinds::names(&metadata, places, problems);
    let mut rules = Rules { places, problems };
    if let Some(name) = rules.required_name(&metadata) {
        check_name(name, &mut rules);
    }
    let mut service: Service = rules.typed(value)?;
    let Some(spec) = &mut service.spec else {
        rules.error("spec", "is required");
        return None;
    };
    check_spec(spec, &mut rules);
    apply_defaults(spec);
    Some(CheckedData {
        kind,
        name: name?,
        namespace,
        value: serde_json::to_value(service).ok()?,
        source: places.source(),
    })
}

/// `ValidateServiceName`: a label as RFC 1035 has it.
fn check_name(name: &str, rules: &mut Rules<'_>) {
    let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if let Err(error) = check_dns_label(name) {
        rules.error("metadata.name", error.rule);
    } else if !begins_well {
        rules.error("metadata.name", "must begin with a letter");
    }
}

fn check_spec(spec: &ServiceSpec, rules: &mut Rules<'_>) {
    rules.one_of(
        "spec.type",
        spec.type_.as_ref(),
        &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"],
    );
    check_address(spec, rules);
    check_ports(spec, rules);
    for (key, value) in spec.selector.iter().flatten() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name = key.rsplit_once('/').map_or(key.as_str(), |(_, name)| name);
        let fits = |text: &str| text.len() <= 63 && text.chars().all(is_word);
        if name.is_empty() || !fits(name) || !fits(value) {
            rules.error(&format!("spec.selector.{key}"), "is not a label");
        }
    }
    check_affinity(spec, rules);
    for (index, ip) in spec.external_ips.iter().flatten().enumerate() {
        let path = format!("spec.externalIPs[{index}]");
        match ip.parse::<IpAddr>() {
            Err(_) => rules.error(&path, "must be an IP address"),
            Ok(ip) if is_special(ip) => rules.error(
                &path,
                "may not be an unspecified, loopback, link-local or multicast address",
            ),
            Ok(_) => rules.note(
                &path,
                "has no effect: podrun gives the machine no addresses",
            ),
        }
    }
    check_families(spec, rules);
    check_outside(spec, rules);
}

/// `clusterIP` and `externalName`.
fn check_address(spec: &ServiceSpec, rules: &mut Rules<'_>) {
    let given = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty());
    let all = spec.cluster_ips.as_deref().unwrap_or_default();
    if let Some(ip) = given
        && ip != "None"
        && ip.parse::<IpAddr>().is_err()
    {
        let message = "must be empty, `None` or an IP address";
        rules.error("spec.clusterIP", message);
    }
    if all
        .first()
        .is_some_and(|first| Some(first.as_str()) != given)
    {
        rules.error("spec.clusterIPs", "its first must be the clusterIP");
    }
    for (index, ip) in all.iter().enumerate() {
        let path = format!("spec.clusterIPs[{index}]");
        match index {
            0 if ip == "None" || ip.parse::<IpAddr>().is_ok() => {}
            1 if ip.parse::<IpAddr>().is_ok() => {
                rules.note(&path, "has no effect: a Service has one address");
            }
            0 | 1 => rules.error(&path, "must be an IP address"),
            _ => rules.error(&path, "there may be one address of each family"),
        }
    }
    match spec.type_.as_deref() {
        Some("ExternalName") => {
            if given.is_some() {
                let message = "may not be set for ExternalName services";
                rules.error("spec.clusterIP", message);
            }
            let name = spec.external_name.as_deref().unwrap_or_default();
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                let message = "is required for ExternalName services";
                rules.error("spec.externalName", message);
            } else if let Err(error) = check_dns_subdomain(name) {
                rules.error("spec.externalName", error.rule);
            }
        }
        Some(kind @ ("NodePort" | "LoadBalancer")) if given == Some("None") => {
            let message = format!("may not be `None` for {kind} services");
            rules.error("spec.clusterIP", message);
        }
        Some(_) | None => {}
    }
}

fn check_ports(spec: &ServiceSpec, rules: &mut Rules<'_>) {
    let ports = spec.ports.as_deref().unwrap_or_default();
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    if ports.is_empty() && !is_headless && spec.type_.as_deref() != Some("ExternalName") {
        rules.error_hint("spec.ports", "is required", "such as `- port: 80`");
    }
    let mut names = HashSet::new();
    let mut numbers = HashSet::new();
    let mut node_ports = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let name = port.name.as_deref().unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            let message = "is required where there is more than one port";
            rules.error(&format!("{path}.name"), message);
        } else if !name.is_empty() {
            if let Err(error) = check_dns_label(name) {
                rules.error(&format!("{path}.name"), error.rule);
            }
            if !names.insert(name) {
                rules.error(&format!("{path}.name"), "another port has this name");
            }
        }
        check_number(&format!("{path}.port"), port.port, rules);
        check_protocol(&path, port.protocol.as_ref(), rules);
        check_app_protocol(&path, port.app_protocol.as_deref(), rules);
        match &port.target_port {
            // An empty one is the port (`SetDefaults_Service`).
            None | Some(IntOrString::Int(0)) => {}
            Some(IntOrString::Int(number)) => {
                check_number(&format!("{path}.targetPort"), *number, rules);
            }
            Some(IntOrString::String(name)) if name.is_empty() => {}
            Some(IntOrString::String(name)) if !is_service_name(name) => {
                rules.error(&format!("{path}.targetPort"), PORT_NAME_RULE);
            }
            Some(IntOrString::String(_)) => {}
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        if !numbers.insert((port.port, protocol)) {
            rules.error(&path, "another port has this number and protocol");
        }
        check_node_port(&path, port, spec, rules);
        if let Some(number) = port.node_port.filter(|number| *number != 0)
            && !node_ports.insert((number, protocol))
        {
            let message = "another port has this number and protocol";
            rules.error(&format!("{path}.nodePort"), message);
        }
    }
}

fn check_number(path: &str, number: i32, rules: &mut Rules<'_>) {
    rules.between(path, i64::from(number), 1, 65_535);
}

fn check_node_port(path: &str, port: &ServicePort, spec: &ServiceSpec, rules: &mut Rules<'_>) {
    let Some(number) = port.node_port.filter(|number| *number != 0) else {
        return;
    };
    let path = format!("{path}.nodePort");
    if matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer")) {
        let (least, most) = NODE_PORTS.into_inner();
        rules.between(&path, i64::from(number), i64::from(least), i64::from(most));
    } else {
        let message = "may only be used when type is NodePort or LoadBalancer";
        rules.error(&path, message);
    }
}

fn check_affinity(spec: &ServiceSpec, rules: &mut Rules<'_>) {
    let affinity = spec.session_affinity.as_ref();
    rules.one_of("spec.sessionAffinity", affinity, &["None", "ClientIP"]);
    let path = "spec.sessionAffinityConfig";
    let Some(config) = &spec.session_affinity_config else {
        return;
    };
    if affinity.is_none_or(|affinity| affinity == "None") {
        rules.error(path, "must not be set when sessionAffinity is None");
    }
    let client = config.client_ip.as_ref();
    if let Some(seconds) = client.and_then(|client| client.timeout_seconds) {
        let path = format!("{path}.clientIP.timeoutSeconds");
        rules.between(&path, i64::from(seconds), 1, MAX_AFFINITY_SECONDS);
    }
}

/// Addresses are of one family here; what asks for another one is told.
fn check_families(spec: &ServiceSpec, rules: &mut Rules<'_>) {
    const WHY: &str = "has no effect: a Service has one IPv4 address here";
    let path = "spec.ipFamilyPolicy";
    let policy = spec.ip_family_policy.as_ref();
    rules.one_of(
        path,
        policy,
        &["SingleStack", "PreferDualStack", "RequireDualStack"],
    );
    let is_external = spec.type_.as_deref() == Some("ExternalName");
    if is_external && policy.is_some() {
        rules.error(path, "may not be set for ExternalName services");
    } else if policy.is_some_and(|policy| policy.ends_with("DualStack")) {
        rules.note(path, WHY);
    }
    let path = "spec.ipFamilies";
    let families = spec.ip_families.as_deref().unwrap_or_default();
    for (index, family) in families.iter().enumerate() {
        let path = format!("{path}[{index}]");
        rules.one_of(&path, Some(family), &["IPv4", "IPv6"]);
        if families.iter().take(index).any(|known| known == family) {
            rules.error(&path, "is there twice");
        }
    }
    if is_external && !families.is_empty() {
        rules.error(path, "may not be set for ExternalName services");
    } else if families.iter().any(|family| family == "IPv6") {
        rules.note(path, WHY);
    }
}

/// What is for those outside the cluster.
fn check_outside(spec: &ServiceSpec, rules: &mut Rules<'_>) {
    let kind = spec.type_.as_deref();
    let is_balanced = kind == Some("LoadBalancer");
    if is_balanced {
        let message = "there is no load balancer: the Service is reached by its node ports";
        rules.note("spec.type", message);
    }
    let only = |path: &str, is_set: bool, rules: &mut Rules<'_>| {
        if is_set && !is_balanced {
            rules.error(path, "may only be used when type is LoadBalancer");
        }
    };
    let class = spec.load_balancer_class.is_some();
    only("spec.loadBalancerClass", class, rules);
    let ports = spec.allocate_load_balancer_node_ports.is_some();
    only("spec.allocateLoadBalancerNodePorts", ports, rules);
    let ranges = spec.load_balancer_source_ranges.as_deref();
    let ranges = ranges.unwrap_or_default();
    let path = "spec.loadBalancerSourceRanges";
    only(path, !ranges.is_empty(), rules);
    for (index, range) in ranges.iter().enumerate() {
        if !is_network(range) {
            let message = "must be a network such as 10.0.0.0/8";
            rules.error(&format!("{path}[{index}]"), message);
        }
    }
    if !ranges.is_empty() && is_balanced {
        rules.note(path, "is NOT enforced: the node ports are open to all");
    }
    let path = "spec.externalTrafficPolicy";
    let policy = spec.external_traffic_policy.as_ref();
    rules.one_of(path, policy, &["Cluster", "Local"]);
    let has_addresses = spec.external_ips.iter().flatten().next().is_some();
    if policy.is_some() && !is_balanced && kind != Some("NodePort") && !has_addresses {
        let message = "may only be set for services that are reached from outside";
        rules.error(path, message);
    }
    let policy = spec.internal_traffic_policy.as_ref();
    rules.one_of("spec.internalTrafficPolicy", policy, &["Cluster", "Local"]);
    rules.one_of(
        "spec.trafficDistribution",
        spec.traffic_distribution.as_ref(),
        &["PreferClose", "PreferSameZone", "PreferSameNode"],
    );
}

/// An address and the length of a prefix.
fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.trim().split_once('/') else {
        return false;
    };
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= most)
}

fn apply_defaults(spec: &mut ServiceSpec) {
    let kind = spec
        .type_
        .get_or_insert_with(|| "ClusterIP".to_owned())
        .clone();
    let affinity = spec
        .session_affinity
        .get_or_insert_with(|| "None".to_owned());
    if affinity == "ClientIP" {
        let config: &mut SessionAffinityConfig =
            spec.session_affinity_config.get_or_insert_default();
        let client = config.client_ip.get_or_insert_default();
        client.timeout_seconds.get_or_insert(AFFINITY_SECONDS);
    }
    for port in spec.ports.iter_mut().flatten() {
        port.protocol.get_or_insert_with(|| "TCP".to_owned());
        let number = IntOrString::Int(port.port);
        let target = port.target_port.get_or_insert_with(|| number.clone());
        let is_empty = match target {
            IntOrString::Int(number) => *number == 0,
            IntOrString::String(name) => name.is_empty(),
        };
        if is_empty {
            *target = number;
        }
        port.node_port = port.node_port.filter(|number| *number != 0);
    }
    spec.cluster_ip = spec.cluster_ip.take().filter(|ip| !ip.is_empty());
    if kind == "ExternalName" {
        return;
    }
    spec.internal_traffic_policy
        .get_or_insert_with(|| "Cluster".to_owned());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        spec.external_traffic_policy
            .get_or_insert_with(|| "Cluster".to_owned());
    }
    if kind == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
    spec.ip_families = Some(vec!["IPv4".to_owned()]);
    spec.ip_family_policy = Some("SingleStack".to_owned());
    spec.cluster_ips = spec.cluster_ip.clone().map(|ip| vec![ip]);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::manifest::rules::tests::{errors_of, read_text};
    use crate::manifest::{Manifest, Object, Severity};

    fn read(spec: &str) -> Manifest {
        read_text(format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{{spec}}}}}"
        ))
    }

    fn checked(spec: &str) -> Value {
        let mut manifest = read(spec);
        match manifest.objects.pop() {
            Some(Object::Data(data)) => data.value["spec"].clone(),
            other => panic!("{other:?} of {spec}: {:?}", manifest.problems),
        }
    }

    #[test]
    fn services_follow_the_rules_of_the_api_server() {
        const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
        for (spec, errors) in [
            ("ports: [{port: 80}], selector: {app: web}", vec![]),
            ("clusterIP: None", vec![]),
            (
                "clusterIP: None, clusterIPs: [None], ports: [{port: 80}]",
                vec![],
            ),
            ("type: ExternalName, externalName: db.example.com.", vec![]),
            (
                "ports: [{name: a, port: 53}, {name: b, port: 53, protocol: UDP}]",
                vec![],
            ),
            (
                "type: Ingress, ports: [{port: 80}]",
                vec![
                    "spec.type: `Ingress` is not one of ClusterIP, NodePort, LoadBalancer, ExternalName",
                ],
            ),
            (
                "selector: {a: b}",
                vec!["spec.ports: is required (such as `- port: 80`)"],
            ),
            (
                "clusterIP: web, ports: [{port: 80}]",
                vec!["spec.clusterIP: must be empty, `None` or an IP address"],
            ),
            (
                "clusterIPs: [10.89.0.4], ports: [{port: 80}]",
                vec!["spec.clusterIPs: its first must be the clusterIP"],
            ),
            (
                "type: NodePort, clusterIP: None, ports: [{port: 80}]",
                vec!["spec.clusterIP: may not be `None` for NodePort services"],
            ),
            (
                "type: ExternalName",
                vec!["spec.externalName: is required for ExternalName services"],
            ),
            (
                "type: ExternalName, externalName: a_b",
                vec![&format!("spec.externalName: {SUBDOMAIN}")],
            ),
            (
                "type: ExternalName, externalName: a, clusterIP: 10.89.0.4",
                vec!["spec.clusterIP: may not be set for ExternalName services"],
            ),
            (
                "ports: [{port: 80}, {port: 81}]",
                vec![
                    "spec.ports[0].name: is required where there is more than one port",
                    "spec.ports[1].name: is required where there is more than one port",
                ],
            ),
            (
                "ports: [{name: a, port: 80}, {name: a, port: 81}]",
                vec!["spec.ports[1].name: another port has this name"],
            ),
            (
                "ports: [{name: a, port: 80}, {name: b, port: 80}]",
                vec!["spec.ports[1]: another port has this number and protocol"],
            ),
            (
                "ports: [{port: 0}]",
                vec!["spec.ports[0].port: must be between 1 and 65535"],
            ),
            (
                "ports: [{port: 80, protocol: SCTP}]",
                vec!["spec.ports[0].protocol: SCTP is not supported: TCP and UDP are"],
            ),
            (
                "ports: [{port: 80, protocol: tcp}]",
                vec!["spec.ports[0].protocol: `tcp` is not one of TCP, UDP"],
            ),
            (
                "ports: [{port: 80, targetPort: 70000}]",
                vec!["spec.ports[0].targetPort: must be between 1 and 65535"],
            ),
            (
                "ports: [{port: 80, targetPort: Web_1}]",
                vec![
                    "spec.ports[0].targetPort: must have at most 15 lower case letters, digits or '-', and at least one letter",
                ],
            ),
            (
                "ports: [{port: 80, nodePort: 30080}]",
                vec![
                    "spec.ports[0].nodePort: may only be used when type is NodePort or LoadBalancer",
                ],
            ),
            (
                "type: NodePort, ports: [{port: 80, nodePort: 80}]",
                vec!["spec.ports[0].nodePort: must be between 30000 and 32767"],
            ),
            (
                "type: NodePort, ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 30080}]",
                vec!["spec.ports[1].nodePort: another port has this number and protocol"],
            ),
            (
                "selector: {a: 'b c'}, ports: [{port: 80}]",
                vec!["spec.selector.a: is not a label"],
            ),
            (
                "sessionAffinity: Cookie, ports: [{port: 80}]",
                vec!["spec.sessionAffinity: `Cookie` is not one of None, ClientIP"],
            ),
            (
                "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}, ports: [{port: 80}]",
                vec![
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds: must be between 1 and 86400",
                ],
            ),
            (
                "sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}}, ports: [{port: 80}]",
                vec!["spec.sessionAffinityConfig: must not be set when sessionAffinity is None"],
            ),
            (
                "externalIPs: [127.0.0.1], ports: [{port: 80}]",
                vec![
                    "spec.externalIPs[0]: may not be an unspecified, loopback, link-local or multicast address",
                ],
            ),
            (
                "ipFamilies: [IPv4, IPv4], ports: [{port: 80}]",
                vec!["spec.ipFamilies[1]: is there twice"],
            ),
            (
                "externalTrafficPolicy: Local, ports: [{port: 80}]",
                vec![
                    "spec.externalTrafficPolicy: may only be set for services that are reached from outside",
                ],
            ),
            (
                "loadBalancerClass: a, ports: [{port: 80}]",
                vec!["spec.loadBalancerClass: may only be used when type is LoadBalancer"],
            ),
            (
                "type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/33], ports: [{port: 80}]",
                vec!["spec.loadBalancerSourceRanges[0]: must be a network such as 10.0.0.0/8"],
            ),
        ] {
            assert_eq!(errors_of(&read(spec)), errors, "{spec}");
        }
    }

    #[test]
    fn a_services_name_is_a_label_that_begins_with_a_letter() {
        for (name, error) in [
            ("web-1", ""),
            ("1web", "metadata.name: must begin with a letter"),
            (
                "a.b",
                "metadata.name: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
            ),
            ("", "metadata.name: is required"),
        ] {
            let manifest = read_text(format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: '{name}'}}, spec: {{ports: [{{port: 80}}]}}}}"
            ));
            let expected: Vec<&str> = Some(error).filter(|e| !e.is_empty()).into_iter().collect();
            assert_eq!(errors_of(&manifest), expected, "{name}");
        }
    }

    #[test]
    fn what_has_no_effect_is_told() {
        for (fields, path) in [
            ("ipFamilyPolicy: PreferDualStack", "spec.ipFamilyPolicy"),
            ("ipFamilies: [IPv6]", "spec.ipFamilies"),
            ("externalIPs: [192.0.2.9]", "spec.externalIPs[0]"),
            ("type: LoadBalancer", "spec.type"),
            ("loadBalancerIP: 192.0.2.9", "spec.loadBalancerIP"),
            ("ipFamilyPolicy: SingleStack, ipFamilies: [IPv4]", ""),
            ("publishNotReadyAddresses: true", ""),
        ] {
            let manifest = read(&format!("ports: [{{port: 80}}], {fields}"));
            let notes = manifest.problems.iter();
            let notes: Vec<&str> = notes
                .filter(|problem| problem.severity == Severity::Note)
                .map(|problem| problem.path.as_str())
                .collect();
            let expected: Vec<&str> = Some(path).filter(|p| !p.is_empty()).into_iter().collect();
            assert_eq!(notes, expected, "{fields}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_api_server() {
        assert_eq!(
            checked(
                "type: NodePort, sessionAffinity: ClientIP, ports: [{port: 80, targetPort: ''}]"
            ),
            json!({
                "type": "NodePort",
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
                "internalTrafficPolicy": "Cluster",
                "externalTrafficPolicy": "Cluster",
                "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            })
        );
        assert_eq!(
            checked("type: ExternalName, externalName: db.example.com"),
            json!({"type": "ExternalName", "externalName": "db.example.com", "sessionAffinity": "None"})
        );
        assert_eq!(checked("clusterIP: None")["clusterIPs"], json!(["None"]));
    }
}
