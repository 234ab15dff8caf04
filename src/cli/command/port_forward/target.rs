//! Which pod `podrun port-forward` leads to, and to which of its ports.

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::words::{Remote, Wanted};
use crate::cli::command::get;
use crate::cli::command::kinds::{self, Kind};
use crate::cli::failure::{FAILED, Failure, NOT_FOUND};
use crate::cli::input;
use crate::cli::options::Global;
use crate::controller::{self, Endpoints, Given};
use crate::names::{ObjectKind, ObjectName};
use crate::plan::Protocol;
use crate::store::{PodRecord, Store};

/// A pod and ports of it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) pod: PodRecord,
    pub(super) ports: Vec<Pair>,
}

/// A port here, 0 for any that is free, and one of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) local: u16,
    pub(super) remote: u16,
}

/// What `text` names: a pod, or a pod of a Service.
///
/// # Errors
/// A usage error (2), no such pod, Service or port (4), a port or Service that leads nowhere (1).
pub(super) fn find(
    global: &Global,
    store: &Store,
    text: &str,
    wanted: &[Wanted],
) -> Result<Target, Failure> {
    let (word, name) = text.split_once('/').unwrap_or(("pod", text));
    match kinds::kind(word)? {
        Kind::Pod => {
            let pod = get::find_pod(global, store, text)?;
            let ports = pairs(wanted, |remote| {
                let number = port_of_pod(&pod, remote)?;
                Ok((number, number))
            })?;
            Ok(Target { pod, ports })
        }
        Kind::Object(ObjectKind::Service) => of_service(global, store, name, wanted),
        Kind::Object(_) => Err(Failure::with_code(
            2,
            format!("`{}` is neither a pod nor a service", text.escape_debug()),
        )
        .hinted("name a pod: `podrun ps` lists them")),
    }
}

/// `resolve` says by which number a port is known, and which one of the pod it is.
fn pairs(
    wanted: &[Wanted],
    resolve: impl Fn(&Remote) -> Result<(u16, u16), Failure>,
) -> Result<Vec<Pair>, Failure> {
    let pair = |wanted: &Wanted| {
        let (known_as, remote) = resolve(&wanted.remote)?;
        let local = wanted.local.unwrap_or(known_as);
        Ok(Pair { local, remote })
    };
    wanted.iter().map(pair).collect()
}

fn port_of_pod(pod: &PodRecord, remote: &Remote) -> Result<u16, Failure> {
    let name = &pod.record.name;
    let containers = get::all_containers(pod);
    let declared = || {
        containers
            .iter()
            .flat_map(|container| container.ports.iter().flatten())
    };
    let is_tcp = |protocol: &Option<String>| protocol.as_deref().is_none_or(|it| it == "TCP");
    let fits = |number: i32, port: Option<&str>| match remote {
        Remote::Number(wanted) => number == i32::from(*wanted),
        Remote::Name(wanted) => port == Some(wanted.as_str()),
    };
    let mut fitting = declared().filter(|port| fits(port.container_port, port.name.as_deref()));
    let first = fitting.next();
    let tcp = first
        .into_iter()
        .chain(fitting)
        .find(|port| is_tcp(&port.protocol));
    match (tcp, first, remote) {
        (Some(port), _, _) => u16::try_from(port.container_port).map_err(Failure::internal),
        (None, Some(port), _) => {
            let protocol = port.protocol.as_deref().unwrap_or_default();
            Err(only_tcp(&format!("pod/{name}"), remote, protocol))
        }
        // A container may listen where it has not said so.
        (None, None, Remote::Number(number)) => Ok(*number),
        (None, None, Remote::Name(_)) => {
            let names: Vec<&str> = declared().filter_map(|it| it.name.as_deref()).collect();
            Err(no_port(&format!("pod/{name}"), remote, &names))
        }
    }
}

fn only_tcp(owner: &str, remote: &Remote, protocol: &str) -> Failure {
    Failure::with_code(
        FAILED,
        format!("port {remote} of {owner} is {protocol}: only TCP is forwarded"),
    )
}

