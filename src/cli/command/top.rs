//! `podrun top`: what pods use of processors and memory, in the layout of `kubectl top pod`.

use crate::cli::command::{get, restart};
use crate::cli::failure::{FAILED, Failure};
use crate::cli::options::{Global, Top};
use crate::cli::render::table::table;
use crate::cli::{input, render};
use crate::runtime::client::Connection;
use crate::store::{Liveness, PodRecord, Store};
use crate::wire::{ContainerUsage, Reply, Request};

/// Performs the command.
///
/// # Errors
/// No such pod (4), a pod that does not run (1).
pub(crate) fn run(global: &Global, options: &Top) -> Result<u8, Failure> {
    let store = input::open_store(global)?;
    let namespace = input::namespace(global)?;
    let mut pods = Vec::new();
    for name in &options.names {
        pods.push(get::find_pod(global, &store, name)?);
    }
    let is_asked_for = !pods.is_empty();
    if !is_asked_for {
        pods = store.pods().map_err(Failure::internal)?;
        pods.retain(|pod| pod.record.namespace == namespace && pod.liveness == Liveness::Alive);
    }
    // All are asked before the first is waited for: each looks for a second.
    let asked: Vec<_> = pods.iter().map(|pod| ask(&store, pod)).collect();
    let mut rows = Vec::new();
    for (pod, asked) in pods.iter().zip(asked) {
        match asked.and_then(|connection| answer(pod, &connection)) {
            Ok(usage) => add_rows(&mut rows, pod, &usage, options.containers),
            Err(failure) if is_asked_for => return Err(failure),
            // It has ended meanwhile, or has not begun.
            Err(_) => {}
        }
    }
    if rows.is_empty() {
        render::say(&format!("No resources found in {namespace} namespace."));
        return Ok(0);
    }
    let headers: &[&str] = if options.containers {
        &["POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]
    } else {
        &["NAME", "CPU(cores)", "MEMORY(bytes)"]
    };
    let headers = Some(headers).filter(|_| !options.no_headers);
    render::line(&table(headers, &rows))?;
    Ok(0)
}

fn ask(store: &Store, pod: &PodRecord) -> Result<Connection, Failure> {
    let connection = restart::connect(store, pod)?;
    connection
        .send(&Request::Usage, &[])
        .map_err(Failure::internal)?;
    Ok(connection)
}

fn answer(pod: &PodRecord, connection: &Connection) -> Result<Vec<ContainerUsage>, Failure> {
    let name = &pod.record.name;
    match connection.receive() {
        Ok(Some((Reply::Usage { containers }, _))) if containers.is_empty() => Err(
            Failure::with_code(FAILED, format!("no container of pod/{name} is running")),
        ),
        Ok(Some((Reply::Usage { containers }, _))) => Ok(containers),
        Ok(Some((Reply::Refused { code, message }, _))) => Err(Failure::with_code(
            u8::try_from(code).unwrap_or(125),
            message,
        )),
        Ok(_) | Err(_) => Err(Failure::with_code(
            FAILED,
            format!("pod/{name} has ended meanwhile"),
        )),
    }
}

fn add_rows(
    rows: &mut Vec<Vec<String>>,
    pod: &PodRecord,
    usage: &[ContainerUsage],
    by_container: bool,
) {
    let name = pod.record.name.to_string();
    if by_container {
        rows.extend(usage.iter().map(|one| {
            let (cpu, memory) = amounts(std::slice::from_ref(one));
            vec![name.clone(), one.name.to_string(), cpu, memory]
        }));
    } else {
        let (cpu, memory) = amounts(usage);
        rows.push(vec![name, cpu, memory]);
    }
}

/// As kubectl writes them: millicores, any part of one for a whole one, and whole mebibytes.
fn amounts(usage: &[ContainerUsage]) -> (String, String) {
    let sum = |of: fn(&ContainerUsage) -> u64| usage.iter().map(of).fold(0, u64::saturating_add);
    let millicores = sum(|one| one.nanocores).div_ceil(1_000_000);
    let mebibytes = sum(|one| one.memory) / (1 << 20);
    (format!("{millicores}m"), format!("{mebibytes}Mi"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ContainerName;

    #[test]
    fn amounts_of_containers_are_added_before_they_are_rounded() {
        let usage = |nanocores, memory| ContainerUsage {
            name: ContainerName::new("a").unwrap(),
            nanocores,
            memory,
        };
        let amounts = |list: &[ContainerUsage]| {
            let (cpu, memory) = amounts(list);
            format!("{cpu} {memory}")
        };
        assert_eq!(amounts(&[usage(0, 0)]), "0m 0Mi");
        assert_eq!(amounts(&[usage(1, 1)]), "1m 0Mi");
        assert_eq!(
            amounts(&[usage(1_500_000_000, 3 << 19), usage(400_000, 3 << 19)]),
            "1501m 3Mi"
        );
    }
}
