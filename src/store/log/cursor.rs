//! Reading a container's log from somewhere to its end, again and again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::store::log::{Line, attempts, parse_line};

/// Bytes read at once.
const BLOCK: usize = 256 * 1024;

/// A place in a container's log that moves forward, over rotated files and restarts.
#[derive(Debug)]
pub struct LogCursor {
    directory: PathBuf,
    /// The first run that is read.
    from: u32,
    /// The last one.
    to: Option<u32>,
    current: Option<Current>,
    /// A line whose end is not written yet.
    carry: Vec<u8>,
    block: Vec<u8>,
}

#[derive(Debug)]
struct Current {
    attempt: u32,
    inode: u64,
    file: File,
}

impl LogCursor {
    /// Starts at the beginning of a run; `to` is the last run that is read, all later ones without.
    pub fn new(directory: &Path, from: u32, to: Option<u32>) -> Self {
        Self {
            directory: directory.to_owned(),
            from,
            to,
            current: None,
            carry: Vec::new(),
            block: Vec::new(),
        }
    }

    /// Gives every line that was written since the last call.
    ///
    /// # Errors
    /// As `read(2)`, and what `take` says.
    pub fn read_new(
        &mut self,
        take: &mut dyn FnMut(&Line<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            // Before the file is read to its end: what is renamed after that is read next time.
            let next = self.next_file()?;
            self.read_current(take)?;
            match next {
                None => return Ok(()),
                Some(next) => {
                    self.carry.clear();
                    self.current = Some(next);
                }
            }
        }
    }

