//! The plan of a Pod.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod, PodSpec, Volume};

use super::{
    BackOff, Console, ContainerPlan, ContainerRestart, EtcFiles, Hooks, HostPathType, MountPlan,
    Network, PLAN_VERSION, PodPlan, PresentImage, Probes, Protocol, PublishedPort, RestartPolicy,
    Role, TerminationMessage, UserPlan, VolumePlan, VolumeSource, command, files, signal,
};
use crate::manifest::parse_quantity;
use crate::names::{ContainerName, Namespace, ObjectName, PodUid, VolumeName};

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
        .filter_map(|(index, volume)| plan_volume(index, volume, input.folder, &mut problems))
        .collect();
    let containers = spec
        .containers
        .iter()
        .enumerate()
        .filter_map(|(index, container)| {
            plan_container(index, container, spec, input, &hostname, &mut problems)
        })
        .collect();
    let ports = if host_network {
        Vec::new()
    } else {
        published(spec, input.publish, &mut problems)
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
        restart_policy: match spec.restart_policy.as_deref() {
            Some("Never") => RestartPolicy::Never,
            Some("OnFailure") => RestartPolicy::OnFailure,
            Some(_) | None => RestartPolicy::Always,
        },
        termination_grace_period_seconds: u64::try_from(grace).unwrap_or(0),
        active_deadline_seconds: None,
        back_off: input.back_off,
        ports,
    })
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

fn plan_volume(
    index: usize,
    volume: &Volume,
    folder: Option<&Path>,
    problems: &mut Vec<PlanProblem>,
) -> Option<VolumePlan> {
    let path = format!("spec.volumes[{index}]");
    let name = match VolumeName::new(volume.name.as_str()) {
        Ok(name) => name,
        Err(error) => {
            problems.push(problem(format!("{path}.name"), error.rule));
            return None;
        }
    };
    let source = if let Some(host) = &volume.host_path {
        let wanted = PathBuf::from(&host.path);
        let absolute = if wanted.is_absolute() {
            clean(&wanted)
        } else if let Some(folder) = folder {
            clean(&folder.join(wanted))
        } else {
            problems.push(PlanProblem {
                path: format!("{path}.hostPath.path"),
                message: "is relative, and this manifest did not come from a file".to_owned(),
                hint: Some("write an absolute path".to_owned()),
            });
            return None;
        };
        let kind = match host.type_.as_deref().unwrap_or_default() {
            "DirectoryOrCreate" => HostPathType::DirectoryOrCreate,
            "Directory" => HostPathType::Directory,
            "FileOrCreate" => HostPathType::FileOrCreate,
            "File" => HostPathType::File,
            "Socket" => HostPathType::Socket,
            "CharDevice" => HostPathType::CharDevice,
            "BlockDevice" => HostPathType::BlockDevice,
            _ => HostPathType::Unset,
        };
        VolumeSource::HostPath {
            path: absolute,
            kind,
        }
    } else {
        let empty = volume.empty_dir.clone().unwrap_or_default();
        let size_limit = match empty
            .size_limit
            .as_ref()
            .map(|limit| parse_quantity(&limit.0))
        {
            None => None,
            Some(Ok(bytes)) => Some(bytes),
            Some(Err(message)) => {
                problems.push(problem(format!("{path}.emptyDir.sizeLimit"), message));
                return None;
            }
        };
        if empty.medium.as_deref() == Some("Memory") {
            VolumeSource::EmptyDirMemory { size_limit }
        } else {
            VolumeSource::EmptyDirDisk { size_limit }
        }
    };
    Some(VolumePlan { name, source })
}

/// Removes `.` and `..` by the text, as a shell's `cd -L` does.
fn clean(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut result = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => {
                result.pop();
            }
            Component::Normal(name) => result.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    result
}

fn clean_text(path: &str) -> String {
    let rooted = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    clean(Path::new(&rooted)).to_string_lossy().into_owned()
}

