//! `podrun up`: apply.

use std::time::Instant;

use crate::cli::apply::follow::Follower;
use crate::cli::apply::launch::{Fleet, Interrupts, News, Started, Unmet};
use crate::cli::apply::{self, Change, Prepared};
use crate::cli::command::rm;
use crate::cli::failure::{FAILED, Failure, TIMED_OUT};
use crate::cli::options::{Global, Up, UpWait};
use crate::cli::{duration, render};
use crate::lifecycle::{Progress, Wait, progress};
use crate::names::{Namespace, ObjectName};
use crate::runtime::idmap::IdMap;
use crate::runtime::spawn::Ahead;
use crate::store::LogCursor;

/// Lines of a failed container's log that are shown.
const LOG_LINES: usize = 20;

/// Warnings of a failed pod that are shown.
const WARNINGS: usize = 3;

/// Performs the command.
///
/// # Errors
/// As the exit codes say; what was started is removed then.
pub(crate) fn run(global: &Global, options: &Up) -> Result<u8, Failure> {
    let timeout = duration::of_option("--timeout", &options.timeout)?;
    let ids = IdMap::of_this_user();
    // If it cannot be made now, the error is told when it is needed.
    let ahead = (!options.dry_run)
        .then(|| Ahead::start(&ids).ok())
        .flatten();
    let mut prepared = apply::prepare(global, &options.input, ids, !options.dry_run)?;
    if options.dry_run {
        say_changes(&prepared, " (dry run)")?;
        return Ok(0);
    }
    prepared.join_network();
    prepared.warn_about_this_user();
    remove_replaced(&prepared)?;
    let interrupts = Interrupts::take().map_err(Failure::internal)?;
    let reserved = prepared.reserve()?;
    let mut fleet = prepared.start(reserved, interrupts, ahead)?;
    let wait = match options.wait {
        UpWait::Ready => Wait::Ready,
        UpWait::Running => Wait::Running,
        UpWait::Done => Wait::Done,
        UpWait::None => Wait::None,
    };
    let deadline = Instant::now().checked_add(timeout);
    let met = if options.attach {
        wait_attached(&mut fleet, wait, deadline)
    } else {
        fleet.wait_for(wait, deadline)
    };
    let met = met.and_then(|()| prepared.store_objects().map_err(Unmet::Failure));
    if let Err(unmet) = met {
        let failure = explain(&fleet, unmet, wait);
        fleet.abandon();
        prepared.undo_stored();
        return Err(failure);
    }
    fleet.adopt(options.rm)?;
    prepared.update_volumes()?;
    say_changes(&prepared, "")?;
    Ok(0)
}

/// The pods that are replaced go first: their names and ports are wanted.
pub(super) fn remove_replaced(prepared: &Prepared) -> Result<(), Failure> {
    for (wanted, change) in &prepared.pods {
        if *change == Change::Replace
            && let Some(pod) = prepared
                .store
                .pod(&wanted.namespace, &wanted.name)
                .map_err(Failure::internal)?
        {
            rm::remove_pod(&prepared.store, &pod, None)?;
        }
    }
    Ok(())
}

fn say_changes(prepared: &Prepared, suffix: &str) -> Result<(), Failure> {
    let word = |change| match change {
        Change::Create => "created",
        Change::Replace => "replaced",
        Change::Keep => "unchanged",
    };
    for (object, change) in &prepared.objects {
        let name = full_name(&object.namespace, &object.name);
        render::line(&format!(
            "{}/{name} {}{suffix}",
            object.kind.word(),
            word(*change)
        ))?;
    }
    for (wanted, change) in &prepared.pods {
        let name = full_name(&wanted.namespace, &wanted.name);
        render::line(&format!("pod/{name} {}{suffix}", word(*change)))?;
    }
    Ok(())
}

/// A name with its namespace where that is not the default.
fn full_name(namespace: &Namespace, name: &ObjectName) -> String {
    if namespace.as_str() == "default" {
        name.to_string()
    } else {
        format!("{name} (namespace {namespace})")
    }
}

fn wait_attached(fleet: &mut Fleet, wait: Wait, deadline: Option<Instant>) -> Result<(), Unmet> {
    let internal = |error: std::io::Error| Unmet::Failure(render::output_failure(&error));
    let mut follower = follow_all(fleet, true).map_err(internal)?;
    loop {
        follower.print().map_err(internal)?;
        match fleet.reached(wait) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(unmet) => {
                follower.print().map_err(internal)?;
                return Err(unmet);
            }
        }
        match fleet.wait(deadline, Some(follower.watched())) {
            Ok(News::TimedOut) => return Err(Unmet::TimedOut(fleet.pending(wait))),
            Ok(News::Pod(_) | News::Extra) => {}
            Err(failure) => return Err(Unmet::Failure(failure)),
        }
    }
}