    fn read_current(
        &mut self,
        take: &mut dyn FnMut(&Line<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        self.block.resize(BLOCK, 0);
        loop {
            let length = current.file.read(&mut self.block)?;
            if length == 0 {
                return Ok(());
            }
            let mut rest = self.block.get(..length).unwrap_or_default();
            while let Some(end) = memchr::memchr(b'\n', rest) {
                let (line, after) = rest.split_at(end);
                rest = after.get(1..).unwrap_or_default();
                if self.carry.is_empty() {
                    if let Some(line) = parse_line(line) {
                        take(&line)?;
                    }
                } else {
                    self.carry.extend_from_slice(line);
                    if let Some(line) = parse_line(&self.carry) {
                        take(&line)?;
                    }
                    self.carry.clear();
                }
            }
            self.carry.extend_from_slice(rest);
        }
    }

    /// The file after the current one, if there is one.
    fn next_file(&self) -> io::Result<Option<Current>> {
        let runs = attempts(&self.directory)?;
        let mut wanted = runs
            .into_iter()
            .filter(|run| run.number >= self.from && self.to.is_none_or(|to| run.number <= to))
            .flat_map(|run| run.files.into_iter().map(move |file| (run.number, file)))
            .filter_map(|(attempt, path)| open(attempt, &path).transpose())
            .collect::<io::Result<Vec<_>>>()?
            .into_iter();
        let Some(current) = &self.current else {
            return Ok(wanted.next());
        };
        let mut later = wanted
            .by_ref()
            .skip_while(|file| file.inode != current.inode);
        if later.next().is_some() {
            return Ok(later.next());
        }
        drop(later);
        // The current file was rotated away: go on with the oldest that is left.
        let runs = attempts(&self.directory)?;
        for run in runs.into_iter().filter(|run| run.number >= current.attempt) {
            for path in run.files {
                if let Some(file) = open(run.number, &path)? {
                    return Ok(Some(file));
                }
            }
        }
        Ok(None)
    }

    /// Goes to the last `count` lines of what is there now.
    ///
    /// # Errors
    /// As `read(2)`.
    pub fn seek_tail(&mut self, count: usize) -> io::Result<()> {
        let runs = attempts(&self.directory)?;
        let files: Vec<(u32, PathBuf)> = runs
            .into_iter()
            .filter(|run| run.number >= self.from && self.to.is_none_or(|to| run.number <= to))
            .flat_map(|run| run.files.into_iter().map(move |file| (run.number, file)))
            .collect();
        let mut wanted = count;
        let mut last = None;
        for (attempt, path) in files.into_iter().rev() {
            let Some(mut file) = open(attempt, &path)? else {
                continue;
            };
            let starts = line_starts(&mut file.file, wanted)?;
            wanted = wanted.saturating_sub(starts.count);
            file.file.seek(SeekFrom::Start(starts.offset))?;
            last = Some(file);
            if wanted == 0 {
                break;
            }
        }
        self.current = last;
        Ok(())
    }
}

/// Where the last lines of a file begin, and how many they are.
struct Starts {
    offset: u64,
    count: usize,
}

/// Looks for the beginnings of the last `wanted` lines; the pieces of one line count once.
fn line_starts(file: &mut File, wanted: usize) -> io::Result<Starts> {
    let mut starts = std::collections::VecDeque::new();
    let mut block = vec![0; BLOCK];
    let mut carry: Vec<u8> = Vec::new();
    let mut line_at = 0_u64;
    let mut at = 0_u64;
    let mut continues = false;
    loop {
        let length = file.read(&mut block)?;
        if length == 0 {
            break;
        }
        for byte_line in block
            .get(..length)
            .unwrap_or_default()
            .split_inclusive(|b| *b == b'\n')
        {
            at = at.saturating_add(u64::try_from(byte_line.len()).unwrap_or(0));
            carry.extend_from_slice(byte_line);
            if !byte_line.ends_with(b"\n") {
                continue;
            }
            carry.pop();
            if let Some(line) = parse_line(&carry) {
                if !continues {
                    starts.push_back(line_at);
                    if starts.len() > wanted {
                        starts.pop_front();
                    }
                }
                continues = !line.is_full;
            }
            carry.clear();
            line_at = at;
        }
    }
    let offset = starts
        .front()
        .copied()
        .unwrap_or(if wanted == 0 { at } else { 0 });
    Ok(Starts {
        offset,
        count: starts.len(),
    })
}

/// Opens a log file if it is a regular one; links and pipes somebody planted are not opened.
fn open(attempt: u32, path: &Path) -> io::Result<Option<Current>> {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path);
    match opened {
        Ok(file) => {
            let metadata = file.metadata()?;
            Ok(metadata.is_file().then(|| Current {
                attempt,
                inode: metadata.ino(),
                file,
            }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{LogLimits, LogWriter, Stream};
    use rustix::fs::{Mode, OFlags};

    fn writer(path: &Path, attempt: u32, max_size: u64) -> LogWriter {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).unwrap();
        LogWriter::open(
            directory,
            attempt,
            LogLimits {
                max_size,
                max_files: 5,
            },
        )
        .unwrap()
    }

    fn at(nanosecond: i32) -> jiff::Timestamp {
        jiff::Timestamp::new(1_700_000_000, nanosecond).unwrap()
    }

    fn read(cursor: &mut LogCursor) -> String {
        let mut text = String::new();
        cursor
            .read_new(&mut |line| {
                text.push_str(std::str::from_utf8(line.content).unwrap());
                text.push('|');
                Ok(())
            })
            .unwrap();
        text
    }

    #[test]
    fn a_reader_follows_rotation_and_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let mut cursor = LogCursor::new(dir.path(), 0, None);
        assert_eq!(read(&mut cursor), "");
        let mut log = writer(dir.path(), 0, 60);
        let mut expected = String::new();
        let mut seen = String::new();
        for number in 0..20 {
            log.write(Stream::Stdout, format!("{number}\n").as_bytes(), at(number));
            expected.push_str(&number.to_string());
            expected.push('|');
            seen.push_str(&read(&mut cursor));
        }
        assert_eq!(seen, expected);
        let mut log = writer(dir.path(), 1, 60);
        log.write(Stream::Stdout, b"again\n", at(50));
        assert_eq!(read(&mut cursor), "again|");
    }

    #[test]
    fn the_tail_goes_back_over_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = writer(dir.path(), 0, 100);
        for number in 0..10 {
            log.write(Stream::Stdout, format!("{number}\n").as_bytes(), at(number));
        }
        for (count, text) in [(0, ""), (1, "9|"), (3, "7|8|9|"), (6, "4|5|6|7|8|9|")] {
            let mut cursor = LogCursor::new(dir.path(), 0, None);
            cursor.seek_tail(count).unwrap();
            assert_eq!(read(&mut cursor), text, "{count}");
        }
    }

    #[test]
    fn a_link_in_the_place_of_a_log_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("0.log")).unwrap();
        assert_eq!(read(&mut LogCursor::new(dir.path(), 0, None)), "");
    }
}
