//! The rules for `ConfigMap` and Secret (validation.go `ValidateConfigMap`, `ValidateSecret`).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use super::problem::{Positions, Problem, Severity};
use super::{CheckedData, kinds};
use crate::names::ObjectKind;

/// `MaxSecretSize`, and the same for a `ConfigMap`.
const MAX_TOTAL: usize = 1024 * 1024;

/// Keys that a type of Secret must have.
const REQUIRED_KEYS: [(&str, &[&str]); 5] = [
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/service-account-token", &[]),
];

pub(super) fn check(
    kind: ObjectKind,
    mut value: Value,
    places: &Positions,
    problems: &mut Vec<Problem>,
) -> Option<CheckedData> {
    let metadata = value.get("metadata").cloned().unwrap_or_default();
    let (name, namespace) = kinds::names(&metadata, places, problems);
    let mut say = |path: &str, message: String, hint: Option<String>| {
        problems.push(places.problem(Severity::Error, path, message, hint));
    };
    if metadata
        .get("name")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        say("metadata.name", "is required".to_owned(), None);
    }
    let mut total: usize = 0;
    let mut seen: Vec<String> = Vec::new();
    for field in ["data", "binaryData", "stringData"] {
        let Some(entries) = value.get(field).and_then(Value::as_object) else {
            continue;
        };
        let is_base64 = field == "binaryData" || (kind == ObjectKind::Secret && field == "data");
        for (key, text) in entries {
            let path = format!("{field}.{key}");
            if let Some(problem) = bad_key(key) {
                say(&path, problem.to_owned(), None);
            }
            if kind == ObjectKind::ConfigMap && seen.contains(key) {
                say(&path, "is in `data` as well".to_owned(), None);
            }
            seen.push(key.clone());
            let text = text.as_str().unwrap_or_default();
            let size = if is_base64 {
                decoded_length(text)
            } else {
                Some(text.len())
            };
            match size {
                Some(size) => total = total.saturating_add(size),
                None => say(
                    &path,
                    "is not base64".to_owned(),
                    (kind == ObjectKind::Secret)
                        .then(|| "plain text goes into `stringData`".to_owned()),
                ),
            }
        }
    }
    if total > MAX_TOTAL {
        say(
            "data",
            format!("has {total} bytes; at most {MAX_TOTAL} are allowed"),
            None,
        );
    }
    if kind == ObjectKind::Secret {
        merge_string_data(&mut value);
        let secret_type = value
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or("Opaque")
            .to_owned();
        let required = REQUIRED_KEYS
            .iter()
            .find(|(known, _)| *known == secret_type);
        for key in required.map(|(_, keys)| *keys).unwrap_or_default() {
            if value.get("data").and_then(|data| data.get(*key)).is_none() {
                say(
                    "data",
                    format!("a Secret of type {secret_type} needs the key `{key}`"),
                    None,
                );
            }
        }
        for (known, key) in [
            ("kubernetes.io/dockerconfigjson", ".dockerconfigjson"),
            ("kubernetes.io/dockercfg", ".dockercfg"),
        ] {
            let content = value.get("data").and_then(|data| data.get(key));
            let content = content.filter(|_| known == secret_type);
            if let Some(why) = content.and_then(Value::as_str).and_then(not_json) {
                let plain = format!("stringData.{key}");
                let is_plain = places.places.contains_key(&plain);
                let path = if is_plain {
                    plain
                } else {
                    format!("data.{key}")
                };
                say(&path, why, None);
            }
        }
        if let Value::Object(object) = &mut value {
            object.insert("type".to_owned(), Value::String(secret_type));
        }
    }
    Some(CheckedData {
        kind,
        name: name?,
        namespace,
        value,
        source: places.source(),
    })
}

/// `IsConfigMapKey`.
fn bad_key(key: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if key.is_empty() || !key.chars().all(allowed) {
        return Some("a key must consist of alphanumeric characters, '-', '_' or '.'");
    }
    if key.len() > 253 {
        return Some("a key must be no more than 253 characters");
    }
    if key == "." || key.starts_with("..") {
        return Some("a key may not be '.' or begin with '..'");
    }
    None
}

/// The length of what standard base64 stands for; line breaks are passed over, as Go's decoder
/// does.
fn decoded_length(text: &str) -> Option<usize> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\n' | b'\r'))
        .collect();
    BASE64_STANDARD.decode(digits).ok().map(|bytes| bytes.len())
}

/// Why this base64 stands for no JSON object; never in the parser's words, which quote.
fn not_json(text: &str) -> Option<String> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\n' | b'\r'))
        .collect();
    let bytes = BASE64_STANDARD.decode(digits).ok()?;
    match serde_json::from_slice::<Map<String, Value>>(&bytes) {
        Ok(_) => None,
        Err(error) => Some(format!(
            "is not a JSON object: line {}, column {}",
            error.line(),
            error.column()
        )),
    }
}

/// `stringData` wins over `data` and is never shown.
fn merge_string_data(value: &mut Value) {
    let Value::Object(object) = value else { return };
    let Some(Value::Object(plain)) = object.remove("stringData") else {
        return;
    };
    let data = object
        .entry("data")
        .or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(data) = data else { return };
    for (key, text) in plain {
        let encoded = BASE64_STANDARD.encode(text.as_str().unwrap_or_default());
        data.insert(key, Value::String(encoded));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_measured_as_go_reads_it() {
        for (text, length) in [
            ("", Some(0)),
            ("YQ==", Some(1)),
            ("YWI=", Some(2)),
            ("YWJj", Some(3)),
            ("YWJj\nYQ==", Some(4)),
        ] {
            assert_eq!(decoded_length(text), length, "{text}");
        }
        for text in ["a", "YQ=", "Y=Q=", "****", "YQ==YQ=="] {
            assert_eq!(decoded_length(text), None, "{text}");
        }
    }
}
