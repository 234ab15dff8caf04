//! `/etc/resolv.conf` as the kubelet composes it (network/dns/dns.go) and a CRI runtime writes it.

use std::fmt::Write;

use k8s_openapi::api::core::v1::{PodDNSConfig, PodDNSConfigOption, PodSpec};

use super::Addresses;
use crate::manifest::{MAX_NAMESERVERS, MAX_SEARCH_CHARS, MAX_SEARCHES};
use crate::names::Namespace;

/// The domain that the names of Services and pods are in.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// `defaultDNSOptions`: a name of a Service has up to four dots before the cluster's domain.
const CLUSTER_OPTIONS: &str = "ndots:5";

/// `DNS1123SubdomainMaxLength`: glibc 2.28 aborts on a longer search path.
const MAX_SEARCH: usize = 253;

/// What a resolver is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Resolver {
    nameservers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

/// A pod's `/etc/resolv.conf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// The file.
    pub(super) text: String,
    /// What it has not because of Kubernetes' bounds, as the events `DNSConfigForming` say it.
    pub(super) omissions: Vec<String>,
}

/// Composes the file of a Pod: by its `dnsPolicy` from the machine's resolver configuration or for
/// the cluster's DNS servers, with its `dnsConfig` merged into that (`GetPodDNS`).
pub(super) fn resolv_conf(
    spec: &PodSpec,
    namespace: &Namespace,
    cluster_dns: Option<Addresses>,
    machine: &str,
) -> ResolvConf {
    let mut resolver = match spec.dns_policy.as_deref() {
        Some("None") => Resolver::default(),
        Some("Default") => Resolver::of_machine(machine),
        policy => {
            // Without the pod network a pod's names are the machine's (`getPodDNSType`).
            let wants_cluster =
                policy == Some("ClusterFirstWithHostNet") || spec.host_network != Some(true);
            let of_machine = Resolver::of_machine(machine);
            match cluster_dns.filter(|_| wants_cluster) {
                Some(servers) => of_machine.for_cluster(servers, namespace),
                None => of_machine,
            }
        }
    };
    if let Some(config) = &spec.dns_config {
        resolver.merge(config);
    }
    let omissions = resolver.fit();
    ResolvConf {
        text: resolver.text(),
        omissions,
    }
}

impl Resolver {
    /// `parseResolvConf`; `domain` counts as the list of one that it is (resolv.conf(5)).
    fn of_machine(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolver.nameservers.extend(words.next().map(str::to_owned)),
                // The last line counts. With and without its dot a path is the same.
                Some("search" | "domain") => {
                    let paths = words.map(|path| match path.strip_suffix('.') {
                        None | Some("") => path,
                        Some(path) => path,
                    });
                    resolver.searches = paths.map(str::to_owned).collect();
                }
                Some("options") => words.for_each(|word| set_option(&mut resolver.options, word)),
                Some(_) | None => {}
            }
        }
        resolver
    }

    /// The cluster's servers alone are asked, and its names are searched first
    /// (`generateSearchesForDNSClusterFirst`).
    fn for_cluster(self, servers: Addresses, namespace: &Namespace) -> Self {
        let mut searches = vec![
            format!("{namespace}.svc.{CLUSTER_DOMAIN}"),
            format!("svc.{CLUSTER_DOMAIN}"),
            CLUSTER_DOMAIN.to_owned(),
        ];
        add_new(&mut searches, &self.searches);
        let servers = servers.list().into_iter();
        Self {
            nameservers: servers.map(|address| address.to_string()).collect(),
            searches,
            options: vec![CLUSTER_OPTIONS.to_owned()],
        }
    }

    /// `appendDNSConfig`.
    fn merge(&mut self, config: &PodDNSConfig) {
        let added = |before: &mut Vec<String>, more: &Option<Vec<String>>| {
            let all = std::mem::take(before);
            add_new(before, &all);
            add_new(before, more.as_deref().unwrap_or_default());
        };
        added(&mut self.nameservers, &config.nameservers);
        added(&mut self.searches, &config.searches);
        for option in config.options.iter().flatten() {
            set_option(&mut self.options, &option_text(option));
        }
    }

    /// Leaves out what is beyond the bounds, and says so (`formDNSConfigFitsLimits`).
    fn fit(&mut self) -> Vec<String> {
        let mut omissions = Vec::new();
        if self.nameservers.len() > MAX_NAMESERVERS {
            self.nameservers.truncate(MAX_NAMESERVERS);
            omissions.push(format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied \
                 nameserver line is: {}",
                self.nameservers.join(" ")
            ));
        }
        let before = self.searches.len();
        self.searches.truncate(MAX_SEARCHES);
        self.searches.retain(|path| path.len() <= MAX_SEARCH);
        while self.searches.join(" ").len() > MAX_SEARCH_CHARS {
            self.searches.pop();
        }
        if self.searches.len() != before {
            omissions.push(format!(
                "Search Line limits were exceeded, some search paths have been omitted, the applied \
                 search line is: {}",
                self.searches.join(" ")
            ));
        }
        omissions
    }

    /// As `parseDNSOptions` of containerd writes it.
    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        if !self.searches.is_empty() {
            writeln!(text, "search {}", self.searches.join(" ")).ok();
        }
        for nameserver in &self.nameservers {
            writeln!(text, "nameserver {nameserver}").ok();
        }
        if !self.options.is_empty() {
            writeln!(text, "options {}", self.options.join(" ")).ok();
        }
        text
    }
}

