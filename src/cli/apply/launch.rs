//! From plans to pods that run: supervisors are started together, watched together, and either
//! all adopted or all undone.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::PodStatus;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cli::apply::network::PodNetwork;
use crate::cli::failure::{Failure, INVALID, TIMED_OUT};
use crate::lifecycle::{Progress, Wait, progress};
use crate::plan::{Network, PodPlan};
use crate::runtime::idmap::IdMap;
use crate::runtime::spawn::{Ahead, Handover, SpawnError, Supervisor};
use crate::store::PodDir;
use crate::volume;
use crate::wire::{Adopt, FromSupervisor};

/// A pod whose directory is made and locked.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) plan: PodPlan,
    pub(crate) dir: PodDir,
    pub(crate) listeners: Vec<OwnedFd>,
}

/// A pod with its supervisor.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) plan: PodPlan,
    pub(crate) dir: PodDir,
    pub(crate) status: PodStatus,
    /// Its containers, namespaces and mounts are gone.
    pub(crate) ended: bool,
    supervisor: Option<Supervisor>,
}

/// What the front end waits for besides its pods.
#[derive(Debug)]
pub(crate) struct Interrupts(SignalFd);

impl Interrupts {
    /// Takes INT, TERM and HUP from here on; before, they end the process as they always do.
    ///
    /// # Errors
    /// As `signalfd(2)`.
    pub(crate) fn take() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(
            &set,
            SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
        )?))
    }

    /// The signal that has arrived.
    pub(crate) fn arrived(&self) -> Option<i32> {
        let info = self.0.read_signal().ok().flatten()?;
        i32::try_from(info.ssi_signo).ok()
    }
}

impl AsFd for Interrupts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// All pods of one command.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) pods: Vec<Started>,
    interrupts: Interrupts,
}

/// Something the caller may want to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// The status of this pod has changed, or it has ended.
    Pod(usize),
    /// The extra descriptor is readable.
    Extra,
    /// The time is over.
    TimedOut,
}

impl Fleet {
    /// Starts the supervisors of all reserved pods, the first with one that was started ahead.
    ///
    /// # Errors
    /// The first that cannot be started; those before it are undone.
    pub(crate) fn start(
        ids: &IdMap,
        reserved: Vec<Reserved>,
        runtime_dir: &OwnedFd,
        interrupts: Interrupts,
        mut ahead: Option<Ahead>,
        mut network: Option<&mut PodNetwork>,
    ) -> Result<Self, Failure> {
        let mut fleet = Self {
            pods: Vec::new(),
            interrupts,
        };
        let mut waiting = VecDeque::from(reserved);
        while let Some(Reserved {
            plan,
            dir,
            listeners,
        }) = waiting.pop_front()
        {
            let network = network.as_deref_mut();
            let ahead = ahead.take();
            let supervisor = hand_over(ids, &plan, &dir, listeners, runtime_dir, ahead, network);
            match supervisor {
                Ok(supervisor) => fleet.pods.push(Started {
                    plan,
                    dir,
                    status: PodStatus::default(),
                    ended: false,
                    supervisor: Some(supervisor),
                }),
                Err(failure) => {
                    dir.remove().ok();
                    for rest in waiting {
                        rest.dir.remove().ok();
                    }
                    fleet.abandon();
                    return Err(failure);
                }
            }
        }
        Ok(fleet)
    }

