//! Images from files: OCI layouts and archives, `docker save` archives, root file systems.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::oci::{
    Config, ConfigChanges, Descriptor, MAX_DOCUMENT, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Parsed,
    RootFs, choose, parse,
};
use super::pull::{digest, verify_sized};
use super::staging::Staged;
use super::store::LayerUnpacker;
use super::{Algorithm, Digest, Hasher, Image, ImageError, ImageStore, Platform, Reference};
use crate::stage::unpack::decompress;

/// The largest archive that is taken apart, as a bound for what a wrong file can cost.
const MAX_ENTRIES: usize = 10_000;

/// The most bytes of a header that says something of the next entry.
const MAX_HEADERS: u64 = 64 * 1024;

/// Loads one image out of a layout or archive.
///
/// # Errors
/// An archive that is none; with more than one image, or without a name to give, the names that
/// are inside: they are never taken over by themselves (CVE-2026-50195).
pub fn load(
    store: &ImageStore,
    path: &Path,
    name: Option<&Reference>,
    unpacker: &dyn LayerUnpacker,
) -> Result<Image, ImageError> {
    if let Some(reserved) = name.filter(|name| name.is_reserved()) {
        return Err(ImageError::Reserved {
            reference: reserved.to_string(),
            verb: "load",
        });
    }
    let mut staged = None;
    let folder = if path.is_dir() {
        path.to_owned()
    } else {
        let extracted = extract(store, path)?;
        let folder = extracted.path.clone();
        staged = Some(extracted);
        folder
    };
    let layout = Layout { folder };
    let loaded = if layout.folder.join("index.json").exists() {
        load_oci(store, &layout, name, unpacker)
    } else if layout.folder.join("manifest.json").exists() {
        load_docker(store, &layout, name, unpacker)
    } else {
        Err(ImageError::invalid(
            path.to_string_lossy(),
            "it has neither index.json nor manifest.json",
        ))
    };
    drop(staged);
    loaded
}

/// A folder of files that are read by name; no name leads out of it.
struct Layout {
    folder: PathBuf,
}

impl Layout {
    fn open(&self, name: &str) -> Result<File, ImageError> {
        let dir = super::store::open_dir(&self.folder)?;
        let file = rustix::fs::openat2(
            &dir,
            name,
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
            rustix::fs::ResolveFlags::BENEATH | rustix::fs::ResolveFlags::NO_MAGICLINKS,
        )
        .map_err(ImageError::errno("opened", self.folder.join(name)))?;
        let file = File::from(file);
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if is_file {
            Ok(file)
        } else {
            Err(ImageError::invalid(name, "it is not a file"))
        }
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        self.open(name)?
            .take(MAX_DOCUMENT.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(ImageError::io("read", self.folder.join(name)))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_DOCUMENT {
            return Err(ImageError::invalid(name, "it is larger than 4 MiB"));
        }
        Ok(bytes)
    }

    fn blob_name(descriptor: &Descriptor) -> String {
        let digest = &descriptor.digest;
        format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
    }

    fn blob(&self, what: &str, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let bytes = self.document(&Self::blob_name(descriptor))?;
        verify_sized(what, descriptor, &bytes)?;
        Ok(bytes)
    }
}

/// Writes an archive's files into a staging folder: plain files only, by their checked names.
fn extract(store: &ImageStore, path: &Path) -> Result<Staged<'static>, ImageError> {
    let bad = |why: String| ImageError::invalid(path.to_string_lossy(), why);
    let file = File::open(path).map_err(ImageError::io("opened", path))?;
    let reader = decompress(BufReader::new(file)).map_err(ImageError::io("read", path))?;
    let staged = store.stage("load", None)?;
    std::fs::create_dir(&staged.path).map_err(ImageError::io("made", &staged.path))?;
    let mut archive = tar::Archive::new(reader);
    // Raw: `tar` would read a long name into memory whatever its length is.
    let entries = archive
        .entries()
        .map_err(|error| bad(error.to_string()))?
        .raw(true);
    let mut announced = Announced::default();
    for (count, entry) in entries.enumerate() {
        if count >= MAX_ENTRIES {
            return Err(bad(
                "it has too many entries for an image archive".to_owned()
            ));
        }
        let mut entry = entry.map_err(|error| bad(error.to_string()))?;
        if announced.note(&mut entry).map_err(&bad)? {
            continue;
        }
        let Announced { path, link } = std::mem::take(&mut announced);
        let name = path.unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = String::from_utf8(name).map_err(|_| bad("a name is not UTF-8".to_owned()))?;
        let parts: Vec<&str> = name
            .split('/')
            .filter(|part| !matches!(*part, "" | "."))
            .collect();
        if parts.contains(&"..") {
            return Err(bad(format!("`{name}` leads upwards")));
        }
        let target = parts
            .iter()
            .fold(staged.path.clone(), |path, part| path.join(part));
        // Nothing is made behind a link of the archive, which may lead anywhere.
        let mut parents = target.ancestors().skip(1);
        if parents.any(|parent| parent.starts_with(&staged.path) && parent.is_symlink()) {
            return Err(bad(format!("`{name}` leads through a link")));
        }
        match entry.header().entry_type() {
            tar::EntryType::Regular => {
                if let Some(parent) = target.parent() {
                    std::fs::create_dir_all(parent).map_err(ImageError::io("made", parent))?;
                }
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&target)
                    .map_err(ImageError::io("made", &target))?;
                std::io::copy(&mut entry, &mut file).map_err(ImageError::io("written", &target))?;
            }
            // `docker save` links a layer that occurs twice to the first one.
            tar::EntryType::Symlink => {
                let link = link
                    .or_else(|| entry.link_name_bytes().map(Cow::into_owned))
                    .ok_or_else(|| bad("a link leads nowhere".to_owned()))?;
                // Followed only by opens that cannot leave the folder.
                std::os::unix::fs::symlink(OsStr::from_bytes(&link), &target)
                    .map_err(ImageError::io("made", &target))?;
            }
            _ => {}
        }
    }
    Ok(staged)
}

