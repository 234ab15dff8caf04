//! `podrun exec`.

use crate::cli::command::exec_streams::{self, Streams};
use crate::cli::command::{get, restart};
use crate::cli::failure::{Failure, NOT_FOUND};
use crate::cli::input;
use crate::cli::options::{Exec, Global};
use crate::names::ContainerName;
use crate::store::PodRecord;

/// Performs the command and returns its exit code.
///
/// # Errors
/// As the exit codes say.
pub(crate) fn run(global: &Global, options: &Exec) -> Result<u8, Failure> {
    let store = input::open_store(global)?;
    let pod = get::find_pod(global, &store, &options.pod)?;
    let container = pick_container(&pod, options.container.as_deref())?;
    let connection = restart::connect(&store, &pod)?;
    let streams = Streams {
        stdin: options.stdin,
        terminal: options.tty,
    };
    exec_streams::run(&connection, container, options.command.clone(), streams)
}

/// The named container, or the one the pod's annotation names, or the first of
/// `spec.containers`.
///
/// # Errors
/// No such container (4).
pub(crate) fn pick_container(
    pod: &PodRecord,
    named: Option<&str>,
) -> Result<ContainerName, Failure> {
    /// As kubectl has it.
    const DEFAULT: &str = "kubectl.kubernetes.io/default-container";
    let all: Vec<String> = get::all_containers(pod)
        .into_iter()
        .map(|container| container.name)
        .collect();
    let wanted = match named {
        Some(name) => name.to_owned(),
        None => get::annotation(pod, DEFAULT)
            .filter(|name| all.contains(name))
            .or_else(|| get::first_container(pod))
            .unwrap_or_default(),
    };
    if all.contains(&wanted) {
        return ContainerName::new(wanted).map_err(Failure::internal);
    }
    Err(Failure::with_code(
        NOT_FOUND,
        format!(
            "pod/{} has no container `{}`",
            pod.record.name,
            wanted.escape_debug()
        ),
    )
    .hinted(format!("it has {}", all.join(", "))))
}
