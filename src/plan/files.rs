//! `/etc/hosts` as the kubelet writes it (`kubelet_pods.go` `managedHostsFileContent`).

use std::fmt::Write;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::HostAlias;

/// The first lines of a pod's own hosts file, after the header.
const HOSTS_HEAD: &str = "# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
";

/// `/etc/hosts` of a pod with its own network: a line for each of its addresses.
pub(super) fn hosts(
    addresses: &[IpAddr],
    hostname: &str,
    domain: Option<&str>,
    aliases: &[HostAlias],
) -> String {
    let mut text = HOSTS_HEAD.to_owned();
    for address in addresses {
        // Writing to a String cannot fail.
        match domain {
            Some(domain) => writeln!(text, "{address}\t{hostname}.{domain}\t{hostname}").ok(),
            None => writeln!(text, "{address}\t{hostname}").ok(),
        };
    }
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
            hosts(&["10.0.0.5".parse().unwrap()], "web-0", None, &aliases),
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n10.0.0.5\tweb-0\n\n# Entries added by HostAliases.\n1.2.3.4\tfoo.local\tbar.local\n"
        );
    }

    #[test]
    fn a_subdomain_gives_the_full_name_first_for_each_address() {
        let text = hosts(
            &["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
            "web-0",
            Some("nginx.default.svc.cluster.local"),
            &[],
        );
        assert!(
            text.ends_with(
                "10.0.0.5\tweb-0.nginx.default.svc.cluster.local\tweb-0\n\
                 fd00::5\tweb-0.nginx.default.svc.cluster.local\tweb-0\n"
            ),
            "{text}"
        );
    }
}
