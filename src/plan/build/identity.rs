//! Who a pod is in its network: its names, its addresses and the files that say them.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::PodSpec;

use super::{HostFacts, Input, PlanProblem};
use crate::plan::{Addresses, CLUSTER_DOMAIN, Network, dns, files};

/// The kernel's bound for a host name (`__NEW_UTS_LEN`).
const MAX_NODENAME: usize = 64;

/// A pod's names (`GeneratePodHostNameAndDomain`).
pub(super) struct Identity {
    /// The first label of its full name, or `hostnameOverride`.
    hostname: String,
    /// `SUBDOMAIN.NAMESPACE.svc.DOMAIN`, with a subdomain.
    domain: Option<String>,
    /// What the kernel and `HOSTNAME` say (`GetNodenameForKernel`).
    pub(super) nodename: String,
}

impl Identity {
    /// Of the Pod of `input`.
    ///
    /// # Errors
    /// A full name that the kernel cannot take.
    pub(super) fn of(input: &Input<'_>, spec: &PodSpec) -> Result<Self, PlanProblem> {
        if spec.host_network == Some(true) {
            return Ok(Self {
                hostname: input.host.hostname.clone(),
                domain: None,
                nodename: input.host.hostname.clone(),
            });
        }
        let given = |name: &'_ Option<String>| name.clone().filter(|name| !name.is_empty());
        if let Some(name) = given(&spec.hostname_override) {
            return Ok(Self {
                hostname: name.clone(),
                domain: None,
                nodename: name,
            });
        }
        let name = given(&spec.hostname);
        let hostname = cut(name.as_deref().unwrap_or(input.name.as_str()));
        let domain = given(&spec.subdomain)
            .map(|subdomain| format!("{subdomain}.{}.svc.{CLUSTER_DOMAIN}", input.namespace));
        let nodename = match &domain {
            Some(domain) if spec.set_hostname_as_fqdn == Some(true) => {
                format!("{hostname}.{domain}")
            }
            _ => hostname.clone(),
        };
        if nodename.len() > MAX_NODENAME {
            return Err(PlanProblem {
                path: "spec.setHostnameAsFQDN".to_owned(),
                message: format!(
                    "the pod's full name {nodename} is too long for a host name ({MAX_NODENAME} \
                     characters is the max, it has {})",
                    nodename.len()
                ),
                hint: Some("shorten `hostname`, or remove the field".to_owned()),
            });
        }
        Ok(Self {
            hostname,
            domain,
            nodename,
        })
    }

    /// `/etc/hosts`.
    pub(super) fn hosts(&self, spec: &PodSpec, host: &HostFacts) -> String {
        let aliases = spec.host_aliases.as_deref().unwrap_or_default();
        if spec.host_network == Some(true) {
            return files::host_network_hosts(&host.hosts, aliases);
        }
        let addresses = addresses(spec, host);
        files::hosts(&addresses, &self.hostname, self.domain.as_deref(), aliases)
    }
}

/// The pod's network.
pub(super) fn network(spec: &PodSpec, host: &HostFacts) -> Network {
    if spec.host_network == Some(true) {
        return Network::Host {
            address: IpAddr::V4(host.addresses.v4),
        };
    }
    let Addresses { v4, v6 } = host.pod_addresses;
    Network::Pod {
        address: v4,
        prefix_len: host.prefix_len,
        address_v6: v6,
    }
}

/// `status.podIPs`.
pub(super) fn addresses(spec: &PodSpec, host: &HostFacts) -> Vec<IpAddr> {
    if spec.host_network == Some(true) {
        host.addresses.list()
    } else {
        host.pod_addresses.list()
    }
}

/// `/etc/resolv.conf`.
pub(super) fn resolv_conf(spec: &PodSpec, input: &Input<'_>) -> dns::ResolvConf {
    let host = input.host;
    dns::resolv_conf(spec, input.namespace, host.cluster_dns, &host.resolv_conf)
}

