//! Unpacking layers with the pods' ids, each in a confined process of its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::image::{ImageError, LayerUnpacker, Unpacked};
use crate::runtime::idmap::IdMap;
use crate::runtime::inside;
use crate::wire::{Outcome, Task};

/// Unpacks with the ids of this user's pods.
#[derive(Debug)]
pub struct Unpacker<'a>(pub &'a IdMap);

impl LayerUnpacker for Unpacker<'_> {
    fn unpack(
        &self,
        layer: &str,
        blob: &File,
        target: &OwnedFd,
        max_bytes: u64,
    ) -> Result<Unpacked, ImageError> {
        let failed = |why: String| ImageError::Unpack {
            layer: layer.to_owned(),
            why,
            hint: None,
        };
        let task = Task::Unpack { max_bytes };
        match inside::perform(self.0, &task, &[blob.as_fd(), target.as_fd()]) {
            Ok(Outcome::Unpacked {
                diff_id,
                bytes,
                warnings,
            }) => Ok(Unpacked {
                diff_id,
                bytes,
                warnings,
            }),
            Ok(Outcome::Invalid { message }) => {
                Err(ImageError::invalid(format!("layer {layer}"), message))
            }
            Ok(Outcome::Failed { message }) => Err(failed(message)),
            Ok(Outcome::Done) => Err(failed("an answer to another task".to_owned())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        inside::remove(self.0, path).map_err(io::Error::other)
    }
}
