//! Container logs in the format of the CRI: `TIME STREAM TAG CONTENT`, one line each.
//!
//! TAG is `F` for a line and `P` for a piece of one: lines are cut at 16 KiB, and what a container
//! leaves unterminated at its end stays a piece, so that `logs` gives back the bytes that were
//! written and no others.
//!
//! A container's runs are `<attempt>.log`; a file over 10 MiB is renamed to
//! `<attempt>.log.<time>`, and of all files of a run the newest five are kept (the kubelet's
//! `containerLogMaxSize` and `containerLogMaxFiles`). Rotated files stay plain: compressing them
//! would cost processor time where the container's output is drained.

mod cursor;
mod files;
mod line;
mod writer;

pub use cursor::LogCursor;
pub use files::{Attempt, attempts};
pub use line::{Line, parse_line};
pub use writer::{LogLimits, LogWriter};

/// Which of a container's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    const fn word(self) -> &'static [u8] {
        match self {
            Self::Stdout => b"stdout",
            Self::Stderr => b"stderr",
        }
    }
}
