//! Images: names, registries, the store of layers.
//!
//! ```text
//! data/blobs/sha256/<hex>    manifests and configs, as they came
//! data/layers/<hex>/         unpacked layers by diffID, ready to be overlay's lower layers
//! data/images.json           which manifest a name means
//! data/tmp/                  what is being downloaded or unpacked, and locks (see `staging`)
//! ```
//! Blobs of layers are not kept: the unpacked form is what containers use.

mod archive;
mod auth;
mod digest;
mod error;
mod oci;
mod platform;
mod progress;
mod pull;
mod pull_secret;
mod reference;
mod registries;
mod registry;
mod staging;
mod store;

pub use archive::{import, load};
pub use auth::CredentialFiles;
pub use digest::{Algorithm, Digest, Hasher};
pub use error::{ImageError, escape};
pub use oci::ConfigChanges;
pub use platform::Platform;
pub use progress::{Progress, Silent};
pub use pull::{PullConfig, pull};
pub use pull_secret::{DOCKER_CONFIG, DOCKER_CONFIG_JSON, PullSecret};
pub use reference::Reference;
pub use registries::Registries;
pub use store::{Image, ImageStore, LayerUnpacker, Unpacked};

use crate::plan::{ImageConfig, PresentImage, RootSource};

/// `podrun.local/host`: the machine's own root file system.
pub fn host_image() -> PresentImage {
    PresentImage {
        image_id: "podrun.local/host".to_owned(),
        root: RootSource::Host,
        config: ImageConfig {
            cmd: vec!["/bin/sh".to_owned()],
            ..ImageConfig::default()
        },
    }
}
