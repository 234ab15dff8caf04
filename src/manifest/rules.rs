//! How a broken rule is said.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::{Positions, Problem, Severity};

/// The largest id the API takes (`runAsUser` is an int64, checked as a positive int32).
const MAX_ID: i64 = 2_147_483_647;

/// The rules of one object: what is wrong goes to the problems, with its place.
pub(super) struct Rules<'a> {
    pub(super) places: &'a Positions,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Rules<'_> {
    pub(super) fn error(&mut self, path: &str, message: impl Into<String>) {
        self.problems
            .push(self.places.problem(Severity::Error, path, message, None));
    }

    pub(super) fn error_hint(
        &mut self,
        path: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let hint = Some(hint.into());
        self.problems
            .push(self.places.problem(Severity::Error, path, message, hint));
    }

    pub(super) fn note(&mut self, path: &str, message: impl Into<String>) {
        self.problems
            .push(self.places.problem(Severity::Note, path, message, None));
    }

    /// An object as its API type; one that is none is an error already, of its fields' types.
    pub(super) fn typed<T: DeserializeOwned>(&mut self, value: Value) -> Option<T> {
        serde_json::from_value(value)
            .map_err(|error| self.error("", error.to_string()))
            .ok()
    }

    /// `metadata.name`, which an object that is stored must have.
    pub(super) fn required_name<'m>(&mut self, metadata: &'m Value) -> Option<&'m str> {
        let name = metadata.get("name").and_then(Value::as_str);
        let name = name.filter(|name| !name.is_empty());
        if name.is_none() {
            self.error("metadata.name", "is required");
        }
        name
    }

    pub(super) fn one_of(&mut self, path: &str, value: Option<&String>, allowed: &[&str]) {
        let Some(value) = value else { return };
        if !allowed.contains(&value.as_str()) {
            let message = format!(
                "`{}` is not one of {}",
                value.escape_debug(),
                allowed.join(", ")
            );
            self.error(path, message);
        }
    }

    /// As [`Self::one_of`], for a field that must be there.
    pub(super) fn required_one_of(&mut self, path: &str, value: &String, allowed: &[&str]) {
        if value.is_empty() {
            let message = format!("is required: one of {}", allowed.join(", "));
            self.error(path, message);
        } else {
            self.one_of(path, Some(value), allowed);
        }
    }

    pub(super) fn between(&mut self, path: &str, value: i64, least: i64, most: i64) {
        if !(least..=most).contains(&value) {
            self.error(path, format!("must be between {least} and {most}"));
        }
    }

    pub(super) fn id(&mut self, path: &str, value: Option<i64>) {
        if let Some(id) = value {
            self.between(path, id, 0, MAX_ID);
        }
    }

    /// Whether a field is in the file, even if its value was of no use.
    pub(super) fn is_written(&self, path: &str) -> bool {
        self.places.has(path)
    }

    pub(super) fn plain_text(&mut self, path: &str, text: &str) {
        if text.contains('\0') {
            self.error(path, "contains a NUL byte");
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::Severity;
    use crate::manifest::{Manifest, Source, Strictness, read};

    /// What is read of a text.
    pub(in crate::manifest) fn read_text(text: String) -> Manifest {
        let source = Source {
            name: "it.yaml".to_owned(),
            text: text.into_bytes(),
            folder: None,
        };
        read(&[source], Strictness::Strict)
    }

    /// The errors of what was read, as `path: message (hint)`.
    pub(in crate::manifest) fn errors_of(manifest: &Manifest) -> Vec<String> {
        let errors = manifest.problems.iter();
        errors
            .filter(|problem| problem.severity == Severity::Error)
            .map(|problem| {
                let text = format!("{}: {}", problem.path, problem.message);
                match &problem.hint {
                    Some(hint) => format!("{text} ({hint})"),
                    None => text,
                }
            })
            .collect()
    }
}
