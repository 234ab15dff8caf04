//! `podrun describe`: all that is known of a pod, for people, in kubectl's layout
//! (`describePod` of k8s.io/kubectl/pkg/describe).

mod service;
mod storage;
mod volumes;

use std::fmt::Write;

use serde_json::Value;

use self::storage::{claim, persistent_volume};
use self::volumes::volumes;
use crate::cli::apply::storage::users;
use crate::cli::command::{events, get, kinds, objects, services};
use crate::cli::failure::{Failure, NOT_FOUND};
use crate::cli::options::{Describe, Global};
use crate::cli::render::table::table;
use crate::cli::render::visible;
use crate::cli::{input, render};
use crate::names::ObjectKind;
use crate::store::{self, PodRecord};

/// Performs the command.
///
/// # Errors
/// No such object (4).
pub(crate) fn run(global: &Global, options: &Describe) -> Result<u8, Failure> {
    let store = input::open_store(global)?;
    let mut words = options.what.iter();
    let first = words.next().map(String::as_str).unwrap_or_default();
    let (kind, names): (kinds::Kind, Vec<&str>) = match first.split_once('/') {
        Some((word, name)) => (kinds::kind(word)?, vec![name]),
        None => match kinds::kind(first) {
            Ok(kind) => (kind, words.map(String::as_str).collect()),
            // A pod's name alone, as all other commands take it.
            Err(_) if options.what.len() == 1 => (kinds::Kind::Pod, vec![first]),
            Err(failure) => return Err(failure),
        },
    };
    let mut texts = Vec::new();
    match kind {
        kinds::Kind::Pod => {
            let namespace = input::namespace(global)?;
            let mut pods = Vec::new();
            for name in &names {
                pods.push(get::find_pod(global, &store, name)?);
            }
            if names.is_empty() {
                pods = store.pods().map_err(Failure::internal)?;
                pods.retain(|pod| pod.record.namespace == namespace);
            }
            for record in &pods {
                texts.push(pod(record)?);
            }
        }
        kinds::Kind::Object(kind) => {
            let namespace = input::namespace(global)?;
            let mut found = objects::of_kind(&store, kind)?;
            found.retain(|object| !kind.is_namespaced() || object.namespace == namespace);
            for name in &names {
                if !found.iter().any(|object| object.name.as_str() == *name) {
                    let missing = format!("{}/{name} not found", kind.word());
                    return Err(Failure::with_code(NOT_FOUND, missing));
                }
            }
            found.retain(|object| names.is_empty() || names.contains(&object.name.as_str()));
            let endpoints = match kind {
                ObjectKind::Service => services::all_endpoints(&store)?,
                _ => Vec::new(),
            };
            for object in &found {
                let mut endpoints = endpoints.iter();
                texts.push(match kind {
                    ObjectKind::ConfigMap | ObjectKind::Secret => data(object),
                    ObjectKind::PersistentVolumeClaim => {
                        let (namespace, name) = (&object.namespace, &object.name);
                        claim(object, &users(&store, namespace, name)?)
                    }
                    ObjectKind::PersistentVolume => persistent_volume(object),
                    ObjectKind::Service => {
                        let own = endpoints.find(|known| {
                            (&known.namespace, &known.name) == (&object.namespace, &object.name)
                        });
                        service::service(object, own)
                    }
                    ObjectKind::Endpoints | ObjectKind::EndpointSlice => service::endpoints(object),
                });
            }
        }
    }
    if texts.is_empty() {
        render::say("No resources found.");
        return Ok(0);
    }
    render::line(texts.join("\n\n").trim_end())?;
    Ok(0)
}

/// Text in two columns, indented.
struct Lines(String);

