//! From a tree to a value of a schema: types, unknown fields, verdicts.

use serde_json::{Map, Number, Value};

use super::Strictness;
use super::fields::{Field, Kind, Verdict};
use super::problem::{Positions, Severity};
use super::scalar::{Scalar, describe, scalar};
use super::tree::{Content, Node};
use super::{Problem, problem};

/// How alike two names must be for "did you mean".
const LIKENESS: f64 = 0.8;

/// Checks one object.
pub(super) struct Checker<'a> {
    pub(super) strictness: Strictness,
    pub(super) positions: Positions,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    pub(super) fn say(
        &mut self,
        severity: Severity,
        path: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let problem = self.positions.problem(severity, path, message, hint);
        self.problems.push(problem);
    }

    fn error(&mut self, path: &str, message: impl Into<String>, hint: Option<String>) {
        self.say(Severity::Error, path, message, hint);
    }

    fn remember(&mut self, path: &str, node: &Node) {
        self.positions
            .places
            .insert(path.to_owned(), node.place.clone());
    }

    /// The value of a node, with what does not fit left out and told.
    pub(super) fn value(&mut self, path: &str, node: &Node, kind: &Kind) -> Option<Value> {
        self.remember(path, node);
        if scalar(node) == Some(Scalar::Null) {
            return None;
        }
        match kind {
            Kind::Object(fields) => self.object(path, node, fields),
            Kind::List(of) => self.list(path, node, of),
            Kind::Map => self.map(path, node, &Kind::Text),
            Kind::Quantities => self.map(path, node, &Kind::Quantity),
            Kind::Text => match scalar(node) {
                Some(Scalar::Text(text)) => Some(Value::String(text.to_owned())),
                _ => self.mismatch(path, node, "a string", Some("put it in quotes")),
            },
            Kind::Bool => match scalar(node) {
                Some(Scalar::Bool(value)) => Some(Value::Bool(value)),
                _ => self.mismatch(path, node, "true or false", None),
            },
            Kind::Int => match scalar(node) {
                Some(Scalar::Int(value)) => Some(Value::Number(Number::from(value))),
                _ => self.mismatch(path, node, "a whole number", None),
            },
            Kind::Int32 => match scalar(node) {
                Some(Scalar::Int(value)) if i32::try_from(value).is_ok() => {
                    Some(Value::Number(Number::from(value)))
                }
                _ => self.mismatch(path, node, "a whole number of 32 bits", None),
            },
            Kind::IntOrText => match scalar(node) {
                Some(Scalar::Int(value)) if i32::try_from(value).is_ok() => {
                    Some(Value::Number(Number::from(value)))
                }
                Some(Scalar::Text(text)) => Some(Value::String(text.to_owned())),
                _ => self.mismatch(path, node, "a number or a name", None),
            },
            Kind::Quantity => match scalar(node) {
                Some(Scalar::Text(text)) => Some(Value::String(text.to_owned())),
                Some(Scalar::Int(_) | Scalar::Float(_)) => {
                    node.text().map(|text| Value::String(text.to_owned()))
                }
                _ => self.mismatch(path, node, "a quantity such as 64Mi", None),
            },
        }
    }

    fn mismatch(
        &mut self,
        path: &str,
        node: &Node,
        expected: &str,
        hint: Option<&str>,
    ) -> Option<Value> {
        let found = if self.positions.is_secret {
            "another type".to_owned()
        } else {
            describe(node)
        };
        let hint = hint.filter(|_| scalar(node).is_some()).map(str::to_owned);
        self.error(path, format!("expected {expected}, got {found}"), hint);
        None
    }

    fn list(&mut self, path: &str, node: &Node, of: &Kind) -> Option<Value> {
        let Content::Sequence(items) = &node.content else {
            return self.mismatch(path, node, "a list", Some("write it as a list: `- …`"));
        };
        let values = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let path = format!("{path}[{index}]");
                if scalar(item) == Some(Scalar::Null) {
                    self.remember(&path, item);
                    self.error(&path, "is empty", None);
                }
                self.value(&path, item, of).unwrap_or(match of {
                    Kind::Object(_) | Kind::Map | Kind::Quantities => Value::Object(Map::new()),
                    Kind::Text | Kind::Quantity => Value::String(String::new()),
                    Kind::Bool => Value::Bool(false),
                    Kind::Int | Kind::Int32 | Kind::IntOrText => Value::Number(Number::from(0)),
                    Kind::List(_) => Value::Array(Vec::new()),
                })
            })
            .collect();
        Some(Value::Array(values))
    }

    fn map(&mut self, path: &str, node: &Node, of: &Kind) -> Option<Value> {
        let Content::Mapping(entries) = &node.content else {
            let expected = if matches!(of, Kind::Quantity) {
                "an object of quantities"
            } else {
                "an object of strings"
            };
            return self.mismatch(path, node, expected, None);
        };
        let mut result = Map::new();
        for (key, value) in entries {
            // A key such as `on` is the boolean true in YAML 1.1, and "true" to Kubernetes.
            let name = key_text(key);
            let path = format!("{path}.{name}");
            if let Some(value) = self.value(&path, value, of) {
                result.insert(name, value);
            }
        }
        Some(Value::Object(result))
    }

    fn object(&mut self, path: &str, node: &Node, fields: &[Field]) -> Option<Value> {
        let Content::Mapping(entries) = &node.content else {
            return self.mismatch(path, node, "an object", None);
        };
        let mut result = Map::new();
        for (key, value) in entries {
            let name = key_text(key);
            let below = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            self.remember(&below, key);
            let Some(field) = fields.iter().find(|field| field.name == name) else {
                self.unknown(&below, &name, fields);
                continue;
            };
            match &field.verdict {
                Verdict::Works(kind) => {
                    if let Some(checked) = self.value(&below, value, kind) {
                        result.insert(name, checked);
                    }
                }
                Verdict::Stripped => {}
                Verdict::NoEffect(why) => {
                    if !is_default(value, field.default) {
                        self.say(Severity::Note, &below, *why, None);
                    }
                }
                Verdict::Refused(why, hint) => {
                    if !is_default(value, field.default) {
                        self.error(&below, *why, hint.map(str::to_owned));
                    }
                }
            }
        }
        Some(Value::Object(result))
    }

    fn unknown(&mut self, path: &str, name: &str, fields: &[Field]) {
        let severity = match self.strictness {
            Strictness::Strict => Severity::Error,
            Strictness::Warn => Severity::Warning,
            Strictness::Ignore => return,
        };
        let likeness = |field: &Field| {
            strsim::jaro_winkler(&field.name.to_ascii_lowercase(), &name.to_ascii_lowercase())
        };
        let nearest = fields
            .iter()
            .map(|field| (likeness(field), field.name))
            .filter(|(likeness, _)| *likeness >= LIKENESS)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name)| format!("did you mean `{name}`?"));
        self.say(severity, path, "is not a field of this object", nearest);
    }
}

