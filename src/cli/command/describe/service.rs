//! Services and endpoints (`describeService`, `describeEndpoints`).

use serde_json::{Value, json};

use super::{Lines, list, map, plain, text};
use crate::cli::command::services::{endpoints_text, selector_text};
use crate::store::Object;

/// The column of the values.
const WIDTH: usize = 26;

/// A Service, and where its ports lead.
pub(super) fn service(object: &Object, endpoints: Option<&Object>) -> String {
    let mut lines = Lines(String::new());
    let value = &object.value;
    head(&mut lines, object);
    let mut pair = |name: &str, value: &str| lines.pair(0, WIDTH, name, value);
    pair("Selector", &selector_text(value));
    pair("Type", text(value, "/spec/type"));
    let policy = text(value, "/spec/ipFamilyPolicy");
    if !policy.is_empty() {
        pair("IP Family Policy", policy);
    }
    let joined = |pointer: &str| {
        let all: Vec<String> = list(value, pointer).map(|one| plain(Some(one))).collect();
        all.join(",")
    };
    let or_none = |text: String| {
        if text.is_empty() {
            "<none>".to_owned()
        } else {
            text
        }
    };
    pair("IP Families", &or_none(joined("/spec/ipFamilies")));
    pair("IP", text(value, "/spec/clusterIP"));
    pair("IPs", &or_none(joined("/spec/clusterIPs")));
    let externals = joined("/spec/externalIPs");
    if !externals.is_empty() {
        pair("External IPs", &externals);
    }
    let external = text(value, "/spec/externalName");
    if !external.is_empty() {
        pair("External Name", external);
    }
    let none = json!({});
    let endpoints = endpoints.map_or(&none, |object| &object.value);
    for port in list(value, "/spec/ports") {
        let name = text(port, "/name");
        let shown = if name.is_empty() { "<unset>" } else { name };
        let with_protocol = |field: &str| {
            let number = plain(port.get(field));
            format!("{number}/{}", text(port, "/protocol"))
        };
        pair("Port", &format!("{shown}  {}", with_protocol("port")));
        pair("TargetPort", &with_protocol("targetPort"));
        if port.get("nodePort").is_some() {
            pair(
                "NodePort",
                &format!("{shown}  {}", with_protocol("nodePort")),
            );
        }
        pair("Endpoints", &endpoints_text(endpoints, Some(name)));
    }
    pair("Session Affinity", text(value, "/spec/sessionAffinity"));
    for (name, pointer) in [
        ("External Traffic Policy", "/spec/externalTrafficPolicy"),
        ("Internal Traffic Policy", "/spec/internalTrafficPolicy"),
    ] {
        let policy = text(value, pointer);
        if !policy.is_empty() {
            pair(name, policy);
        }
    }
    pair("Events", "<none>");
    lines.0
}

/// Endpoints, or an `EndpointSlice`.
pub(super) fn endpoints(object: &Object) -> String {
    let mut lines = Lines(String::new());
    head(&mut lines, object);
    for subset in list(&object.value, "/subsets") {
        lines.line(0, "Subsets:");
        for (name, pointer) in [
            ("Addresses", "/addresses"),
            ("NotReadyAddresses", "/notReadyAddresses"),
        ] {
            let ips: Vec<&str> = list(subset, pointer).map(|one| text(one, "/ip")).collect();
            let ips = ips.join(",");
            let ips = if ips.is_empty() { "<none>" } else { &ips };
            lines.pair(2, WIDTH.saturating_sub(2), name, ips);
        }
        ports(&mut lines, 2, subset);
    }
    let kind = text(&object.value, "/addressType");
    if !kind.is_empty() {
        lines.pair(0, WIDTH, "AddressType", kind);
        ports(&mut lines, 0, &object.value);
        lines.line(0, "Endpoints:");
        for endpoint in list(&object.value, "/endpoints") {
            let ips = list(endpoint, "/addresses").map(|one| plain(Some(one)));
            let ips: Vec<String> = ips.collect();
            lines.line(2, &format!("- Addresses:  {}", ips.join(",")));
            let ready = plain(endpoint.pointer("/conditions/ready"));
            let ready = if ready.is_empty() { "<unset>" } else { &ready };
            lines.line(4, &format!("Ready:      {ready}"));
        }
    }
    lines.0
}

fn head(lines: &mut Lines, object: &Object) {
    lines.pair(0, WIDTH, "Name", object.name.as_str());
    lines.pair(0, WIDTH, "Namespace", object.namespace.as_str());
    let value = &object.value;
    map(lines, WIDTH, "Labels", value.pointer("/metadata/labels"));
    let annotations = value.pointer("/metadata/annotations");
    map(lines, WIDTH, "Annotations", annotations);
}

fn ports(lines: &mut Lines, depth: usize, value: &Value) {
    let mut all = list(value, "/ports").peekable();
    if all.peek().is_none() {
        return;
    }
    lines.line(depth, "Ports:");
    for port in all {
        let name = text(port, "/name");
        let name = if name.is_empty() { "<unset>" } else { name };
        let number = plain(port.get("port"));
        let line = format!("{name}  {number}/{}", text(port, "/protocol"));
        lines.line(depth.saturating_add(2), &line);
    }
}
