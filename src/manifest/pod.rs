//! The rules for a Pod (validation.go `ValidatePod`), as far as its fields work here.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde_json::Value;

use super::problem::{Positions, Problem, Severity};
use super::{CheckedPod, PodName, defaults, kinds, parse_quantity};
use crate::names::{check_dns_label, check_dns_subdomain};

/// The largest id the API takes (`runAsUser` is an int64, checked as a positive int32).
const MAX_ID: i64 = 2_147_483_647;

struct Rules<'a> {
    places: &'a Positions,
    problems: &'a mut Vec<Problem>,
}

impl Rules<'_> {
    fn error(&mut self, path: &str, message: impl Into<String>) {
        self.problems
            .push(self.places.problem(Severity::Error, path, message, None));
    }

    fn error_hint(&mut self, path: &str, message: impl Into<String>, hint: impl Into<String>) {
        let hint = Some(hint.into());
        self.problems
            .push(self.places.problem(Severity::Error, path, message, hint));
    }

    fn note(&mut self, path: &str, message: impl Into<String>) {
        self.problems
            .push(self.places.problem(Severity::Note, path, message, None));
    }

    fn one_of(&mut self, path: &str, value: Option<&String>, allowed: &[&str]) {
        let Some(value) = value else { return };
        if !allowed.contains(&value.as_str()) {
            let message = format!(
                "`{}` is not one of {}",
                value.escape_debug(),
                allowed.join(", ")
            );
            self.error(path, message);
        }
    }

    fn id(&mut self, path: &str, value: Option<i64>) {
        if value.is_some_and(|id| !(0..=MAX_ID).contains(&id)) {
            self.error(path, format!("must be between 0 and {MAX_ID}"));
        }
    }

    fn plain_text(&mut self, path: &str, text: &str) {
        if text.contains('\0') {
            self.error(path, "contains a NUL byte");
        }
    }
}

pub(super) fn check(
    value: Value,
    places: Positions,
    folder: Option<&PathBuf>,
    problems: &mut Vec<Problem>,
) -> Option<CheckedPod> {
    let metadata = value.get("metadata").cloned().unwrap_or_default();
    let (name, namespace) = kinds::names(&metadata, &places, problems);
    let text = |field: &str| {
        metadata
            .get(field)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let generated = text("generateName");
    let mut rules = Rules {
        places: &places,
        problems,
    };
    if text("name").is_none() && generated.is_none() {
        rules.error("metadata.name", "is required");
    }
    if let Some(base) = generated
        && let Err(error) = check_dns_subdomain(&format!("{base}x"))
    {
        rules.error("metadata.generateName", error.rule);
    }
    let mut pod: Pod = match serde_json::from_value(value) {
        Ok(pod) => pod,
        Err(error) => {
            rules.error("", error.to_string());
            return None;
        }
    };
    let Some(spec) = pod.spec.as_mut() else {
        rules.error("spec", "is required");
        return None;
    };
    defaults::apply(spec);
    check_spec(spec, &mut rules);
    // What podrun does not look at must not make two equal Pods differ.
    spec.enable_service_links = None;
    let name = match (name, generated) {
        (Some(name), _) => PodName::Given(name),
        (None, Some(base)) => PodName::Generated(base.to_owned()),
        (None, None) => return None,
    };
    Some(CheckedPod {
        name,
        namespace,
        pod,
        folder: folder.cloned(),
        positions: places,
    })
}

fn check_spec(spec: &PodSpec, rules: &mut Rules<'_>) {
    if spec.containers.is_empty() {
        rules.error("spec.containers", "is required: at least one container");
    }
    rules.one_of(
        "spec.restartPolicy",
        spec.restart_policy.as_ref(),
        &["Always", "OnFailure", "Never"],
    );
    if spec
        .termination_grace_period_seconds
        .is_some_and(|seconds| seconds < 0)
    {
        rules.error("spec.terminationGracePeriodSeconds", "must not be negative");
    }
    check_dns(spec, rules);
    if let Some(hostname) = spec.hostname.as_deref().filter(|name| !name.is_empty())
        && let Err(error) = check_dns_label(hostname)
    {
        rules.error("spec.hostname", error.rule);
    }
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        rules.error(
            "spec.shareProcessNamespace",
            "cannot be true when hostPID is true",
        );
    }
    if let Some(os) = &spec.os
        && os.name != "linux"
    {
        rules.error("spec.os.name", "only linux runs here");
    }
    if let Some(security) = &spec.security_context {
        rules.id("spec.securityContext.runAsUser", security.run_as_user);
        rules.id("spec.securityContext.runAsGroup", security.run_as_group);
    }
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
    check_volumes(spec, rules);
    let mut names = HashSet::new();
    let mut host_ports = HashSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let path = format!("spec.containers[{index}]");
        if container.name.is_empty() {
            rules.error(&format!("{path}.name"), "is required");
        } else if let Err(error) = check_dns_label(&container.name) {
            rules.error(&format!("{path}.name"), error.rule);
        } else if !names.insert(container.name.as_str()) {
            rules.error(
                &format!("{path}.name"),
                format!("another container is named `{}`", container.name),
            );
        }
        check_container(&path, container, spec, rules);
        check_ports(&path, container, spec, &mut host_ports, rules);
    }
}

