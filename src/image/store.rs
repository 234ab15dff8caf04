//! Images on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::oci::{Config, MAX_DOCUMENT};
use super::{Digest, ImageError, Reference};
use crate::plan::{PresentImage, RootSource};
use crate::store::{Durability, atomic_write, read_bounded};

/// The largest `images.json`.
const MAX_NAMES: u64 = 64 * 1024 * 1024;

/// The images of one user.
#[derive(Debug)]
pub struct ImageStore {
    path: PathBuf,
    dir: OwnedFd,
}

/// An image that is here.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name.
    pub reference: Reference,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Bytes of its unpacked layers' archives.
    pub size: u64,
    /// When it was pulled.
    pub pulled: jiff::Timestamp,
    config: Config,
    layers_dir: PathBuf,
}

/// What a name means.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Named {
    manifest: Digest,
    config: Digest,
    size: u64,
    pulled: jiff::Timestamp,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Names {
    version: u32,
    images: BTreeMap<String, Named>,
}

/// A layer that was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// SHA-256 of the uncompressed archive, hexadecimal.
    pub diff_id: String,
    /// Its length.
    pub bytes: u64,
    /// What could not be kept.
    pub warnings: Vec<String>,
}

/// Unpacks a layer; the layer above decides with which ids.
pub trait LayerUnpacker: Sync {
    /// Unpacks `blob` into the empty directory `target`.
    ///
    /// # Errors
    /// An invalid layer, or what the machine refused.
    fn unpack(
        &self,
        layer: &str,
        blob: &File,
        target: &OwnedFd,
        max_bytes: u64,
    ) -> Result<Unpacked, ImageError>;

