//! Everything that is printed: data on standard output, all else on standard error.

pub(crate) mod format;
pub(crate) mod jsonpath;
pub(crate) mod table;

use std::io::{self, Write};
use std::os::fd::AsFd;

use anstream::{AutoStream, ColorChoice};
use anstyle::AnsiColor;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cli::failure::Failure;
use crate::manifest::{self, Problem, Source};
use crate::names;

/// Characters that steer a terminal as escapes: what comes from images, registries and other users must not act
/// on the reader's terminal (CVE-2021-25743).
pub(crate) fn visible(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        if names::steers_terminals(c) {
            result.extend(c.escape_default());
        } else {
            result.push(c);
        }
    }
    result
}

/// Colour for errors on a terminal that wants it (`NO_COLOR`, `CLICOLOR`, `TERM=dumb`).
fn stderr_has_color() -> bool {
    AutoStream::choice(&io::stderr()) != ColorChoice::Never
}

/// The word that a line on standard error begins with; its colour says nothing that it does not.
fn label(word: &str, color: AnsiColor) -> String {
    if stderr_has_color() {
        let style = color.on_default().bold();
        format!("{style}{word}:{style:#}")
    } else {
        format!("{word}:")
    }
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

/// Whether a line can be written without waiting: a pipe that nobody reads has no room some time.
fn has_room(stream: impl AsFd) -> bool {
    let mut stream = [PollFd::new(&stream, PollFlags::OUT)];
    let polled = poll(&mut stream, Some(&Timespec::default()));
    let [stream] = stream;
    polled.is_ok() && stream.revents().contains(PollFlags::OUT)
}

/// A line of data that is left out when it would have to wait, or when nobody is there.
pub(crate) fn line_unless_full(text: &str) {
    if has_room(io::stdout()) {
        line(text).ok();
    }
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
    say(&format!(
        "{} {}",
        label("warning", AnsiColor::Yellow),
        visible(text)
    ));
}

/// An error of which the exit code tells too.
pub(crate) fn error(text: &str) {
    say(&format!(
        "{} {}",
        label("error", AnsiColor::Red),
        visible(text)
    ));
}

/// An error that is left out when it would have to wait.
pub(crate) fn error_unless_full(text: &str) {
    if has_room(io::stderr()) {
        error(text);
    }
}

/// Why a command failed.
pub(crate) fn failure(failure: &Failure) {
    if failure.message.is_empty() {
        return;
    }
    error(&failure.message);
    if let Some(hint) = &failure.hint {
        say(&format!(
            "{} {}",
            label("hint", AnsiColor::Cyan),
            visible(hint)
        ));
    }
}

/// A problem of a manifest.
pub(crate) fn problem(problem: &Problem, sources: &[Source]) {
    say(&manifest::render(problem, sources, stderr_has_color()));
}