fn check_dns(spec: &PodSpec, rules: &mut Rules<'_>) {
    let path = "spec.dnsPolicy";
    match spec.dns_policy.as_deref() {
        None | Some("Default") => {}
        Some("ClusterFirst" | "ClusterFirstWithHostNet") => {
            rules.note(
                path,
                "there is no cluster DNS yet: the machine's resolvers are used",
            );
        }
        Some("None") => rules.error(path, "`None` is not supported yet"),
        Some(_) => rules.one_of(
            path,
            spec.dns_policy.as_ref(),
            &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
        ),
    }
}

fn check_volumes(spec: &PodSpec, rules: &mut Rules<'_>) {
    let mut names = HashSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = format!("spec.volumes[{index}]");
        if volume.name.is_empty() {
            rules.error(&format!("{path}.name"), "is required");
        } else if let Err(error) = check_dns_label(&volume.name) {
            rules.error(&format!("{path}.name"), error.rule);
        } else if !names.insert(volume.name.as_str()) {
            rules.error(
                &format!("{path}.name"),
                format!("another volume is named `{}`", volume.name),
            );
        }
        if volume.empty_dir.is_some() && volume.host_path.is_some() {
            rules.error(&path, "has more than one source");
        }
        if let Some(empty) = &volume.empty_dir {
            match empty.medium.as_deref() {
                None | Some("" | "Memory") => {}
                Some(medium) if medium.starts_with("HugePages") => {
                    rules.error(
                        &format!("{path}.emptyDir.medium"),
                        "HugePages is not supported yet",
                    );
                }
                Some(_) => rules.one_of(
                    &format!("{path}.emptyDir.medium"),
                    empty.medium.as_ref(),
                    &["", "Memory", "HugePages"],
                ),
            }
            if let Some(Err(message)) = empty.size_limit.as_ref().map(|q| parse_quantity(&q.0)) {
                rules.error(&format!("{path}.emptyDir.sizeLimit"), message);
            }
        }
        if let Some(host) = &volume.host_path {
            if host.path.is_empty() {
                rules.error(&format!("{path}.hostPath.path"), "is required");
            }
            rules.plain_text(&format!("{path}.hostPath.path"), &host.path);
            rules.one_of(
                &format!("{path}.hostPath.type"),
                host.type_.as_ref(),
                &[
                    "",
                    "DirectoryOrCreate",
                    "Directory",
                    "FileOrCreate",
                    "File",
                    "Socket",
                    "CharDevice",
                    "BlockDevice",
                ],
            );
        }
    }
}

