//! How a command fails: one line, a hint, and a code out of the frozen list.

use std::fmt;

/// A command's failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What failed, of what, and why; one line.
    pub message: String,
    /// What can be typed or changed to mend it.
    pub hint: Option<String>,
}

/// A pod failed, or a condition cannot come true.
pub const FAILED: u8 = 1;
/// The manifest is invalid; nothing was started.
pub const INVALID: u8 = 3;
/// No such pod, container, object or image.
pub const NOT_FOUND: u8 = 4;
/// The time given is over.
pub const TIMED_OUT: u8 = 124;
/// podrun itself failed.
pub const INTERNAL: u8 = 125;

impl Failure {
    /// A failure of podrun itself, or of the machine under it.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::with_code(INTERNAL, message)
    }

    /// A failure with another code.
    pub fn with_code(code: u8, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), hint: None }
    }

    /// Adds what would mend it.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
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
