//! Trees to and from a stream, for `podrun cp`: a tar archive whose reader and writer trust neither
//! one another nor the tree that they work in.
//!
//! Nothing below the path that was named is reached by a path: a directory is opened in its
//! parent's descriptor and never through a link, a file is made new. So a container that changes the
//! tree meanwhile, or writes the archive itself, reaches nothing outside.

mod pack;
mod unpack;

pub use pack::pack;
pub use unpack::{FirstName, Links, Target, unpack};

use std::fmt;

/// The deepest tree that is copied; each level holds a descriptor.
const MAX_DEPTH: usize = 256;

/// The longest path in an archive, in bytes (`PATH_MAX`).
const MAX_PATH: usize = 4096;

/// The most that is said about what was left out; the rest is counted.
const MAX_NOTES: usize = 20;

/// Why a copy ended before its end; one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyError(pub String);

impl CopyError {
    /// Adds the destination: the archive's names alone do not say where they were to go.
    #[must_use]
    pub fn copying_to(self, path: &str) -> Self {
        Self(format!("copying to {}: {}", path.escape_debug(), self.0))
    }
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CopyError {}

/// What was left out of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    notes: Vec<String>,
    more: usize,
}

impl Skipped {
    /// A line for each, at most 20, and one for the rest.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.notes.clone();
        if self.more > 0 {
            lines.push(format!("{} more were left out", self.more));
        }
        lines
    }

    fn note(&mut self, path: &[u8], why: &str) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(format!("{} {why}", shown(path)));
        } else {
            self.more = self.more.saturating_add(1);
        }
    }
}

/// A name as it can be printed, at most 200 characters of it.
fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string().chars().take(200).collect()
}

fn failed(path: &[u8], error: impl Into<std::io::Error>) -> CopyError {
    let error = error.into();
    CopyError(format!("{}: {error}", shown(path)))
}

#[cfg(test)]
mod tests;
