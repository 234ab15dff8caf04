//! Which process a record means, so that a number that was used again is nobody's death.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// `PID_FS_MAGIC` of `linux/magic.h`.
const PIDFS_MAGIC: i64 = 0x5049_4446;

/// A process for as long as the machine runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since boot.
    pub starttime: u64,
    /// The inode of its pidfd, unique since boot (pidfs, Linux 6.9).
    pub pidfs_inode: Option<u64>,
}

/// The id of this boot.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

impl Identity {
    /// This process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn of_self() -> io::Result<Self> {
        let own = rustix::process::getpid();
        let pidfd = pidfd_open(own, PidfdFlags::empty())?;
        Ok(Self {
            boot_id: boot_id()?,
            pid: own.as_raw_nonzero().get(),
            starttime: starttime("self")?,
            pidfs_inode: pidfs_inode(&pidfd)?,
        })
    }

    /// A pidfd of the process if it still is the same one.
    pub fn open_verified(&self) -> Option<OwnedFd> {
        if boot_id().ok()? != self.boot_id {
            return None;
        }
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        let is_same = match (self.pidfs_inode, pidfs_inode(&pidfd).ok()?) {
            (Some(recorded), Some(found)) => recorded == found,
            _ => starttime(&self.pid.to_string()).ok()? == self.starttime,
        };
        is_same.then_some(pidfd)
    }

    /// Whether there is a process of that number and it is another one.
    pub fn is_anothers(&self) -> bool {
        let is_there = || {
            Pid::from_raw(self.pid).is_some_and(|pid| pidfd_open(pid, PidfdFlags::empty()).is_ok())
        };
        self.open_verified().is_none() && is_there()
    }
}

fn pidfs_inode(pidfd: &OwnedFd) -> io::Result<Option<u64>> {
    let is_pidfs = rustix::fs::fstatfs(pidfd)?.f_type == PIDFS_MAGIC;
    Ok(if is_pidfs {
        Some(rustix::fs::fstat(pidfd)?.st_ino)
    } else {
        None
    })
}

fn starttime(process: &str) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is a name in parentheses that may contain anything.
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/PID/stat has no start time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_recognised_and_another_with_its_number_is_not() {
        let own = Identity::of_self().unwrap();
        assert!(own.open_verified().is_some() && !own.is_anothers());
        let other = Identity {
            starttime: own.starttime + 1,
            pidfs_inode: own.pidfs_inode.map(|inode| inode + 1),
            ..own.clone()
        };
        assert!(other.open_verified().is_none() && other.is_anothers());
        let rebooted = Identity {
            boot_id: "another".to_owned(),
            ..own
        };
        assert!(rebooted.open_verified().is_none());
    }
}
