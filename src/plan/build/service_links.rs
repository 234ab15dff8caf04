//! The variables that tell a container of the Services of its namespace (pkg/kubelet/envvars).

use k8s_openapi::api::core::v1::Service;

/// Those of the Services that have an address, in their order (`FromServices`).
pub(super) fn variables(services: &[Service]) -> Vec<(String, String)> {
    let mut result = Vec::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        // `IsServiceIPSet`
        let address = spec.cluster_ip.as_deref();
        let Some(address) = address.filter(|ip| !ip.is_empty() && *ip != "None") else {
            continue;
        };
        let prefix = variable_name(service.metadata.name.as_deref().unwrap_or_default());
        let ports = spec.ports.as_deref().unwrap_or_default();
        let Some(first) = ports.first() else { continue };
        let mut set = |name: String, value: String| result.push((name, value));
        set(format!("{prefix}_SERVICE_HOST"), address.to_owned());
        set(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
        for port in ports {
            let name = port.name.as_deref().filter(|name| !name.is_empty());
            if let Some(name) = name.map(variable_name) {
                let name = format!("{prefix}_SERVICE_PORT_{name}");
                set(name, port.port.to_string());
            }
        }
        // What Docker's links were (`makeLinkVariables`).
        for (index, port) in ports.iter().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let lower = protocol.to_lowercase();
            let number = port.port;
            let url = if address.contains(':') {
                format!("{lower}://[{address}]:{number}")
            } else {
                format!("{lower}://{address}:{number}")
            };
            if index == 0 {
                set(format!("{prefix}_PORT"), url.clone());
            }
            let link = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
            set(link.clone(), url);
            set(format!("{link}_PROTO"), lower);
            set(format!("{link}_PORT"), number.to_string());
            set(format!("{link}_ADDR"), address.to_owned());
        }
    }
    result
}

/// `makeEnvVariableName`.
fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_has_the_kubelets_variables_in_its_order() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "redis-leader"},
            "spec": {"clusterIP": "10.89.0.7", "ports": [
                {"name": "p", "port": 6379, "protocol": "TCP"},
                {"name": "dns-udp", "port": 53, "protocol": "UDP"},
            ]},
        }))
        .unwrap();
        let lines: Vec<String> = variables(&[service])
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            lines,
            [
                "REDIS_LEADER_SERVICE_HOST=10.89.0.7",
                "REDIS_LEADER_SERVICE_PORT=6379",
                "REDIS_LEADER_SERVICE_PORT_P=6379",
                "REDIS_LEADER_SERVICE_PORT_DNS_UDP=53",
                "REDIS_LEADER_PORT=tcp://10.89.0.7:6379",
                "REDIS_LEADER_PORT_6379_TCP=tcp://10.89.0.7:6379",
                "REDIS_LEADER_PORT_6379_TCP_PROTO=tcp",
                "REDIS_LEADER_PORT_6379_TCP_PORT=6379",
                "REDIS_LEADER_PORT_6379_TCP_ADDR=10.89.0.7",
                "REDIS_LEADER_PORT_53_UDP=udp://10.89.0.7:53",
                "REDIS_LEADER_PORT_53_UDP_PROTO=udp",
                "REDIS_LEADER_PORT_53_UDP_PORT=53",
                "REDIS_LEADER_PORT_53_UDP_ADDR=10.89.0.7",
            ]
        );
    }

    #[test]
    fn a_service_without_an_address_has_none() {
        for spec in [
            json!({"clusterIP": "None", "ports": [{"port": 80}]}),
            json!({"clusterIP": "", "ports": [{"port": 80}]}),
            json!({"type": "ExternalName", "externalName": "a", "ports": [{"port": 80}]}),
        ] {
            let service = json!({"metadata": {"name": "a"}, "spec": spec});
            let service: Service = serde_json::from_value(service).unwrap();
            assert_eq!(variables(&[service]), [], "{spec}");
        }
    }
}
