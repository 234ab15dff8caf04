//! `podrun restart`: all containers again, init containers first; the pod keeps its address and
//! its volumes.

use std::os::fd::AsFd;

use crate::cli::command::get;
use crate::cli::failure::{FAILED, Failure};
use crate::cli::options::{Global, Restart};
use crate::cli::{input, render};
use crate::runtime::client::Connection;
use crate::store::{Liveness, PodRecord, Store};
use crate::wire::{Reply, Request};

/// Performs the command: returns when the containers were started again.
///
/// # Errors
/// No such pod (4), a pod that has ended (1).
pub(crate) fn run(global: &Global, options: &Restart) -> Result<u8, Failure> {
    let store = input::open_store(global)?;
    let mut pods = Vec::new();
    for name in &options.names {
        pods.push(get::find_pod(global, &store, name)?);
    }
    // All are asked before the first is waited for.
    let mut asked = Vec::new();
    for pod in &pods {
        let connection = connect(&store, pod)?;
        connection
            .send(&Request::Restart, &[])
            .map_err(Failure::internal)?;
        asked.push(connection);
    }
    for (pod, connection) in pods.iter().zip(asked) {
        let name = &pod.record.name;
        match connection.receive() {
            Ok(Some((Reply::Done, _))) => render::line(&format!("pod/{name} restarted"))?,
            Ok(Some((Reply::Refused { code, message }, _))) => {
                return Err(Failure::with_code(
                    u8::try_from(code).unwrap_or(125),
                    message,
                ));
            }
            Ok(_) | Err(_) => {
                let ended = format!("pod/{name} has ended before all containers were started");
                return Err(Failure::with_code(FAILED, ended));
            }
        }
    }
    Ok(0)
}

/// Connects to a pod that is to be running.
///
/// # Errors
/// One that is not (1), one whose supervisor does not answer.
pub(crate) fn connect(store: &Store, pod: &PodRecord) -> Result<Connection, Failure> {
    let name = &pod.record.name;
    let ended = || Failure::with_code(FAILED, format!("pod/{name} has ended"));
    if pod.liveness != Liveness::Alive {
        return Err(ended());
    }
    let runtime_dir = store.open_runtime_dir().map_err(Failure::internal)?;
    Connection::open(runtime_dir.as_fd(), &pod.record.uid).map_err(|error| {
        // Its supervisor is about to end.
        let phase = pod.status().phase;
        if matches!(phase.as_deref(), Some("Succeeded" | "Failed")) {
            return ended();
        }
        Failure::internal(format!(
            "pod/{name}: its supervisor does not answer: {error}"
        ))
    })
}