fn check_container(path: &str, container: &Container, spec: &PodSpec, rules: &mut Rules<'_>) {
    match container.image.as_deref() {
        None | Some("") => rules.error(&format!("{path}.image"), "is required"),
        Some(image) if image.trim() != image => {
            rules.error(&format!("{path}.image"), "has blanks around it");
        }
        Some(_) => {}
    }
    rules.one_of(
        &format!("{path}.imagePullPolicy"),
        container.image_pull_policy.as_ref(),
        &["Always", "IfNotPresent", "Never"],
    );
    for (field, list) in [("command", &container.command), ("args", &container.args)] {
        for (index, text) in list.iter().flatten().enumerate() {
            rules.plain_text(&format!("{path}.{field}[{index}]"), text);
        }
    }
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let path = format!("{path}.env[{index}]");
        let printable = |c: char| (' '..='~').contains(&c) && c != '=';
        if variable.name.is_empty() {
            rules.error(&format!("{path}.name"), "is required");
        } else if !variable.name.chars().all(printable) {
            rules.error(
                &format!("{path}.name"),
                "must consist of printable ASCII characters other than '='",
            );
        }
        rules.plain_text(
            &format!("{path}.value"),
            variable.value.as_deref().unwrap_or_default(),
        );
    }
    if let Some(security) = &container.security_context {
        rules.id(
            &format!("{path}.securityContext.runAsUser"),
            security.run_as_user,
        );
        rules.id(
            &format!("{path}.securityContext.runAsGroup"),
            security.run_as_group,
        );
        if security.allow_privilege_escalation == Some(false) {
            rules.error(
                &format!("{path}.securityContext.allowPrivilegeEscalation"),
                "`false` is not supported yet",
            );
        }
    }
    check_mounts(path, container, spec, rules);
}

fn check_mounts(path: &str, container: &Container, spec: &PodSpec, rules: &mut Rules<'_>) {
    let mut paths = HashSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        let known = spec
            .volumes
            .iter()
            .flatten()
            .any(|volume| volume.name == mount.name);
        if !known {
            let nearest = spec
                .volumes
                .iter()
                .flatten()
                .map(|volume| volume.name.as_str())
                .find(|name| strsim::jaro_winkler(name, &mount.name) >= 0.8);
            let message = format!("the pod has no volume `{}`", mount.name.escape_debug());
            match nearest {
                Some(name) => {
                    rules.error_hint(
                        &format!("{path}.name"),
                        message,
                        format!("did you mean `{name}`?"),
                    );
                }
                None => rules.error(&format!("{path}.name"), message),
            }
        }
        let at = format!("{path}.mountPath");
        if mount.mount_path.is_empty() {
            rules.error(&at, "is required");
            continue;
        }
        rules.plain_text(&at, &mount.mount_path);
        if mount.mount_path.contains(':') {
            rules.error(&at, "must not contain ':'");
        }
        let clean = clean(&mount.mount_path);
        // The kernel's file systems are there; a mount over them would hide what guards the host
        // or send the runtime's own writes elsewhere (CVE-2025-52881).
        let reserved = clean
            .first()
            .is_none_or(|first| matches!(first.as_str(), "proc" | "sys" | "dev"));
        if reserved {
            let message = format!("nothing can be mounted at /{}", clean.join("/"));
            rules.error_hint(
                &at,
                message,
                "/, /proc, /sys and /dev belong to the container itself",
            );
        }
        if !paths.insert(clean) {
            rules.error(&at, "another volume is mounted there");
        }
    }
}

/// The names of a path, without `.`, `..` and doubled slashes.
fn clean(path: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name.to_owned()),
        }
    }
    names
}

fn check_ports(
    path: &str,
    container: &Container,
    spec: &PodSpec,
    host_ports: &mut HashSet<(String, i32, String)>,
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
                rules.error(
                    &format!("{path}.name"),
                    "must have at most 15 lower case letters, digits or '-', and at least one letter",
                );
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
fn is_service_name(name: &str) -> bool {
    name.len() <= 15
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}
