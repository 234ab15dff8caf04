//! `podrun get` and `podrun ps`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use serde_json::{Value, json};

use crate::cli::command::changes::Changes;
use crate::cli::command::kinds::{Kind, kind, wanted};
use crate::cli::command::objects;
use crate::cli::failure::{Failure, NOT_FOUND};
use crate::cli::options::{Get, Global, Listing, Ps};
use crate::cli::render::format::{self, Format};
use crate::cli::render::table::table;
use crate::cli::selector::Selector;
use crate::cli::{input, render};
use crate::lifecycle::kubectl;
use crate::names::{Namespace, ObjectName};
use crate::store::{PodRecord, Store};

/// A pod by its name, or `pod/NAME`.
///
/// # Errors
/// No such pod (4).
pub(crate) fn find_pod(global: &Global, store: &Store, text: &str) -> Result<PodRecord, Failure> {
    let namespace = input::namespace(global)?;
    let name = match text.split_once('/') {
        None => text,
        Some((word, name)) if kind(word)? == Kind::Pod => name,
        Some(_) => {
            return Err(Failure::with_code(
                2,
                format!("`{}` is not a pod", text.escape_debug()),
            ));
        }
    };
    let found = match ObjectName::new(name) {
        Ok(name) => store.pod(&namespace, &name).map_err(Failure::internal)?,
        Err(_) => None,
    };
    found.ok_or_else(|| {
        let missing = format!("pod/{} not found", name.escape_debug());
        let elsewhere = store
            .pods()
            .unwrap_or_default()
            .into_iter()
            .find(|pod| pod.record.name.as_str() == name)
            .map(|pod| pod.record.namespace);
        let failure = Failure::with_code(NOT_FOUND, missing);
        match elsewhere {
            Some(namespace) => failure.hinted(format!("there is one in `-n {namespace}`")),
            None => failure,
        }
    })
}

fn map_of(pod: &PodRecord, field: &str) -> BTreeMap<String, String> {
    let value = pod.dir.read_pod().unwrap_or_default();
    let entries = value
        .get("metadata")
        .and_then(|m| m.get(field))
        .and_then(Value::as_object);
    entries
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// A pod's labels.
pub(crate) fn labels(pod: &PodRecord) -> BTreeMap<String, String> {
    map_of(pod, "labels")
}

/// One of a pod's annotations.
pub(crate) fn annotation(pod: &PodRecord, key: &str) -> Option<String> {
    map_of(pod, "annotations").remove(key)
}

fn spec(pod: &PodRecord) -> PodSpec {
    let value = pod.dir.read_pod().unwrap_or_default();
    let pod: Option<Pod> = serde_json::from_value(value).ok();
    pod.and_then(|pod| pod.spec).unwrap_or_default()
}

/// All of a pod's containers: the init containers, then the others.
pub(crate) fn all_containers(pod: &PodRecord) -> Vec<Container> {
    let spec = spec(pod);
    let mut all = spec.init_containers.unwrap_or_default();
    all.extend(spec.containers);
    let ephemeral = spec.ephemeral_containers.into_iter().flatten();
    all.extend(ephemeral.map(|container| Container {
        name: container.name,
        image: container.image,
        ..Container::default()
    }));
    all
}

/// The images of a pod's containers and volumes, as they are written.
pub(crate) fn images(pod: &PodRecord) -> Vec<String> {
    let containers = all_containers(pod).into_iter();
    let volumes = spec(pod).volumes.unwrap_or_default().into_iter();
    containers
        .filter_map(|container| container.image)
        .chain(volumes.filter_map(|volume| volume.image?.reference))
        .collect()
}

/// The first of a pod's `spec.containers`.
pub(crate) fn first_container(pod: &PodRecord) -> Option<String> {
    Some(spec(pod).containers.into_iter().next()?.name)
}

/// The whole Pod with its status, as a cluster would show it.
///
/// # Errors
/// Never for what podrun wrote.
pub(crate) fn whole(pod: &PodRecord) -> Result<Value, Failure> {
    let mut value = pod.dir.read_pod().unwrap_or_else(|| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod.record.name, "namespace": pod.record.namespace}})
    });
    if let Some(object) = value.as_object_mut() {
        let status = serde_json::to_value(pod.status()).map_err(Failure::internal)?;
        object.insert("status".to_owned(), status);
    }
    if let Some(deletion) = pod.dir.read_deletion()
        && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
    {
        let at = json!(format::rfc3339(deletion.timestamp));
        metadata.insert("deletionTimestamp".to_owned(), at);
        let seconds = json!(deletion.grace_period_seconds);
        metadata.insert("deletionGracePeriodSeconds".to_owned(), seconds);
    }
    Ok(value)
}

