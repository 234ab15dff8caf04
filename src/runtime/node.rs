//! Joining the pod network: the node agent is asked for it, and started where there is none.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, inotify};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, listen,
    socket_with,
};

use crate::plan::Protocol;
use crate::runtime::control_socket;
use crate::runtime::idmap::IdMap;
use crate::runtime::spawn::{SpawnError, start_stage, start_stage_here};
use crate::sys::seqpacket;
use crate::wire::{self, Begin, FromNode, ToNode};

/// The agent's socket in the runtime directory.
const SOCKET: &str = "node.sock";

/// Locked by who starts an agent, and by an agent that ends.
const LOCK: &str = "node.lock";

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// How long supervisors have for starting another agent, before each attempt but the first.
const SUCCESSION: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};

/// How long an agent has for an answer that it gives at once: it may have been stopped.
const ANSWER: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// Before this attempt no agent is started where pods run.
const PATIENT_ATTEMPTS: usize = 5;

/// How often an agent that ends at this moment is passed by.
const ATTEMPTS: usize = 8;

/// Why there is no pod network.
#[derive(Debug)]
pub enum NodeError {
    /// The agent cannot be started.
    Spawn(SpawnError),
    /// Its socket, or the lock beside it.
    Socket(io::Error),
    /// It said why.
    Refused(String),
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn(error) => write!(f, "the node agent cannot be started: {error}"),
            Self::Socket(error) => write!(f, "the node agent does not answer: {error}"),
            Self::Refused(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for NodeError {}

impl From<io::Error> for NodeError {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

impl From<Errno> for NodeError {
    fn from(errno: Errno) -> Self {
        Self::Socket(errno.into())
    }
}

/// A pod's part of the network.
#[derive(Debug)]
pub struct Joined {
    /// The agent lives at least as long as this is open.
    pub connection: OwnedFd,
    /// The user namespace that owns the network; the machine's for root.
    pub users: OwnedFd,
    /// A mount namespace in which an agent can be started again.
    pub mounts: OwnedFd,
    /// The network namespace with the bridge.
    pub network: OwnedFd,
    /// A routing socket in it.
    pub route: OwnedFd,
    /// The bridge's number there.
    pub bridge: u32,
    /// Why there are neither Services nor a way out, where that is so.
    pub unruled: Option<String>,
}

impl Joined {
    /// Whether the agent lives: it says nothing more, so there is nothing to read but its end.
    pub fn is_served(&self) -> bool {
        let mut ended = [PollFd::new(&self.connection, PollFlags::IN)];
        poll(&mut ended, Some(&Timespec::default())) == Ok(0)
    }
}

/// Where an agent gets its namespaces from.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// It makes them.
    New(&'a IdMap),
    /// This process is where the agent is to be; the network is one that pods are in.
    Again(BorrowedFd<'a>),
}

/// Asks the agent of a runtime directory for its network, and starts one if there is none and no
/// pods run whose supervisors would do that.
///
/// # Errors
/// As [`NodeError`] says.
pub fn join(
    runtime_dir: BorrowedFd<'_>,
    begin: &Begin,
    start: Start<'_>,
    has_pods: &dyn Fn() -> bool,
) -> Result<Joined, NodeError> {
    let mut appears = None;
    for attempt in 1..=ATTEMPTS {
        if let Some(joined) = ask(runtime_dir)? {
            return Ok(joined);
        }
        if let Some(inotify) = &appears {
            let mut appeared = [PollFd::new(inotify, PollFlags::IN)];
            poll(&mut appeared, Some(&SUCCESSION))?;
        }
        let lock = lock(runtime_dir)?;
        lock.lock()?;
        // Another process may have started one meanwhile.
        if let Some(joined) = ask(runtime_dir)? {
            return Ok(joined);
        }
        // A second network would be one in which none of those pods is.
        if attempt < PATIENT_ATTEMPTS && has_pods() {
            appears = Some(watch(runtime_dir)?);
            continue;
        }
        spawn(runtime_dir, begin, start)?;
        // It does not end while the lock is held.
        if let Some(joined) = ask(runtime_dir)? {
            return Ok(joined);
        }
    }
    Err(NodeError::Socket(Errno::CONNREFUSED.into()))
}

/// Readable once something was made in the directory.
fn watch(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    inotify::add_watch(&inotify, path, inotify::WatchFlags::CREATE)?;
    Ok(inotify)
}

/// The lock file.
///
/// # Errors
/// As `open(2)`.
pub fn lock(runtime_dir: BorrowedFd<'_>) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(runtime_dir, LOCK, flags, Mode::from_raw_mode(0o600))?;
    Ok(File::from(file))
}

/// The agent's own listening socket, in the place of one that a dead agent has left. The caller
/// holds the lock, or its starter does.
///
/// # Errors
/// As `bind(2)`.
pub fn open(runtime_dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    remove(runtime_dir);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    bind(&socket, &control_socket::address(runtime_dir, SOCKET)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Removes the agent's socket.
pub fn remove(runtime_dir: BorrowedFd<'_>) {
    rustix::fs::unlinkat(runtime_dir, SOCKET, rustix::fs::AtFlags::empty()).ok();
}

/// Whether an agent has a port of the host open, once it has read what is stored now.
///
/// # Errors
/// As [`NodeError`] says; also when it does not answer.
pub fn has_port(
    runtime_dir: BorrowedFd<'_>,
    protocol: Protocol,
    port: u16,
) -> Result<bool, NodeError> {
    let question = ToNode::HasPort { protocol, port };
    let Some(connection) = tell(runtime_dir, &question)? else {
        return Ok(false);
    };
    let mut answered = [PollFd::new(&connection, PollFlags::IN)];
    if poll(&mut answered, Some(&ANSWER))? == 0 {
        return Err(Errno::TIMEDOUT.into());
    }
    match hear(&connection)? {
        Some((FromNode::Port { is_open }, _)) => Ok(is_open),
        Some(_) => Err(out_of_turn()),
        None => Ok(false),
    }
}

/// A connection to the agent with its first message sent; nothing where no agent listens.
fn tell(runtime_dir: BorrowedFd<'_>, message: &ToNode) -> Result<Option<OwnedFd>, NodeError> {
    let kind = SocketType::SEQPACKET;
    let connection = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    match connect(&connection, &control_socket::address(runtime_dir, SOCKET)?) {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    let bytes = wire::encode(message).map_err(io::Error::other)?;
    match seqpacket::send(&connection, &bytes, &[], SendFlags::empty()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
        result => Ok(result.map(|()| Some(connection))?),
    }
}

/// Nothing where no agent listens, or where one ends before it answers.
fn ask(runtime_dir: BorrowedFd<'_>) -> Result<Option<Joined>, NodeError> {
    let Some(connection) = tell(runtime_dir, &ToNode::Join)? else {
        return Ok(None);
    };
    let Some((answer, descriptors)) = hear(&connection)? else {
        return Ok(None);
    };
    let (bridge, unruled) = match answer {
        FromNode::Joined { bridge, unruled } => (bridge, unruled),
        FromNode::Failed { message } => return Err(NodeError::Refused(message)),
        FromNode::Ready | FromNode::Port { .. } => return Err(out_of_turn()),
    };
    match <[OwnedFd; 4]>::try_from(descriptors) {
        Ok([users, mounts, network, route]) => Ok(Some(Joined {
            connection,
            users,
            mounts,
            network,
            route,
            bridge,
            unruled,
        })),
        Err(_) => Err(out_of_turn()),
    }
}

fn out_of_turn() -> NodeError {
    NodeError::Socket(io::Error::other("its answer is not in the protocol"))
}

/// One message; nothing at the end of the socket.
fn hear(socket: &OwnedFd) -> Result<Option<(FromNode, Vec<OwnedFd>)>, NodeError> {
    let mut buffer = vec![0; 16 * 1024];
    let (length, descriptors) = match seqpacket::receive(socket, &mut buffer, RecvFlags::empty()) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        result => result?,
    };
    if length == 0 {
        return Ok(None);
    }
    let answer = wire::decode(buffer.get(..length).unwrap_or_default());
    Ok(Some((answer.map_err(io::Error::other)?, descriptors)))
}

/// Starts an agent and waits until it can be joined.
fn spawn(runtime_dir: BorrowedFd<'_>, begin: &Begin, start: Start<'_>) -> Result<(), NodeError> {
    let (mut child, socket) = match start {
        Start::New(ids) => start_stage("__node", ids),
        Start::Again(_) => start_stage_here("__node"),
    }
    .map_err(NodeError::Spawn)?;
    let mut descriptors = vec![runtime_dir];
    if let Start::Again(network) = start {
        descriptors.push(network);
    }
    let bytes = wire::encode(&ToNode::Begin(Box::new(begin.clone()))).map_err(io::Error::other)?;
    seqpacket::send(&socket, &bytes, &descriptors, SendFlags::empty()).ok();
    let failed = match hear(&socket)? {
        Some((FromNode::Ready, _)) => return Ok(()),
        Some((FromNode::Failed { message }, _)) => NodeError::Refused(message),
        Some((FromNode::Joined { .. } | FromNode::Port { .. }, _)) => out_of_turn(),
        None => NodeError::Spawn(SpawnError::Lost),
    };
    child.kill().ok();
    child.wait().ok();
    Err(failed)
}
