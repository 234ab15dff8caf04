//! Problems and where they are.

use std::collections::BTreeMap;
use std::ops::Range;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing is started.
    Error,
    /// It is said and passed over.
    Warning,
    /// A field that has no effect here.
    Note,
}

impl Severity {
    /// The word before the message.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing to say about a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Which source.
    pub source: usize,
    /// Which bytes of it.
    pub span: Range<usize>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The field, as `spec.containers[0].image`; empty for the document.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// The text there is a Secret's and must not be shown.
    pub is_secret: bool,
}

/// A place in a source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub(super) span: Range<usize>,
    pub(super) line: usize,
    pub(super) column: usize,
}

/// Where the fields of an object are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Positions {
    pub(super) source: usize,
    pub(super) places: BTreeMap<String, Place>,
    pub(super) is_secret: bool,
}

impl Positions {
    /// Which source the object is from.
    pub const fn source(&self) -> usize {
        self.source
    }

    /// Whether a field is in the file.
    pub fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// A problem with a field; when the field is not written, it is where the nearest field
    /// around it is.
    pub fn problem(
        &self,
        severity: Severity,
        path: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Problem {
        let mut at = path;
        let place = loop {
            if let Some(place) = self.places.get(at) {
                break place.clone();
            }
            match at.rfind(['.', '[']) {
                Some(end) => at = at.get(..end).unwrap_or_default(),
                None if at.is_empty() => {
                    break Place {
                        span: 0..0,
                        line: 1,
                        column: 1,
                    };
                }
                None => at = "",
            }
        };
        Problem {
            severity,
            source: self.source,
            span: place.span,
            line: place.line,
            column: place.column,
            path: path.to_owned(),
            message: message.into(),
            hint,
            is_secret: self.is_secret,
        }
    }
}
