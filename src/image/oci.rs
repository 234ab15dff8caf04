//! The documents of the OCI image specification and of Docker's schema 2, as far as they are used.

use serde::{Deserialize, Serialize};

use super::{Digest, ImageError, Platform};
use crate::plan::ImageConfig;

pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The largest manifest or config (containers/image's `iolimits`).
pub(super) const MAX_DOCUMENT: u64 = 4 * 1024 * 1024;

/// The most layers of an image; overlay itself takes 500.
const MAX_LAYERS: usize = 128;

/// What a document says of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Descriptor {
    #[serde(rename = "mediaType", default)]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// A manifest or an index; a document that is both is refused.
#[derive(Debug, Clone, Deserialize)]
struct Document {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// One of the two.
#[derive(Debug, Clone)]
pub(super) enum Parsed {
    Index(Vec<Descriptor>),
    Manifest {
        config: Descriptor,
        layers: Vec<Descriptor>,
    },
}

/// Parses a manifest or index.
pub(super) fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Parsed, ImageError> {
    let wrong = |why: &str| Err(ImageError::invalid("the manifest", why));
    let document: Document = serde_json::from_slice(bytes)
        .map_err(|error| ImageError::invalid("the manifest", error.to_string()))?;
    if document.schema_version != 2 {
        return wrong("it is not of schema version 2");
    }
    // The registry's and the document's word must agree (CVE-2021-41190).
    if let (Some(told), Some(own)) = (media_type, &document.media_type)
        && known(told)
        && told != own
    {
        return wrong("its media type is not the one the registry told");
    }
    let says_index = document
        .media_type
        .as_deref()
        .or(media_type)
        .map(|kind| kind == OCI_INDEX || kind == DOCKER_LIST);
    match (document.manifests, document.config, document.layers) {
        (Some(manifests), None, None) if says_index != Some(false) => Ok(Parsed::Index(manifests)),
        (None, Some(config), Some(layers)) if says_index != Some(true) => {
            if layers.len() > MAX_LAYERS {
                return wrong("it has more than 128 layers");
            }
            Ok(Parsed::Manifest { config, layers })
        }
        _ => wrong("it is neither an image nor an index"),
    }
}

fn known(media_type: &str) -> bool {
    [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].contains(&media_type)
}

/// The manifest of an index that fits this machine best.
pub(super) fn choose(manifests: Vec<Descriptor>) -> Result<Descriptor, ImageError> {
    let host = Platform::host();
    let offered: Vec<String> = manifests
        .iter()
        .filter_map(|manifest| manifest.platform.as_ref().map(ToString::to_string))
        .collect();
    let fits = |manifest: &Descriptor| match &manifest.platform {
        Some(platform) => host.fit(platform),
        // A layout of one image need not say for which machine.
        None => Some(0),
    };
    manifests
        .into_iter()
        .filter(|manifest| fits(manifest).is_some())
        .max_by_key(|manifest| fits(manifest))
        .ok_or_else(|| {
            ImageError::invalid(
                "the index",
                format!(
                    "it has no image for {host}, only for {}",
                    offered.join(", ")
                ),
            )
        })
}

/// An image's config.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<String>,
    #[serde(rename = "config", default)]
    pub(super) settings: Option<Settings>,
    #[serde(default)]
    pub(super) rootfs: RootFs,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct RootFs {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) diff_ids: Vec<Digest>,
}

/// The `config` of a config.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Settings {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
}

/// What `image import` says about an image.
#[derive(Debug, Clone, Default)]
pub struct ConfigChanges(pub ImageConfig);

impl From<&ConfigChanges> for Settings {
    fn from(ConfigChanges(config): &ConfigChanges) -> Self {
        let list = |list: &Vec<String>| Some(list.clone()).filter(|list| !list.is_empty());
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Self {
            entrypoint: list(&config.entrypoint),
            cmd: list(&config.cmd),
            env: list(&config.env),
            user: text(&config.user),
            working_dir: text(&config.working_dir),
            stop_signal: text(&config.stop_signal),
        }
    }
}

impl Config {
    /// Parses and checks a config: it is input like any other.
    pub(super) fn parse(bytes: &[u8], layers: usize) -> Result<Self, ImageError> {
        let wrong = |why: String| ImageError::invalid("the image's config", why);
        let config: Self =
            serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if config.rootfs.diff_ids.len() != layers {
            return Err(wrong(format!(
                "it names {} layers and the manifest has {layers}",
                config.rootfs.diff_ids.len()
            )));
        }
        let host = Platform::host();
        if !config.architecture.is_empty() && config.architecture != host.architecture {
            return Err(wrong(format!(
                "it is for {}, this machine is {host}",
                config.architecture
            )));
        }
        let settings = config.settings.clone().unwrap_or_default();
        let lists = [&settings.entrypoint, &settings.cmd, &settings.env];
        let texts = [&settings.user, &settings.working_dir, &settings.stop_signal];
        let all = lists
            .into_iter()
            .flatten()
            .flatten()
            .chain(texts.into_iter().flatten());
        if all.clone().any(|text| text.contains('\0')) {
            return Err(wrong("it contains a NUL byte".to_owned()));
        }
        Ok(config)
    }

    /// The part that plans use.
    pub(super) fn image_config(&self) -> ImageConfig {
        let settings = self.settings.clone().unwrap_or_default();
        ImageConfig {
            entrypoint: settings.entrypoint.unwrap_or_default(),
            cmd: settings.cmd.unwrap_or_default(),
            env: settings.env.unwrap_or_default(),
            user: settings.user.unwrap_or_default(),
            working_dir: settings.working_dir.unwrap_or_default(),
            stop_signal: settings.stop_signal.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_document_that_could_be_read_in_two_ways_is_refused() {
        let descriptor = format!(r#"{{"mediaType":"x","digest":"{DIGEST}","size":1}}"#);
        let both = format!(
            r#"{{"schemaVersion":2,"config":{descriptor},"layers":[],"manifests":[{descriptor}]}}"#
        );
        assert!(parse(both.as_bytes(), None).is_err());
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{descriptor}]}}"#);
        assert!(matches!(
            parse(index.as_bytes(), None),
            Ok(Parsed::Index(_))
        ));
        assert!(parse(index.as_bytes(), Some(OCI_MANIFEST)).is_err());
        assert!(parse(br#"{"schemaVersion":1}"#, None).is_err());
    }

    #[test]
    fn a_digest_that_is_a_path_is_no_digest() {
        let bad = r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:../../x","size":1}]}"#;
        assert!(parse(bad.as_bytes(), None).is_err());
    }
}
