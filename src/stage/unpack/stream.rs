//! A layer's bytes: decompressed, counted and hashed on their way.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::UnpackError;

/// By what the bytes are, not by what somebody says they are.
pub(super) fn decompress(mut reader: BufReader<File>) -> Result<Box<dyn Read>, UnpackError> {
    let start = reader
        .fill_buf()
        .map_err(|error| UnpackError::Failed(error.to_string()))?;
    if start.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Ok(Box::new(Frames {
            reader: Some(reader),
            current: None,
        }))
    } else {
        Ok(Box::new(reader))
    }
}

/// The largest window of a zstd frame (8 MiB, what `zstd -19` uses): a frame may ask for memory.
const MAX_WINDOW: u64 = 8 << 20;

/// zstd frames one after the other.
struct Frames {
    reader: Option<BufReader<File>>,
    current:
        Option<ruzstd::decoding::StreamingDecoder<BufReader<File>, ruzstd::decoding::FrameDecoder>>,
}

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.current {
                match frame.read(buffer)? {
                    0 => {
                        if let Some(done) = self.current.take() {
                            self.reader = Some(done.into_inner());
                        }
                    }
                    length => return Ok(length),
                }
            }
            let Some(mut reader) = self.reader.take() else {
                return Ok(0);
            };
            let head = reader.fill_buf()?;
            if head.is_empty() {
                self.reader = Some(reader);
                return Ok(0);
            }
            if window_of(head).is_some_and(|window| window > MAX_WINDOW) {
                return Err(io::Error::other("its zstd window is larger than 8 MiB"));
            }
            self.current = Some(
                ruzstd::decoding::StreamingDecoder::new(reader)
                    .map_err(|error| io::Error::other(error.to_string()))?,
            );
        }
    }
}

/// The window a frame's header asks for (RFC 8878, 3.1.1.1); nothing for a frame of known size.
fn window_of(head: &[u8]) -> Option<u64> {
    let descriptor = *head.get(4)?;
    let is_single_segment = descriptor & 0x20 != 0;
    if is_single_segment {
        return None;
    }
    let window = u64::from(*head.get(5)?);
    let base = 1_u64.checked_shl(u32::try_from(10 + (window >> 3)).ok()?)?;
    Some(base.saturating_add((base / 8).saturating_mul(window & 7)))
}

/// Counts and hashes what passes.
pub(super) struct Counted {
    pub(super) inner: Box<dyn Read>,
    pub(super) hash: Sha256,
    pub(super) bytes: u64,
    pub(super) limit: u64,
    pub(super) is_over: bool,
    /// What may still be read for the headers of the next entry; no bound while there is none.
    pub(super) budget: Rc<Cell<Option<u64>>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if let Some(left) = self.budget.get() {
            let left = left.checked_sub(u64::try_from(length).unwrap_or(u64::MAX));
            if left.is_none() {
                return Err(io::Error::other("the headers of an entry are too long"));
            }
            self.budget.set(left);
        }
        self.hash.update(buffer.get(..length).unwrap_or_default());
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(length).unwrap_or(0));
        if self.bytes > self.limit {
            self.is_over = true;
            return Err(io::Error::other("too large"));
        }
        Ok(length)
    }
}
