//! What a `volumeMounts[]` says about its mount besides its place.

use serde::{Deserialize, Serialize};

/// `volumeMounts[].mountPropagation`, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Propagation {
    /// What is mounted in the volume later stays where it was mounted.
    #[default]
    None,
    /// What is mounted in the volume outside of the container appears in it.
    HostToContainer,
    /// So it does, and what the container mounts there appears outside.
    Bidirectional,
}

/// `volumeMounts[].bindMountOptions`, in force for the mounts below the volume's, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BindOptions {
    /// `noexec`
    pub no_exec: bool,
    /// `nodev`
    pub no_dev: bool,
    /// `nosuid`
    pub no_suid: bool,
}
