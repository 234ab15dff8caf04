//! That a pod has cgroups, as a locked file in the runtime directory: the kernel lets go of the lock
//! when the supervisor ends, in whatever way, and the next command removes what it has left.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstat, openat, unlinkat};

use crate::cgroup::{find, remove_left};
use crate::names::PodUid;

const SUFFIX: &str = ".cgroup";

/// Held while the pod's cgroups are there.
#[derive(Debug)]
pub(super) struct Marker {
    runtime_dir: OwnedFd,
    name: String,
    #[expect(dead_code, reason = "held for its lock")]
    file: OwnedFd,
}

impl Marker {
    /// Makes and locks the file of a pod.
    ///
    /// # Errors
    /// As `openat(2)` and `flock(2)`.
    pub(super) fn make(runtime_dir: BorrowedFd<'_>, uid: &PodUid) -> io::Result<Self> {
        let name = format!("{uid}{SUFFIX}");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let file = openat(runtime_dir, &name, flags, Mode::from_raw_mode(0o600))?;
            flock(&file, FlockOperation::LockExclusive)?;
            // A command may have found it before it was locked, and removed it.
            if fstat(&file)?.st_nlink > 0 {
                return Ok(Self {
                    runtime_dir: runtime_dir.try_clone_to_owned()?,
                    name,
                    file,
                });
            }
        }
    }

    /// The cgroups are gone.
    pub(super) fn remove(&self) {
        unlinkat(&self.runtime_dir, &self.name, AtFlags::empty()).ok();
    }
}

/// Removes the cgroups of pods whose supervisors were killed.
///
/// # Errors
/// As `getdents64(2)`, and for `/proc` if there is something to remove.
pub fn sweep(runtime_dir: impl AsFd) -> io::Result<()> {
    let mut places = None;
    for entry in Dir::read_from(&runtime_dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(uid) = name.strip_suffix(SUFFIX) else {
            continue;
        };
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // It may have ended meanwhile.
        let Ok(file) = openat(&runtime_dir, &name, flags, Mode::empty()) else {
            continue;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let places = match &mut places {
            Some(places) => places,
            none @ None => none.insert(find()?),
        };
        // What still ends there is left for the next command.
        if PodUid::new(uid).is_ok_and(|uid| !remove_left(places, &uid)) {
            continue;
        }
        unlinkat(&runtime_dir, &name, AtFlags::empty()).ok();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_holds_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let open = || OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let uid = |last: u8| PodUid::new(format!("9e0a6a1c-0000-4000-8000-00000000000{last}"));
        let living = Marker::make(open().as_fd(), &uid(1).unwrap()).unwrap();
        drop(Marker::make(open().as_fd(), &uid(2).unwrap()).unwrap());
        let names = || -> Vec<String> {
            let entries = std::fs::read_dir(dir.path()).unwrap().flatten();
            let mut names: Vec<String> = entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names().len(), 2);
        sweep(open()).unwrap();
        assert_eq!(names(), std::slice::from_ref(&living.name));
        living.remove();
        assert!(names().is_empty());
    }
}
