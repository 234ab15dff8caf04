//! The ids of a pod with `hostUsers: false`: 65536 of the machine's that no other pod has.
//!
//! They are taken from a range that nobody else gives out: systemd's list of ids
//! (`UIDS-GIDS.md`) leaves `0x7000_0000` to `0x7fff_ffff` unused. A block is taken by a lock that lasts
//! as long as the supervisor does, in one place for the whole machine, whatever `--root` says.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::plan::POD_IDS;

/// The first id of the first block.
const FIRST: u32 = 0x7000_0000;

/// How many blocks there are.
const BLOCKS: u32 = 0x1000_0000 / POD_IDS;

/// Where the locks are.
const LOCKS: &str = "/run/podrun/users";

/// A block of ids that is this process' pod's.
#[derive(Debug)]
pub struct PodIds {
    /// The machine's id that is 0 in the pod.
    pub first: u32,
    _lock: File,
}

impl PodIds {
    /// Takes the first free block.
    ///
    /// # Errors
    /// One line for the user.
    pub fn take() -> Result<Self, String> {
        let failed = |error: io::Error| format!("hostUsers: {LOCKS}: {error}");
        let given = ["/etc/subuid", "/etc/subgid"]
            .map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let directory = open_locks(Path::new(LOCKS)).map_err(failed)?;
        for block in 0..BLOCKS {
            let first = FIRST.saturating_add(block.saturating_mul(POD_IDS));
            if given.iter().any(|text| is_given(text, first)) {
                continue;
            }
            if let Some(lock) = take_lock(&directory, block).map_err(failed)? {
                return Ok(Self { first, _lock: lock });
            }
        }
        Err(format!(
            "hostUsers: all {BLOCKS} blocks of {POD_IDS} ids from {FIRST} on are in use"
        ))
    }
}

fn open_locks(path: &Path) -> io::Result<OwnedFd> {
    for directory in path.parent().into_iter().chain([path]) {
        match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

fn take_lock(directory: &OwnedFd, block: u32) -> io::Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let file = rustix::fs::openat(directory, block.to_string(), flags, mode)?;
    let file = File::from(file);
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Whether `subuid(5)` gives one of the block's ids to somebody.
fn is_given(text: &str, first: u32) -> bool {
    let block = u64::from(first)..u64::from(first) + u64::from(POD_IDS);
    text.lines().any(|line| {
        let mut numbers = line
            .split(':')
            .skip(1)
            .map(|word| word.trim().parse::<u64>());
        let (Some(Ok(start)), Some(Ok(count))) = (numbers.next(), numbers.next()) else {
            return false;
        };
        start < block.end && start.saturating_add(count) > block.start
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_to_somebody_is_nobodys_block() {
        let end = FIRST + POD_IDS;
        for (line, is_taken) in [
            (String::new(), false),
            ("a:100000:65536".to_owned(), false),
            (format!("a:{FIRST}:1"), true),
            (format!("a:{}:1", end - 1), true),
            (format!("a:{end}:1"), false),
            (format!("a:{}:1", FIRST - 1), false),
            (format!("a:{}:2", FIRST - 1), true),
            (format!("# a\na:x:1\n1000:{}:{}", FIRST - 5, u64::MAX), true),
        ] {
            assert_eq!(is_given(&line, FIRST), is_taken, "{line}");
        }
    }

    #[test]
    fn no_two_have_the_same_block() {
        let scratch = tempfile::tempdir().unwrap();
        let locks = open_locks(&scratch.path().join("users")).unwrap();
        let held = take_lock(&locks, 3).unwrap();
        assert!(held.is_some());
        assert!(take_lock(&locks, 3).unwrap().is_none());
        assert!(take_lock(&locks, 4).unwrap().is_some());
        drop(held);
        assert!(take_lock(&locks, 3).unwrap().is_some());
    }
}