/// Performs `ps`.
///
/// # Errors
/// As [`run`].
pub(crate) fn ps(global: &Global, options: &Ps) -> Result<u8, Failure> {
    let mut listing = Query::new(global, &options.listing, options.names.clone())?;
    if options.quiet {
        listing.format = Format::Name;
        listing.is_quiet = true;
    }
    listing.show(global)
}

/// Performs `get`.
///
/// # Errors
/// A name that is not there (4).
pub(crate) fn run(global: &Global, options: &Get) -> Result<u8, Failure> {
    match wanted(&options.what)?.as_slice() {
        [(Kind::Pod, names)] => {
            let mut query = Query::new(global, &options.listing, names.clone())?;
            query.ignore_not_found = options.ignore_not_found;
            query.show(global)
        }
        [(Kind::Object(kind), names)] => objects::print(global, options, *kind, names),
        several => show_several(global, options, several),
    }
}

/// One table after the other, or one List.
fn show_several(
    global: &Global,
    options: &Get,
    wanted: &[(Kind, Vec<String>)],
) -> Result<u8, Failure> {
    let listing = &options.listing;
    if listing.watch {
        return Err(Failure::with_code(
            2,
            "only one kind can be watched at a time",
        ));
    }
    let store = input::open_store(global)?;
    let format = Format::parse(listing.output.as_deref())?;
    let mut values = Vec::new();
    let mut tables = Vec::new();
    for (kind, names) in wanted {
        match kind {
            Kind::Pod => {
                let mut query = Query::new(global, listing, names.clone())?;
                query.ignore_not_found = options.ignore_not_found;
                let pods = query.found(global, &store)?;
                values.extend(pods.iter().map(whole).collect::<Result<Vec<_>, _>>()?);
                tables.extend((!pods.is_empty()).then(|| query.table(&pods, true, "pod/")));
            }
            Kind::Object(kind) => {
                let found = objects::find(global, options, &store, *kind, names)?;
                let prefix = format!("{}/", kind.word());
                let rows = (!found.is_empty())
                    .then(|| objects::table_of(&found, *kind, listing, &format, &prefix));
                tables.extend(rows);
                values.extend(found.into_iter().map(|object| object.value));
            }
        }
    }
    match format {
        Format::Name => {
            for value in &values {
                let text = |pointer| value.pointer(pointer).and_then(Value::as_str);
                let kind = text("/kind").unwrap_or_default().to_ascii_lowercase();
                let name = text("/metadata/name").unwrap_or_default();
                render::line(&format!("{kind}/{name}"))?;
            }
        }
        Format::Table | Format::Wide if tables.is_empty() => {
            if !options.ignore_not_found {
                let namespace = input::namespace(global)?;
                let shown = (!listing.all_namespaces).then_some(&namespace);
                render::say(&nothing_found(shown));
            }
        }
        Format::Table | Format::Wide => render::line(&tables.join("\n\n"))?,
        Format::Json | Format::Yaml | Format::JsonPath(_) => {
            print_values(&format, values, false)?;
        }
    }
    Ok(0)
}

/// What is said of an empty table.
fn nothing_found(namespace: Option<&Namespace>) -> String {
    match namespace {
        Some(namespace) => format!("No resources found in {namespace} namespace."),
        None => "No resources found.".to_owned(),
    }
}

struct Query {
    namespace: Option<Namespace>,
    names: Vec<String>,
    selector: Selector,
    format: Format,
    is_quiet: bool,
    has_headers: bool,
    watch: bool,
    ignore_not_found: bool,
}

impl Query {
    fn new(global: &Global, listing: &Listing, names: Vec<String>) -> Result<Self, Failure> {
        let namespace = input::namespace(global)?;
        Ok(Self {
            namespace: (!listing.all_namespaces).then_some(namespace),
            names,
            selector: Selector::parse(listing.selector.as_deref())?,
            format: Format::parse(listing.output.as_deref())?,
            is_quiet: false,
            has_headers: !listing.no_headers,
            watch: listing.watch,
            ignore_not_found: false,
        })
    }

    fn pods(&self, store: &Store) -> Result<Vec<PodRecord>, Failure> {
        let mut pods = store.pods().map_err(Failure::internal)?;
        pods.retain(|pod| {
            self.namespace
                .as_ref()
                .is_none_or(|namespace| pod.record.namespace == *namespace)
                && (self.names.is_empty()
                    || self.names.iter().any(|name| {
                        name.strip_prefix("pod/").unwrap_or(name) == pod.record.name.as_str()
                    }))
        });
        if self.selector != Selector::default() {
            pods.retain(|pod| self.selector.fits(&labels(pod)));
        }
        Ok(pods)
    }

