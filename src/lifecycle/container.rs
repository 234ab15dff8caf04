//! One container: where it is in its life.

use crate::lifecycle::back_off::Delay;
use crate::lifecycle::probing::Workers;
use crate::lifecycle::stop::Stop;
use crate::plan::{BackOff, ContainerPlan, ResolvedUser};

/// The end of one run of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) reason: String,
    pub(super) message: Option<String>,
    pub(super) started_at: Option<jiff::Timestamp>,
    pub(super) finished_at: jiff::Timestamp,
    pub(super) id: Option<String>,
}

/// Where a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Not started yet, or not again since all containers were stopped.
    Waiting,
    /// `Start` was asked for.
    Starting {
        /// `Kill` was asked for already.
        killed: bool,
    },
    /// It runs.
    Running(Box<Run>),
    /// It has ended; it is started again at the given time, or never.
    Ended {
        restart_at_ms: Option<u64>,
        delay_ms: u64,
    },
}

/// A run that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) since: jiff::Timestamp,
    pub(super) since_ms: u64,
    pub(super) post_start: PostStart,
    /// The startup probe has succeeded, or there is none, and postStart has ended.
    pub(super) is_started: bool,
    pub(super) workers: Workers,
    pub(super) stop: Option<Stop>,
}

/// The postStart hook of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PostStart {
    /// It runs.
    Pending {
        /// For a sleep: until when.
        sleep_until_ms: Option<u64>,
    },
    /// It has ended well, or there is none.
    Done,
    /// It has failed; the container is being killed.
    Failed,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) state: State,
    pub(super) restarts: u32,
    pub(super) id: Option<String>,
    pub(super) user: Option<ResolvedUser>,
    /// The end of the latest run.
    pub(super) last: Option<Ended>,
    /// The end of the run before.
    pub(super) previous: Option<Ended>,
    pub(super) delay: Delay,
    /// It was built ahead.
    pub(super) is_prepared: bool,
}

impl Container {
    pub(super) const fn new(constants: BackOff) -> Self {
        Self {
            state: State::Waiting,
            restarts: 0,
            id: None,
            user: None,
            last: None,
            previous: None,
            delay: Delay::new(constants),
            is_prepared: false,
        }
    }

    /// It runs, or is about to.
    pub(super) const fn is_live(&self) -> bool {
        matches!(self.state, State::Running(_) | State::Starting { .. })
    }

    pub(super) fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Running(run) => Some(run),
            State::Waiting | State::Starting { .. } | State::Ended { .. } => None,
        }
    }

    pub(super) fn run_mut(&mut self) -> Option<&mut Run> {
        match &mut self.state {
            State::Running(run) => Some(run),
            State::Waiting | State::Starting { .. } | State::Ended { .. } => None,
        }
    }

    /// The run that is past its postStart hook: what `state.running` shows. Before that the
    /// kubelet's sync has not returned, and the container is still being created; after the hook
    /// has failed it has a start error.
    pub(super) fn shown_run(&self) -> Option<&Run> {
        self.run().filter(|run| run.post_start == PostStart::Done)
    }

    pub(super) fn is_started(&self) -> bool {
        self.shown_run().is_some_and(|run| run.is_started)
    }

    /// `ready` of a container that is not a regular init container.
    pub(super) fn is_ready(&self, plan: &ContainerPlan) -> bool {
        self.is_started()
            && self.run().is_some_and(|run| {
                plan.probes.readiness.is_none() || run.workers.readiness.has_passed
            })
    }

    /// It has ended and is not started again.
    pub(super) const fn is_done(&self) -> bool {
        matches!(
            self.state,
            State::Ended {
                restart_at_ms: None,
                ..
            }
        )
    }

    /// The code of the latest end, if it is not running now.
    pub(super) fn ended_code(&self) -> Option<i32> {
        match self.state {
            State::Ended { .. } => self.last.as_ref().map(|ended| ended.code),
            State::Waiting | State::Starting { .. } | State::Running(_) => None,
        }
    }
}
