//! `podrun debug`: an ephemeral container in a running pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};

use crate::cli::apply::filters::Filters;
use crate::cli::apply::services::Services;
use crate::cli::apply::{facts, images, pull_secrets, update};
use crate::cli::command::exec_streams::Streams;
use crate::cli::command::{attach, get, restart};
use crate::cli::failure::{Failure, INVALID, NOT_FOUND};
use crate::cli::options::{Debug, Global};
use crate::cli::{input, render};
use crate::names::{ContainerName, ObjectKind};
use crate::plan::{self, ContainerPlan, PresentImage};
use crate::runtime::idmap::IdMap;
use crate::store::{PodRecord, Store};
use crate::wire::{Reply, Request};

/// Performs the command. With `-i` or `--attach` it follows the container and returns its code.
///
/// # Errors
/// No such pod or target (4), a pod that is not running (1), an image that cannot be had.
pub(crate) fn run(global: &Global, options: &Debug) -> Result<u8, Failure> {
    let store = input::open_store(global)?;
    let pod = get::find_pod(global, &store, &options.pod)?;
    let container = container(options)?;
    let plan = plan_container(&store, &pod, &container, options)?;
    let name = plan.name.clone();
    let mut written = serde_json::to_value(&container).map_err(Failure::internal)?;
    if let (Some(object), Some(target)) = (written.as_object_mut(), &options.target) {
        object.insert("targetContainerName".to_owned(), target.as_str().into());
    }
    let connection = restart::connect(&store, &pod)?;
    let is_attached = options.stdin || options.attach || options.tty;
    let request = Request::Debug {
        plan: Box::new(plan),
        written,
        attach: is_attached,
    };
    if is_attached {
        let streams = Streams {
            stdin: options.stdin,
            terminal: options.tty,
        };
        let what = format!("container `{name}`");
        return attach::follow(&connection, &request, streams, &what);
    }
    connection.send(&request, &[]).map_err(Failure::internal)?;
    match connection.receive() {
        Ok(Some((Reply::Done, _))) => {
            render::line(name.as_str())?;
            Ok(0)
        }
        Ok(Some((Reply::Refused { code, message }, _))) => Err(Failure::with_code(
            u8::try_from(code).unwrap_or(125),
            message,
        )),
        Ok(_) | Err(_) => Err(Failure::with_code(137, "the pod has ended")),
    }
}

/// A name as kubectl makes one up: `debugger-` and five letters.
fn made_up_name() -> Result<ContainerName, Failure> {
    ContainerName::new(format!("debugger-{}", facts::name_suffix()?)).map_err(Failure::internal)
}

/// The container as a manifest would have it.
fn container(options: &Debug) -> Result<Container, Failure> {
    let name = match &options.container {
        None => made_up_name()?,
        Some(name) => ContainerName::new(name.as_str()).map_err(|error| {
            Failure::with_code(
                2,
                format!("`{}` is not a name: {error}", name.escape_debug()),
            )
        })?,
    };
    let env = options.env.iter().map(|text| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(EnvVar {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            value_from: None,
        }),
        _ => Err(Failure::with_code(
            2,
            format!("--env: `{}` is not NAME=VALUE", text.escape_debug()),
        )),
    });
    Ok(Container {
        name: name.to_string(),
        image: Some(options.image.clone()),
        command: (!options.command.is_empty()).then(|| options.command.clone()),
        env: Some(env.collect::<Result<_, _>>()?),
        stdin: Some(options.stdin),
        stdin_once: Some(options.stdin),
        tty: Some(options.tty),
        ..Container::default()
    })
}

fn plan_container(
    store: &Store,
    pod: &PodRecord,
    container: &Container,
    options: &Debug,
) -> Result<ContainerPlan, Failure> {
    let target = match &options.target {
        None => None,
        Some(target) => {
            let known = get::all_containers(pod).into_iter();
            if !known
                .map(|container| container.name)
                .any(|known| known == *target)
            {
                let missing = format!(
                    "pod/{} has no container `{}`",
                    pod.record.name,
                    target.escape_debug()
                );
                return Err(Failure::with_code(NOT_FOUND, missing));
            }
            Some(ContainerName::new(target.as_str()).map_err(Failure::internal)?)
        }
    };
    let ids = IdMap::of_this_user();
    let value = pod.dir.read_pod().unwrap_or_default();
    let written: Pod = serde_json::from_value(value).map_err(Failure::internal)?;
    let secrets = match &written.spec {
        None => Vec::new(),
        Some(spec) => pull_secrets::read(pod.record.name.as_str(), spec, |name| {
            let stored = store.object(ObjectKind::Secret, &pod.record.namespace, name);
            Ok(stored
                .map_err(Failure::internal)?
                .map(|object| object.value))
        })
        .map_err(|(_, failure)| failure)?,
    };
    let containers = std::iter::once(images::Wanted::of_container(container, &secrets));
    let images: BTreeMap<String, PresentImage> =
        images::all_present(store.data_dir(), &ids, containers, None)?;
    let host = plan::HostFacts {
        pod_addresses: facts::pod_addresses(pod.record.address),
        ..facts::host_facts(store.state_dir(), ids.id_count())
    };
    let services = Services::load(store, &Vec::new())?;
    let input = plan::Input {
        pod: &written,
        namespace: &pod.record.namespace,
        name: &pod.record.name,
        uid: &pod.record.uid,
        folder: None,
        images: &images,
        objects: &plan::Objects::new(),
        claims: &plan::Claims::new(),
        services: &services.of(&pod.record.namespace),
        host: &host,
        publish: &[],
        back_off: facts::back_off()?,
        filters: &Filters::new(store.data_dir()),
    };
    plan::build_ephemeral(&input, container, target)
        .map_err(|problems| Failure::with_code(INVALID, update::one_line(&problems)))
}