/// A mapping's key as JSON has it.
pub(super) fn key_text(key: &Node) -> String {
    match scalar(key) {
        Some(Scalar::Text(text)) => text.to_owned(),
        Some(Scalar::Bool(value)) => value.to_string(),
        Some(Scalar::Int(value)) => value.to_string(),
        Some(Scalar::Null | Scalar::Float(_)) | None => key.text().unwrap_or_default().to_owned(),
    }
}

/// Whether a field says what is the case anyway: it is empty, or it names the default.
fn is_default(node: &Node, default: Option<&str>) -> bool {
    match &node.content {
        Content::Sequence(items) => items.is_empty(),
        Content::Mapping(entries) => entries.is_empty(),
        Content::Scalar { text, .. } => match scalar(node) {
            Some(Scalar::Null | Scalar::Text("")) => true,
            Some(Scalar::Bool(false)) if default.is_none() => true,
            _ => default == Some(text.as_str()),
        },
    }
}

/// The positions of an object's nodes.
pub(super) fn positions(source: usize, node: &Node, is_secret: bool) -> Positions {
    let mut positions = Positions {
        source,
        is_secret,
        ..Positions::default()
    };
    positions.places.insert(
        String::new(),
        problem::Place {
            span: node.place.span.clone(),
            ..node.place.clone()
        },
    );
    positions
}
