//! That a pod has cgroups, as a locked file in the runtime directory: the kernel lets go of the lock
//! when the supervisor ends, in whatever way, and the next command removes what it has left.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstat, openat, unlinkat};

use crate::cgroup::remove;
use crate::names::PodUid;

const SUFFIX: &str = ".cgroup";

/// Held while the pod's cgroups are there.
#[derive(Debug)]
pub(super) struct Marker {
    runtime_dir: OwnedFd,
    name: String,
    #[expect(dead_code, reason = "held for its lock")]
    file: File,
}

impl Marker {
    /// Makes and locks the file of a pod, and writes down where its cgroups are going to be.
    ///
    /// # Errors
    /// As `openat(2)`, `flock(2)` and `write(2)`.
    pub(super) fn make(
        runtime_dir: BorrowedFd<'_>,
        uid: &PodUid,
        directories: &[&Path],
    ) -> io::Result<Self> {
        let mut lines = Vec::new();
        for directory in directories {
            lines.extend_from_slice(directory.as_os_str().as_bytes());
            lines.push(b'\n');
        }
        let name = format!("{uid}{SUFFIX}");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let file = openat(runtime_dir, &name, flags, Mode::from_raw_mode(0o600))?;
            flock(&file, FlockOperation::LockExclusive)?;
            // A command may have found it before it was locked, and removed it.
            if fstat(&file)?.st_nlink > 0 {
                let mut file = File::from(file);
                file.write_all(&lines)?;
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
/// As `getdents64(2)`.
pub fn sweep(runtime_dir: impl AsFd) -> io::Result<()> {
    /// More than the paths of all hierarchies.
    const LIMIT: u64 = 64 * 1024;
    for entry in Dir::read_from(&runtime_dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.ends_with(SUFFIX) {
            continue;
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // It may have ended meanwhile.
        let Ok(file) = openat(&runtime_dir, &name, flags, Mode::empty()) else {
            continue;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        // Locked until its name is gone.
        let file = File::from(file);
        let mut lines = Vec::new();
        (&file).take(LIMIT).read_to_end(&mut lines)?;
        let mut is_gone = true;
        for line in lines.split(|byte| *byte == b'\n') {
            is_gone &= line.is_empty() || remove(Path::new(OsStr::from_bytes(line)));
        }
        // What still ends there is left for the next command.
        if is_gone {
            unlinkat(&runtime_dir, &name, AtFlags::empty()).ok();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_holds_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let open = || OwnedFd::from(File::open(dir.path()).unwrap());
        let uid = |last: u8| PodUid::new(format!("9e0a6a1c-0000-4000-8000-00000000000{last}"));
        let make = |last: u8| {
            let group = dir.path().join(format!("pod{last}"));
            std::fs::create_dir_all(group.join("container-a")).unwrap();
            let groups = [group.as_path(), Path::new("/nonexistent/pod")];
            Marker::make(open().as_fd(), &uid(last).unwrap(), &groups).unwrap()
        };
        let living = make(1);
        drop(make(2));
        let names = || -> Vec<String> {
            let entries = std::fs::read_dir(dir.path()).unwrap().flatten();
            let mut names: Vec<String> = entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names().len(), 4);
        sweep(open()).unwrap();
        assert_eq!(names(), [living.name.as_str(), "pod1"]);
        living.remove();
        assert_eq!(names(), ["pod1"]);
    }
}