fn no_port(owner: &str, remote: &Remote, known: &[&str]) -> Failure {
    let failure = Failure::with_code(NOT_FOUND, format!("{owner} has no port {remote}"));
    if known.is_empty() {
        failure.hinted("name the port by its number")
    } else {
        failure.hinted(format!("it has {}", known.join(", ")))
    }
}

fn of_service(
    global: &Global,
    store: &Store,
    name: &str,
    wanted: &[Wanted],
) -> Result<Target, Failure> {
    let namespace = input::namespace(global)?;
    let owner = format!("service/{}", name.escape_debug());
    let found = match ObjectName::new(name) {
        Ok(name) => store.object(ObjectKind::Service, &namespace, &name),
        Err(_) => Ok(None),
    };
    let object = found
        .map_err(Failure::internal)?
        .ok_or_else(|| Failure::with_code(NOT_FOUND, format!("{owner} not found")))?;
    let service: Service = serde_json::from_value(object.value).map_err(Failure::internal)?;
    let mut records = store.pods().map_err(Failure::internal)?;
    let pods: Vec<Pod> = records.iter().filter_map(PodRecord::pod).collect();
    let slices = store.objects(ObjectKind::EndpointSlice);
    let slices = slices.map_err(Failure::internal)?.into_iter();
    let slices: Vec<EndpointSlice> = slices
        .filter_map(|object| serde_json::from_value(object.value).ok())
        .collect();
    let given = Given {
        endpoints: &[],
        slices: &slices,
    };
    let endpoints = controller::endpoints(&service, &pods, given);
    // The first is as good as any other, and the same one for all ports.
    let chosen = endpoints.hosts.iter().enumerate().find_map(|(at, host)| {
        let target = host.target.as_ref().filter(|_| host.is_ready)?;
        let is_it = |pod: &PodRecord| {
            target.kind.as_deref() == Some("Pod")
                && target.name.as_deref() == Some(pod.record.name.as_str())
                && pod.record.namespace == namespace
        };
        Some((at, records.iter().position(is_it)?))
    });
    let Some((host, position)) = chosen else {
        return Err(
            Failure::with_code(FAILED, format!("{owner} leads to no pod that is ready"))
                .hinted(format!("see `podrun describe {owner}`")),
        );
    };
    let spec = service.spec.unwrap_or_default();
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    let ports = pairs(wanted, |remote| {
        port_of_service(&owner, &endpoints, host, is_headless, remote)
    })?;
    Ok(Target {
        pod: records.swap_remove(position),
        ports,
    })
}

/// A Service's port, and the port of the host it leads to.
fn port_of_service(
    owner: &str,
    endpoints: &Endpoints,
    host: usize,
    is_headless: bool,
    remote: &Remote,
) -> Result<(u16, u16), Failure> {
    let is_it = |port: &&controller::Port| match remote {
        Remote::Number(number) => port.port == *number,
        Remote::Name(name) => port.name == *name,
    };
    let fitting: Vec<&controller::Port> = endpoints.ports.iter().filter(is_it).collect();
    let tcp = fitting.iter().find(|port| port.protocol == Protocol::Tcp);
    let Some(port) = tcp else {
        if !fitting.is_empty() {
            return Err(only_tcp(owner, remote, "UDP"));
        }
        let known: Vec<String> = endpoints.ports.iter().map(shown).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(no_port(owner, remote, &known));
    };
    // Nothing translates the ports of a headless Service: its name is its pods' addresses.
    if is_headless {
        return Ok((port.port, port.port));
    }
    let target = port.targets.iter().find(|target| target.host == host);
    let target = target.ok_or_else(|| {
        let nowhere = format!("port {remote} of {owner} leads to no port of its pod");
        Failure::with_code(FAILED, nowhere)
    })?;
    Ok((port.port, target.port))
}

fn shown(port: &controller::Port) -> String {
    if port.name.is_empty() {
        port.port.to_string()
    } else {
        format!("{} ({})", port.port, port.name)
    }
}