/// What the entries before one say of it.
#[derive(Default)]
struct Announced {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Announced {
    /// Reads an entry that says something of the next one; false for any other.
    fn note(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<bool, String> {
        let kind = entry.header().entry_type();
        if !matches!(
            kind,
            tar::EntryType::GNULongName
                | tar::EntryType::GNULongLink
                | tar::EntryType::XHeader
                | tar::EntryType::XGlobalHeader
        ) {
            return Ok(false);
        }
        if entry.size() > MAX_HEADERS {
            return Err("the headers of an entry are larger than 64 KiB".to_owned());
        }
        let mut bytes = Vec::new();
        entry
            .take(MAX_HEADERS)
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        match kind {
            tar::EntryType::XHeader => {
                for record in tar::PaxExtensions::new(&bytes) {
                    let record = record.map_err(|error| error.to_string())?;
                    let value = Some(record.value_bytes().to_vec());
                    match record.key_bytes() {
                        b"path" => self.path = value,
                        b"linkpath" => self.link = value,
                        b"size" => return Err("a file is larger than 8 GiB".to_owned()),
                        _ => {}
                    }
                }
            }
            tar::EntryType::XGlobalHeader => {}
            _ => {
                bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()));
                if kind == tar::EntryType::GNULongName {
                    self.path = Some(bytes);
                } else {
                    self.link = Some(bytes);
                }
            }
        }
        Ok(true)
    }
}

fn need_name(
    path: &str,
    name: Option<&Reference>,
    inside: &[String],
) -> Result<Reference, ImageError> {
    if let Some(name) = name {
        return Ok(name.clone());
    }
    let inside = if inside.is_empty() {
        "no name".to_owned()
    } else {
        inside.join(", ")
    };
    Err(ImageError::Reference {
        text: path.to_owned(),
        why: format!("the image inside is called: {inside}"),
        hint: Some("say which name it gets: `podrun image load ARCHIVE --tag NAME`".to_owned()),
    })
}

