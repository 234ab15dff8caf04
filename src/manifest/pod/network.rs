//! What a Pod says about its names and its resolver.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::PodSpec;

use super::Rules;
use crate::names::{check_dns_label, check_dns_subdomain};

/// `MaxDNSNameservers`: the C library's `MAXNS`.
pub(crate) const MAX_NAMESERVERS: usize = 3;
/// `MaxDNSSearchPaths`
pub(crate) const MAX_SEARCHES: usize = 32;
/// `MaxDNSSearchListChars`, the blanks between the paths included.
pub(crate) const MAX_SEARCH_CHARS: usize = 2048;

/// The longest name that the kernel takes for a host.
const MAX_HOSTNAME: usize = 64;

pub(super) fn check(spec: &PodSpec, rules: &mut Rules<'_>) {
    check_names(spec, rules);
    check_dns(spec, rules);
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let path = format!("spec.hostAliases[{index}]");
        if alias.ip.parse::<IpAddr>().is_err() {
            rules.error(&format!("{path}.ip"), "must be an IP address");
        }
        for (number, name) in alias.hostnames.iter().flatten().enumerate() {
            if let Err(error) = check_dns_subdomain(name) {
                rules.error(&format!("{path}.hostnames[{number}]"), error.rule);
            }
        }
    }
}

fn check_names(spec: &PodSpec, rules: &mut Rules<'_>) {
    for (path, name) in [
        ("spec.hostname", &spec.hostname),
        ("spec.subdomain", &spec.subdomain),
    ] {
        if let Some(name) = name.as_deref().filter(|name| !name.is_empty())
            && let Err(error) = check_dns_label(name)
        {
            rules.error(path, error.rule);
        }
    }
    let host_network = spec.host_network == Some(true);
    let as_fqdn = spec.set_hostname_as_fqdn == Some(true);
    if let Some(name) = &spec.hostname_override {
        let path = "spec.hostnameOverride";
        if name.len() > MAX_HOSTNAME {
            rules.error(
                path,
                format!("must be no more than {MAX_HOSTNAME} characters"),
            );
        } else if let Err(error) = check_dns_subdomain(name) {
            rules.error(path, error.rule);
        }
        if host_network {
            rules.error(path, "cannot be set when hostNetwork is true");
        }
        if as_fqdn {
            rules.error(path, "cannot be set when setHostnameAsFQDN is true");
        }
    } else if as_fqdn {
        let path = "spec.setHostnameAsFQDN";
        if host_network {
            rules.note(
                path,
                "has no effect: with hostNetwork the pod's host name is the machine's",
            );
        } else if spec.subdomain.as_deref().is_none_or(str::is_empty) {
            rules.note(
                path,
                "has no effect: without `subdomain` the pod has no full name",
            );
        }
    }
}

/// `validateDNSPolicy` and `validatePodDNSConfig`.
fn check_dns(spec: &PodSpec, rules: &mut Rules<'_>) {
    rules.one_of(
        "spec.dnsPolicy",
        spec.dns_policy.as_ref(),
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
    );
    let is_none = spec.dns_policy.as_deref() == Some("None");
    let Some(config) = &spec.dns_config else {
        if is_none {
            rules.error("spec.dnsConfig", "is required when dnsPolicy is None");
        }
        return;
    };
    let path = "spec.dnsConfig.nameservers";
    let nameservers = config.nameservers.as_deref().unwrap_or_default();
    if is_none && nameservers.is_empty() {
        let message = "is required when dnsPolicy is None: at least one nameserver";
        rules.error(path, message);
    }
    if nameservers.len() > MAX_NAMESERVERS {
        let message = format!("must not have more than {MAX_NAMESERVERS} nameservers");
        rules.error(path, message);
    }
    for (index, address) in nameservers.iter().enumerate() {
        if address.parse::<IpAddr>().is_err() {
            rules.error(&format!("{path}[{index}]"), "must be an IP address");
        }
    }
    let path = "spec.dnsConfig.searches";
    let searches = config.searches.as_deref().unwrap_or_default();
    if searches.len() > MAX_SEARCHES {
        let message = format!("must not have more than {MAX_SEARCHES} search paths");
        rules.error(path, message);
    }
    if searches.join(" ").len() > MAX_SEARCH_CHARS {
        let message = format!(
            "must not have more than {MAX_SEARCH_CHARS} characters (including spaces) in the search list"
        );
        rules.error(path, message);
    }
    for (index, search) in searches.iter().enumerate() {
        if !is_search(search) {
            let message = "must be `.` or a name such as _tcp.example.com: lower case alphanumeric \
                           characters, '_', '-' and '.'";
            rules.error(&format!("{path}[{index}]"), message);
        }
    }
    for (index, option) in config.options.iter().flatten().enumerate() {
        let path = format!("spec.dnsConfig.options[{index}]");
        if option.name.as_deref().is_none_or(str::is_empty) {
            rules.error(&format!("{path}.name"), "is required");
        }
        for text in option.name.iter().chain(&option.value) {
            if text.contains(char::is_control) {
                rules.error(&path, "contains a control character");
            }
        }
    }
}