/// Adds those that are not there yet (`omitDuplicates`).
fn add_new(list: &mut Vec<String>, more: &[String]) {
    for one in more {
        if !list.contains(one) {
            list.push(one.clone());
        }
    }
}

/// `name`, or `name:value`.
fn option_text(option: &PodDNSConfigOption) -> String {
    let name = option.name.as_deref().unwrap_or_default();
    match option.value.as_deref() {
        Some(value) if !value.is_empty() => format!("{name}:{value}"),
        Some(_) | None => name.to_owned(),
    }
}

/// Sets an option where one of its name is, or at the end (`mergeDNSOptions`, whose order is that
/// of a Go map).
fn set_option(options: &mut Vec<String>, option: &str) {
    let name = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
    match options.iter_mut().find(|known| name(known) == name(option)) {
        Some(known) => option.clone_into(known),
        None => options.push(option.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const MACHINE: &str = "# c\nnameserver 192.0.2.53\nsearch old\noptions ndots:2 rotate\n\
                           nameserver 192.0.2.54\nsearch example.com. lan .\noptions ndots:3\n";

    fn composed(spec: Value, machine: &str) -> ResolvConf {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let dns = Addresses {
            v4: "10.88.0.1".parse().unwrap(),
            v6: Some("fd00::1".parse().unwrap()),
        };
        resolv_conf(&spec, &Namespace::new("prod").unwrap(), Some(dns), machine)
    }

    fn text(spec: Value) -> String {
        let composed = composed(spec, MACHINE);
        assert_eq!(composed.omissions, [""; 0]);
        composed.text
    }

    const OF_CLUSTER: &str = "search prod.svc.cluster.local svc.cluster.local cluster.local example.com lan .\n\
        nameserver 10.88.0.1\nnameserver fd00::1\noptions ndots:5\n";
    const OF_MACHINE: &str = "search example.com lan .\nnameserver 192.0.2.53\nnameserver 192.0.2.54\noptions ndots:3 rotate\n";

    #[test]
    fn the_policy_says_whose_resolver_it_is() {
        for (policy, host_network, expected) in [
            (None, false, OF_CLUSTER),
            (Some("ClusterFirst"), false, OF_CLUSTER),
            (Some("ClusterFirst"), true, OF_MACHINE),
            (Some("ClusterFirstWithHostNet"), false, OF_CLUSTER),
            (Some("ClusterFirstWithHostNet"), true, OF_CLUSTER),
            (Some("Default"), false, OF_MACHINE),
            (Some("None"), false, ""),
        ] {
            let spec = json!({"dnsPolicy": policy, "hostNetwork": host_network});
            assert_eq!(text(spec), expected, "{policy:?} {host_network}");
        }
    }

    #[test]
    fn without_a_cluster_dns_the_machines_resolver_is_used() {
        let spec = serde_json::from_value(json!({"containers": []})).unwrap();
        let file = resolv_conf(&spec, &Namespace::new("prod").unwrap(), None, MACHINE);
        assert_eq!(file.text, OF_MACHINE);
    }

    #[test]
    fn the_config_is_added_and_its_options_win() {
        let config = json!({
            "nameservers": ["10.88.0.1", "192.0.2.9"],
            "searches": ["lan", "more.example"],
            "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}, {"name": "timeout", "value": ""}],
        });
        assert_eq!(
            text(json!({"dnsConfig": config})),
            "search prod.svc.cluster.local svc.cluster.local cluster.local example.com lan . more.example\n\
             nameserver 10.88.0.1\nnameserver fd00::1\nnameserver 192.0.2.9\noptions ndots:1 edns0 timeout\n"
        );
        assert_eq!(
            text(json!({"dnsPolicy": "None", "dnsConfig": config})),
            "search lan more.example\nnameserver 10.88.0.1\nnameserver 192.0.2.9\noptions ndots:1 edns0 timeout\n"
        );
    }

    #[test]
    fn what_is_beyond_the_bounds_is_left_out_and_told() {
        let config = json!({"nameservers": ["192.0.2.1", "192.0.2.2"]});
        let file = composed(json!({"dnsConfig": config}), "");
        assert_eq!(
            file.omissions,
            [
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied \
                 nameserver line is: 10.88.0.1 fd00::1 192.0.2.1"
            ]
        );
        assert!(!file.text.contains("192.0.2.2"), "{}", file.text);

        let searched = |machine: &str| {
            let file = composed(json!({"dnsPolicy": "Default"}), machine);
            assert_eq!(file.omissions.len(), 1, "{machine}");
            let line = file.omissions[0].rsplit_once("is: ").unwrap().1.to_owned();
            assert_eq!(file.text.trim_end(), format!("search {line}").trim_end());
            line
        };
        let many: Vec<String> = (0..33).map(|number| format!("d{number}")).collect();
        assert_eq!(
            searched(&format!("search {}", many.join(" "))),
            many[..32].join(" ")
        );
        // One that is too long does not keep those after it out.
        let long = "l".repeat(254);
        assert_eq!(searched(&format!("search a {long} b")), "a b");
        // Eight of 255 characters and a blank each are 2047; the ninth is one too many.
        let wide: Vec<String> = (0..9)
            .map(|number| format!("{number}{}", "w".repeat(252)))
            .collect();
        let kept = searched(&format!("search {}", wide.join(" ")));
        assert_eq!(kept, wide[..8].join(" "));
    }
}
