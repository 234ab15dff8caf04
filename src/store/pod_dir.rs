//! One pod's directory. A lock on the directory itself says that its supervisor lives: the kernel
//! lets go of it when the supervisor ends, in whatever way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::PodStatus;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::{
    Durability, EventLog, Identity, RECORD_VERSION, Record, StoreError, atomic_write, boot_id,
    read_bounded,
};
use crate::sys::tree::{remove_beneath, remove_tree};

/// The largest record that is read; a Pod is at most 3 MiB (etcd's bound for an object).
const LIMIT: u64 = 8 * 1024 * 1024;

/// Whether a pod's supervisor lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It holds its lock.
    Alive,
    /// It does not.
    Dead,
    /// The machine was started again since.
    Rebooted,
}

/// Since when a pod is being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// `metadata.deletionTimestamp`: the time at which its grace period is over.
    pub timestamp: jiff::Timestamp,
    /// `metadata.deletionGracePeriodSeconds`
    pub grace_period_seconds: u64,
}

/// A pod's directory.
#[derive(Debug)]
pub struct PodDir {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for PodDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PodDir {
    /// Makes the directory of a new pod, locked by this process' descriptor.
    ///
    /// # Errors
    /// As `mkdirat(2)` and for its files; nothing is left then.
    pub fn create(pods: &Path, record: &Record, pod: &impl Serialize) -> Result<Self, StoreError> {
        let path = pods.join(record.directory_name());
        rustix::fs::mkdirat(CWD, &path, Mode::from_raw_mode(0o700))
            .map_err(io::Error::from)
            .map_err(StoreError::io("made", &path))?;
        let dir = Self::open(path.clone())?;
        let fill = || -> io::Result<()> {
            flock(&dir.fd, FlockOperation::NonBlockingLockExclusive)?;
            dir.write("pod.json", pod)?;
            // Last: a directory without a record is no pod.
            dir.write("record.json", record)
        };
        fill()
            .map_err(StoreError::io("filled", &path))
            .inspect_err(|_| {
                dir.remove().ok();
            })?;
        Ok(dir)
    }

    /// Opens a pod's directory.
    ///
    /// # Errors
    /// As `openat(2)`.
    pub fn open(path: PathBuf) -> Result<Self, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(io::Error::from)
            .map_err(StoreError::io("opened", &path))?;
        Ok(Self { fd, path })
    }

    /// Wraps a descriptor that came over a socket with its lock.
    pub fn from_fd(fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let bytes = serde_json::to_vec(value)?;
        atomic_write(self.fd.as_fd(), name, &bytes, Durability::Boot)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let bytes = read_bounded(&self.fd, name, LIMIT).ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    /// Adds to the Pod's `spec.ephemeralContainers`.
    ///
    /// # Errors
    /// As `read(2)` and `write(2)`; the Pod stays as it was.
    pub fn add_ephemeral_container(&self, container: serde_json::Value) -> io::Result<()> {
        let mut pod = self.read_pod().unwrap_or_default();
        let Some(spec) = pod
            .get_mut("spec")
            .and_then(serde_json::Value::as_object_mut)
        else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let list = spec
            .entry("ephemeralContainers")
            .or_insert_with(|| serde_json::Value::Array(Vec::new()));
        if let Some(list) = list.as_array_mut() {
            list.push(container);
        }
        self.write("pod.json", &pod)
    }

    /// Writes the status.
    ///
    /// # Errors
    /// As `write(2)`; the old one stays.
    pub fn write_status(&self, status: &PodStatus) -> io::Result<()> {
        self.write("status.json", status)
    }

    /// Writes the events.
    ///
    /// # Errors
    /// As `write(2)`; the old ones stay.
    pub fn write_events(&self, events: &EventLog) -> io::Result<()> {
        self.write("events.json", events)
    }

    /// The events that were written last.
    pub fn read_events(&self) -> EventLog {
        self.read("events.json").unwrap_or_default()
    }

    /// Writes that the pod is being deleted.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn write_deletion(&self, deletion: &Deletion) -> io::Result<()> {
        self.write("deletion.json", deletion)
    }

    /// Since when the pod is being deleted.
    pub fn read_deletion(&self) -> Option<Deletion> {
        self.read("deletion.json")
    }

    /// Writes who the supervisor is.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn write_identity(&self, identity: &Identity) -> io::Result<()> {
        self.write("identity.json", identity)
    }

    /// The status that was written last.
    pub fn read_status(&self) -> Option<PodStatus> {
        self.read("status.json")
    }

    /// The Pod.
    pub fn read_pod(&self) -> Option<serde_json::Value> {
        self.read("pod.json")
    }

    /// The supervisor's process.
    pub fn read_identity(&self) -> Option<Identity> {
        self.read("identity.json")
    }

    /// Who the pod is.
    ///
    /// # Errors
    /// A record that is missing, broken, or of a newer podrun.
    pub fn read_record(&self) -> Result<Record, StoreError> {
        let path = self.path.join("record.json");
        let bytes = read_bounded(&self.fd, "record.json", LIMIT)
            .map_err(StoreError::io("read", &path))?
            .ok_or_else(|| StoreError::Broken {
                path: path.clone(),
                problem: "it is missing".to_owned(),
            })?;
        let record: Record =
            serde_json::from_slice(&bytes).map_err(|error| StoreError::Broken {
                path: path.clone(),
                problem: error.to_string(),
            })?;
        if record.version == RECORD_VERSION {
            Ok(record)
        } else {
            Err(StoreError::Broken {
                path,
                problem: format!("it was written by podrun {}", record.podrun),
            })
        }
    }

    /// Whether the pod's supervisor lives.
    pub fn liveness(&self, record: &Record) -> Liveness {
        if boot_id().is_ok_and(|boot| boot != record.boot_id) {
            return Liveness::Rebooted;
        }
        if self.is_held() {
            Liveness::Alive
        } else {
            Liveness::Dead
        }
    }

    /// Whether a command that makes the pod, or its supervisor, holds the directory's lock.
    pub(super) fn is_held(&self) -> bool {
        let free = flock(&self.fd, FlockOperation::NonBlockingLockShared).is_ok();
        if free {
            flock(&self.fd, FlockOperation::Unlock).ok();
        }
        !free
    }

    /// Removes the directory and all in it, the record last. It needs no free space.
    ///
    /// # Errors
    /// As `unlinkat(2)`: EACCES for files that only the pod's ids may remove.
    pub fn remove(&self) -> io::Result<()> {
        for name in [
            "containers",
            "volumes",
            "etc",
            "shm",
            "empty",
            "logs",
            "status.json",
            "events.json",
            "deletion.json",
            "identity.json",
        ] {
            remove_beneath(&self.fd, name)?;
        }
        let (Some(parent), Some(name)) = (
            self.path.parent(),
            self.path.file_name().and_then(|name| name.to_str()),
        ) else {
            return Ok(());
        };
        remove_tree(parent, name)
    }
}
