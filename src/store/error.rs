//! What can be wrong with the user's directories.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A failure of the store.
#[derive(Debug)]
pub enum StoreError {
    /// A variable that names no usable place.
    Variable {
        /// `HOME`, `XDG_STATE_HOME` …
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A directory that somebody else owns or may write to.
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The kernel refused something.
    Io {
        /// What was being done, as in "written".
        tried: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another process does not let go of a lock.
    Locked {
        /// The file it has locked.
        path: PathBuf,
        /// The process, where `/proc/locks` shows it.
        holder: Option<i32>,
    },
    /// A file with content that podrun did not write.
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl StoreError {
    pub(super) fn io(
        tried: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            tried,
            path,
            source,
        }
    }

    /// Whether the kernel said that this user may not.
    pub fn is_permission_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable { name, problem } => {
                write!(f, "{name} {problem}; set it, or use --root DIR")
            }
            Self::Foreign { path, problem } => {
                write!(f, "{} {problem}; podrun will not use it", path.display())
            }
            Self::Io {
                tried,
                path,
                source,
            } => {
                write!(f, "{} cannot be {tried}: {source}", path.display())
            }
            Self::Locked { path, holder } => {
                write!(f, "{} stays locked", path.display())?;
                match holder {
                    Some(pid) => write!(f, " by process {pid}"),
                    None => Ok(()),
                }
            }
            Self::Broken { path, problem } => write!(f, "{} is broken: {problem}", path.display()),
        }
    }
}

impl std::error::Error for StoreError {}
