//! A layer's bytes: decompressed, counted and hashed on their way.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use sha2::{Digest, Sha256};

/// Decompresses gzip and zstd, by what the bytes are and not by what somebody says they are.
///
/// # Errors
/// As `read(2)`.
pub fn decompress(mut reader: BufReader<File>) -> io::Result<Box<dyn Read>> {
    let start = reader.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)))
    } else if is_zstd(start) {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Ok(Box::new(Frames { reader, decoder }))
    } else {
        Ok(Box::new(reader))
    }
}

/// A frame of zstd, or one that its readers skip (RFC 8878, 3.1).
fn is_zstd(start: &[u8]) -> bool {
    match start {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => true,
        [first, 0x2a, 0x4d, 0x18, ..] => first & 0xf0 == 0x50,
        _ => false,
    }
}

/// The largest window of a zstd frame (8 MiB, what `zstd -19` uses): a frame may ask for memory.
/// The window of a frame in a single segment is all of its content (RFC 8878, 3.1.1.1.2).
const MAX_WINDOW: u64 = 8 << 20;

/// zstd frames one after the other; what is in skippable ones (the table of contents of
/// `zstd:chunked`, or anything) is passed over.
struct Frames {
    reader: BufReader<File>,
    decoder: FrameDecoder,
}

impl Frames {
    /// Goes on to a frame's content; false at the end.
    fn start_frame(&mut self) -> io::Result<bool> {
        use ReadFrameHeaderError::SkipFrame;
        if self.reader.fill_buf()?.is_empty() {
            return Ok(false);
        }
        match self.decoder.reset(&mut self.reader) {
            Ok(()) => Ok(true),
            Err(FrameDecoderError::ReadFrameHeaderError(SkipFrame { length, .. })) => {
                let length = u64::from(length);
                let skipped = io::copy(&mut (&mut self.reader).take(length), &mut io::sink())?;
                if skipped < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(true)
            }
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => {
                Err(io::Error::other("its zstd window is larger than 8 MiB"))
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() == 0 {
            if self.decoder.is_finished() {
                if !self.start_frame()? {
                    return Ok(0);
                }
            } else {
                self.decoder
                    .decode_blocks(&mut self.reader, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
        }
        self.decoder.read(buffer)
    }
}

/// Counts and hashes what passes.
pub(super) struct Counted {
    pub(super) inner: Box<dyn Read>,
    pub(super) hash: Sha256,
    pub(super) bytes: u64,
    pub(super) limit: u64,
    pub(super) is_over: bool,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A frame with one raw block; a length means one segment of that size.
    fn frame(window: u8, single: Option<u64>, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd];
        match single {
            Some(length) => {
                bytes.push(0b1110_0000);
                bytes.extend(length.to_le_bytes());
            }
            None => bytes.extend([0, window]),
        }
        let block = u32::try_from(content.len()).unwrap() << 3 | 1;
        bytes.extend(&block.to_le_bytes()[..3]);
        bytes.extend(content);
        bytes
    }

    fn skippable(content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x5a, 0x2a, 0x4d, 0x18];
        bytes.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        bytes.extend(content);
        bytes
    }

    /// Through a buffer that holds so much at once.
    fn decompressed(bytes: &[u8], buffer: usize) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut out = Vec::new();
        decompress(BufReader::with_capacity(buffer, file))?.read_to_end(&mut out)?;
        Ok(out)
    }

    /// The window's byte for 8 and 16 MiB.
    const EIGHT: u8 = 13 << 3;
    const SIXTEEN: u8 = 14 << 3;

    #[test]
    fn frames_follow_each_other_and_some_are_skipped() {
        let bytes = [
            skippable(b"in front"),
            frame(EIGHT, None, b"one "),
            frame(0, Some(0), b""),
            frame(0, Some(4), b"two "),
            skippable(&[7; 1000]),
            frame(EIGHT, None, b"three"),
            skippable(b""),
            skippable(b"a table of contents"),
        ]
        .concat();
        for buffer in [4, 5, 7, 16, 4096] {
            assert_eq!(decompressed(&bytes, buffer).unwrap(), b"one two three");
        }
        let cut = &bytes[..bytes.len() - 1];
        assert!(decompressed(cut, 4096).is_err());
        assert!(decompressed(&[bytes, vec![0; 8]].concat(), 4096).is_err());
    }

    #[test]
    fn no_frame_gets_more_than_its_window() {
        for large in [
            frame(SIXTEEN, None, b"x"),
            frame(0, Some((8 << 20) + 1), b"x"),
            frame(0, Some(100 << 20), b"x"),
        ] {
            let second = [frame(EIGHT, None, b"x"), large.clone()].concat();
            for bytes in [large, second] {
                for buffer in [4, 5, 6, 7, 11, 16, 4096] {
                    let error = decompressed(&bytes, buffer).unwrap_err().to_string();
                    assert!(error.contains("larger than 8 MiB"), "{buffer}: {error}");
                }
            }
        }
    }
}
