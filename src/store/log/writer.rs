//! Writing: never blocks on anything but the disk's own cache, never fails, uses bounded memory.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use jiff::Timestamp;
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::store::Stream;

/// Bounds of a container's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// A file that has reached this size is renamed.
    pub max_size: u64,
    /// Files that are kept, the one being written among them.
    pub max_files: usize,
}

impl Default for LogLimits {
    /// The kubelet's `containerLogMaxSize` and `containerLogMaxFiles`.
    fn default() -> Self {
        Self {
            max_size: 10 * 1024 * 1024,
            max_files: 5,
        }
    }
}

/// The longest piece of a line (containerd's `MaxContainerLogLineSize`).
const MAX_LINE: usize = 16 * 1024;

/// The log of one run of a container.
#[derive(Debug)]
pub struct LogWriter {
    directory: OwnedFd,
    attempt: u32,
    limits: LogLimits,
    file: Option<File>,
    size: u64,
    /// Names of rotated files, oldest first.
    rotated: Vec<String>,
    /// What each stream has not terminated yet, at most [`MAX_LINE`] bytes.
    unfinished: [Vec<u8>; 2],
    /// Formatted lines on their way to the file.
    formatted: Vec<u8>,
    /// Bytes of output that could not be written.
    lost: u64,
}

impl LogWriter {
    /// Opens the log of a run.
    ///
    /// # Errors
    /// As `openat(2)`.
    pub fn open(directory: OwnedFd, attempt: u32, limits: LogLimits) -> io::Result<Self> {
        let mut writer = Self {
            directory,
            attempt,
            limits,
            file: None,
            size: 0,
            rotated: Vec::new(),
            unfinished: [Vec::new(), Vec::new()],
            formatted: Vec::new(),
            lost: 0,
        };
        writer.file = Some(writer.create()?);
        Ok(writer)
    }

    fn name(&self) -> String {
        format!("{}.log", self.attempt)
    }

    fn create(&self) -> io::Result<File> {
        let flags =
            OFlags::CREATE | OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(
            &self.directory,
            self.name(),
            flags,
            Mode::from_raw_mode(0o600),
        )?;
        Ok(file.into())
    }

    /// Takes what was read from a stream. All its lines get one time: the clock is read once for
    /// a chunk, as it arrived.
    pub fn write(&mut self, stream: Stream, chunk: &[u8], now: Timestamp) {
        let head = Head::new(stream, now);
        let mut unfinished = std::mem::take(self.unfinished_of(stream));
        let mut rest = chunk;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if unfinished.is_empty() {
                self.push_line(&head, line, b'F');
            } else {
                unfinished.extend_from_slice(line);
                self.push_line(&head, &unfinished, b'F');
                unfinished.clear();
            }
        }
        unfinished.extend_from_slice(rest);
        while unfinished.len() > MAX_LINE {
            let tail = unfinished.split_off(MAX_LINE);
            self.push_piece(&head, &unfinished, b'P');
            unfinished = tail;
        }
        *self.unfinished_of(stream) = unfinished;
        self.flush(now);
    }

    /// Writes what was not terminated: the container has ended.
    pub fn finish(&mut self, now: Timestamp) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let unfinished = std::mem::take(self.unfinished_of(stream));
            if !unfinished.is_empty() {
                self.push_line(&Head::new(stream, now), &unfinished, b'P');
            }
        }
        self.flush(now);
    }

    fn unfinished_of(&mut self, stream: Stream) -> &mut Vec<u8> {
        let [stdout, stderr] = &mut self.unfinished;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    /// A line in pieces; the last one has the tag.
    fn push_line(&mut self, head: &Head, line: &[u8], tag: u8) {
        let mut rest = line;
        while rest.len() > MAX_LINE {
            let (piece, after) = rest.split_at(MAX_LINE);
            self.push_piece(head, piece, b'P');
            rest = after;
        }
        self.push_piece(head, rest, tag);
    }

    fn push_piece(&mut self, head: &Head, piece: &[u8], tag: u8) {
        self.formatted.extend_from_slice(&head.0);
        self.formatted.extend_from_slice(&[tag, b' ']);
        self.formatted.extend_from_slice(piece);
        self.formatted.push(b'\n');
    }

    /// One write for all lines of a chunk. A disk that is full costs lines, never the container:
    /// they are counted, and the count is the first line once there is room again.
    fn flush(&mut self, now: Timestamp) {
        if self.formatted.is_empty() {
            return;
        }
        if self.lost > 0 {
            let note = format!("podrun: {} bytes of the log were lost", self.lost);
            let lines = std::mem::take(&mut self.formatted);
            self.push_line(&Head::new(Stream::Stderr, now), note.as_bytes(), b'F');
            self.formatted.extend_from_slice(&lines);
        }
        let length = u64::try_from(self.formatted.len()).unwrap_or(u64::MAX);
        if self.file.is_none() {
            self.file = self.create().ok();
        }
        let written = match &mut self.file {
            None => false,
            Some(file) => {
                let written = file.write_all(&self.formatted).is_ok();
                if !written {
                    // Half a line would spoil the next one.
                    file.set_len(self.size).ok();
                }
                written
            }
        };
        if written {
            self.lost = 0;
            self.size = self.size.saturating_add(length);
        } else {
            self.lost = self.lost.saturating_add(length);
        }
        self.formatted.clear();
        // A burst of long lines must not stay in memory.
        self.formatted.shrink_to(64 * 1024);
        if self.size >= self.limits.max_size {
            self.rotate(now);
        }
    }

    fn rotate(&mut self, now: Timestamp) {
        let second = now.strftime("%Y%m%d-%H%M%S");
        let rotated = format!(
            "{}.{second}.{:09}",
            self.name(),
            now.subsec_nanosecond().unsigned_abs()
        );
        let renamed = rustix::fs::renameat(
            self.directory.as_fd(),
            self.name(),
            self.directory.as_fd(),
            &rotated,
        );
        if renamed.is_err() {
            return;
        }
        self.rotated.push(rotated);
        self.size = 0;
        self.file = self.create().ok();
        while self.rotated.len() >= self.limits.max_files.max(1) {
            let oldest = self.rotated.remove(0);
            rustix::fs::unlinkat(&self.directory, oldest, AtFlags::empty()).ok();
        }
    }
}

