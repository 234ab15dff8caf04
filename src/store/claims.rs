//! Directories of claims: the data that outlives pods.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::names::{Namespace, ObjectName, PodUid};
use crate::store::{Store, StoreError, StoreLock};

/// What begins the name of a directory that is to go; no claim is named so.
const DISCARDED: &str = ".discarded-";

impl Store {
    fn claims_dir(&self, namespace: &Namespace) -> PathBuf {
        self.state_dir().join("claims").join(namespace.as_str())
    }

    /// Where a claim's own data is, if it has some.
    pub fn claim_dir(&self, namespace: &Namespace, name: &ObjectName) -> PathBuf {
        self.claims_dir(namespace).join(name.as_str())
    }

    /// Makes a claim's directory, unless it is there; it survives a power cut. Everybody may write to
    /// it who gets to it, as in the volumes of other provisioners on one machine: which users a pod
    /// has is not known here. The directories above it are this user's alone.
    ///
    /// # Errors
    /// As `mkdir(2)` and `fsync(2)`.
    pub fn make_claim_dir(
        &self,
        namespace: &Namespace,
        name: &ObjectName,
        _lock: &StoreLock,
    ) -> Result<(), StoreError> {
        let parent = self.claims_dir(namespace);
        let make = || -> io::Result<()> {
            for directory in [self.state_dir().join("claims"), parent.clone()] {
                match rustix::fs::mkdirat(CWD, &directory, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::open(&parent, flags, Mode::empty())?;
            match rustix::fs::mkdirat(&opened, name.as_str(), Mode::from_raw_mode(0o700)) {
                Ok(()) => {
                    let mode = Mode::from_raw_mode(0o777);
                    rustix::fs::chmodat(&opened, name.as_str(), mode, AtFlags::empty())?;
                    rustix::fs::fsync(opened.as_fd())?;
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            Ok(())
        };
        make().map_err(StoreError::io("made", self.claim_dir(namespace, name)))
    }

    /// Takes a claim's directory, if there is one, out of the way of a new claim of this name: what is
    /// in it may be much, and is removed when the lock is free again.
    ///
    /// # Errors
    /// As `rename(2)`.
    pub fn discard_claim_dir(
        &self,
        namespace: &Namespace,
        name: &ObjectName,
        uid: &PodUid,
        _lock: &StoreLock,
    ) -> Result<(), StoreError> {
        let path = self.claim_dir(namespace, name);
        let discarded = self.claims_dir(namespace).join(format!("{DISCARDED}{uid}"));
        match rustix::fs::rename(&path, discarded) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(StoreError::io("moved", path)(errno.into())),
        }
    }

    /// The directories of claims that are no more: those just discarded, and what a removal that was
    /// killed has left.
    pub fn discarded_claim_dirs(&self) -> Vec<PathBuf> {
        let list = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
        let namespaces = list(self.state_dir().join("claims"));
        namespaces
            .flat_map(|namespace| list(namespace.path()))
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(DISCARDED))
            .map(|entry| entry.path())
            .collect()
    }
}
