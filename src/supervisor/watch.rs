//! What the supervisor waits for: descriptors in an epoll set, each with the thing it stands for.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;

/// What a descriptor stands for. Numbers are the supervisor's own, never from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The front end's socket.
    Front,
    /// Signals to the supervisor itself.
    Signals,
    /// The next deadline of the machine.
    Timer,
    /// The control socket that accepts commands.
    Listener,
    /// A connected command.
    Client(u32),
    /// Pause's report.
    PauseReport,
    /// Pause's end.
    Pause,
    /// The forwarder's end.
    Forwarder,
    /// A container's report, between clone and exec.
    Report(u32),
    /// A container's launcher has ended.
    Launcher(u32),
    /// A container's init has ended.
    Init(u32),
    /// A container's standard output.
    Stdout(u32),
    /// A container's standard error.
    Stderr(u32),
    /// An exec'd command's report.
    ExecReport(u32),
    /// An exec'd command's launcher has ended.
    ExecLauncher(u32),
    /// An exec'd command has ended.
    Exec(u32),
    /// A process that removes an earlier run's files has ended.
    Sweeper(u32),
    /// The output of a probe's or hook's command.
    ExecOutput(u32),
    /// The prober's answers.
    Prober,
    /// The process that looks at volumes has ended.
    Usage,
    /// A client that is attached to a container can be given more.
    Room(u32),
    /// The node agent's end.
    Agent,
    /// Another node agent is there, or is not.
    Successor,
}

impl Source {
    const fn parts(self) -> (u32, u32) {
        match self {
            Self::Front => (0, 0),
            Self::Signals => (1, 0),
            Self::Timer => (2, 0),
            Self::Listener => (3, 0),
            Self::Client(n) => (4, n),
            Self::PauseReport => (5, 0),
            Self::Pause => (6, 0),
            Self::Forwarder => (7, 0),
            Self::Report(n) => (8, n),
            Self::Launcher(n) => (9, n),
            Self::Init(n) => (10, n),
            Self::Stdout(n) => (11, n),
            Self::Stderr(n) => (12, n),
            Self::ExecReport(n) => (13, n),
            Self::ExecLauncher(n) => (14, n),
            Self::Exec(n) => (15, n),
            Self::Sweeper(n) => (16, n),
            Self::ExecOutput(n) => (17, n),
            Self::Prober => (18, 0),
            Self::Usage => (19, 0),
            Self::Room(n) => (20, n),
            Self::Agent => (21, 0),
            Self::Successor => (22, 0),
        }
    }

    fn from_token(token: u64) -> Option<Self> {
        let kind = token >> 32;
        let n = u32::try_from(token & 0xffff_ffff).ok()?;
        Some(match kind {
            0 => Self::Front,
            1 => Self::Signals,
            2 => Self::Timer,
            3 => Self::Listener,
            4 => Self::Client(n),
            5 => Self::PauseReport,
            6 => Self::Pause,
            7 => Self::Forwarder,
            8 => Self::Report(n),
            9 => Self::Launcher(n),
            10 => Self::Init(n),
            11 => Self::Stdout(n),
            12 => Self::Stderr(n),
            13 => Self::ExecReport(n),
            14 => Self::ExecLauncher(n),
            15 => Self::Exec(n),
            16 => Self::Sweeper(n),
            17 => Self::ExecOutput(n),
            18 => Self::Prober,
            19 => Self::Usage,
            20 => Self::Room(n),
            21 => Self::Agent,
            22 => Self::Successor,
            _ => return None,
        })
    }

    fn token(self) -> u64 {
        let (kind, n) = self.parts();
        (u64::from(kind) << 32) | u64::from(n)
    }
}

/// The epoll set. A descriptor leaves it when it is closed; nothing else holds a copy of one.
pub(super) struct Watch {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("epoll", &self.epoll)
            .finish_non_exhaustive()
    }
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(32),
        })
    }

    pub(super) fn add(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        let data = epoll::EventData::new_u64(source.token());
        Ok(epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)?)
    }

    /// Waits until a descriptor can be written.
    pub(super) fn add_for_room(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        let data = epoll::EventData::new_u64(source.token());
        Ok(epoll::add(&self.epoll, fd, data, epoll::EventFlags::OUT)?)
    }

    /// Whether it is also waited for that a watched descriptor can be written.
    pub(super) fn wait_for_room(&self, fd: impl AsFd, source: Source, is_wanted: bool) {
        let data = epoll::EventData::new_u64(source.token());
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, is_wanted);
        epoll::modify(&self.epoll, fd, data, flags).ok();
    }

    /// Stops watching a descriptor that clones of this process may still hold open.
    pub(super) fn remove(&self, fd: impl AsFd) {
        epoll::delete(&self.epoll, fd).ok();
    }

    pub(super) fn wait(&mut self) -> io::Result<Vec<Source>> {
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(self
            .events
            .iter()
            .filter_map(|event| Source::from_token(event.data.u64()))
            .collect())
    }
}