impl Lines {
    fn pair(&mut self, depth: usize, width: usize, name: &str, value: &str) {
        let name = format!("{name}:");
        let line = format!("{:depth$}{name:width$}{}", "", visible(value));
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    fn line(&mut self, depth: usize, text: &str) {
        writeln!(self.0, "{:depth$}{}", "", visible(text)).ok();
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// A scalar as it is read.
fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// `a=1` and so on, one under the other.
fn map(lines: &mut Lines, width: usize, name: &str, value: Option<&Value>) {
    let entries: Vec<String> = value
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", plain(Some(value))))
        .collect();
    match entries.split_first() {
        None => lines.pair(0, width, name, "<none>"),
        Some((first, rest)) => {
            lines.pair(0, width, name, first);
            for entry in rest {
                lines.line(width, entry);
            }
        }
    }
}

/// The width of the first column.
const WIDTH: usize = 18;

fn pod(record: &PodRecord) -> Result<String, Failure> {
    let pod = get::whole(record)?;
    let mut lines = Lines(String::new());
    lines.pair(0, WIDTH, "Name", record.record.name.as_str());
    lines.pair(0, WIDTH, "Namespace", record.record.namespace.as_str());
    lines.pair(0, WIDTH, "Node", &get::node_name());
    lines.pair(0, WIDTH, "Start Time", text(&pod, "/status/startTime"));
    map(&mut lines, WIDTH, "Labels", pod.pointer("/metadata/labels"));
    let annotations = pod.pointer("/metadata/annotations");
    map(&mut lines, WIDTH, "Annotations", annotations);
    let status = if pod.pointer("/metadata/deletionTimestamp").is_some() {
        "Terminating"
    } else {
        text(&pod, "/status/phase")
    };
    lines.pair(0, WIDTH, "Status", status);
    for (name, pointer) in [("Reason", "/status/reason"), ("Message", "/status/message")] {
        if !text(&pod, pointer).is_empty() {
            lines.pair(0, WIDTH, name, text(&pod, pointer));
        }
    }
    lines.pair(0, WIDTH, "IP", text(&pod, "/status/podIP"));
    if let (Some(spec), Some(status)) = (pod.get("spec"), pod.get("status"))
        && spec.get("resources").is_some()
    {
        lines.line(0, "Resources:");
        resources(&mut lines, 2, spec, status);
    }
    for (title, spec, statuses) in [
        (
            "Init Containers",
            "/spec/initContainers",
            "/status/initContainerStatuses",
        ),
        (
            "Containers",
            "/spec/containers",
            "/status/containerStatuses",
        ),
        (
            "Ephemeral Containers",
            "/spec/ephemeralContainers",
            "/status/ephemeralContainerStatuses",
        ),
    ] {
        containers(&mut lines, &pod, title, spec, statuses);
    }
    lines.line(0, "Conditions:");
    let rows: Vec<Vec<String>> = list(&pod, "/status/conditions")
        .map(|condition| {
            ["type", "status", "reason", "message"]
                .map(|name| plain(condition.get(name)))
                .to_vec()
        })
        .collect();
    indent(
        &mut lines,
        &table(Some(&["Type", "Status", "Reason", "Message"]), &rows),
    );
    volumes(&mut lines, &pod);
    lines.pair(0, WIDTH, "QoS Class", text(&pod, "/status/qosClass"));
    let events = record.dir.read_events().events;
    if events.is_empty() {
        lines.pair(0, WIDTH, "Events", "<none>");
        return Ok(lines.0);
    }
    lines.line(0, "Events:");
    let now = jiff::Timestamp::now();
    let rows: Vec<Vec<String>> = events
        .iter()
        .map(|event| {
            vec![
                events::kind_word(event).to_owned(),
                event.reason.clone(),
                events::last_seen(event, now),
                event.field_path.clone().unwrap_or_default(),
                event.message.trim_end().to_owned(),
            ]
        })
        .collect();
    let headers = ["Type", "Reason", "Age", "Of", "Message"];
    indent(&mut lines, &table(Some(&headers), &rows));
    Ok(lines.0)
}

fn indent(lines: &mut Lines, text: &str) {
    for line in text.lines() {
        writeln!(lines.0, "  {line}").ok();
    }
}

fn containers(lines: &mut Lines, pod: &Value, title: &str, spec: &str, statuses: &str) {
    let named = |name: &str| {
        list(pod, spec)
            .find(|container| text(container, "/name") == name)
            .cloned()
            .unwrap_or_default()
    };
    let mut is_first = true;
    for status in list(pod, statuses) {
        if std::mem::take(&mut is_first) {
            lines.line(0, &format!("{title}:"));
        }
        let name = text(status, "/name");
        let container = named(name);
        lines.line(2, &format!("{name}:"));
        lines.pair(4, 16, "Container ID", text(status, "/containerID"));
        lines.pair(4, 16, "Image", text(status, "/image"));
        lines.pair(4, 16, "Image ID", text(status, "/imageID"));
        let ports: Vec<String> = list(&container, "/ports")
            .map(|port| {
                let number = plain(port.get("containerPort"));
                let protocol = port
                    .get("protocol")
                    .map_or_else(|| "TCP".to_owned(), |p| plain(Some(p)));
                format!("{number}/{protocol}")
            })
            .collect();
        let ports = if ports.is_empty() {
            "<none>".to_owned()
        } else {
            ports.join(", ")
        };
        lines.pair(4, 16, "Ports", &ports);
        for (name, pointer) in [("Command", "/command"), ("Args", "/args")] {
            let words: Vec<String> = list(&container, pointer)
                .map(|word| plain(Some(word)))
                .collect();
            if !words.is_empty() {
                lines.line(4, &format!("{name}:"));
                for word in words {
                    lines.line(6, &word);
                }
            }
        }
        state(lines, "State", status.get("state"));
        if status
            .pointer("/lastState")
            .is_some_and(|last| last.as_object().is_some_and(|o| !o.is_empty()))
        {
            state(lines, "Last State", status.get("lastState"));
        }
        let ready = if status.get("ready") == Some(&Value::Bool(true)) {
            "True"
        } else {
            "False"
        };
        lines.pair(4, 16, "Ready", ready);
        lines.pair(4, 16, "Restart Count", &plain(status.get("restartCount")));
        resources(lines, 4, &container, status);
        for (name, field) in [
            ("Liveness", "livenessProbe"),
            ("Readiness", "readinessProbe"),
            ("Startup", "startupProbe"),
        ] {
            if let Some(probe) = container.get(field) {
                lines.pair(4, 16, name, &describe_probe(probe));
            }
        }
        let variables: Vec<&Value> = list(&container, "/env").collect();
        if variables.is_empty() {
            lines.pair(4, 16, "Environment", "<none>");
        } else {
            lines.line(4, "Environment:");
            for variable in variables {
                let name = plain(variable.get("name"));
                lines.line(6, &format!("{name}:  {}", plain(variable.get("value"))));
            }
        }
        let mounts: Vec<&Value> = list(&container, "/volumeMounts").collect();
        if mounts.is_empty() {
            lines.pair(4, 16, "Mounts", "<none>");
        } else {
            lines.line(4, "Mounts:");
            for mount in mounts {
                let mode = if mount.get("readOnly") == Some(&Value::Bool(true)) {
                    "ro"
                } else {
                    "rw"
                };
                let path = text(mount, "/mountPath");
                lines.line(6, &format!("{path} from {} ({mode})", text(mount, "/name")));
            }
        }
    }
}

/// The `resources` of a container or of a spec, against those that its status says are in force.
fn resources(lines: &mut Lines, depth: usize, written: &Value, status: &Value) {
    for (title, list) in [("Limits", "limits"), ("Requests", "requests")] {
        let pointer = format!("/resources/{list}");
        let amounts = written.pointer(&pointer).and_then(Value::as_object);
        let mut amounts: Vec<_> = amounts.into_iter().flatten().collect();
        if amounts.is_empty() {
            continue;
        }
        amounts.sort_by_key(|(name, _)| *name);
        lines.line(depth, &format!("{title}:"));
        let longest = amounts.iter().map(|(name, _)| name.len()).max();
        for (name, amount) in amounts {
            let is_in_force = status
                .pointer(&pointer)
                .is_some_and(|it| it.get(name).is_some());
            // These are for a scheduler to keep free, and there is none.
            let is_wish =
                list == "requests" && matches!(name.as_str(), "memory" | "ephemeral-storage");
            let note = if is_in_force || is_wish {
                ""
            } else {
                " (not in force)"
            };
            let width = longest.unwrap_or(0).saturating_add(3);
            let amount = format!("{}{note}", plain(Some(amount)));
            lines.pair(depth.saturating_add(2), width, name, &amount);
        }
    }
}

fn state(lines: &mut Lines, name: &str, state: Option<&Value>) {
    let Some(state) = state.and_then(Value::as_object) else {
        return;
    };
    let Some((word, about)) = state.iter().find(|(_, about)| !about.is_null()) else {
        return;
    };
    let shown = match word.as_str() {
        "running" => "Running",
        "terminated" => "Terminated",
        _ => "Waiting",
    };
    lines.pair(4, 16, name, shown);
    for (name, field) in [
        ("Reason", "reason"),
        ("Message", "message"),
        ("Exit Code", "exitCode"),
        ("Started", "startedAt"),
        ("Finished", "finishedAt"),
    ] {
        if let Some(value) = about.get(field).filter(|value| !value.is_null()) {
            lines.pair(6, 14, name, plain(Some(value)).trim_end());
        }
    }
}

/// `DescribeProbe` of kubectl.
fn describe_probe(probe: &Value) -> String {
    let number = |field: &str| {
        probe
            .get(field)
            .map_or_else(|| "0".to_owned(), |value| plain(Some(value)))
    };
    let attributes = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds"),
        number("timeoutSeconds"),
        number("periodSeconds"),
        number("successThreshold"),
        number("failureThreshold")
    );
    let port = |handler: &Value| plain(handler.get("port"));
    let what = if let Some(exec) = probe.get("exec") {
        let words: Vec<String> = list(exec, "/command")
            .map(|word| plain(Some(word)))
            .collect();
        format!("exec [{}]", words.join(" "))
    } else if let Some(http) = probe.get("httpGet") {
        let scheme = plain(http.get("scheme")).to_lowercase();
        let host = plain(http.get("host"));
        format!(
            "http-get {scheme}://{host}:{}{}",
            port(http),
            plain(http.get("path"))
        )
    } else if let Some(tcp) = probe.get("tcpSocket") {
        format!("tcp-socket {}:{}", plain(tcp.get("host")), port(tcp))
    } else if let Some(grpc) = probe.get("grpc") {
        format!("grpc <pod>:{} {}", port(grpc), plain(grpc.get("service")))
    } else {
        "unknown".to_owned()
    };
    format!("{what} {attributes}")
}

/// A `ConfigMap` with its data; of a Secret only the sizes.
fn data(object: &store::Object) -> String {
    let mut lines = Lines(String::new());
    lines.pair(0, WIDTH, "Name", object.name.as_str());
    lines.pair(0, WIDTH, "Namespace", object.namespace.as_str());
    map(
        &mut lines,
        WIDTH,
        "Labels",
        object.value.pointer("/metadata/labels"),
    );
    map(
        &mut lines,
        WIDTH,
        "Annotations",
        object.value.pointer("/metadata/annotations"),
    );
    lines.line(0, "Data");
    lines.line(0, "====");
    for (pointer, is_shown) in [
        ("/data", object.kind == ObjectKind::ConfigMap),
        ("/binaryData", false),
    ] {
        let entries = object.value.pointer(pointer).and_then(Value::as_object);
        for (key, value) in entries.into_iter().flatten() {
            let value = plain(Some(value));
            if is_shown {
                lines.line(0, &format!("{key}:"));
                lines.line(0, "----");
                for line in value.lines() {
                    lines.line(0, line);
                }
            } else {
                // Three bytes for four characters of base64.
                let padding = value.bytes().rev().take_while(|b| *b == b'=').count();
                let size = (value.len() / 4).saturating_mul(3).saturating_sub(padding);
                lines.line(0, &format!("{key}:  {size} bytes"));
            }
        }
    }
    lines.0
}
