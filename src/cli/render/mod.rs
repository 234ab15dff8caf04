//! Everything that is printed: data on standard output, all else on standard error.

pub(crate) mod format;
pub(crate) mod jsonpath;
pub(crate) mod table;

use std::io::{self, IsTerminal, Write};

use crate::cli::failure::Failure;
use crate::manifest::{self, Problem, Source};

/// Control characters as escapes: what comes from images, registries and other users must not act
/// on the reader's terminal (CVE-2021-25743).
pub(crate) fn visible(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            result.extend(c.escape_default());
        } else {
            result.push(c);
        }
    }
    result
}

/// Colour for errors on a terminal that wants it.
pub(crate) fn stderr_has_color() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A line of data.
///
/// # Errors
/// When standard output is gone (quietly, 141 as a shell would say) or full.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Data as it is.
///
/// # Errors
/// As [`line()`].
pub(crate) fn bytes(data: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(data)
        .and_then(|()| stdout.flush())
        .map_err(|error| output_failure(&error))
}

/// What a failed write to standard output means.
pub(crate) fn output_failure(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        // 128 + SIGPIPE: what a program that does not ignore the signal ends with.
        return Failure::with_code(141, "");
    }
    Failure::internal(format!("standard output: {error}"))
}

/// A line about what is being done.
pub(crate) fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    writeln!(stderr, "{text}").ok();
}

/// A warning.
pub(crate) fn warn(text: &str) {
    say(&format!("warning: {}", visible(text)));
}

/// Why a command failed.
pub(crate) fn failure(failure: &Failure) {
    if failure.message.is_empty() {
        return;
    }
    say(&format!("error: {}", visible(&failure.message)));
    if let Some(hint) = &failure.hint {
        say(&format!("hint: {}", visible(hint)));
    }
}

/// A problem of a manifest.
pub(crate) fn problem(problem: &Problem, sources: &[Source]) {
    say(&manifest::render(problem, sources, stderr_has_color()));
}
