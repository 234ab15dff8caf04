//! Termination messages (`getTerminationMessage` of `kuberuntime_container.go`).

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, SeekFrom};

use crate::plan::ContainerPlan;
use crate::store::LogCursor;

/// `MaxContainerTerminationMessageLength`
const MAX_FILE: u64 = 4096;

/// `MaxPodTerminationMessageLogLength`, which all containers of a pod share.
const MAX_POD: usize = 12 * 1024;

/// `MaxContainerTerminationMessageLogLines` and `MaxContainerTerminationMessageLogLength`: how much
/// of a log is taken instead of the file.
const MAX_LOG_LINES: usize = 80;
const MAX_LOG: usize = 2048;

/// Whose last words are read, and how many containers share the room for them.
#[derive(Debug)]
pub(super) struct LastWords<'a> {
    pub(super) plan: &'a ContainerPlan,
    pub(super) containers: usize,
}

/// Makes the file a container may write its last words to, whoever it runs as.
pub(super) fn make_file(path: &Path) -> io::Result<()> {
    let file = rustix::fs::openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o666),
    )?;
    // Whatever the umask is (`makeMounts` of kubelet_pods.go).
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(0o666))?)
}

impl LastWords<'_> {
    /// What the container has left behind.
    pub(super) fn read(&self, file: &Path, logs: &Path, attempt: u32, code: i32) -> Option<String> {
        let mut words = read_file(file).unwrap_or_default();
        if words.is_empty() && code != 0 && self.plan.termination_message.falls_back_to_logs {
            words = read_log(logs, attempt).unwrap_or_default();
        }
        let share = MAX_POD.checked_div(self.containers).unwrap_or(MAX_POD);
        words.truncate(share);
        let text = String::from_utf8_lossy(&words).into_owned();
        (!text.is_empty()).then_some(text)
    }
}

/// The file's end. It is the container's to write, and no other file can take its place.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let length = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or_default();
    rustix::fs::seek(&file, SeekFrom::Start(length.saturating_sub(MAX_FILE)))?;
    let mut words = vec![0; usize::try_from(length.min(MAX_FILE)).unwrap_or_default()];
    let read = rustix::io::read(&file, &mut words)?;
    words.truncate(read);
    Ok(words)
}

/// The log's last lines.
fn read_log(logs: &Path, attempt: u32) -> io::Result<Vec<u8>> {
    let mut cursor = LogCursor::new(logs, attempt, Some(attempt));
    cursor.seek_tail(MAX_LOG_LINES)?;
    let mut kept: VecDeque<u8> = VecDeque::new();
    cursor.read_new(&mut |line| {
        kept.extend(line.content);
        if line.is_full {
            kept.push_back(b'\n');
        }
        let extra = kept.len().saturating_sub(MAX_LOG);
        kept.drain(..extra);
        Ok(())
    })?;
    Ok(kept.into())
}
