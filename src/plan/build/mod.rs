//! The plan of a Pod.

mod container;
mod env;
mod identity;
mod ids;
mod life;
mod mounts;
mod ports;
mod projection;
mod resources;
mod security;
mod service_links;
mod sub_path;
mod volume;

pub use ports::host_ports;
pub use resources::asks_for_huge_pages;

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Service};

use self::identity::Identity;
use super::{
    Addresses, AppArmor, BackOff, Claims, ContainerPlan, EtcFiles, Filter, Filters, Objects,
    PLAN_VERSION, PodPlan, PresentImage, PublishedPort, RestartPolicy, Role, VolumePlan,
};
use crate::manifest::sysctl_path;
use crate::names::{ContainerName, Namespace, ObjectName, PodUid};

/// What the machine says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The machine's name.
    pub hostname: String,
    /// The machine's addresses.
    pub addresses: Addresses,
    /// Its `/etc/hosts`.
    pub hosts: String,
    /// A resolver configuration that works in a pod.
    pub resolv_conf: String,
    /// The addresses this pod gets.
    pub pod_addresses: Addresses,
    /// Prefix length of the pod network.
    pub prefix_len: u8,
    /// The resolver that answers the cluster's names; none where there is no pod network.
    pub cluster_dns: Option<Addresses>,
    /// How many ids exist in the pod, when it is not all of them.
    pub id_count: Option<u32>,
    /// Processors.
    pub cpus: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of the disk that pods are kept on.
    pub storage: u64,
    /// Bytes that the machine has set aside for huge pages, by the bytes of such a page; nothing where
    /// no Pod asks for them.
    pub huge_pages: BTreeMap<u64, u64>,
    /// The capabilities that podrun can give, a bit a number.
    pub capabilities: u64,
    /// Its `AppArmor`.
    pub apparmor: AppArmor,
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
    /// The `ConfigMap`s and Secrets that it names, as far as they exist.
    pub objects: &'a Objects,
    /// The claims that it names, as far as they exist.
    pub claims: &'a Claims,
    /// The Services of its namespace.
    pub services: &'a [Service],
    /// The machine.
    pub host: &'a HostFacts,
    /// `--publish`.
    pub publish: &'a [PublishedPort],
    /// Restart delays.
    pub back_off: BackOff,
    /// Makes the filters of system calls.
    pub filters: &'a dyn Filters,
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
    let identity = Identity::of(input, spec).map_err(|problem| vec![problem])?;
    let resolv_conf = identity::resolv_conf(spec, input);
    if spec.host_users == Some(false) && input.host.id_count.is_some() {
        problems.push(PlanProblem {
            path: "spec.hostUsers".to_owned(),
            message: "false needs root: the image's files must be shown with the pod's own ids \
                      (idmapped mounts, mount_setattr(2)), which the kernel does for nobody else"
                .to_owned(),
            hint: Some("remove it: a user's pods are in a user namespace as they are".to_owned()),
        });
    }
    let volumes = spec
        .volumes
        .iter()
        .flatten()
        .enumerate()
        .filter_map(|(index, volume)| volume::plan(index, volume, input, &mut problems))
        .collect();
    let surroundings = container::Surroundings {
        spec,
        input,
        hostname: &identity.nodename,
        addresses: &identity::addresses(spec, input.host),
    };
    let mut containers: Vec<ContainerPlan> = containers(spec)
        .filter_map(|(path, role, container)| {
            container::plan(&path, role, container, &surroundings, &mut problems)
        })
        .collect();
    let resources = resources::plan(spec.resources.as_ref());
    resources::check_huge_pages(spec, input.host, &mut problems);
    resources::set_oom_scores(&mut containers, &resources, input.host.memory);
    let ports = if host_network {
        Vec::new()
    } else {
        ports::published(spec, input.publish, &mut problems)
    };
    let helper_filter = input.filters.helper().unwrap_or_else(|why| {
        problems.push(problem("spec", why));
        Filter::default()
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    let grace = spec.termination_grace_period_seconds.unwrap_or(30);
    let mut plan = PodPlan {
        version: PLAN_VERSION,
        namespace: input.namespace.clone(),
        name: input.name.clone(),
        uid: input.uid.clone(),
        network: identity::network(spec, input.host),
        host_pid: spec.host_pid == Some(true),
        host_ipc: spec.host_ipc == Some(true),
        own_users: spec.host_users == Some(false),
        share_process_namespace: spec.share_process_namespace == Some(true),
        files: EtcFiles {
            hosts: identity.hosts(spec, input.host),
            resolv_conf: resolv_conf.text,
            hostname: format!("{}\n", identity.nodename),
        },
        hostname: identity.nodename,
        dns_omissions: resolv_conf.omissions,
        host_addresses: input.host.addresses,
        helper_filter,
        sysctls: sysctls(spec),
        readiness_gates: spec
            .readiness_gates
            .iter()
            .flatten()
            .map(|gate| gate.condition_type.clone())
            .collect(),
        fs_group: security::fs_group(spec),
        resources,
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
    };
    volume::bound_memory(&mut plan);
    Ok(plan)
}

/// The volumes of a running pod that podrun writes, as they are to be now.
///
/// # Errors
/// What is missing for them; the pod keeps what it has then.
pub fn projected_volumes(input: &Input<'_>) -> Result<Vec<VolumePlan>, Vec<PlanProblem>> {
    let mut problems = Vec::new();
    let volumes = input.pod.spec.iter().flat_map(|spec| &spec.volumes);
    let planned = volumes
        .flatten()
        .enumerate()
        .filter(|(_, volume)| projection::is_projected(volume))
        .filter_map(|(index, volume)| volume::plan(index, volume, input, &mut problems))
        .collect();
    if problems.is_empty() {
        Ok(planned)
    } else {
        Err(problems)
    }
}

/// Makes the plan of a container that joins the running pod of `input`
/// (`spec.ephemeralContainers` of the API).
///
/// # Errors
/// Everything that keeps it from running there.
pub fn build_ephemeral(
    input: &Input<'_>,
    container: &Container,
    target: Option<ContainerName>,
) -> Result<ContainerPlan, Vec<PlanProblem>> {
    let Some(spec) = &input.pod.spec else {
        return Err(vec![problem("spec", "is required")]);
    };
    let identity = Identity::of(input, spec).map_err(|problem| vec![problem])?;
    let surroundings = container::Surroundings {
        spec,
        input,
        hostname: &identity.nodename,
        addresses: &identity::addresses(spec, input.host),
    };
    let mut problems = Vec::new();
    let path = "spec.ephemeralContainers[0]";
    let role = Role::Ephemeral;
    let planned = container::plan(path, role, container, &surroundings, &mut problems);
    match planned.filter(|_| problems.is_empty()) {
        Some(plan) => Ok(ContainerPlan { target, ..plan }),
        None => Err(problems),
    }
}

/// `securityContext.sysctls`, as paths below `/proc/sys`.
fn sysctls(spec: &PodSpec) -> Vec<(String, String)> {
    let security = spec.security_context.iter();
    let sysctls = security.flat_map(|security| security.sysctls.iter().flatten());
    sysctls
        .map(|sysctl| (sysctl_path(&sysctl.name), sysctl.value.clone()))
        .collect()
}

fn restart_policy(word: &str) -> RestartPolicy {
    match word {
        "Never" => RestartPolicy::Never,
        "OnFailure" => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::names::ObjectKind;
    use crate::plan::{ImageConfig, ObjectData, RootSource, Seccomp};

    #[derive(Debug)]
    struct NoFilters;

    impl Filters for NoFilters {
        fn helper(&self) -> Result<Filter, String> {
            Ok(Filter::default())
        }

        fn filter(&self, seccomp: &Seccomp, _: u64) -> Result<Filter, String> {
            match seccomp {
                Seccomp::Localhost(file) => Err(format!("{file}: no such profile")),
                Seccomp::Unconfined | Seccomp::RuntimeDefault => Ok(Filter::default()),
            }
        }
    }

    /// The plan of a Pod with this spec on a machine with the image `i`, at 10.0.0.7 and `fd00::7`; the
    /// machine is 192.0.2.1 and `2001:db8::1`.
    pub(super) fn plan(spec: &Value) -> Result<PodPlan, Vec<PlanProblem>> {
        plan_with_stop_signal(spec, "")
    }

    pub(super) fn plan_with_stop_signal(
        spec: &Value,
        stop_signal: &str,
    ) -> Result<PodPlan, Vec<PlanProblem>> {
        let metadata = json!({ "labels": {"app": "web"}, "annotations": {"a/b": "x\ny"} });
        let pod: Pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        let objects = Objects::from([
            (
                (ObjectKind::ConfigMap, "map".to_owned()),
                ObjectData::of(
                    ObjectKind::ConfigMap,
                    &json!({"data": {"a": "1", "b.c": "$(a)"}, "binaryData": {"bin": "/w=="}}),
                ),
            ),
            (
                (ObjectKind::Secret, "secret".to_owned()),
                ObjectData::of(
                    ObjectKind::Secret,
                    &json!({"data": {"a": "c2VjcmV0", "word": "d29yZA==", "raw": "/w=="}}),
                ),
            ),
        ]);
        let image = PresentImage {
            image_id: "sha256:00".to_owned(),
            config: ImageConfig {
                entrypoint: vec!["/run".to_owned()],
                stop_signal: stop_signal.to_owned(),
                ..ImageConfig::default()
            },
            root: RootSource::Layers(Vec::new()),
        };
        let host = HostFacts {
            hostname: "machine".to_owned(),
            addresses: Addresses {
                v4: "192.0.2.1".parse().unwrap(),
                v6: Some("2001:db8::1".parse().unwrap()),
            },
            hosts: String::new(),
            resolv_conf: String::new(),
            pod_addresses: Addresses {
                v4: "10.0.0.7".parse().unwrap(),
                v6: Some("fd00::7".parse().unwrap()),
            },
            prefix_len: 24,
            cluster_dns: None,
            id_count: None,
            cpus: 2,
            memory: 3 << 30,
            storage: 5 << 30,
            huge_pages: [(2 << 20, 16 << 20)].into(),
            capabilities: (1 << 41) - 1,
            apparmor: AppArmor::Enabled(Some(vec!["loaded".to_owned()])),
        };
        build(&Input {
            pod: &pod,
            namespace: &Namespace::new("default").unwrap(),
            name: &ObjectName::new("p").unwrap(),
            uid: &PodUid::new("01234567-89ab-4def-8123-456789abcdef").unwrap(),
            folder: None,
            images: &BTreeMap::from([("i".to_owned(), image)]),
            objects: &objects,
            claims: &Claims::new(),
            services: &services(),
            host: &host,
            publish: &[],
            back_off: BackOff::default(),
            filters: &NoFilters,
        })
    }

    /// Three Services, of which one has an address.
    fn services() -> Vec<Service> {
        let service = |name: &str, spec: Value| {
            let service = json!({"metadata": {"name": name}, "spec": spec});
            serde_json::from_value(service).unwrap()
        };
        let ports = json!([{"name": "http", "port": 80, "protocol": "TCP"}]);
        vec![
            service("headless", json!({"clusterIP": "None", "ports": ports})),
            service(
                "outside",
                json!({"type": "ExternalName", "externalName": "a"}),
            ),
            service("web", json!({"clusterIP": "10.89.0.1", "ports": ports})),
        ]
    }

    /// The plan of a container with these fields, which has the ports `web` (80) and `dns` (53).
    pub(super) fn container(mut fields: Value) -> ContainerPlan {
        fields["name"] = "a".into();
        fields["image"] = "i".into();
        fields["ports"] = json!([
            {"name": "web", "containerPort": 80},
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        ]);
        let plan = plan(&json!({"containers": [fields]})).unwrap();
        plan.containers.into_iter().next().unwrap()
    }

    #[test]
    fn containers_are_planned_in_the_order_of_their_start() {
        let plan = plan(&json!({
            "initContainers": [
                {"name": "first", "image": "i"},
                {"name": "beside", "image": "i", "restartPolicy": "Always"},
                {"name": "last", "image": "i", "restartPolicy": "Never"},
            ],
            "containers": [
                {"name": "one", "image": "i"},
                {"name": "two", "image": "i", "restartPolicy": "Always"},
            ],
        }))
        .unwrap();
        let order: Vec<(&str, Role)> = plan
            .containers
            .iter()
            .map(|container| (container.name.as_str(), container.role))
            .collect();
        assert_eq!(
            order,
            [
                ("first", Role::Init),
                ("beside", Role::Sidecar),
                ("last", Role::Init),
                ("one", Role::Main),
                ("two", Role::Main),
            ]
        );
    }

    #[test]
    fn a_problem_names_the_list_it_is_in() {
        let problems = plan(&json!({
            "initContainers": [{"name": "a", "image": "i"}, {"name": "b", "image": "missing"}],
            "containers": [{"name": "c", "image": "i", "workingDir": "x"}],
        }))
        .unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "spec.initContainers[1].image",
                "spec.containers[0].workingDir"
            ]
        );
    }

    #[test]
    fn ports_of_init_containers_are_published() {
        let port = |port: u16| json!([{"containerPort": port, "hostPort": 8000}]);
        let published = |init: u16, main: u16| {
            plan(&json!({
                "initContainers": [
                    {"name": "b", "image": "i", "restartPolicy": "Always", "ports": port(init)},
                ],
                "containers": [{"name": "a", "image": "i", "ports": port(main)}],
            }))
        };
        let plan = published(80, 80).unwrap();
        assert_eq!(plan.ports.len(), 1);
        assert_eq!(plan.ports[0].container_port, 80);
        let problems = published(80, 81).unwrap_err();
        assert_eq!(
            problems,
            [problem(
                "spec.containers[0].ports[0]",
                "host port 8000 is published twice"
            )]
        );
    }

    #[test]
    fn a_deadline_counts_in_seconds() {
        let with = |deadline: Value| {
            plan(&json!({
                "activeDeadlineSeconds": deadline,
                "containers": [{"name": "a", "image": "i"}],
            }))
            .unwrap()
            .active_deadline_seconds
        };
        assert_eq!(with(json!(7)), Some(7));
        assert_eq!(with(Value::Null), None);
    }
}
