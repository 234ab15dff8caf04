//! The rules for `ConfigMap` and Secret (validation.go `ValidateConfigMap`, `ValidateSecret`).

use serde_json::{Map, Value};

use super::problem::{Positions, Problem, Severity};
use super::{CheckedData, DataKind, kinds};

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
    kind: DataKind,
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
        let is_base64 = field == "binaryData" || (kind == DataKind::Secret && field == "data");
        for (key, text) in entries {
            let path = format!("{field}.{key}");
            if let Some(problem) = bad_key(key) {
                say(&path, problem.to_owned(), None);
            }
            if kind == DataKind::ConfigMap && seen.contains(key) {
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
                    (kind == DataKind::Secret)
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
    if kind == DataKind::Secret {
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
    let mut digits: usize = 0;
    let mut padding: usize = 0;
    for byte in text.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')) {
        match byte {
            b'=' => padding = padding.saturating_add(1),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => {
                digits = digits.saturating_add(1);
            }
            _ => return None,
        }
    }
    let is_whole = digits.saturating_add(padding).is_multiple_of(4) && padding <= 2;
    is_whole.then(|| digits.saturating_mul(3) / 4)
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
        let encoded = encode(text.as_str().unwrap_or_default().as_bytes());
        data.insert(key, Value::String(encoded));
    }
}

/// Standard base64 with padding.
fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |index: u32| {
        usize::try_from(index & 63)
            .ok()
            .and_then(|index| DIGITS.get(index))
            .map_or('=', |digit| char::from(*digit))
    };
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| group.get(at).copied().map_or(0, u32::from);
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        text.push(digit(bits >> 18));
        text.push(digit(bits >> 12));
        text.push(if group.len() > 1 {
            digit(bits >> 6)
        } else {
            '='
        });
        text.push(if group.len() > 2 { digit(bits) } else { '=' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_measured_and_written() {
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
        for (bytes, text) in [
            (&b""[..], ""),
            (b"a", "YQ=="),
            (b"ab", "YWI="),
            (b"abc", "YWJj"),
        ] {
            assert_eq!(encode(bytes), text);
        }
    }
}
