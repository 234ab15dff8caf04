//! The plan of a Pod.

mod container;
mod life;
mod ports;
mod volume;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::{
    BackOff, EtcFiles, Network, PLAN_VERSION, PodPlan, PresentImage, PublishedPort, RestartPolicy,
    Role, files,
};
use crate::names::{Namespace, ObjectName, PodUid};

/// What the machine says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The machine's name.
    pub hostname: String,
    /// The machine's address.
    pub address: IpAddr,
    /// Its `/etc/hosts`.
    pub hosts: String,
    /// A resolver configuration that works in a pod.
    pub resolv_conf: String,
    /// The address this pod gets.
    pub pod_address: Ipv4Addr,
    /// Prefix length of the pod network.
    pub prefix_len: u8,
    /// How many ids exist in the pod, when it is not all of them.
    pub id_count: Option<u32>,
}

/// What a plan is made of.
#[derive(Debug)]
pub struct Input<'a> {
    /// The Pod, checked, with its defaults.
    pub pod: &'a Pod,
    /// Its namespace.
    pub namespace: &'a Namespace,
    /// Its name.
    pub name: &'a ObjectName,
    /// Its new uid.
    pub uid: &'a PodUid,
    /// The folder of its manifest, for relative host paths.
    pub folder: Option<&'a Path>,
    /// The images, by the reference as it is written.
    pub images: &'a BTreeMap<String, PresentImage>,
    /// The machine.
    pub host: &'a HostFacts,
    /// `--publish`.
    pub publish: &'a [PublishedPort],
    /// Restart delays.
    pub back_off: BackOff,
}

/// Something that keeps a Pod from running here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanProblem {
    /// The field.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would work.
    pub hint: Option<String>,
}

/// The containers in the order of the plan: where each is written, and its part in the pod.
fn containers(spec: &PodSpec) -> impl Iterator<Item = (String, Role, &Container)> {
    let inits = spec.init_containers.iter().flatten().enumerate();
    let inits = inits.map(|(index, container)| {
        let role = match container.restart_policy.as_deref() {
            Some("Always") => Role::Sidecar,
            Some(_) | None => Role::Init,
        };
        (format!("spec.initContainers[{index}]"), role, container)
    });
    let mains = spec.containers.iter().enumerate();
    inits.chain(mains.map(|(index, container)| {
        let path = format!("spec.containers[{index}]");
        (path, Role::Main, container)
    }))
}

fn problem(path: impl Into<String>, message: impl Into<String>) -> PlanProblem {
    PlanProblem {
        path: path.into(),
        message: message.into(),
        hint: None,
    }
}

/// Makes the plan.
///
/// # Errors
/// Everything that keeps the Pod from running on this machine.
pub fn build(input: &Input<'_>) -> Result<PodPlan, Vec<PlanProblem>> {
    let Some(spec) = &input.pod.spec else {
        return Err(vec![problem("spec", "is required")]);
    };
    let mut problems = Vec::new();
    let host_network = spec.host_network == Some(true);
    let hostname = if host_network {
        input.host.hostname.clone()
    } else {
        pod_hostname(spec.hostname.as_deref().unwrap_or(input.name.as_str()))
    };
    let network = if host_network {
        Network::Host {
            address: input.host.address,
        }
    } else {
        Network::Pod {
            address: input.host.pod_address,
            prefix_len: input.host.prefix_len,
        }
    };
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    let hosts = if host_network {
        files::host_network_hosts(&input.host.hosts, aliases)
    } else {
        files::hosts(input.host.pod_address, &hostname, None, aliases)
    };
    let volumes = spec
        .volumes
        .iter()
        .flatten()
        .enumerate()
        .filter_map(|(index, volume)| volume::plan(index, volume, input.folder, &mut problems))
        .collect();
    let address = match network {
        Network::Host { address } => address,
        Network::Pod { address, .. } => IpAddr::V4(address),
    };
    let surroundings = container::Surroundings {
        spec,
        input,
        hostname: &hostname,
        address: &address.to_string(),
    };
    let containers = containers(spec)
        .filter_map(|(path, role, container)| {
            container::plan(&path, role, container, &surroundings, &mut problems)
        })
        .collect();
    let ports = if host_network {
        Vec::new()
    } else {
        ports::published(spec, input.publish, &mut problems)
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let grace = spec.termination_grace_period_seconds.unwrap_or(30);
    Ok(PodPlan {
        version: PLAN_VERSION,
        namespace: input.namespace.clone(),
        name: input.name.clone(),
        uid: input.uid.clone(),
        network,
        host_pid: spec.host_pid == Some(true),
        host_ipc: spec.host_ipc == Some(true),
        share_process_namespace: spec.share_process_namespace == Some(true),
        files: EtcFiles {
            hosts,
            resolv_conf: files::resolv_conf(&input.host.resolv_conf),
            hostname: format!("{hostname}\n"),
        },
        hostname,
        volumes,
        containers,
        restart_policy: spec
            .restart_policy
            .as_deref()
            .map_or(RestartPolicy::Always, restart_policy),
        termination_grace_period_seconds: u64::try_from(grace).unwrap_or(0),
        active_deadline_seconds: spec
            .active_deadline_seconds
            .and_then(|seconds| u64::try_from(seconds).ok()),
        back_off: input.back_off,
        ports,
    })
}

fn restart_policy(word: &str) -> RestartPolicy {
    match word {
        "Never" => RestartPolicy::Never,
        "OnFailure" => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

/// The kernel's bound for a host name is 64, DNS' for a label 63; what a cut leaves at the end
/// must still be a name (`util.go` `TruncatePodHostnameIfNeeded`).
fn pod_hostname(name: &str) -> String {
    name.chars()
        .take(63)
        .collect::<String>()
        .trim_end_matches(['-', '.'])
        .to_owned()
}
