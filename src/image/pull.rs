//! Pulling: manifest, config, then all layers at once, each verified before it is visible.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::auth::Credential;
use super::oci::{Config, Descriptor, Parsed, choose, parse};
use super::pull_secret::credentials_of;
use super::registries::Endpoint;
use super::registry::Registry;
use super::store::LayerUnpacker;
use super::{
    CredentialFiles, Digest, Hasher, Image, ImageError, ImageStore, Progress, PullSecret,
    Reference, Registries,
};

/// How many layers are fetched at once.
const PARALLEL: usize = 3;

/// How often a download that broke off is gone on with.
const ATTEMPTS: usize = 5;

/// Where things come from and with which rights.
#[derive(Debug, Clone, Default)]
pub struct PullConfig {
    /// `registries.conf`
    pub registries: Registries,
    /// Credentials of the user's.
    pub credentials: CredentialFiles,
    /// Credentials that come before them.
    pub secrets: Vec<PullSecret>,
}

/// Pulls an image and gives it its name.
///
/// # Errors
/// What the registry, the network, the content or the disk said; nothing is visible then.
pub fn pull(
    store: &ImageStore,
    reference: &Reference,
    config: &PullConfig,
    unpacker: &dyn LayerUnpacker,
    progress: &dyn Progress,
) -> Result<Image, ImageError> {
    if reference.is_reserved() {
        return Err(ImageError::Reserved {
            reference: reference.to_string(),
            verb: "pull",
        });
    }
    let mut last = None;
    for endpoint in config.registries.endpoints(reference)? {
        for credential in credentials(config, &endpoint)? {
            let registry = Registry::connect(endpoint.clone(), reference, credential);
            let pulled = from_registry(store, reference, &registry, unpacker, progress);
            let is_denied = matches!(pulled, Err(ImageError::Denied { .. }));
            match pulled {
                Ok(image) => return Ok(image),
                // A mirror may not have it; the registry itself comes last and its word counts.
                Err(error) => last = Some(error),
            }
            if !is_denied {
                break;
            }
        }
    }
    Err(last.unwrap_or_else(|| ImageError::NotFound {
        reference: reference.familiar(),
        why: "no registry is configured for it".to_owned(),
        hint: None,
    }))
}

/// What a registry is asked with, one after the other: the Secrets', then the user's own; as nobody
/// where there is neither.
fn credentials(
    config: &PullConfig,
    endpoint: &Endpoint,
) -> Result<Vec<Option<Credential>>, ImageError> {
    let (domain, path) = endpoint.account();
    let mut all: Vec<Option<Credential>> = credentials_of(&config.secrets, domain, path)
        .into_iter()
        .map(Some)
        .collect();
    let own = config.credentials.find(domain, path)?;
    if own.is_some() || all.is_empty() {
        all.push(own);
    }
    Ok(all)
}

fn from_registry(
    store: &ImageStore,
    reference: &Reference,
    registry: &Registry,
    unpacker: &dyn LayerUnpacker,
    progress: &dyn Progress,
) -> Result<Image, ImageError> {
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => "latest".to_owned(),
    };
    let (bytes, media_type) = registry.manifest(&name)?;
    let top = Digest::of(&bytes);
    if let Some(wanted) = reference.digest() {
        verify("the manifest", wanted, &bytes)?;
    }
    // An index leads to a manifest, and not to another index.
    let (manifest_bytes, manifest, config, layers) = match parse(&bytes, media_type.as_deref())? {
        Parsed::Manifest { config, layers } => (bytes, top, config, layers),
        Parsed::Index(manifests) => {
            let chosen = choose(manifests)?;
            let (bytes, media_type) = registry.manifest(&chosen.digest.to_string())?;
            verify_sized("the manifest", &chosen, &bytes)?;
            match parse(&bytes, media_type.as_deref())? {
                Parsed::Manifest { config, layers } => (bytes, chosen.digest, config, layers),
                Parsed::Index(_) => {
                    return Err(ImageError::invalid(
                        "the index",
                        "it leads to another index",
                    ));
                }
            }
        }
    };
    let config_bytes = registry.small_blob(&config.digest)?;
    verify_sized("the image's config", &config, &config_bytes)?;
    let parsed = Config::parse(&config_bytes, layers.len())?;
    let work: VecDeque<(&Descriptor, &Digest)> =
        layers.iter().zip(&parsed.rootfs.diff_ids).collect();
    fetch_layers(store, registry, work, unpacker, progress)?;
    store.put_blob(&config.digest, &config_bytes)?;
    store.put_blob(&manifest, &manifest_bytes)?;
    let size = layers
        .iter()
        .fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
    store.name(reference, &manifest, &config.digest, size)
}

/// Compares content with a digest.
pub(super) fn verify(what: &str, wanted: &Digest, bytes: &[u8]) -> Result<(), ImageError> {
    let mut hasher = Hasher::new(wanted.algorithm());
    hasher.update(bytes);
    let found = hasher.finish();
    if found == *wanted {
        Ok(())
    } else {
        Err(ImageError::invalid(
            what,
            format!("its digest is {found}, expected {wanted}"),
        ))
    }
}

