//! Objects beside Pods, as `get` shows them: kubectl's tables.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::cli::command::get::print_values;
use crate::cli::command::services;
use crate::cli::failure::{Failure, NOT_FOUND};
use crate::cli::options::{Get, Global, Listing};
use crate::cli::render::format::Format;
use crate::cli::render::table::table;
use crate::cli::selector::Selector;
use crate::cli::{input, render};
use crate::lifecycle::kubectl;
use crate::names::ObjectKind;
use crate::store::{Object, Store};

/// The objects of a kind; Endpoints are those that Services have, too.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn of_kind(store: &Store, kind: ObjectKind) -> Result<Vec<Object>, Failure> {
    match kind {
        ObjectKind::Endpoints => services::all_endpoints(store),
        _ => store.objects(kind).map_err(Failure::internal),
    }
}

/// The objects of a kind that are wanted.
///
/// # Errors
/// A name that is not there (4).
pub(super) fn find(
    global: &Global,
    options: &Get,
    store: &Store,
    kind: ObjectKind,
    names: &[String],
) -> Result<Vec<Object>, Failure> {
    let listing = &options.listing;
    let namespace = input::namespace(global)?;
    let selector = Selector::parse(listing.selector.as_deref())?;
    let mut found = of_kind(store, kind)?;
    found.retain(|object| {
        let labels: BTreeMap<String, String> = object
            .value
            .get("metadata")
            .and_then(|metadata| metadata.get("labels"))
            .and_then(|labels| serde_json::from_value(labels.clone()).ok())
            .unwrap_or_default();
        (listing.all_namespaces || !kind.is_namespaced() || object.namespace == namespace)
            && (names.is_empty() || names.iter().any(|name| name == object.name.as_str()))
            && selector.fits(&labels)
    });
    let missing: Vec<String> = names
        .iter()
        .filter(|name| !found.iter().any(|object| object.name.as_str() == *name))
        .map(|name| format!("{}/{name}", kind.word()))
        .collect();
    if !missing.is_empty() && !options.ignore_not_found {
        return Err(Failure::with_code(
            NOT_FOUND,
            format!("{} not found", missing.join(", ")),
        ));
    }
    Ok(found)
}

/// Prints objects of a kind.
///
/// # Errors
/// A name that is not there (4).
pub(super) fn print(
    global: &Global,
    options: &Get,
    kind: ObjectKind,
    names: &[String],
) -> Result<u8, Failure> {
    let listing = &options.listing;
    let format = Format::parse(listing.output.as_deref())?;
    let store = input::open_store(global)?;
    let found = find(global, options, &store, kind, names)?;
    match &format {
        Format::Name => {
            for object in &found {
                render::line(&format!("{}/{}", kind.word(), object.name))?;
            }
        }
        Format::Table | Format::Wide if !found.is_empty() => {
            render::line(&table_of(&found, kind, listing, &format, ""))?;
        }
        Format::Table | Format::Wide if kind.is_namespaced() => {
            let namespace = input::namespace(global)?;
            render::say(&format!("No resources found in {namespace} namespace."));
        }
        Format::Table | Format::Wide => render::say("No resources found"),
        Format::Json | Format::Yaml | Format::JsonPath(_) => {
            let items = found.into_iter().map(|object| object.value).collect();
            print_values(&format, items, names.len() == 1)?;
        }
    }
    Ok(0)
}

/// Objects of a kind as a table, each name with something before it.
pub(super) fn table_of(
    objects: &[Object],
    kind: ObjectKind,
    listing: &Listing,
    format: &Format,
    prefix: &str,
) -> String {
    let has_namespaces = listing.all_namespaces && kind.is_namespaced();
    let is_wide = *format == Format::Wide && kind == ObjectKind::Service;
    let rows: Vec<Vec<String>> = objects
        .iter()
        .map(|object| {
            let mut cells = cells(object);
            cells.insert(0, format!("{prefix}{}", object.name));
            if is_wide {
                cells.push(services::selector_text(&object.value));
            }
            if has_namespaces {
                cells.insert(0, object.namespace.to_string());
            }
            cells
        })
        .collect();
    let mut headers = vec!["NAME"];
    if has_namespaces {
        headers.insert(0, "NAMESPACE");
    }
    headers.extend(columns(kind));
    if is_wide {
        headers.push("SELECTOR");
    }
    table((!listing.no_headers).then_some(headers.as_slice()), &rows)
}