    /// Waits until something happens.
    ///
    /// # Errors
    /// An interrupt (code 128 plus the signal), or a pod that could not be set up.
    pub(crate) fn wait(
        &mut self,
        deadline: Option<Instant>,
        extra: Option<&OwnedFd>,
    ) -> Result<News, Failure> {
        loop {
            let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if timeout == Some(Duration::ZERO) {
                return Ok(News::TimedOut);
            }
            let mut watched = vec![PollFd::new(&self.interrupts.0, PollFlags::IN)];
            let mut owners = Vec::new();
            if let Some(extra) = extra {
                watched.push(PollFd::new(extra, PollFlags::IN));
            }
            for (index, pod) in self.pods.iter().enumerate() {
                if let Some(supervisor) = pod.supervisor.as_ref().filter(|_| !pod.ended) {
                    watched.push(PollFd::new(supervisor, PollFlags::IN));
                    owners.push(index);
                }
            }
            let timeout = timeout.map(|left| Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            });
            match poll(&mut watched, timeout.as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(Failure::internal(errno)),
            }
            let ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
            let mut ready = ready.into_iter();
            if ready.next() == Some(true)
                && let Some(signal) = self.interrupts.arrived()
            {
                return Err(interrupted(signal));
            }
            let extra_is_ready = extra.is_some() && ready.next() == Some(true);
            if let Some((index, _)) = owners.into_iter().zip(ready).find(|(_, ready)| *ready) {
                self.hear(index)?;
                return Ok(News::Pod(index));
            }
            if extra_is_ready {
                return Ok(News::Extra);
            }
        }
    }

    fn hear(&mut self, index: usize) -> Result<(), Failure> {
        let Some(pod) = self.pods.get_mut(index) else {
            return Ok(());
        };
        let Some(supervisor) = &pod.supervisor else {
            return Ok(());
        };
        match supervisor.receive() {
            Ok(FromSupervisor::Status(status)) => pod.status = *status,
            Ok(FromSupervisor::StatusWritten) => {
                if let Some(status) = pod.dir.read_status() {
                    pod.status = status;
                }
            }
            Ok(FromSupervisor::Ended) => pod.ended = true,
            Ok(FromSupervisor::Unshared | FromSupervisor::Failed { .. }) => {}
            Err(error) => {
                pod.ended = true;
                return Err(worded(&pod.plan, &error));
            }
        }
        Ok(())
    }

    /// Waits until every pod is what is waited for.
    ///
    /// # Errors
    /// A pod that can never be it (its reason in words), the end of the time, an interrupt.
    pub(crate) fn wait_for(&mut self, wait: Wait, deadline: Option<Instant>) -> Result<(), Unmet> {
        loop {
            if self.reached(wait)? {
                return Ok(());
            }
            match self.wait(deadline, None) {
                Ok(News::TimedOut) => return Err(Unmet::TimedOut(self.pending(wait))),
                Ok(News::Pod(_) | News::Extra) => {}
                Err(failure) => return Err(Unmet::Failure(failure)),
            }
        }
    }

    /// The pods that are not it yet.
    pub(crate) fn pending(&self, wait: Wait) -> Vec<usize> {
        self.pods
            .iter()
            .enumerate()
            .filter(|(_, pod)| {
                progress(wait, pod.plan.restart_policy, &pod.status) != Progress::Reached
            })
            .map(|(index, _)| index)
            .collect()
    }

    /// Keeps all pods after this process has ended.
    ///
    /// # Errors
    /// A supervisor that is gone.
    pub(crate) fn adopt(self, remove_when_done: bool) -> Result<(), Failure> {
        for pod in &self.pods {
            if let Some(supervisor) = &pod.supervisor {
                supervisor
                    .adopt(Adopt { remove_when_done })
                    .map_err(|error| worded(&pod.plan, &error))?;
            }
        }
        Ok(())
    }

    /// Undoes all pods and waits until nothing of them is left.
    pub(crate) fn abandon(&mut self) {
        // All sockets first, so that they end at the same time.
        let leaving: Vec<_> = self
            .pods
            .iter_mut()
            .filter_map(|pod| pod.supervisor.take())
            .collect();
        let children: Vec<_> = leaving.into_iter().map(Supervisor::let_go).collect();
        for mut child in children {
            child.wait().ok();
        }
        // A supervisor that was killed could not remove its pod's directory.
        for pod in &self.pods {
            pod.dir.remove().ok();
        }
    }
}

/// Why a fleet is not what was waited for.
#[derive(Debug)]
pub(crate) enum Unmet {
    /// A pod can never be it.
    Pod {
        index: usize,
        container: Option<String>,
        reason: String,
    },
    /// The time is over for these.
    TimedOut(Vec<usize>),
    /// Something else.
    Failure(Failure),
}

/// The failure of a command that was interrupted and has cleaned up.
pub(crate) fn interrupted(signal: i32) -> Failure {
    let name = Signal::try_from(signal).map_or("a signal", Signal::as_str);
    let code = u8::try_from(signal.saturating_add(128)).unwrap_or(TIMED_OUT);
    Failure::with_code(
        code,
        format!("interrupted by {name}; what was started is removed"),
    )
}

/// Gives a pod to a supervisor, to the one that was started ahead if there is one.
fn hand_over(
    ids: &IdMap,
    plan: &PodPlan,
    dir: &PodDir,
    listeners: Vec<OwnedFd>,
    runtime_dir: &OwnedFd,
    ahead: Option<Ahead>,
    network: Option<&mut PodNetwork>,
) -> Result<Supervisor, Failure> {
    let trees = volume::machine_trees(plan)
        .map_err(|error| Failure::with_code(INVALID, format!("pod/{}: {error}", plan.name)))?;
    let joined = match network {
        Some(network) if matches!(plan.network, Network::Pod { .. }) => {
            let joined = network.take();
            let joined =
                joined.map_err(|error| Failure::internal(format!("pod/{}: {error}", plan.name)))?;
            Some((&network.begin, joined))
        }
        _ => None,
    };
    let handover = Handover {
        node: joined.as_ref().map(|(begin, joined)| (*begin, joined)),
        pod_dir_path: dir.path().to_string_lossy().into_owned(),
        pod_dir: dir.as_fd(),
        runtime_dir: runtime_dir.as_fd(),
        listeners,
        trees,
    };
    ahead
        .map_or_else(|| Ahead::start(ids), Ok)
        .and_then(|ahead| Supervisor::start(ahead, ids, plan, &handover))
        .map_err(|error| worded(plan, &error))
}

fn worded(plan: &PodPlan, error: &SpawnError) -> Failure {
    Failure::internal(format!("pod/{}: {error}", plan.name))
}
