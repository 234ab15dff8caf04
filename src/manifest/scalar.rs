//! What a plain scalar is to Kubernetes: its reader (`sigs.k8s.io/yaml` on `go.yaml.in/yaml/v2`)
//! follows YAML 1.1 in this.

use super::tree::{Content, Node};

/// A scalar's meaning.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
}

/// The meaning of a node, if it is a scalar.
pub(super) fn scalar(node: &Node) -> Option<Scalar<'_>> {
    match &node.content {
        Content::Scalar {
            text,
            is_plain,
            tag,
        } => Some(match tag.as_deref() {
            Some("str" | "binary") => Scalar::Text(text),
            Some(_) => plain(text),
            None if *is_plain => plain(text),
            None => Scalar::Text(text),
        }),
        Content::Sequence(_) | Content::Mapping(_) => None,
    }
}

fn plain(text: &str) -> Scalar<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Scalar::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        _ => {}
    }
    if let Some(number) = integer(text) {
        return Scalar::Int(number);
    }
    float(text).map_or(Scalar::Text(text), Scalar::Float)
}

/// `420`, `0644`, `0o644`, `0x1f`, `0b11`, `1_000`, with a sign or without.
fn integer(text: &str) -> Option<i64> {
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    if digits.len() != text.len() && text.starts_with('_') {
        return None;
    }
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (2, binary)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, octal)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.get(1..).unwrap_or_default())
    } else {
        (10, lower.as_str())
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    if negative {
        value.checked_neg()
    } else {
        Some(value)
    }
}

/// A float as YAML 1.1 writes one: at least a digit, and a point or an exponent.
fn float(text: &str) -> Option<f64> {
    let looks_like_one = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        && text.contains(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || "+-.eE_".contains(c));
    if !looks_like_one {
        return None;
    }
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    digits.parse().ok()
}

/// How a message names what was found.
pub(super) fn describe(node: &Node) -> String {
    match scalar(node) {
        None => match node.content {
            Content::Sequence(_) => "a list".to_owned(),
            Content::Mapping(_) | Content::Scalar { .. } => "an object".to_owned(),
        },
        Some(Scalar::Null) => "nothing".to_owned(),
        Some(Scalar::Bool(value)) => format!("the boolean {value}"),
        Some(Scalar::Int(value)) => format!("the number {value}"),
        Some(Scalar::Float(value)) => format!("the number {value}"),
        Some(Scalar::Text(text)) => {
            let shown: String = text.escape_debug().take(40).collect();
            format!("the string \"{shown}\"")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_scalars_are_read_as_kubernetes_does() {
        for (text, meaning) in [
            ("0644", Scalar::Int(420)),
            ("010", Scalar::Int(8)),
            ("0o10", Scalar::Int(8)),
            ("0x1F", Scalar::Int(31)),
            ("0b101", Scalar::Int(5)),
            ("1_000", Scalar::Int(1000)),
            ("-12", Scalar::Int(-12)),
            ("+7", Scalar::Int(7)),
            ("0", Scalar::Int(0)),
            ("yes", Scalar::Bool(true)),
            ("Off", Scalar::Bool(false)),
            ("~", Scalar::Null),
            ("1.5", Scalar::Float(1.5)),
            ("1e3", Scalar::Float(1000.0)),
            ("2001-12-14", Scalar::Text("2001-12-14")),
            ("1.2.3", Scalar::Text("1.2.3")),
            ("089", Scalar::Float(89.0)),
            ("1:30", Scalar::Text("1:30")),
            ("yEs", Scalar::Text("yEs")),
            ("-", Scalar::Text("-")),
            ("0x", Scalar::Text("0x")),
            ("_1", Scalar::Text("_1")),
            ("500m", Scalar::Text("500m")),
        ] {
            assert_eq!(plain(text), meaning, "{text}");
        }
    }

    /// A node as the value it means.
    fn value(node: &Node) -> serde_json::Value {
        match (&node.content, scalar(node)) {
            (Content::Sequence(items), _) => items.iter().map(value).collect(),
            (Content::Mapping(entries), _) => entries
                .iter()
                .map(|(key, item)| (key.text().unwrap().to_owned(), value(item)))
                .collect(),
            (_, None | Some(Scalar::Null)) => serde_json::Value::Null,
            (_, Some(Scalar::Bool(it))) => it.into(),
            (_, Some(Scalar::Int(it))) => it.into(),
            (_, Some(Scalar::Float(it))) => it.into(),
            (_, Some(Scalar::Text(it))) => it.into(),
        }
    }

    fn read(text: &str) -> serde_json::Value {
        let (documents, problems) = crate::manifest::tree::parse(0, text.as_bytes());
        assert!(problems.is_empty(), "{text}\n{problems:?}");
        documents.first().map(value).unwrap_or_default()
    }

    fn any_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            // Words that are not among YAML 1.1's booleans, and text that needs quotes.
            "[a-z]{6,12}".prop_map(Into::into),
            "[ -~\u{e4}\n]{6,20}[a-z]".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map("[a-z]{4,8}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// A second opinion: where YAML 1.1 and 1.2 agree, another reader and writer does too.
        #[test]
        fn what_another_library_writes_is_read_as_it_reads_it(wanted in any_value()) {
            let text = serde_yaml::to_string(&wanted).unwrap();
            let theirs: serde_json::Value = serde_yaml::from_str(&text).unwrap();
            prop_assert_eq!(&theirs, &wanted);
            prop_assert_eq!(read(&text), wanted, "{}", text);
        }

        /// What `get -o yaml` prints is the same text again, to this reader and so to Kubernetes'.
        #[test]
        fn text_that_is_written_is_read_as_text(wanted in "[ -~\u{e4}\n\t]{0,12}") {
            let text = serde_saphyr::to_string(&serde_json::json!({ "key": wanted })).unwrap();
            prop_assert_eq!(read(&text), serde_json::json!({ "key": wanted }), "{}", text);
        }
    }
}