/// The columns after the name (`printers/internalversion`).
const fn columns(kind: ObjectKind) -> &'static [&'static str] {
    match kind {
        ObjectKind::ConfigMap => &["DATA"],
        ObjectKind::Secret => &["TYPE", "DATA"],
        ObjectKind::PersistentVolumeClaim => &[
            "STATUS",
            "VOLUME",
            "CAPACITY",
            "ACCESS MODES",
            "STORAGECLASS",
            "AGE",
        ],
        ObjectKind::PersistentVolume => &[
            "CAPACITY",
            "ACCESS MODES",
            "RECLAIM POLICY",
            "STATUS",
            "CLAIM",
            "STORAGECLASS",
            "AGE",
        ],
        ObjectKind::Service => &["TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"],
        ObjectKind::Endpoints => &["ENDPOINTS", "AGE"],
        ObjectKind::EndpointSlice => &["ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"],
    }
}

fn cells(object: &Object) -> Vec<String> {
    let text = |pointer: &str| {
        let value = object.value.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let count = || {
        ["data", "binaryData"]
            .iter()
            .filter_map(|field| object.value.get(*field)?.as_object())
            .fold(0_usize, |sum, entries| sum.saturating_add(entries.len()))
            .to_string()
    };
    let phase = || Some(text("/status/phase")).filter(|phase| !phase.is_empty());
    match object.kind {
        ObjectKind::ConfigMap => vec![count()],
        ObjectKind::Secret => {
            let secret_type = Some(text("/type")).filter(|word| !word.is_empty());
            vec![secret_type.unwrap_or_else(|| "Opaque".to_owned()), count()]
        }
        ObjectKind::PersistentVolumeClaim => vec![
            phase().unwrap_or_else(|| "Pending".to_owned()),
            text("/spec/volumeName"),
            text("/status/capacity/storage"),
            access_modes(object.value.pointer("/status/accessModes")),
            text("/spec/storageClassName"),
            age(object),
        ],
        ObjectKind::PersistentVolume => {
            let claim = text("/spec/claimRef/name");
            vec![
                text("/spec/capacity/storage"),
                access_modes(object.value.pointer("/spec/accessModes")),
                text("/spec/persistentVolumeReclaimPolicy"),
                phase().unwrap_or_else(|| "Available".to_owned()),
                if claim.is_empty() {
                    claim
                } else {
                    format!("{}/{claim}", text("/spec/claimRef/namespace"))
                },
                text("/spec/storageClassName"),
                age(object),
            ]
        }
        ObjectKind::Service => aged(services::cells(&object.value), object),
        ObjectKind::Endpoints => {
            let endpoints = services::endpoints_text(&object.value, None);
            aged(vec![endpoints], object)
        }
        ObjectKind::EndpointSlice => aged(services::slice_cells(&object.value), object),
    }
}

fn aged(mut cells: Vec<String>, object: &Object) -> Vec<String> {
    cells.push(age(object));
    cells
}

/// `GetAccessModesAsString`.
pub(super) fn access_modes(modes: Option<&Value>) -> String {
    let has = |mode: &str| {
        let mut modes = modes.and_then(Value::as_array).into_iter().flatten();
        modes.any(|found| found.as_str() == Some(mode))
    };
    let words = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let found: Vec<&str> = words
        .into_iter()
        .filter(|(mode, _)| has(mode))
        .map(|(_, word)| word)
        .collect();
    found.join(",")
}

fn age(object: &Object) -> String {
    let created = object.value.pointer("/metadata/creationTimestamp");
    let created: Option<Timestamp> = created.and_then(|time| time.as_str()?.parse().ok());
    created.map_or_else(
        || "<unknown>".to_owned(),
        |created| {
            let seconds = Timestamp::now().duration_since(created).as_secs();
            kubectl::human_duration(seconds.max(0))
        },
    )
}
