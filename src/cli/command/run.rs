//! `podrun run`: for scripts. Pods in the foreground, their output, their exit code, and nothing
//! left whatever happens.

use std::time::Instant;

use crate::cli::apply;
use crate::cli::apply::launch::{Fleet, Interrupts, News};
use crate::cli::command::up;
use crate::cli::failure::{FAILED, Failure, INVALID, TIMED_OUT};
use crate::cli::options::{Global, Run};
use crate::cli::{duration, render};
use crate::lifecycle::exit_code_of_first_failed;
use crate::plan::Role;
use crate::runtime::idmap::IdMap;
use crate::runtime::spawn::Ahead;

/// Performs the command.
///
/// # Errors
/// As the exit codes say; everything is removed then.
pub(crate) fn run(global: &Global, options: &Run) -> Result<u8, Failure> {
    let timeout = options
        .timeout
        .as_deref()
        .map(|text| duration::of_option("--timeout", text))
        .transpose()?;
    let ids = IdMap::of_this_user();
    // If it cannot be made now, the error is told when it is needed.
    let ahead = Ahead::start(&ids).ok();
    let mut prepared = apply::prepare(global, &options.input, ids, true)?;
    if let Some((wanted, _)) = prepared
        .pods
        .iter()
        .find(|(_, change)| *change != apply::Change::Create)
    {
        return Err(
            Failure::with_code(INVALID, format!("pod/{} exists already", wanted.name))
                .hinted(format!("remove it first: `podrun rm {}`", wanted.name)),
        );
    }
    prepared.join_network();
    prepared.warn_about_this_user();
    let interrupts = Interrupts::take().map_err(Failure::internal)?;
    let reserved = prepared.reserve()?;
    let mut fleet = prepared.start(reserved, interrupts, ahead)?;
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let ended = follow(&mut fleet, deadline, !options.no_prefix);
    fleet.abandon();
    prepared.undo_stored();
    ended
}

fn follow(fleet: &mut Fleet, deadline: Option<Instant>, prefix: bool) -> Result<u8, Failure> {
    let output = |error: std::io::Error| render::output_failure(&error);
    let mut follower = up::follow_all(fleet, prefix).map_err(output)?;
    loop {
        follower.print().map_err(output)?;
        // After the last words were printed.
        if fleet.pods.iter().all(|pod| pod.ended) {
            return Ok(verdict(fleet));
        }
        match fleet.wait(deadline, Some(follower.watched()))? {
            News::Pod(_) | News::Extra => {}
            News::TimedOut => {
                return Err(Failure::with_code(
                    TIMED_OUT,
                    "the pods have not ended in time; everything is removed",
                ));
            }
        }
    }
}

/// The code of the first container that failed, of the first pod that has one.
fn verdict(fleet: &Fleet) -> u8 {
    for pod in &fleet.pods {
        if let Some(code) = exit_code_of_first_failed(&pod.status) {
            // How a sidecar ends says nothing about the pod.
            let is_init = |name: &str| {
                let mut containers = pod.plan.containers.iter();
                containers.any(|plan| plan.role == Role::Init && plan.name.as_str() == name)
            };
            let inits = pod.status.init_container_statuses.iter().flatten();
            let inits = inits.filter(|container| is_init(&container.name));
            for container in inits.chain(pod.status.container_statuses.iter().flatten()) {
                let terminated = container.state.as_ref().and_then(|s| s.terminated.as_ref());
                if let Some(message) = terminated
                    .filter(|terminated| terminated.exit_code != 0)
                    .and_then(|terminated| terminated.message.as_ref())
                {
                    let name = &container.name;
                    render::error(&format!(
                        "pod/{}: container `{name}`: {message}",
                        pod.plan.name
                    ));
                }
            }
            return u8::try_from(code)
                .ok()
                .filter(|code| *code != 0)
                .unwrap_or(FAILED);
        }
        if pod.status.phase.as_deref() == Some("Failed") {
            return FAILED;
        }
    }
    0
}
