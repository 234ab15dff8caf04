//! How a command fails: one line, a hint, and a code out of the frozen list.

use std::fmt;

/// A command's failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// What failed, of what, and why; one line.
    pub(crate) message: String,
    /// What can be typed or changed to mend it.
    pub(crate) hint: Option<String>,
}

/// A pod failed, or a condition cannot come true.
pub(crate) const FAILED: u8 = 1;
/// The manifest is invalid; nothing was started.
pub(crate) const INVALID: u8 = 3;
/// No such pod, container, object or image.
pub(crate) const NOT_FOUND: u8 = 4;
/// The time given is over.
pub(crate) const TIMED_OUT: u8 = 124;
/// podrun itself failed.
pub(crate) const INTERNAL: u8 = 125;

impl Failure {
    /// A failure of podrun itself, or of the machine under it.
    pub(crate) fn internal(message: impl fmt::Display) -> Self {
        Self::with_code(INTERNAL, message)
    }

    /// A failure with another code.
    pub(crate) fn with_code(code: u8, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
            hint: None,
        }
    }

    /// Adds what would mend it.
    #[must_use]
    pub(crate) fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