/// Compares content with a descriptor, the size first.
pub(super) fn verify_sized(
    what: &str,
    wanted: &Descriptor,
    bytes: &[u8],
) -> Result<(), ImageError> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if size != wanted.size {
        let why = format!("it has {size} bytes, expected {}", wanted.size);
        return Err(ImageError::invalid(what, why));
    }
    verify(what, &wanted.digest, bytes)
}

/// The one place with threads: they end here, before anything is cloned.
fn fetch_layers(
    store: &ImageStore,
    registry: &Registry,
    work: VecDeque<(&Descriptor, &Digest)>,
    unpacker: &dyn LayerUnpacker,
    progress: &dyn Progress,
) -> Result<(), ImageError> {
    let work = Mutex::new(work);
    let failure = Mutex::new(None);
    let stop = AtomicBool::new(false);
    let next = || {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        work.lock().ok()?.pop_front()
    };
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some((layer, diff_id)) = next() {
                    let fetched = fetch_layer(store, registry, layer, diff_id, unpacker, progress);
                    if let Err(error) = fetched {
                        stop.store(true, Ordering::Relaxed);
                        if let Ok(mut failure) = failure.lock() {
                            failure.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner() {
        Ok(Some(error)) => Err(error),
        Ok(None) | Err(_) => Ok(()),
    }
}

fn fetch_layer(
    store: &ImageStore,
    registry: &Registry,
    layer: &Descriptor,
    diff_id: &Digest,
    unpacker: &dyn LayerUnpacker,
    progress: &dyn Progress,
) -> Result<(), ImageError> {
    if store.has_layer(diff_id) {
        progress.layer_finished(&layer.digest, true);
        return Ok(());
    }
    progress.layer_started(&layer.digest, layer.size);
    // One process fetches a layer; the others wait, and find it.
    let _lock = store.lock(diff_id.hex())?;
    if store.has_layer(diff_id) {
        progress.layer_finished(&layer.digest, true);
        return Ok(());
    }
    let staged = store.stage("blob", None)?;
    let blob = download(registry, layer, &staged.path, progress)?;
    progress.layer_unpacking(&layer.digest);
    for warning in store.add_layer(diff_id, &layer.digest, &blob, unpacker)? {
        progress.warning(&format!("layer {}: {warning}", layer.digest.short()));
    }
    progress.layer_finished(&layer.digest, false);
    Ok(())
}

/// Downloads a layer, goes on where it broke off, and verifies the whole.
fn download(
    registry: &Registry,
    layer: &Descriptor,
    path: &std::path::Path,
    progress: &dyn Progress,
) -> Result<File, ImageError> {
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(ImageError::io("made", path))?;
    let mut have = 0_u64;
    let mut hasher = Hasher::new(layer.digest.algorithm());
    let mut broken = None;
    for _ in 0..ATTEMPTS {
        let (continues, mut body) = match registry.blob_from(&layer.digest, have) {
            Ok(answer) => answer,
            Err(error @ ImageError::Registry { .. }) => {
                broken = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        if !continues && have > 0 {
            file.set_len(0).map_err(ImageError::io("written", path))?;
            std::io::Seek::rewind(&mut file).map_err(ImageError::io("written", path))?;
            hasher = Hasher::new(layer.digest.algorithm());
            have = 0;
        }
        // One byte more than is wanted tells that there is too much.
        let rest = layer.size.saturating_sub(have).saturating_add(1);
        let mut reader = body.as_reader().take(rest);
        let mut block = vec![0; 128 * 1024];
        let ended = loop {
            match reader.read(&mut block) {
                Ok(0) => break None,
                Ok(length) => {
                    let bytes = block.get(..length).unwrap_or_default();
                    hasher.update(bytes);
                    file.write_all(bytes)
                        .map_err(ImageError::io("written", path))?;
                    have = have.saturating_add(u64::try_from(length).unwrap_or(0));
                    progress.layer_advanced(&layer.digest, have);
                }
                Err(error) => break Some(error),
            }
        };
        if have > layer.size {
            break;
        }
        match ended {
            None if have == layer.size => {
                broken = None;
                break;
            }
            None => {
                broken = Some(ImageError::invalid(
                    format!("layer {}", layer.digest.short()),
                    format!("it has {have} bytes, expected {}", layer.size),
                ));
            }
            Some(error) => {
                broken = Some(ImageError::Registry {
                    object: format!("layer {}", layer.digest.short()),
                    why: error.to_string(),
                    hint: None,
                });
            }
        }
    }
    if let Some(error) = broken {
        return Err(error);
    }
    if have != layer.size {
        return Err(ImageError::invalid(
            format!("layer {}", layer.digest.short()),
            format!("it has more than {} bytes", layer.size),
        ));
    }
    let found = hasher.finish();
    if found != layer.digest {
        return Err(ImageError::invalid(
            format!("layer {}", layer.digest.short()),
            format!("its digest is {found}, expected {}", layer.digest),
        ));
    }
    Ok(file)
}

/// A digest from text, with the object it belongs to.
pub(super) fn digest(what: &str, text: &str) -> Result<Digest, ImageError> {
    Digest::from_str(text).map_err(|why| ImageError::invalid(what, why))
}
