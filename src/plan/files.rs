//! `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname` as the kubelet writes them
//! (`kubelet_pods.go` `managedHostsFileContent`, network/dns/dns.go).

use std::fmt::Write;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::HostAlias;

/// `MaxDNSNameservers`, `MaxDNSSearchPaths` and `MaxDNSSearchListChars`.
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;

/// The first lines of a pod's own hosts file, after the header.
const HOSTS_HEAD: &str = "# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
";

/// `/etc/hosts` of a pod with its own network.
pub(super) fn hosts(
    address: Ipv4Addr,
    hostname: &str,
    domain: Option<&str>,
    aliases: &[HostAlias],
) -> String {
    let mut text = HOSTS_HEAD.to_owned();
    // Writing to a String cannot fail.
    match domain {
        Some(domain) => writeln!(text, "{address}\t{hostname}.{domain}\t{hostname}").ok(),
        None => writeln!(text, "{address}\t{hostname}").ok(),
    };
    add_aliases(&mut text, aliases);
    text
}

/// `/etc/hosts` of a pod on the machine's network.
pub(super) fn host_network_hosts(machine: &str, aliases: &[HostAlias]) -> String {
    let mut text = "# Kubernetes-managed hosts file (host network).\n".to_owned();
    text.push_str(machine);
    if !machine.is_empty() && !machine.ends_with('\n') {
        text.push('\n');
    }
    add_aliases(&mut text, aliases);
    text
}

fn add_aliases(text: &mut String, aliases: &[HostAlias]) {
    if aliases.is_empty() {
        return;
    }
    text.push_str("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        writeln!(text, "{}\t{names}", alias.ip).ok();
    }
}

/// `/etc/resolv.conf` for `dnsPolicy: Default`: the machine's, within Kubernetes' bounds.
pub(super) fn resolv_conf(machine: &str) -> String {
    let mut nameservers = Vec::new();
    let mut searches: Vec<&str> = Vec::new();
    let mut options: Vec<&str> = Vec::new();
    for line in machine.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => nameservers.extend(words.next()),
            // The last line counts (resolv.conf(5)).
            Some("search" | "domain") => searches = words.collect(),
            Some("options") => options.extend(words),
            Some(_) | None => {}
        }
    }
    nameservers.truncate(MAX_NAMESERVERS);
    searches.truncate(MAX_SEARCHES);
    while searches.join(" ").len() > MAX_SEARCH_CHARS {
        searches.pop();
    }
    let mut text = String::new();
    if !searches.is_empty() {
        writeln!(text, "search {}", searches.join(" ")).ok();
    }
    for nameserver in nameservers {
        writeln!(text, "nameserver {nameserver}").ok();
    }
    if !options.is_empty() {
        writeln!(text, "options {}", options.join(" ")).ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(ip: &str, names: &[&str]) -> HostAlias {
        HostAlias {
            ip: ip.to_owned(),
            hostnames: Some(names.iter().map(|s| (*s).to_owned()).collect()),
        }
    }

    #[test]
    fn the_hosts_file_is_the_kubelets_byte_for_byte() {
        let aliases = [alias("1.2.3.4", &["foo.local", "bar.local"])];
        assert_eq!(
            hosts(Ipv4Addr::new(10, 0, 0, 5), "web-0", None, &aliases),
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n10.0.0.5\tweb-0\n\n# Entries added by HostAliases.\n1.2.3.4\tfoo.local\tbar.local\n"
        );
    }

    #[test]
    fn a_subdomain_gives_the_full_name_first() {
        let text = hosts(
            Ipv4Addr::new(10, 0, 0, 5),
            "web-0",
            Some("nginx.default.svc.cluster.local"),
            &[],
        );
        assert!(
            text.ends_with("10.0.0.5\tweb-0.nginx.default.svc.cluster.local\tweb-0\n"),
            "{text}"
        );
    }

    #[test]
    fn the_resolver_file_is_bounded_and_keeps_its_meaning() {
        let machine = "# c\nnameserver 1.1.1.1\nsearch a b\noptions ndots:2\nnameserver 2.2.2.2\nsearch c d\nnameserver 3.3.3.3\nnameserver 4.4.4.4\n";
        assert_eq!(
            resolv_conf(machine),
            "search c d\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\noptions ndots:2\n"
        );
    }
}
