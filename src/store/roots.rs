//! Where the directories are, and that they are this user's alone.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::names::{Namespace, ObjectName};
use crate::store::{PodDir, PodRecord, StoreError};

/// The variables that say where things are; read once, by the command line.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `HOME`
    pub home: Option<OsString>,
    /// `XDG_RUNTIME_DIR`
    pub xdg_runtime_dir: Option<OsString>,
    /// `XDG_STATE_HOME`
    pub xdg_state_home: Option<OsString>,
    /// `XDG_DATA_HOME`
    pub xdg_data_home: Option<OsString>,
}

/// The user's directories, checked.
#[derive(Debug)]
pub struct Store {
    runtime: PathBuf,
    state: PathBuf,
    data: PathBuf,
}

/// How long a lock may be another process' before that is an error.
const LOCK_PATIENCE: Duration = Duration::from_secs(8);

/// Held while names and addresses are given out.
#[derive(Debug)]
pub struct StoreLock(#[expect(dead_code, reason = "held for its lock")] File);

impl Store {
    /// Finds the directories and makes those that are missing.
    ///
    /// # Errors
    /// A variable that names no usable place, a directory that is not this user's alone.
    pub fn open(root: Option<&Path>, environment: &Environment) -> Result<Self, StoreError> {
        let (runtime, state, data) = match root {
            Some(root) => {
                let root = std::path::absolute(root).map_err(StoreError::io("used", root))?;
                make_parents(&root)?;
                (root.join("runtime"), root.join("state"), root.join("data"))
            }
            None if rustix::process::geteuid().is_root() => (
                PathBuf::from("/run/podrun"),
                PathBuf::from("/var/lib/podrun/state"),
                PathBuf::from("/var/lib/podrun/data"),
            ),
            None => of_user(environment)?,
        };
        // Sticky, so that a cleaner of temporary files passes it by.
        make_own(&runtime, 0o1700)?;
        make_own(&state, 0o700)?;
        make_own(&data, 0o700)?;
        make_own(&state.join("pods"), 0o700)?;
        make_own(&state.join("objects"), 0o700)?;
        Ok(Self {
            runtime,
            state,
            data,
        })
    }

    /// All that is podrun's: where sockets, records and images are.
    pub fn directories(&self) -> [&Path; 3] {
        [&self.runtime, &self.state, &self.data]
    }

    /// The directories that another process of this user has found and checked.
    pub fn of(runtime: PathBuf, state: PathBuf, data: PathBuf) -> Self {
        Self {
            runtime,
            state,
            data,
        }
    }

    /// Where images are.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Where sockets are.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime
    }

    /// Where records are.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// Where control sockets are, opened.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open_runtime_dir(&self) -> Result<OwnedFd, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(&self.runtime, flags, Mode::empty())
            .map_err(io::Error::from)
            .map_err(StoreError::io("opened", &self.runtime))
    }

    /// Where the pods' directories are.
    pub fn pods_dir(&self) -> PathBuf {
        self.state.join("pods")
    }

    /// Where objects are.
    pub fn objects_dir(&self) -> PathBuf {
        self.state.join("objects")
    }

    /// Waits for the lock under which names and addresses are given out; it is held for
    /// milliseconds, or for as long as data takes to be removed, and a holder's death releases it.
    ///
    /// # Errors
    /// As `open(2)` and `flock(2)`; a holder that keeps it for eight seconds, such as one that
    /// was stopped.
    pub fn lock(&self) -> Result<StoreLock, StoreError> {
        let path = self.state.join("lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))
            .map_err(io::Error::from)
            .map_err(StoreError::io("opened", &path))?;
        let file = File::from(file);
        match file.try_lock() {
            Ok(()) => Ok(StoreLock(file)),
            Err(TryLockError::WouldBlock) => lock_in_time(file, path),
            Err(TryLockError::Error(error)) => Err(StoreError::io("locked", &path)(error)),
        }
    }

    /// All pods, in the order of their names, as `kubectl get` lists them. A directory without a readable record is passed by: it is being
    /// made or removed, or `prune` will remove it.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn pods(&self) -> Result<Vec<PodRecord>, StoreError> {
        let path = self.pods_dir();
        let mut pods = Vec::new();
        let entries = std::fs::read_dir(&path).map_err(StoreError::io("read", &path))?;
        for entry in entries {
            let entry = entry.map_err(StoreError::io("read", &path))?;
            let Ok(dir) = PodDir::open(entry.path()) else {
                continue;
            };
            let Ok(record) = dir.read_record() else {
                continue;
            };
            let liveness = dir.liveness(&record);
            pods.push(PodRecord {
                dir,
                record,
                liveness,
            });
        }
        pods.sort_by(|a, b| {
            (&a.record.namespace, &a.record.name).cmp(&(&b.record.namespace, &b.record.name))
        });
        Ok(pods)
    }

    /// One pod.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn pod(
        &self,
        namespace: &Namespace,
        name: &ObjectName,
    ) -> Result<Option<PodRecord>, StoreError> {
        let prefix = format!("{namespace}_{name}_");
        let path = self.pods_dir();
        let entries = std::fs::read_dir(&path).map_err(StoreError::io("read", &path))?;
        for entry in entries.flatten() {
            // A uid has no underscore and neither has a name, so the prefix decides.
            if !entry.file_name().to_string_lossy().starts_with(&prefix) {
                continue;
            }
            let Ok(dir) = PodDir::open(entry.path()) else {
                continue;
            };
            let Ok(record) = dir.read_record() else {
                continue;
            };
            let liveness = dir.liveness(&record);
            return Ok(Some(PodRecord {
                dir,
                record,
                liveness,
            }));
        }
        Ok(None)
    }

    /// Directories of pods that have no record that can be read and that nobody holds: what a start
    /// or a removal that was killed has left, or another version of podrun. The store's lock must be
    /// held.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn leftovers(&self, _lock: &StoreLock) -> Result<Vec<PodDir>, StoreError> {
        let path = self.pods_dir();
        let entries = std::fs::read_dir(&path).map_err(StoreError::io("read", &path))?;
        Ok(entries
            .flatten()
            .filter_map(|entry| PodDir::open(entry.path()).ok())
            .filter(|dir| dir.read_record().is_err() && !dir.is_held())
            .collect())
    }
}