/// Follows every container of every pod.
pub(super) fn follow_all(fleet: &Fleet, has_prefix: bool) -> std::io::Result<Follower> {
    let mut follower = Follower::new()?;
    for pod in &fleet.pods {
        for container in &pod.plan.containers {
            let prefix = if has_prefix {
                format!("{}/{} │ ", pod.plan.name, container.name)
            } else {
                String::new()
            };
            follower.add(&pod.dir, container.name.as_str(), prefix)?;
        }
    }
    Ok(follower)
}

/// Says why a fleet is not what was waited for, with the end of the log that tells it.
pub(super) fn explain(fleet: &Fleet, unmet: Unmet, wait: Wait) -> Failure {
    match unmet {
        Unmet::Failure(failure) => failure,
        Unmet::Pod {
            index,
            container,
            reason,
        } => {
            let Some(pod) = fleet.pods.get(index) else {
                return Failure::internal(reason);
            };
            let name = match &container {
                Some(container) => format!("pod/{}: container `{container}`", pod.plan.name),
                None => format!("pod/{}", pod.plan.name),
            };
            if let Some(container) = &container {
                show_tail(pod, container);
            }
            show_warnings(pod);
            Failure::with_code(FAILED, format!("{name} failed: {reason}; nothing was kept"))
        }
        Unmet::TimedOut(pending) => {
            for pod in pending.iter().filter_map(|index| fleet.pods.get(*index)) {
                for container in &pod.plan.containers {
                    show_tail(pod, container.name.as_str());
                }
                show_warnings(pod);
            }
            let names: Vec<String> = pending
                .iter()
                .filter_map(|index| fleet.pods.get(*index))
                .map(|pod| format!("pod/{}", pod.plan.name))
                .collect();
            let what = match wait {
                Wait::None => "started",
                Wait::Running => "running",
                Wait::Ready => "ready",
                Wait::Done => "done",
            };
            let verb = if names.len() == 1 { "is" } else { "are" };
            Failure::with_code(
                TIMED_OUT,
                format!(
                    "{} {verb} not {what} in time; nothing was kept",
                    names.join(", ")
                ),
            )
            .hinted("give it longer with --timeout")
        }
    }
}

fn show_tail(pod: &Started, container: &str) {
    let path = pod.dir.path().join("logs").join(container);
    let mut cursor = LogCursor::new(&path, 0, None);
    let mut lines: Vec<u8> = Vec::new();
    let read = cursor.seek_tail(LOG_LINES).and_then(|()| {
        cursor.read_new(&mut |line| {
            lines.extend_from_slice(line.content);
            if line.is_full {
                lines.push(b'\n');
            }
            Ok(())
        })
    });
    if read.is_err() || lines.is_empty() {
        return;
    }
    render::say(&format!(
        "the end of the log of {}/{container}:",
        pod.plan.name
    ));
    for line in String::from_utf8_lossy(&lines).lines() {
        render::say(&format!("  {}", render::visible(line)));
    }
}

/// The latest warnings, among them what the last probe has said.
fn show_warnings(pod: &Started) {
    let mut events = pod.dir.read_events().events;
    events.retain(|event| event.is_warning);
    for event in events.iter().rev().take(WARNINGS).rev() {
        let times = if event.count > 1 {
            format!(" (x{})", event.count)
        } else {
            String::new()
        };
        let of = event.field_path.as_deref().unwrap_or_default();
        render::say(&format!(
            "{} {of}: {}: {}{times}",
            pod.plan.name,
            event.reason,
            render::visible(event.message.trim_end())
        ));
    }
}

impl Fleet {
    /// Whether every pod is what is waited for.
    ///
    /// # Errors
    /// A pod that can never be it.
    pub(crate) fn reached(&self, wait: Wait) -> Result<bool, Unmet> {
        let mut all = true;
        for (index, pod) in self.pods.iter().enumerate() {
            match progress(wait, pod.plan.restart_policy, &pod.status) {
                Progress::Reached => {}
                Progress::Pending => all = false,
                Progress::Impossible { container, reason } => {
                    return Err(Unmet::Pod {
                        index,
                        container,
                        reason,
                    });
                }
            }
        }
        Ok(all)
    }
}