/// What every line of a chunk begins with.
struct Head(Vec<u8>);

impl Head {
    fn new(stream: Stream, now: Timestamp) -> Self {
        let mut head = format!("{now:.9} ").into_bytes();
        head.extend_from_slice(stream.word());
        head.push(b' ');
        Self(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::log::{attempts, parse_line};
    use std::path::Path;

    fn writer(path: &Path, limits: LogLimits) -> LogWriter {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).unwrap();
        LogWriter::open(directory, 0, limits).unwrap()
    }

    fn at(nanosecond: i32) -> Timestamp {
        Timestamp::new(1_700_000_000, nanosecond).unwrap()
    }

    /// What `logs` gives back.
    fn content(path: &Path) -> Vec<u8> {
        let mut result = Vec::new();
        for attempt in attempts(path).unwrap() {
            for file in attempt.files {
                let bytes = std::fs::read(file).unwrap();
                for line in bytes.split_terminator(b'\n') {
                    let line = parse_line(line).unwrap();
                    assert!(line.content.len() <= MAX_LINE);
                    result.extend_from_slice(line.content);
                    if line.is_full {
                        result.push(b'\n');
                    }
                }
            }
        }
        result
    }

    trait SplitTerminator {
        fn split_terminator(&self, end: u8) -> Vec<&[u8]>;
    }

    impl SplitTerminator for Vec<u8> {
        fn split_terminator(&self, end: u8) -> Vec<&[u8]> {
            let mut parts: Vec<&[u8]> = self.split(|byte| *byte == end).collect();
            assert_eq!(
                parts.pop(),
                Some(&[][..]),
                "the file ends with a line break"
            );
            parts
        }
    }

    #[test]
    fn a_line_has_the_format_of_the_cri() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = writer(dir.path(), LogLimits::default());
        log.write(Stream::Stdout, b"hello\n", at(5));
        log.write(Stream::Stderr, b"par", at(6));
        log.finish(at(7));
        assert_eq!(
            std::fs::read_to_string(dir.path().join("0.log")).unwrap(),
            "2023-11-14T22:13:20.000000005Z stdout F hello\n2023-11-14T22:13:20.000000007Z stderr P par\n"
        );
    }

    #[test]
    fn every_byte_comes_back_however_it_is_cut() {
        let mut input = Vec::new();
        for length in [0, 1, 100, 16_383, 16_384, 16_385, 40_000] {
            input.extend(std::iter::repeat_n(b'x', length));
            input.push(b'\n');
        }
        input.extend_from_slice(b"\r\n\0\xff\n\n");
        input.extend(std::iter::repeat_n(0_u8, 50_000));
        for size in [1, 7, 4096, 65_536, input.len()] {
            let dir = tempfile::tempdir().unwrap();
            let mut log = writer(dir.path(), LogLimits::default());
            for chunk in input.chunks(size) {
                log.write(Stream::Stdout, chunk, at(0));
            }
            log.finish(at(1));
            assert!(content(dir.path()) == input, "chunks of {size}");
        }
    }

    #[test]
    fn the_newest_files_are_kept_and_nothing_between_them_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = writer(
            dir.path(),
            LogLimits {
                max_size: 1000,
                max_files: 5,
            },
        );
        for number in 0..1000 {
            log.write(Stream::Stdout, format!("{number}\n").as_bytes(), at(number));
        }
        log.finish(at(2000));
        let runs = attempts(dir.path()).unwrap();
        assert_eq!(runs.len(), 1);
        assert!(runs[0].files.len() <= 5, "{runs:?}");
        let text = String::from_utf8(content(dir.path())).unwrap();
        let numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        let first = numbers[0];
        assert_eq!(numbers, (first..1000).collect::<Vec<_>>());
        assert!(numbers.len() > 50, "{}", numbers.len());
    }
}
