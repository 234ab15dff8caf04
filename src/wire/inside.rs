//! Tasks for a process that has the pods' ids: a layer is unpacked, and a tree removed, by the ids
//! its files belong to.

use serde::{Deserialize, Serialize};

/// What is to be done. Descriptors come with the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Unpack a layer (first descriptor) into an empty directory (second).
    Unpack {
        /// The most bytes it may unpack to.
        max_bytes: u64,
    },
    /// Remove the named entry of a directory (the descriptor).
    Remove {
        /// Its name.
        name: String,
    },
    /// Try whether a sandbox can be built.
    TrySandbox,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The layer is unpacked.
    Unpacked {
        /// SHA-256 of the uncompressed archive, in hexadecimal digits.
        diff_id: String,
        /// Bytes of all its files.
        bytes: u64,
        /// What could not be kept, one line each.
        warnings: Vec<String>,
    },
    /// It is done.
    Done,
    /// The layer breaks a rule.
    Invalid {
        /// Which.
        message: String,
    },
    /// The machine said no.
    Failed {
        /// To what, and how.
        message: String,
    },
}
