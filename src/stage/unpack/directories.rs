//! The times of directories, kept until no entry changes them any more.

use std::collections::HashMap;
use std::os::fd::AsFd;

use rustix::fs::Timestamps;

use super::beneath::open_directory;
use super::{UnpackError, Unpacker, failed, invalid};

/// What a record costs besides its path: the map's slot, the times and the allocation, generously.
const RECORD: usize = 96;

/// One record a directory, by its inode: all of them are in the layer's file system.
#[derive(Debug, Default)]
pub(super) struct Directories {
    found: HashMap<u64, (Box<[u8]>, Timestamps)>,
    bytes: usize,
}

impl Directories {
    /// Returns whether the records are within `limit` bytes. An archive may name a directory as
    /// often as it likes and by any path that leads there: the last entry counts.
    fn insert(&mut self, inode: u64, path: Box<[u8]>, times: Timestamps, limit: usize) -> bool {
        let cost = |path: &[u8]| path.len().saturating_add(RECORD);
        self.bytes = self.bytes.saturating_add(cost(&path));
        if let Some((old, _)) = self.found.insert(inode, (path, times)) {
            self.bytes = self.bytes.saturating_sub(cost(&old));
        }
        self.bytes <= limit
    }
}

impl Unpacker<'_> {
    /// Keeps a directory's times for the end: making an entry changes its parent's time.
    pub(super) fn remember(
        &mut self,
        directory: impl AsFd,
        path: Vec<u8>,
        times: &Timestamps,
    ) -> Result<(), UnpackError> {
        let stat = rustix::fs::fstat(directory).map_err(failed("read", &path))?;
        let limit = self.limits.max_memory;
        if self
            .directories
            .insert(stat.st_ino, path.into(), times.clone(), limit)
        {
            return Ok(());
        }
        invalid(format!(
            "the names of its directories take more than {limit} bytes"
        ))
    }

    /// A directory that was replaced since has another inode, or none.
    pub(super) fn set_directory_times(&self) {
        for (inode, (path, times)) in &self.directories.found {
            let path: &[u8] = if path.is_empty() { b"." } else { path };
            if let Ok(directory) = open_directory(self.target, path)
                && rustix::fs::fstat(&directory).is_ok_and(|stat| stat.st_ino == *inode)
            {
                rustix::fs::futimens(&directory, times).ok();
            }
        }
    }
}
