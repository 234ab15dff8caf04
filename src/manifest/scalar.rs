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
}