fn load_oci(
    store: &ImageStore,
    layout: &Layout,
    name: Option<&Reference>,
    unpacker: &dyn LayerUnpacker,
) -> Result<Image, ImageError> {
    const REF_NAME: &str = "org.opencontainers.image.ref.name";
    let bytes = layout.document("index.json")?;
    let Parsed::Index(manifests) = parse(&bytes, None)? else {
        return Err(ImageError::invalid("index.json", "it is not an index"));
    };
    let inside: Vec<String> = manifests
        .iter()
        .filter_map(|manifest| manifest.annotations.as_ref()?.get(REF_NAME).cloned())
        .map(|text| super::escape(&text))
        .collect();
    let reference = need_name("index.json", name, &inside)?;
    let mut chosen = choose(manifests)?;
    let mut manifest_bytes = layout.blob("the manifest", &chosen)?;
    let mut parsed = parse(&manifest_bytes, None)?;
    if let Parsed::Index(manifests) = parsed {
        chosen = choose(manifests)?;
        manifest_bytes = layout.blob("the manifest", &chosen)?;
        parsed = parse(&manifest_bytes, None)?;
    }
    let Parsed::Manifest { config, layers } = parsed else {
        return Err(ImageError::invalid(
            "the index",
            "it leads to another index",
        ));
    };
    let config_bytes = layout.blob("the image's config", &config)?;
    let image = Config::parse(&config_bytes, layers.len())?;
    for (layer, diff_id) in layers.iter().zip(&image.rootfs.diff_ids) {
        let blob = layout.open(&Layout::blob_name(layer))?;
        let found = hash(&blob, layer.digest.algorithm())?;
        if found != layer.digest {
            return Err(ImageError::invalid(
                format!("layer {}", layer.digest.short()),
                format!("its digest is {found}"),
            ));
        }
        add(store, diff_id, &layer.digest, &blob, unpacker)?;
    }
    store.put_blob(&config.digest, &config_bytes)?;
    store.put_blob(&chosen.digest, &manifest_bytes)?;
    let size = layers
        .iter()
        .fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
    store.name(&reference, &chosen.digest, &config.digest, size)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    layers: Vec<String>,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

fn load_docker(
    store: &ImageStore,
    layout: &Layout,
    name: Option<&Reference>,
    unpacker: &dyn LayerUnpacker,
) -> Result<Image, ImageError> {
    let bytes = layout.document("manifest.json")?;
    let images: Vec<DockerImage> = serde_json::from_slice(&bytes)
        .map_err(|error| ImageError::invalid("manifest.json", error.to_string()))?;
    let inside: Vec<String> = images
        .iter()
        .flat_map(|image| image.repo_tags.clone().unwrap_or_default())
        .map(|text| super::escape(&text))
        .collect();
    let mut images = images.into_iter();
    let (Some(image), None) = (images.next(), images.next()) else {
        return Err(ImageError::invalid(
            "the archive",
            "it has not exactly one image",
        ));
    };
    let reference = need_name("manifest.json", name, &inside)?;
    let config_bytes = layout.document(&image.config)?;
    let config_digest = Digest::of(&config_bytes);
    let config = Config::parse(&config_bytes, image.layers.len())?;
    let mut layers = Vec::new();
    for (path, diff_id) in image.layers.iter().zip(&config.rootfs.diff_ids) {
        let blob = layout.open(path)?;
        let found = hash(&blob, Algorithm::Sha256)?;
        add(store, diff_id, &found, &blob, unpacker)?;
        layers.push((found, length(&blob)));
    }
    finish(store, &reference, &config_bytes, &config_digest, &layers)
}

/// Makes an image of the archive of a root file system.
///
/// # Errors
/// An archive that is none.
pub fn import(
    store: &ImageStore,
    path: &Path,
    reference: &Reference,
    changes: &ConfigChanges,
    unpacker: &dyn LayerUnpacker,
) -> Result<Image, ImageError> {
    if reference.is_reserved() {
        return Err(ImageError::Reserved {
            reference: reference.to_string(),
            verb: "import",
        });
    }
    let blob = File::open(path).map_err(ImageError::io("opened", path))?;
    let layer = hash(&blob, Algorithm::Sha256)?;
    // What it unpacks to is known only once it is unpacked: the first pass is thrown away if
    // another image has the layer already.
    let diff_id = uncompressed_digest(&blob)?;
    add(store, &diff_id, &layer, &blob, unpacker)?;
    let host = Platform::host();
    let config = Config {
        architecture: host.architecture,
        os: host.os,
        created: None,
        settings: Some(changes.into()),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: vec![diff_id],
        },
    };
    let config_bytes = serde_json::to_vec(&config)
        .map_err(|error| ImageError::invalid("the config", error.to_string()))?;
    let config_digest = Digest::of(&config_bytes);
    finish(
        store,
        reference,
        &config_bytes,
        &config_digest,
        &[(layer, length(&blob))],
    )
}

fn uncompressed_digest(blob: &File) -> Result<Digest, ImageError> {
    let mut file = blob
        .try_clone()
        .map_err(ImageError::io("read", "archive"))?;
    file.rewind().map_err(ImageError::io("read", "archive"))?;
    let mut reader = decompress(BufReader::with_capacity(128 * 1024, file))
        .map_err(ImageError::io("read", "archive"))?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    std::io::copy(&mut reader, &mut hasher).map_err(ImageError::io("read", "archive"))?;
    Ok(hasher.finish())
}

fn hash(blob: &File, algorithm: Algorithm) -> Result<Digest, ImageError> {
    let mut file = blob.try_clone().map_err(ImageError::io("read", "layer"))?;
    file.rewind().map_err(ImageError::io("read", "layer"))?;
    let mut hasher = Hasher::new(algorithm);
    std::io::copy(&mut file, &mut hasher).map_err(ImageError::io("read", "layer"))?;
    Ok(hasher.finish())
}

fn length(blob: &File) -> u64 {
    blob.metadata().map_or(0, |metadata| metadata.len())
}

fn add(
    store: &ImageStore,
    diff_id: &Digest,
    layer: &Digest,
    blob: &File,
    unpacker: &dyn LayerUnpacker,
) -> Result<(), ImageError> {
    let _lock = store.lock(diff_id.hex())?;
    if !store.has_layer(diff_id) {
        store.add_layer(diff_id, layer, blob, unpacker)?;
    }
    Ok(())
}

/// Writes the manifest of an image whose layers are here, and names it.
fn finish(
    store: &ImageStore,
    reference: &Reference,
    config_bytes: &[u8],
    config_digest: &Digest,
    layers: &[(Digest, u64)],
) -> Result<Image, ImageError> {
    let layer = |(digest, size): &(Digest, u64)| serde_json::json!({"mediaType": OCI_LAYER, "digest": digest, "size": size});
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": config_digest, "size": config_bytes.len()},
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    let bytes = serde_json::to_vec(&manifest)
        .map_err(|error| ImageError::invalid("the manifest", error.to_string()))?;
    let manifest = digest("the manifest", &Digest::of(&bytes).to_string())?;
    store.put_blob(config_digest, config_bytes)?;
    store.put_blob(&manifest, &bytes)?;
    let size = layers
        .iter()
        .fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
    store.name(reference, &manifest, config_digest, size)
}