fn plan_container(
    index: usize,
    container: &Container,
    spec: &PodSpec,
    input: &Input<'_>,
    hostname: &str,
    problems: &mut Vec<PlanProblem>,
) -> Option<ContainerPlan> {
    let path = format!("spec.containers[{index}]");
    let known = problems.len();
    let name = match ContainerName::new(container.name.as_str()) {
        Ok(name) => name,
        Err(error) => {
            problems.push(problem(format!("{path}.name"), error.rule));
            return None;
        }
    };
    let reference = container.image.clone().unwrap_or_default();
    let Some(image) = input.images.get(&reference) else {
        problems.push(problem(
            format!("{path}.image"),
            format!("`{reference}` is not present"),
        ));
        return None;
    };

    let declared = command::declared(
        container
            .env
            .iter()
            .flatten()
            .map(|var| (var.name.as_str(), var.value.as_deref().unwrap_or_default())),
    );
    let argv = command::argv(
        &image.config,
        container.command.as_deref(),
        container.args.as_deref(),
        &declared,
    );
    if argv.first().is_none_or(String::is_empty) {
        problems.push(PlanProblem {
            path: format!("{path}.command"),
            message: format!(
                "no command: image `{reference}` has neither an entrypoint nor a command"
            ),
            hint: Some("write `command: [...]`".to_owned()),
        });
    }
    let working_dir = container
        .working_dir
        .as_deref()
        .filter(|dir| !dir.is_empty())
        .or(Some(image.config.working_dir.as_str()).filter(|dir| !dir.is_empty()))
        .unwrap_or("/");
    if !working_dir.starts_with('/') || working_dir.contains('\0') {
        problems.push(problem(
            format!("{path}.workingDir"),
            format!("`{}` is not an absolute path", working_dir.escape_debug()),
        ));
    }
    let stop_signal = match image.config.stop_signal.as_str() {
        "" => Some(15),
        text => signal::parse(text),
    };
    let Some(stop_signal) = stop_signal else {
        problems.push(problem(
            format!("{path}.image"),
            format!(
                "its stop signal `{}` is not a signal",
                image.config.stop_signal.escape_debug()
            ),
        ));
        return None;
    };
    let user = plan_user(&path, container, spec, image, input.host.id_count, problems);
    let mut mounts: Vec<MountPlan> = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let Ok(volume) = VolumeName::new(mount.name.as_str()) else {
            continue;
        };
        mounts.push(MountPlan {
            volume,
            mount_path: clean_text(&mount.mount_path),
            read_only: mount.read_only == Some(true),
        });
    }
    // A mount at /a is made before the one at /a/b.
    mounts.sort_by_key(|mount| mount.mount_path.matches('/').count());
    (problems.len() == known).then(|| ContainerPlan {
        name,
        image: reference,
        image_id: image.image_id.clone(),
        root: image.root.clone(),
        read_only_root: container
            .security_context
            .as_ref()
            .and_then(|security| security.read_only_root_filesystem)
            == Some(true),
        argv,
        env: command::environment(&image.config, hostname, &declared),
        working_dir: clean_text(working_dir),
        user,
        mounts,
        stop_signal,
        role: Role::Main,
        restart: ContainerRestart::default(),
        probes: Probes::default(),
        hooks: Hooks::default(),
        termination_message: TerminationMessage::default(),
        console: Console::default(),
    })
}

fn plan_user(
    path: &str,
    container: &Container,
    spec: &PodSpec,
    image: &PresentImage,
    id_count: Option<u32>,
    problems: &mut Vec<PlanProblem>,
) -> UserPlan {
    let own = container.security_context.as_ref();
    let pods = spec.security_context.as_ref();
    let mut id = |field: &str, own: Option<i64>, pods: Option<i64>| {
        let at = if own.is_some() {
            format!("{path}.securityContext.{field}")
        } else {
            format!("spec.securityContext.{field}")
        };
        let id = own.or(pods)?;
        let Ok(id) = u32::try_from(id) else {
            problems.push(problem(at, "is not an id"));
            return None;
        };
        if let Some(count) = id_count.filter(|count| id >= *count) {
            let last = count.saturating_sub(1);
            problems.push(PlanProblem {
                path: at,
                message: format!(
                    "{id} does not exist for this user, whose pods have the ids 0 to {last}"
                ),
                hint: Some("`podrun doctor` says how to get a larger range".to_owned()),
            });
        }
        Some(id)
    };
    UserPlan {
        image_user: image.config.user.clone(),
        run_as_user: id(
            "runAsUser",
            own.and_then(|s| s.run_as_user),
            pods.and_then(|s| s.run_as_user),
        ),
        run_as_group: id(
            "runAsGroup",
            own.and_then(|s| s.run_as_group),
            pods.and_then(|s| s.run_as_group),
        ),
    }
}

fn published(
    spec: &PodSpec,
    publish: &[PublishedPort],
    problems: &mut Vec<PlanProblem>,
) -> Vec<PublishedPort> {
    let mut ports: Vec<PublishedPort> = Vec::new();
    for (index, container) in spec.containers.iter().enumerate() {
        for (number, port) in container.ports.iter().flatten().enumerate() {
            let path = format!("spec.containers[{index}].ports[{number}]");
            match host_port(port) {
                Ok(None) => {}
                Ok(Some(port)) => add_port(&mut ports, port, &path, problems),
                Err(message) => problems.push(problem(path, message)),
            }
        }
    }
    for port in publish {
        add_port(&mut ports, *port, "--publish", problems);
    }
    ports
}

fn add_port(
    ports: &mut Vec<PublishedPort>,
    port: PublishedPort,
    path: &str,
    problems: &mut Vec<PlanProblem>,
) {
    let same = |known: &&PublishedPort| {
        (known.host_ip, known.host_port, known.protocol)
            == (port.host_ip, port.host_port, port.protocol)
            && port.host_port != 0
    };
    match ports.iter().find(same) {
        None => ports.push(port),
        Some(known) if *known == port => {}
        Some(_) => {
            problems.push(problem(
                path,
                format!("host port {} is published twice", port.host_port),
            ));
        }
    }
}

fn host_port(port: &ContainerPort) -> Result<Option<PublishedPort>, String> {
    let Some(host) = port.host_port.filter(|host| *host != 0) else {
        return Ok(None);
    };
    let number = |value: i32| u16::try_from(value).map_err(|_| format!("{value} is not a port"));
    let host_ip = match port.host_ip.as_deref().filter(|ip| !ip.is_empty()) {
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(ip) => ip
            .parse()
            .map_err(|_| format!("hostIP `{ip}` is not an address"))?,
    };
    Ok(Some(PublishedPort {
        host_ip,
        host_port: number(host)?,
        container_port: number(port.container_port)?,
        protocol: match port.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("TCP") | None => Protocol::Tcp,
            Some(other) => {
                return Err(format!(
                    "host ports with protocol {other} are not supported"
                ));
            }
        },
    }))
}
