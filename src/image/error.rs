//! Errors about images: the object, what was tried, why it failed and what can be done.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::names;

/// Why an image operation failed. `Display` is one line; [`ImageError::hint`] is a second one.
#[derive(Debug)]
pub enum ImageError {
    /// A reference that cannot be parsed (`InvalidImageName`).
    Reference {
        /// The text as written, escaped.
        text: String,
        /// The rule it breaks.
        why: String,
        /// What would be accepted.
        hint: Option<String>,
    },
    /// A name below `podrun.local/` cannot be pulled, loaded, imported or removed.
    Reserved {
        /// The reference.
        reference: String,
        /// What was tried: `pull`, `load` …
        verb: &'static str,
    },
    /// The registry, or the store, has no such image.
    NotFound {
        /// The reference.
        reference: String,
        /// Where it was looked for, and the answer.
        why: String,
        /// What to try.
        hint: Option<String>,
    },
    /// The registry wants credentials, or refuses those that were sent.
    Denied {
        /// The reference.
        reference: String,
        /// The registry's answer.
        why: String,
        /// Where credentials are read from.
        hint: Option<String>,
    },
    /// Talking to a registry failed.
    Registry {
        /// The URL or host.
        object: String,
        /// What happened.
        why: String,
        /// What to try.
        hint: Option<String>,
    },
    /// The content is not what it claims to be, or breaks a limit.
    Invalid {
        /// The image, manifest, config, layer or archive.
        object: String,
        /// The broken rule.
        why: String,
    },
    /// Something in the store is damaged; pulling the image again repairs it.
    Damaged {
        /// The image's reference.
        reference: String,
        /// What is wrong.
        why: String,
    },
    /// A layer could not be unpacked for a reason that is not the layer's fault.
    Unpack {
        /// The layer's digest.
        layer: String,
        /// What happened.
        why: String,
        /// What to try.
        hint: Option<String>,
    },
    /// A configuration file cannot be used.
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A system call on a file failed.
    Io {
        /// What was tried, verb first: `write`, `open` …
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl ImageError {
    /// Wraps an error of the operating system with its object; for `map_err`.
    pub(super) fn io(verb: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { verb, path, source }
    }

    /// The same for rustix' errno.
    pub(super) fn errno(
        verb: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        let wrap = Self::io(verb, path);
        move |errno| wrap(errno.into())
    }

    /// Content that breaks a rule; both texts may come from a hostile source.
    pub fn invalid(object: impl AsRef<str>, why: impl AsRef<str>) -> Self {
        Self::Invalid {
            object: escape(object.as_ref()),
            why: escape(why.as_ref()),
        }
    }

    /// What the user can do about it, when that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Reference { hint, .. }
            | Self::NotFound { hint, .. }
            | Self::Denied { hint, .. }
            | Self::Registry { hint, .. }
            | Self::Unpack { hint, .. } => hint.clone(),
            Self::Reserved { .. } => Some(
                "`podrun.local/host` is the machine's own root file system and is always present"
                    .to_owned(),
            ),
            Self::Damaged { reference, .. } => {
                Some(format!("`podrun image pull {reference}` repairs it"))
            }
            Self::Invalid { .. } | Self::Config { .. } => None,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => Some("`podrun prune` frees space".to_owned()),
                _ => None,
            },
        }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference { text, why, .. } => write!(f, "image `{text}`: {why}"),
            Self::Reserved { reference, verb } => {
                write!(f, "image `{reference}`: cannot {verb} a reserved name")
            }
            Self::NotFound { reference, why, .. } | Self::Denied { reference, why, .. } => {
                write!(f, "image `{reference}`: {why}")
            }
            Self::Registry { object, why, .. } | Self::Invalid { object, why } => {
                write!(f, "{object}: {why}")
            }
            Self::Damaged { reference, why } => {
                write!(f, "image `{reference}` is damaged in the store: {why}")
            }
            Self::Unpack { layer, why, .. } => write!(f, "unpack layer {layer}: {why}"),
            Self::Config { path, why } => write!(f, "{}: {why}", show_path(path)),
            Self::Io { verb, path, source } => {
                write!(f, "{verb} {}: {}", show_path(path), words(source))
            }
        }
    }
}

impl std::error::Error for ImageError {}

/// The operating system's words without Rust's "(os error N)".
pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => escape(&text),
    }
}

fn show_path(path: &Path) -> String {
    escape(&path.to_string_lossy())
}

/// Makes text from registries, archives and images safe for one line of a terminal: control
/// characters (C0, DEL, C1) and the direction overrides become `\u{..}`; long text is cut.
pub fn escape(text: &str) -> String {
    const LONGEST: usize = 400;
    let mut out = String::with_capacity(text.len().min(LONGEST));
    for c in text.chars() {
        if out.len() >= LONGEST {
            out.push('…');
            break;
        }
        if names::steers_terminals(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_hostile_registry_cannot_drive_the_terminal() {
        let error = ImageError::invalid("layer \x1b]0;x\x07", "bad\r\nname \u{9b}2J \u{202e}");
        let line = error.to_string();
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
        assert!(!line.contains('\u{202e}'));
    }

    #[test]
    fn an_operating_system_error_is_worded_without_its_number() {
        let error = ImageError::io("open", "/x")(io::Error::from_raw_os_error(13));
        assert_eq!(error.to_string(), "open /x: Permission denied");
    }
}