    /// The pods, all that are named among them.
    fn found(&self, global: &Global, store: &Store) -> Result<Vec<PodRecord>, Failure> {
        let pods = self.pods(store)?;
        for name in &self.names {
            let name = name.strip_prefix("pod/").unwrap_or(name);
            if !self.ignore_not_found && !pods.iter().any(|pod| pod.record.name.as_str() == name) {
                find_pod(global, store, name)?;
            }
        }
        Ok(pods)
    }

    fn show(&self, global: &Global) -> Result<u8, Failure> {
        let store = input::open_store(global)?;
        let changes = if self.watch {
            Some(Changes::watch(&store)?)
        } else {
            None
        };
        let mut pods = self.found(global, &store)?;
        self.print(&pods, true)?;
        let Some(changes) = changes else { return Ok(0) };
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        for pod in &pods {
            known.insert(pod.record.uid.to_string(), Self::essence(pod));
        }
        loop {
            changes.wait(&pods, None)?;
            pods = self.pods(&store)?;
            let mut changed = Vec::new();
            for pod in self.pods(&store)? {
                let essence = Self::essence(&pod);
                let before = known.insert(pod.record.uid.to_string(), essence.clone());
                if before.as_ref() != Some(&essence) {
                    changed.push(pod);
                }
            }
            if !changed.is_empty() {
                self.print(&changed, false)?;
            }
        }
    }

    /// What a row says, without its age.
    fn essence(pod: &PodRecord) -> String {
        let row = Self::row(pod, &pod.status());
        [row.ready, row.status, row.restarts].join(" ")
    }

    fn row(pod: &PodRecord, status: &PodStatus) -> kubectl::PodRow {
        kubectl::row(
            &spec(pod),
            status,
            pod.record.created,
            pod.dir.read_deletion().is_some(),
            jiff::Timestamp::now(),
        )
    }

    fn print(&self, pods: &[PodRecord], is_first: bool) -> Result<(), Failure> {
        match &self.format {
            Format::Table | Format::Wide => self.print_table(pods, is_first),
            Format::Name => {
                let prefix = if self.is_quiet { "" } else { "pod/" };
                for pod in pods {
                    render::line(&format!("{prefix}{}", pod.record.name))?;
                }
                Ok(())
            }
            Format::Json | Format::Yaml | Format::JsonPath(_) => {
                let is_one = self.names.len() == 1;
                let items = pods.iter().map(whole).collect::<Result<Vec<_>, _>>()?;
                print_values(&self.format, items, is_one)
            }
        }
    }

    fn print_table(&self, pods: &[PodRecord], is_first: bool) -> Result<(), Failure> {
        if pods.is_empty() {
            if is_first && !self.ignore_not_found {
                render::say(&nothing_found(self.namespace.as_ref()));
            }
            return Ok(());
        }
        render::line(&self.table(pods, is_first, ""))
    }

    fn table(&self, pods: &[PodRecord], is_first: bool, prefix: &str) -> String {
        let is_wide = self.format == Format::Wide;
        let mut headers = vec!["NAME", "READY", "STATUS", "RESTARTS", "AGE"];
        if self.namespace.is_none() {
            headers.insert(0, "NAMESPACE");
        }
        if is_wide {
            headers.extend(["IP", "NODE"]);
        }
        let rows: Vec<Vec<String>> = pods
            .iter()
            .map(|pod| {
                let status = pod.status();
                let row = Self::row(pod, &status);
                let mut cells = vec![
                    format!("{prefix}{}", pod.record.name),
                    row.ready,
                    row.status,
                    row.restarts,
                    row.age,
                ];
                if self.namespace.is_none() {
                    cells.insert(0, pod.record.namespace.to_string());
                }
                if is_wide {
                    cells.push(status.pod_ip.unwrap_or_else(|| "<none>".to_owned()));
                    cells.push(node_name());
                }
                cells
            })
            .collect();
        let headers = (self.has_headers && is_first).then_some(headers.as_slice());
        table(headers, &rows)
    }
}

/// The machine's name.
pub(crate) fn node_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Prints objects, one alone or as a List.
///
/// # Errors
/// As `write(2)`.
pub(crate) fn print_values(
    format: &Format,
    mut items: Vec<Value>,
    is_one: bool,
) -> Result<(), Failure> {
    let value = if is_one && items.len() == 1 {
        items.remove(0)
    } else {
        json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
    };
    match format {
        Format::Yaml => render::bytes(format::yaml(&value)?.as_bytes()),
        Format::JsonPath(template) => render::bytes(template.print(&value).as_bytes()),
        Format::Json | Format::Table | Format::Wide | Format::Name => {
            render::line(&format::json(&value)?)
        }
    }
}