/// Waits for a lock that somebody has: in a thread, because `flock(2)` knows no time.
fn lock_in_time(file: File, path: PathBuf) -> Result<StoreLock, StoreError> {
    let inode = rustix::fs::fstat(&file).map_or(0, |stat| stat.st_ino);
    let (sender, receiver) = mpsc::channel();
    #[expect(
        clippy::disallowed_methods,
        reason = "only commands wait here, and what they start is another program"
    )]
    let waiting = std::thread::spawn(move || sender.send(file.lock().map(|()| file)));
    match receiver.recv_timeout(LOCK_PATIENCE) {
        Ok(locked) => {
            waiting.join().ok();
            locked
                .map(StoreLock)
                .map_err(StoreError::io("locked", path))
        }
        Err(_) => Err(StoreError::Locked {
            holder: holder_of(inode),
            path,
        }),
    }
}

/// Who has a `flock(2)` on the file with this inode (`proc_locks(5)`).
fn holder_of(inode: u64) -> Option<i32> {
    let table = std::fs::read_to_string("/proc/locks").ok()?;
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // One that waits has an arrow before its kind.
        let [_, "FLOCK", _, _, pid, file, ..] = words[..] else {
            return None;
        };
        let is_it = file.rsplit(':').next()?.parse() == Ok(inode);
        is_it.then(|| pid.parse().ok()).flatten()
    })
}