/// `IsDNS1123SubdomainWithUnderscore`, with a dot at its end or not, or the root alone.
fn is_search(text: &str) -> bool {
    if text == "." {
        return true;
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253
        && text.split('.').all(|label| {
            let label = label.strip_prefix('_').unwrap_or(label);
            // An underscore counts as a letter but at the ends.
            let edges = !label.starts_with('_') && !label.ends_with('_');
            let plain = label.replace('_', "-");
            let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            edges
                && edge(plain.chars().next())
                && edge(plain.chars().last())
                && plain.chars().all(inner)
        })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_specs, checked, read_spec};
    use super::is_search;
    use crate::manifest::Severity;

    const REST: &str = "containers: [{name: a, image: i}]";

    #[test]
    fn names_follow_the_rules_of_the_api_server() {
        const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
        let long = "a".repeat(65);
        for (fields, error) in [
            ("subdomain: nginx", String::new()),
            ("subdomain: ''", String::new()),
            ("subdomain: a.b", format!("spec.subdomain: {LABEL}")),
            ("hostname: A", format!("spec.hostname: {LABEL}")),
            ("hostnameOverride: a.example.com", String::new()),
            (
                &format!("hostnameOverride: {long}"),
                "spec.hostnameOverride: must be no more than 64 characters".to_owned(),
            ),
            (
                "hostnameOverride: a_b",
                "spec.hostnameOverride: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character".to_owned(),
            ),
            (
                "hostnameOverride: a, hostNetwork: true",
                "spec.hostnameOverride: cannot be set when hostNetwork is true".to_owned(),
            ),
            (
                "hostnameOverride: a, setHostnameAsFQDN: true",
                "spec.hostnameOverride: cannot be set when setHostnameAsFQDN is true".to_owned(),
            ),
        ] {
            assert_specs(&[(&format!("{fields}, {REST}"), &error)]);
        }
    }

    #[test]
    fn a_full_host_name_that_cannot_be_is_told() {
        for (fields, count) in [
            ("setHostnameAsFQDN: true", 1),
            ("setHostnameAsFQDN: true, subdomain: s", 0),
            (
                "setHostnameAsFQDN: true, subdomain: s, hostNetwork: true",
                1,
            ),
            ("setHostnameAsFQDN: false", 0),
        ] {
            let manifest = read_spec(&format!("{fields}, {REST}"));
            let notes = manifest.problems.iter().filter(|problem| {
                problem.severity == Severity::Note && problem.path == "spec.setHostnameAsFQDN"
            });
            assert_eq!(notes.count(), count, "{fields}");
        }
    }

    #[test]
    fn the_resolver_follows_the_rules_of_the_api_server() {
        let many = vec!["a"; 33].join(", ");
        let wide = vec!["a".repeat(250); 9].join(", ");
        for (fields, error) in [
            ("dnsPolicy: Default", ""),
            ("dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.1]}", ""),
            (
                "dnsPolicy: Some",
                "spec.dnsPolicy: `Some` is not one of ClusterFirst, ClusterFirstWithHostNet, Default, None",
            ),
            (
                "dnsPolicy: None",
                "spec.dnsConfig: is required when dnsPolicy is None",
            ),
            (
                "dnsPolicy: None, dnsConfig: {searches: [a]}",
                "spec.dnsConfig.nameservers: is required when dnsPolicy is None: at least one nameserver",
            ),
            (
                "dnsConfig: {nameservers: [192.0.2.1, 192.0.2.2, 192.0.2.3, 'fd00::1']}",
                "spec.dnsConfig.nameservers: must not have more than 3 nameservers",
            ),
            (
                "dnsConfig: {nameservers: [dns.example.com]}",
                "spec.dnsConfig.nameservers[0]: must be an IP address",
            ),
            (
                &format!("dnsConfig: {{searches: [{many}]}}"),
                "spec.dnsConfig.searches: must not have more than 32 search paths",
            ),
            (
                &format!("dnsConfig: {{searches: [{wide}]}}"),
                "spec.dnsConfig.searches: must not have more than 2048 characters (including spaces) in the search list",
            ),
            (
                "dnsConfig: {searches: [A]}",
                "spec.dnsConfig.searches[0]: must be `.` or a name such as _tcp.example.com: lower case alphanumeric characters, '_', '-' and '.'",
            ),
            (
                "dnsConfig: {options: [{value: '1'}]}",
                "spec.dnsConfig.options[0].name: is required",
            ),
            (
                r#"dnsConfig: {options: [{name: "a\nnameserver 192.0.2.1"}]}"#,
                "spec.dnsConfig.options[0]: contains a control character",
            ),
        ] {
            assert_specs(&[(&format!("{fields}, {REST}"), error)]);
        }
    }

    #[test]
    fn search_paths_may_have_underscores() {
        for good in [".", "a", "a.b.", "_tcp.a", "a_b", "a--b", "_sip._tcp.x1"] {
            assert!(is_search(good), "{good}");
        }
        for bad in ["", "..", "a..b", "-a", "a-", "a_", "__a", "_", "A", "a b"] {
            assert!(!is_search(bad), "{bad}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_api_server() {
        let spec = checked(REST);
        assert_eq!(spec.dns_policy.as_deref(), Some("ClusterFirst"));
        assert_eq!(spec.enable_service_links, Some(true));
    }
}