    /// Removes a tree that `unpack` has made, with the ids that it was made with.
    ///
    /// # Errors
    /// As `unlinkat(2)`, or a process that cannot be started.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

impl Image {
    /// What a plan needs of it.
    pub fn present(&self) -> PresentImage {
        PresentImage {
            image_id: format!("{}@{}", self.reference.repository(), self.digest),
            root: RootSource::Layers(
                self.config
                    .rootfs
                    .diff_ids
                    .iter()
                    .rev()
                    .map(|diff_id| self.layers_dir.join(diff_id.hex()))
                    .collect(),
            ),
            config: self.config.image_config(),
        }
    }
}

impl ImageStore {
    /// Opens the store below the user's data directory.
    ///
    /// # Errors
    /// As `mkdir(2)`.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        for name in ["blobs", "blobs/sha256", "layers", "tmp"] {
            let made = path.join(name);
            match rustix::fs::mkdir(&made, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(ImageError::errno("made", made)(errno)),
            }
        }
        let dir = open_dir(path)?;
        Ok(Self {
            path: path.to_owned(),
            dir,
        })
    }

    fn names(&self) -> Result<Names, ImageError> {
        let path = self.path.join("images.json");
        match read_bounded(&self.dir, "images.json", MAX_NAMES)
            .map_err(ImageError::io("read", &path))?
        {
            None => Ok(Names {
                version: 1,
                images: BTreeMap::new(),
            }),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| ImageError::Config {
                path,
                why: format!("it is damaged ({error}); remove it and pull the images again"),
            }),
        }
    }

    /// Changes the names, one process at a time.
    fn change_names(&self, change: impl FnOnce(&mut Names)) -> Result<(), ImageError> {
        let _lock = self.lock("names")?;
        let mut names = self.names()?;
        change(&mut names);
        let bytes = serde_json::to_vec(&names)
            .map_err(|error| ImageError::invalid("images.json", error.to_string()))?;
        atomic_write(self.dir.as_fd(), "images.json", &bytes, Durability::Durable)
            .map_err(ImageError::io("written", self.path.join("images.json")))
    }

    /// Waits for a lock of the store; a holder's death releases it.
    pub(super) fn lock(&self, name: &str) -> Result<File, ImageError> {
        let (file, path) = self.lock_file(name)?;
        file.lock().map_err(ImageError::io("locked", path))?;
        Ok(file)
    }

    /// The file of a lock.
    pub(super) fn lock_file(&self, name: &str) -> Result<(File, PathBuf), ImageError> {
        let path = self.staging().join(format!("{name}.lock"));
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))
            .map_err(ImageError::errno("opened", &path))?;
        Ok((File::from(file), path))
    }

    /// Where everything is made before it gets its place.
    pub(super) fn staging(&self) -> PathBuf {
        self.path.join("tmp")
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path
            .join("blobs")
            .join(digest.algorithm().as_str())
            .join(digest.hex())
    }

    /// Keeps a document that was verified.
    pub(super) fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ImageError> {
        let path = self.blob_path(digest);
        let parent = path.parent().unwrap_or(&self.path);
        std::fs::create_dir_all(parent).map_err(ImageError::io("made", parent))?;
        let dir = open_dir(parent)?;
        atomic_write(dir.as_fd(), digest.hex(), bytes, Durability::Durable)
            .map_err(ImageError::io("written", &path))
    }

    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ImageError> {
        let path = self.blob_path(digest);
        let parent = path.parent().unwrap_or(&self.path);
        if !parent.exists() {
            return Ok(None);
        }
        let dir = open_dir(parent)?;
        read_bounded(&dir, digest.hex(), MAX_DOCUMENT).map_err(ImageError::io("read", &path))
    }

    /// Whether a layer is unpacked.
    pub(super) fn has_layer(&self, diff_id: &Digest) -> bool {
        self.path.join("layers").join(diff_id.hex()).is_dir()
    }

    /// Unpacks a layer and gives it its name once it is whole, right, and on the disk.
    pub(super) fn add_layer(
        &self,
        diff_id: &Digest,
        layer: &Digest,
        blob: &File,
        unpacker: &dyn LayerUnpacker,
    ) -> Result<Vec<String>, ImageError> {
        let staged = self.stage("layer", Some(unpacker))?;
        let made = rustix::fs::mkdir(&staged.path, Mode::from_raw_mode(0o755));
        made.map_err(ImageError::errno("made", &staged.path))?;
        rustix::fs::chmod(&staged.path, Mode::from_raw_mode(0o755))
            .map_err(ImageError::errno("made", &staged.path))?;
        let target = open_dir(&staged.path)?;
        let compressed = blob
            .metadata()
            .map_err(ImageError::io("read", &staged.path))?
            .len();
        let unpacked = unpacker.unpack(layer.short(), blob, &target, max_unpacked(compressed))?;
        if unpacked.diff_id != diff_id.hex() {
            return Err(ImageError::invalid(
                format!("layer {}", layer.short()),
                format!(
                    "it unpacks to sha256:{}, expected {diff_id}",
                    unpacked.diff_id
                ),
            ));
        }
        rustix::fs::syncfs(&target).map_err(ImageError::errno("synced", &staged.path))?;
        let layers = self.path.join("layers");
        let place = layers.join(diff_id.hex());
        match std::fs::rename(&staged.path, &place) {
            Ok(()) => {}
            // Another name for the same layer was faster.
            Err(_) if place.is_dir() => return Ok(unpacked.warnings),
            Err(error) => return Err(ImageError::io("moved", place)(error)),
        }
        rustix::fs::fsync(open_dir(&layers)?).map_err(ImageError::errno("synced", &layers))?;
        Ok(unpacked.warnings)
    }

    /// Gives an image its name: the last step, after which it is there.
    pub(super) fn name(
        &self,
        reference: &Reference,
        manifest: &Digest,
        config: &Digest,
        size: u64,
    ) -> Result<Image, ImageError> {
        let named = Named {
            manifest: manifest.clone(),
            config: config.clone(),
            size,
            pulled: jiff::Timestamp::now(),
        };
        self.change_names(|names| {
            names.images.insert(reference.key(), named.clone());
        })?;
        self.get(reference)?.ok_or_else(|| ImageError::NotFound {
            reference: reference.to_string(),
            why: "it was removed meanwhile".to_owned(),
            hint: None,
        })
    }

    /// An image that is here, whole.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn get(&self, reference: &Reference) -> Result<Option<Image>, ImageError> {
        let names = self.names()?;
        match names.images.get(&reference.key()) {
            None => Ok(None),
            Some(named) => self.image(reference.clone(), named),
        }
    }

    /// An image whose parts are missing is not there; a pull brings them.
    fn image(&self, reference: Reference, named: &Named) -> Result<Option<Image>, ImageError> {
        let Some(bytes) = self.blob(&named.config)? else {
            return Ok(None);
        };
        let Ok(config) = serde_json::from_slice::<Config>(&bytes) else {
            return Ok(None);
        };
        if !config
            .rootfs
            .diff_ids
            .iter()
            .all(|diff_id| self.has_layer(diff_id))
        {
            return Ok(None);
        }
        Ok(Some(Image {
            reference,
            digest: named.manifest.clone(),
            size: named.size,
            pulled: named.pulled,
            config,
            layers_dir: self.path.join("layers"),
        }))
    }

    /// All images, by name.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        let names = self.names()?;
        let mut images = Vec::new();
        for (key, named) in &names.images {
            if let Ok(reference) = Reference::parse(key)
                && let Some(image) = self.image(reference, named)?
            {
                images.push(image);
            }
        }
        Ok(images)
    }

    /// Removes a name; its layers go with `collect_garbage` when no other name needs them.
    ///
    /// # Errors
    /// A name that is not here.
    pub fn remove(&self, reference: &Reference) -> Result<(), ImageError> {
        let mut was_there = false;
        self.change_names(|names| was_there = names.images.remove(&reference.key()).is_some())?;
        if was_there {
            return Ok(());
        }
        Err(ImageError::NotFound {
            reference: reference.familiar(),
            why: "it is not in the store".to_owned(),
            hint: Some("`podrun image ls` shows what is".to_owned()),
        })
    }

    /// The documents of an image.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn inspect(&self, image: &Image) -> Result<Value, ImageError> {
        let parse = |digest: &Digest| -> Result<Value, ImageError> {
            let bytes = self.blob(digest)?.unwrap_or_default();
            Ok(serde_json::from_slice(&bytes).unwrap_or_default())
        };
        let names = self.names()?;
        let config = names
            .images
            .get(&image.reference.key())
            .map(|named| named.config.clone());
        Ok(json!({
            "name": image.reference.to_string(),
            "digest": image.digest,
            "size": image.size,
            "pulled": image.pulled,
            "manifest": parse(&image.digest)?,
            "config": config.map(|config| parse(&config)).transpose()?,
        }))
    }

    /// Removes blobs and layers that no name needs, and what killed pulls have left, but for the
    /// layers that are mounted: what a name meant when a pod started it may mean no more.
    ///
    /// # Errors
    /// What cannot be removed.
    pub fn collect_garbage(
        &self,
        mounted: &BTreeSet<String>,
        remove: &dyn Fn(&Path) -> io::Result<()>,
    ) -> Result<usize, ImageError> {
        let _lock = self.lock("names")?;
        let names = self.names()?;
        let mut blobs = Vec::new();
        let mut layers: Vec<String> = mounted.iter().cloned().collect();
        for named in names.images.values() {
            blobs.extend([
                named.manifest.hex().to_owned(),
                named.config.hex().to_owned(),
            ]);
            let config = self.blob(&named.config)?.unwrap_or_default();
            if let Ok(config) = serde_json::from_slice::<Config>(&config) {
                layers.extend(config.rootfs.diff_ids.iter().map(|id| id.hex().to_owned()));
            }
        }
        let mut removed = 0_usize;
        for (folder, needed) in [("blobs/sha256", &blobs), ("layers", &layers)] {
            let folder = self.path.join(folder);
            let entries = std::fs::read_dir(&folder).map_err(ImageError::io("read", &folder))?;
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !needed.contains(&name) {
                    remove(&entry.path()).map_err(ImageError::io("removed", entry.path()))?;
                    removed = removed.saturating_add(1);
                }
            }
        }
        Ok(removed.saturating_add(self.sweep_staging(remove)?))
    }
}

/// How much a layer may unpack to: real ones are a few times their size, bombs a thousand times.
fn max_unpacked(compressed: u64) -> u64 {
    const FLOOR: u64 = 1 << 30;
    const FACTOR: u64 = 100;
    compressed.saturating_mul(FACTOR).saturating_add(FLOOR)
}

pub(super) fn open_dir(path: &Path) -> Result<OwnedFd, ImageError> {
    rustix::fs::openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(ImageError::errno("opened", path))
}
