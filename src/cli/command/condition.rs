//! `podrun condition set`: what a controller would tell a cluster about a pod's readiness gates.

use serde_json::Value;

use crate::cli::command::{get, restart};
use crate::cli::failure::{FAILED, Failure};
use crate::cli::options::{Condition, ConditionCommand, Global};
use crate::cli::{input, render};
use crate::store::PodRecord;
use crate::wire::{Reply, Request};

/// Performs the command.
///
/// # Errors
/// No such pod (4), one that is not running (1), a condition that no gate of it waits for (2).
pub(crate) fn run(global: &Global, options: &Condition) -> Result<u8, Failure> {
    let ConditionCommand::Set { pod, conditions } = &options.command;
    let store = input::open_store(global)?;
    let pod = get::find_pod(global, &store, pod)?;
    let gates = gates(&pod);
    let mut wanted = Vec::new();
    for text in conditions {
        wanted.push(parse(text, &gates)?);
    }
    for (kind, is_true) in wanted {
        let connection = restart::connect(&store, &pod)?;
        let request = Request::SetCondition { kind, is_true };
        connection.send(&request, &[]).map_err(Failure::internal)?;
        let Ok(Some((Reply::Done, _))) = connection.receive() else {
            let ended = format!("pod/{} has ended", pod.record.name);
            return Err(Failure::with_code(FAILED, ended));
        };
    }
    render::line(&format!("pod/{} condition set", pod.record.name))?;
    Ok(0)
}

/// The conditions the pod's readiness gates wait for.
fn gates(pod: &PodRecord) -> Vec<String> {
    let value = pod.dir.read_pod().unwrap_or_default();
    let gates = value
        .pointer("/spec/readinessGates")
        .and_then(Value::as_array);
    gates
        .into_iter()
        .flatten()
        .filter_map(|gate| gate.get("conditionType")?.as_str().map(str::to_owned))
        .collect()
}

fn parse(text: &str, gates: &[String]) -> Result<(String, bool), Failure> {
    let is_true = |word: &str| match word.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    };
    let parsed = text
        .rsplit_once('=')
        .and_then(|(kind, word)| Some((kind, is_true(word)?)));
    let Some((kind, is_true)) = parsed else {
        let message = format!("`{}` is not TYPE=True or TYPE=False", text.escape_debug());
        return Err(Failure::with_code(2, message));
    };
    if !gates.iter().any(|gate| gate == kind) {
        let message = format!(
            "no readiness gate of the pod waits for `{}`",
            kind.escape_debug()
        );
        let failure = Failure::with_code(2, message);
        return Err(if gates.is_empty() {
            failure
        } else {
            failure.hinted(format!("they wait for {}", gates.join(", ")))
        });
    }
    Ok((kind.to_owned(), is_true))
}
