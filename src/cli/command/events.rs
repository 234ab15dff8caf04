//! `podrun events`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::command::changes::Changes;
use crate::cli::command::get;
use crate::cli::failure::Failure;
use crate::cli::options::{Events, Global};
use crate::cli::render::format::{self, Format};
use crate::cli::render::table::table;
use crate::cli::{input, render};
use crate::lifecycle::kubectl::human_duration;
use crate::store::{EventRecord, PodRecord, Store};

/// One event with its pod.
struct Seen {
    namespace: String,
    pod: String,
    uid: String,
    event: EventRecord,
}

/// Performs the command.
///
/// # Errors
/// No such pod (4).
pub(crate) fn run(global: &Global, options: &Events) -> Result<u8, Failure> {
    let store = input::open_store(global)?;
    let format = Format::parse(options.output.as_deref())?;
    let changes = if options.watch {
        Some(Changes::watch(&store)?)
    } else {
        None
    };
    let mut pods = wanted(global, options, &store)?;
    let mut seen = all(&pods);
    print(&seen, options, &format, true)?;
    let Some(changes) = changes else { return Ok(0) };
    let key = |one: &Seen| {
        let event = &one.event;
        (
            one.uid.clone(),
            event.reason.clone(),
            event.message.clone(),
            event.field_path.clone(),
        )
    };
    let mut known: BTreeMap<_, u64> = seen.iter().map(|one| (key(one), one.event.count)).collect();
    loop {
        changes.wait(&pods, None)?;
        pods = wanted(global, options, &store).unwrap_or_default();
        seen = all(&pods);
        seen.retain(|one| known.insert(key(one), one.event.count) != Some(one.event.count));
        if !seen.is_empty() {
            print(&seen, options, &format, false)?;
        }
    }
}

fn wanted(global: &Global, options: &Events, store: &Store) -> Result<Vec<PodRecord>, Failure> {
    if let Some(name) = &options.pod {
        return Ok(vec![get::find_pod(global, store, name)?]);
    }
    let namespace = input::namespace(global)?;
    let mut pods = store.pods().map_err(Failure::internal)?;
    pods.retain(|pod| options.all_namespaces || pod.record.namespace == namespace);
    Ok(pods)
}

/// The events of these pods, the latest last.
fn all(pods: &[PodRecord]) -> Vec<Seen> {
    let mut seen: Vec<Seen> = pods
        .iter()
        .flat_map(|pod| {
            pod.dir.read_events().events.into_iter().map(|event| Seen {
                namespace: pod.record.namespace.to_string(),
                pod: pod.record.name.to_string(),
                uid: pod.record.uid.to_string(),
                event,
            })
        })
        .collect();
    seen.sort_by_key(|one| one.event.last);
    seen
}

/// `7s`, or `7s (x3 over 2m)` for news that came more than once.
pub(crate) fn last_seen(event: &EventRecord, now: jiff::Timestamp) -> String {
    let ago = |at: jiff::Timestamp| human_duration(now.duration_since(at).as_secs());
    if event.count > 1 {
        format!(
            "{} (x{} over {})",
            ago(event.last),
            event.count,
            ago(event.first)
        )
    } else {
        ago(event.last)
    }
}

/// `Normal` or `Warning`.
pub(crate) const fn kind_word(event: &EventRecord) -> &'static str {
    if event.is_warning {
        "Warning"
    } else {
        "Normal"
    }
}

fn print(seen: &[Seen], options: &Events, format: &Format, is_first: bool) -> Result<(), Failure> {
    match format {
        Format::Json | Format::Yaml | Format::JsonPath(_) | Format::Name => {
            let items = seen.iter().map(value).collect();
            get::print_values(format, items, false)
        }
        Format::Table | Format::Wide => {
            if seen.is_empty() {
                render::say("No events found.");
                return Ok(());
            }
            let now = jiff::Timestamp::now();
            let mut headers = vec!["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
            if options.all_namespaces {
                headers.insert(0, "NAMESPACE");
            }
            let rows: Vec<Vec<String>> = seen
                .iter()
                .map(|one| {
                    let mut cells = vec![
                        last_seen(&one.event, now),
                        kind_word(&one.event).to_owned(),
                        one.event.reason.clone(),
                        format!("Pod/{}", one.pod),
                        one.event.message.trim_end().to_owned(),
                    ];
                    if options.all_namespaces {
                        cells.insert(0, one.namespace.clone());
                    }
                    cells
                })
                .collect();
            let headers = (!options.no_headers && is_first).then_some(headers.as_slice());
            render::line(&table(headers, &rows))
        }
    }
}

/// As a `v1.Event`.
fn value(one: &Seen) -> Value {
    let event = &one.event;
    let time = format::rfc3339;
    let name = format!("{}.{:x}", one.pod, event.first.as_nanosecond());
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": name,
            "namespace": one.namespace,
            "creationTimestamp": time(event.first),
        },
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": one.pod,
            "namespace": one.namespace,
            "uid": one.uid,
            "fieldPath": event.field_path,
        },
        "type": kind_word(event),
        "reason": event.reason,
        "message": event.message,
        "count": event.count,
        "firstTimestamp": time(event.first),
        "lastTimestamp": time(event.last),
        "source": { "component": "podrun" },
    })
}
