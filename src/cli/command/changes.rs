//! Waiting for pods to change.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::cli::failure::Failure;
use crate::store::{Liveness, PodRecord, Store};

/// Waiting for any pod to change, without asking again and again.
pub(crate) struct Changes {
    inotify: OwnedFd,
}

impl Changes {
    /// Watches the store.
    ///
    /// # Errors
    /// As `inotify_init1(2)`.
    pub(crate) fn watch(store: &Store) -> Result<Self, Failure> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let inotify = inotify::init(flags).map_err(Failure::internal)?;
        let flags = inotify::WatchFlags::CREATE | inotify::WatchFlags::DELETE;
        inotify::add_watch(&inotify, store.pods_dir(), flags).map_err(Failure::internal)?;
        Ok(Self { inotify })
    }

    /// Watches one pod's directory; one that is gone meanwhile is no error.
    pub(crate) fn add(&self, pod: &PodRecord) {
        let flags = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE_SELF;
        inotify::add_watch(&self.inotify, pod.dir.path(), flags).ok();
    }

    /// Blocks until something has changed, or one of the pods' supervisors has ended, which a
    /// killed one tells in no other way. False when the time was over before.
    ///
    /// # Errors
    /// As `poll(2)`.
    pub(crate) fn wait(&self, pods: &[PodRecord], time: Option<Duration>) -> Result<bool, Failure> {
        let mut supervisors = Vec::new();
        for pod in pods {
            self.add(pod);
            if pod.liveness == Liveness::Alive {
                let identity = pod.dir.read_identity();
                supervisors.extend(identity.and_then(|identity| identity.open_verified()));
            }
        }
        let mut watched = vec![PollFd::new(&self.inotify, PollFlags::IN)];
        watched.extend(
            supervisors
                .iter()
                .map(|supervisor| PollFd::new(supervisor, PollFlags::IN)),
        );
        let time = time.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        match poll(&mut watched, time.as_ref()) {
            Ok(0) => Ok(false),
            Ok(_) | Err(rustix::io::Errno::INTR) => {
                self.drain();
                Ok(true)
            }
            Err(errno) => Err(Failure::internal(errno)),
        }
    }

    /// Forgets what has been told.
    fn drain(&self) {
        let mut events = [0_u8; 4096];
        while matches!(rustix::io::read(&self.inotify, &mut events), Ok(length) if length > 0) {}
    }
}
