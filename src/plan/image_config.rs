//! What an image says about how to run it: the used fields of its OCI config.

use serde::{Deserialize, Serialize};

use super::RootSource;

/// The fields of an OCI image config's `config` object that podrun uses; the rest is display data.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `Entrypoint`
    pub entrypoint: Vec<String>,
    /// `Cmd`
    pub cmd: Vec<String>,
    /// `Env`, each `NAME=value`.
    pub env: Vec<String>,
    /// `User`; empty when absent.
    pub user: String,
    /// `WorkingDir`; empty when absent.
    pub working_dir: String,
    /// `StopSignal`; empty when absent.
    pub stop_signal: String,
}

/// An image that is present: what a plan needs of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresentImage {
    /// `repository@sha256:…`, for `imageID`.
    pub image_id: String,
    /// The unpacked layers, or the host's root.
    pub root: RootSource,
    /// How to run it.
    pub config: ImageConfig,
}