fn of_user(environment: &Environment) -> Result<(PathBuf, PathBuf, PathBuf), StoreError> {
    let home = || -> Result<PathBuf, StoreError> {
        let wrong = |problem: &str| StoreError::Variable {
            name: "HOME",
            problem: problem.to_owned(),
        };
        let home = environment.home.as_ref().filter(|home| !home.is_empty());
        let home = PathBuf::from(home.ok_or_else(|| wrong("is not set"))?);
        if !home.is_absolute() {
            return Err(wrong("is not an absolute path"));
        }
        if home == Path::new("/") {
            return Err(wrong("is `/`"));
        }
        if !home.is_dir() {
            return Err(wrong("is not a directory"));
        }
        Ok(home)
    };
    // A relative value is to be ignored (XDG base directory specification).
    let base = |value: &Option<OsString>, below: &str| -> Result<PathBuf, StoreError> {
        match value
            .as_ref()
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
        {
            Some(path) => Ok(path.join("podrun")),
            None => Ok(home()?.join(below).join("podrun")),
        }
    };
    let state = base(&environment.xdg_state_home, ".local/state")?;
    let data = base(&environment.xdg_data_home, ".local/share")?;
    let runtime = environment
        .xdg_runtime_dir
        .as_ref()
        .map(PathBuf::from)
        .filter(|path| path.is_absolute() && path.is_dir() && is_own(path))
        // Without a session there is none; the sockets go beside the records.
        .map_or_else(|| state.join("runtime"), |path| path.join("podrun"));
    make_parents(&state)?;
    make_parents(&data)?;
    if !runtime.starts_with(&state) {
        return Ok((runtime, state, data));
    }
    make_own(&state, 0o700)?;
    Ok((runtime, state, data))
}

fn is_own(path: &Path) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| {
        stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0
    })
}

/// Makes the directories above; they are the user's, with the mode users give such directories.
fn make_parents(path: &Path) -> Result<(), StoreError> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(parent).map_err(StoreError::io("made", parent))
}

/// Makes a directory, or checks that the one that is there is this user's alone: it may have been
/// planted (a state that names an innocent process, a link to somewhere else).
fn make_own(path: &Path, mode: u32) -> Result<(), StoreError> {
    make_parents(path)?;
    let foreign = |problem: &str| StoreError::Foreign {
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(StoreError::io("made", path)(errno.into())),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
            return Err(foreign("is not a directory"));
        }
        Err(errno) => return Err(StoreError::io("opened", path)(errno.into())),
    };
    let stat = rustix::fs::fstat(&dir)
        .map_err(io::Error::from)
        .map_err(StoreError::io("read", path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(foreign("is not a directory"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(foreign("belongs to another user"));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(foreign("may be written by other users"));
    }
    if stat.st_mode & 0o7777 != mode {
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode))
            .map_err(io::Error::from)
            .map_err(StoreError::io("protected", path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_directory_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink("/tmp", root.join("state")).unwrap();
        let error = Store::open(Some(&root), &Environment::default()).unwrap_err();
        assert!(error.to_string().contains("is not a directory"), "{error}");

        let root = dir.path().join("open");
        std::fs::create_dir_all(root.join("state")).unwrap();
        rustix::fs::chmod(root.join("state"), Mode::from_raw_mode(0o777)).unwrap();
        let error = Store::open(Some(&root), &Environment::default()).unwrap_err();
        assert!(
            error.to_string().contains("may be written by other users"),
            "{error}"
        );
    }

    #[test]
    fn a_home_that_is_none_is_named() {
        for home in [
            None,
            Some(""),
            Some("relative"),
            Some("/"),
            Some("/nonexistent"),
        ] {
            let environment = Environment {
                home: home.map(OsString::from),
                ..Environment::default()
            };
            let error = of_user(&environment).unwrap_err();
            assert!(error.to_string().starts_with("HOME "), "{error}");
        }
    }
}
