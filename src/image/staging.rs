//! What is in the making and has no name yet.
//!
//! ```text
//!  tmp/
//!    layer.PID.N/       a layer that is unpacked, with the pods' ids
//!    blob.PID.N         a layer that is downloaded
//!    load.PID.N/        an archive that is taken apart
//!    staging.lock       shared by all who make something here, exclusive to who sweeps
//!    names.lock  DIGEST.lock
//! ```
//!
//! Locks die with their holders, so what is here while nobody holds `staging.lock` was left by a
//! process that was killed.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::store::LayerUnpacker;
use super::{ImageError, ImageStore};
use crate::sys::tree::remove_tree;

/// A directory or file that goes unless it is moved to its place.
pub(super) struct Staged<'a> {
    pub(super) path: PathBuf,
    /// Has the ids of files that are not this process's.
    unpacker: Option<&'a dyn LayerUnpacker>,
    _lock: File,
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        let (Some(parent), Some(name)) = (
            self.path.parent(),
            self.path.file_name().and_then(|name| name.to_str()),
        ) else {
            return;
        };
        if remove_tree(parent, name).is_err()
            && let Some(unpacker) = self.unpacker
        {
            // What this cannot remove either is swept by `prune`, which says why not.
            unpacker.remove(&self.path).ok();
        }
    }
}

impl ImageStore {
    /// A name in the staging directory that nobody else has.
    pub(super) fn stage<'a>(
        &self,
        what: &str,
        unpacker: Option<&'a dyn LayerUnpacker>,
    ) -> Result<Staged<'a>, ImageError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (lock, path) = self.lock_file("staging")?;
        lock.lock_shared().map_err(ImageError::io("locked", path))?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = rustix::process::getpid().as_raw_nonzero();
        Ok(Staged {
            path: self.staging().join(format!("{what}.{pid}.{number}")),
            unpacker,
            _lock: lock,
        })
    }

    /// Removes what killed processes have left, unless something is in the making: then the next
    /// sweep does.
    pub(super) fn sweep_staging(
        &self,
        remove: &dyn Fn(&Path) -> io::Result<()>,
    ) -> Result<usize, ImageError> {
        let (lock, path) = self.lock_file("staging")?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(0),
            Err(TryLockError::Error(error)) => return Err(ImageError::io("locked", path)(error)),
        }
        let staging = self.staging();
        let entries = std::fs::read_dir(&staging).map_err(ImageError::io("read", &staging))?;
        let mut removed = 0_usize;
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|end| end != "lock") {
                remove(&path).map_err(ImageError::io("removed", &path))?;
                removed = removed.saturating_add(1);
            }
        }
        Ok(removed)
    }
}