/// DNS' bound for a label is 63; what a cut leaves at the end must still be a name (`util.go`
/// `TruncatePodHostnameIfNeeded`).
fn cut(name: &str) -> String {
    name.chars()
        .take(63)
        .collect::<String>()
        .trim_end_matches(['-', '.'])
        .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::plan;
    use super::*;

    fn spec(fields: Value) -> Value {
        let mut spec = fields;
        spec["containers"] = json!([{"name": "a", "image": "i", "env": [
            {"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "HOSTS", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIPs"}}},
        ]}]);
        spec
    }

    /// What the kernel, `HOSTNAME`, `/etc/hostname` and the lines of `/etc/hosts` for the pod's two
    /// addresses say.
    #[test]
    fn the_host_name_is_the_same_everywhere() {
        for (fields, nodename, names) in [
            (json!({}), "p", "p"),
            (json!({"hostname": "web-0"}), "web-0", "web-0"),
            (
                json!({"hostname": "web-0", "subdomain": "nginx"}),
                "web-0",
                "web-0.nginx.default.svc.cluster.local\tweb-0",
            ),
            (
                json!({"hostname": "web-0", "subdomain": "nginx", "setHostnameAsFQDN": true}),
                "web-0.nginx.default.svc.cluster.local",
                "web-0.nginx.default.svc.cluster.local\tweb-0",
            ),
            (json!({"setHostnameAsFQDN": true}), "p", "p"),
            (
                json!({"hostname": "h", "subdomain": "s", "hostnameOverride": "a.example.com"}),
                "a.example.com",
                "a.example.com",
            ),
        ] {
            let plan = plan(&spec(fields.clone())).unwrap();
            assert_eq!(plan.hostname, nodename, "{fields}");
            assert_eq!(plan.files.hostname, format!("{nodename}\n"), "{fields}");
            let variable = ("HOSTNAME".to_owned(), nodename.to_owned());
            assert!(plan.containers[0].env.contains(&variable), "{fields}");
            let lines = format!("ip6-allrouters\n10.0.0.7\t{names}\nfd00::7\t{names}\n");
            assert!(plan.files.hosts.ends_with(&lines), "{}", plan.files.hosts);
        }
    }

    #[test]
    fn a_full_name_that_the_kernel_cannot_take_is_refused() {
        let with = |length: usize| {
            // `.s.default.svc.cluster.local` has 28 characters.
            let name = "h".repeat(length);
            plan(&spec(
                json!({"hostname": name, "subdomain": "s", "setHostnameAsFQDN": true}),
            ))
        };
        assert_eq!(with(36).unwrap().hostname.len(), 64);
        let problems = with(37).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "spec.setHostnameAsFQDN");
        assert!(problems[0].message.contains("it has 65"), "{problems:?}");
    }

    #[test]
    fn all_addresses_are_told() {
        for (host_network, ips, ip) in [
            (false, "10.0.0.7,fd00::7", "10.0.0.7"),
            (true, "192.0.2.1,2001:db8::1", "192.0.2.1"),
        ] {
            let plan = plan(&spec(json!({"hostNetwork": host_network}))).unwrap();
            let env = &plan.containers[0].env;
            for (name, value) in [("IPS", ips), ("IP", ip), ("HOSTS", "192.0.2.1,2001:db8::1")] {
                let variable = (name.to_owned(), value.to_owned());
                assert!(env.contains(&variable), "{variable:?} {env:?}");
            }
            let addresses: Vec<String> = plan.addresses().iter().map(IpAddr::to_string).collect();
            assert_eq!(addresses.join(","), ips);
        }
    }

    #[test]
    fn what_the_resolver_file_has_not_is_in_the_plan() {
        let nameservers = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
        let config = json!({"nameservers": nameservers});
        let plan = plan(&spec(json!({"dnsPolicy": "None", "dnsConfig": config}))).unwrap();
        assert_eq!(plan.dns_omissions.len(), 1);
        assert_eq!(
            plan.files.resolv_conf,
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
        );
    }
}
