//! The front end's side of a pod's start: a supervisor, its ids and what it is to run.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use rustix::net::{RecvFlags, SendFlags};

use crate::plan::PodPlan;
use crate::runtime::idmap::IdMap;
use crate::runtime::node::Joined;
use crate::runtime::sealed::seal;
use crate::sys::seqpacket;
use crate::wire::{self, Adopt, Begin, FromSupervisor, Launch, Node, ToSupervisor, WireError};

/// A supervisor that could not be started or spoken to.
#[derive(Debug)]
pub enum SpawnError {
    /// The process cannot be made.
    Spawn(io::Error),
    /// The user namespace has no id maps.
    IdMap(io::Error),
    /// The socket to it failed.
    Socket(io::Error),
    /// It said something that is not in the protocol.
    Wire(WireError),
    /// It ended without a word.
    Lost,
    /// It said why it cannot run.
    Refused(String),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn(error) => write!(f, "the pod's supervisor cannot be started: {error}"),
            Self::IdMap(error) => write!(f, "the pod's user namespace cannot be set up: {error}"),
            Self::Socket(error) => write!(f, "the pod's supervisor does not answer: {error}"),
            Self::Wire(error) => write!(f, "the pod's supervisor is not understood: {error}"),
            Self::Lost => write!(f, "the pod's supervisor ended without a word"),
            Self::Refused(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for SpawnError {}

impl From<WireError> for SpawnError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// A supervisor seen from the front end. Dropping it closes the socket, which undoes the pod
/// unless it was adopted.
#[derive(Debug)]
pub struct Supervisor {
    child: Child,
    socket: OwnedFd,
}

impl AsFd for Supervisor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What goes to the supervisor beside the plan.
#[derive(Debug)]
pub struct Handover<'a> {
    /// Absolute path of the pod's directory.
    pub pod_dir_path: String,
    /// The pod's directory, locked.
    pub pod_dir: BorrowedFd<'a>,
    /// Where its control socket goes.
    pub runtime_dir: BorrowedFd<'a>,
    /// One socket for each of the plan's ports.
    pub listeners: Vec<OwnedFd>,
    /// The trees of [`crate::volume::machine_trees`].
    pub trees: Vec<OwnedFd>,
    /// The pod network, for a pod that is in it.
    pub node: Option<(&'a Begin, &'a Joined)>,
}

/// A supervisor that has no pod yet. It executes and makes its namespaces while the front end still
/// reads files and makes plans. Dropping it ends it.
#[derive(Debug)]
pub struct Ahead(Option<(Child, OwnedFd)>);

impl Ahead {
    /// Starts one; its ids are mapped when it gets its pod.
    ///
    /// # Errors
    /// As [`SpawnError`] says.
    pub fn start(ids: &IdMap) -> Result<Self, SpawnError> {
        Ok(Self(Some(spawn_stage("__supervise", ids)?)))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some((mut child, socket)) = self.0.take() {
            drop(socket);
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Supervisor {
    /// Hands a pod to a supervisor.
    ///
    /// # Errors
    /// As [`SpawnError`] says; nothing is left behind.
    pub fn start(
        mut ahead: Ahead,
        ids: &IdMap,
        plan: &PodPlan,
        handover: &Handover<'_>,
    ) -> Result<Self, SpawnError> {
        let (child, socket) = ahead.0.take().ok_or(SpawnError::Lost)?;
        let supervisor = Self { child, socket };
        let users = handover.node.map(|(_, joined)| joined.users.as_fd());
        if *ids != IdMap::Machine {
            supervisor.send(&ToSupervisor::Enter, users.as_slice())?;
        }
        if users.is_none() {
            map_ids(&supervisor.child, &supervisor.socket, ids)?;
        }
        let sealed = seal("podrun-plan", plan).map_err(SpawnError::Socket)?;
        let launch = ToSupervisor::Launch(Launch {
            pod_dir: handover.pod_dir_path.clone(),
            ids: ids.space(),
            node: handover.node.map(|(begin, joined)| Node {
                begin: begin.clone(),
                bridge: joined.bridge,
            }),
        });
        let mut descriptors = vec![sealed.as_fd(), handover.pod_dir, handover.runtime_dir];
        if let Some((_, joined)) = handover.node {
            descriptors.extend([
                joined.connection.as_fd(),
                joined.mounts.as_fd(),
                joined.network.as_fd(),
                joined.route.as_fd(),
            ]);
        }
        descriptors.extend(handover.listeners.iter().map(AsFd::as_fd));
        descriptors.extend(handover.trees.iter().map(AsFd::as_fd));
        supervisor.send(&launch, &descriptors)?;
        Ok(supervisor)
    }

    fn send(
        &self,
        message: &ToSupervisor,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SpawnError> {
        let bytes = wire::encode(message)?;
        match seqpacket::send(&self.socket, &bytes, descriptors, SendFlags::empty()) {
            Ok(()) => Ok(()),
            // It has ended; what it said before is more telling than a broken pipe.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => match self.receive() {
                Ok(FromSupervisor::Failed { message }) => Err(SpawnError::Refused(message)),
                Ok(_) => Err(SpawnError::Lost),
                Err(error) => Err(error),
            },
            Err(error) => Err(SpawnError::Socket(error)),
        }
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// [`SpawnError::Lost`] at the end of the socket, [`SpawnError::Refused`] for a failure.
    pub fn receive(&self) -> Result<FromSupervisor, SpawnError> {
        receive(&self.socket)
    }

    /// Lets the pod live on without this process.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub fn adopt(&self, adopt: Adopt) -> Result<(), SpawnError> {
        self.send(&ToSupervisor::Adopt(adopt), &[])
    }

    /// Closes the socket, which undoes a pod that was not adopted; the process that then ends is
    /// to be waited for.
    pub fn let_go(self) -> Child {
        let Self { child, socket } = self;
        drop(socket);
        child
    }
}

/// Re-executes podrun as a stage in the id space of `ids`: its standard input is the other end of
/// the returned socket, its environment is empty.
pub(crate) fn start_stage(name: &str, ids: &IdMap) -> Result<(Child, OwnedFd), SpawnError> {
    let (child, ours) = spawn_stage(name, ids)?;
    map_ids(&child, &ours, ids)?;
    Ok((child, ours))
}

/// The word that tells a re-executed process that it is in its namespaces.
pub const HERE: &str = "here";

/// Re-executes podrun as a stage in this process' own namespaces, as [`start_stage`] does.
pub(crate) fn start_stage_here(name: &str) -> Result<(Child, OwnedFd), SpawnError> {
    spawn_as(name, HERE)
}

fn spawn_stage(name: &str, ids: &IdMap) -> Result<(Child, OwnedFd), SpawnError> {
    spawn_as(name, ids.space().word())
}

fn spawn_as(name: &str, mode: &str) -> Result<(Child, OwnedFd), SpawnError> {
    let (ours, theirs) = seqpacket::pair().map_err(SpawnError::Socket)?;
    // Through /proc/self/exe, so that a binary that was replaced meanwhile is not mixed in.
    let child = Command::new("/proc/self/exe")
        .args([name, mode])
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(SpawnError::Spawn)?;
    Ok((child, ours))
}

/// Maps the ids of a stage that waits for it in its new user namespace.
fn map_ids(child: &Child, socket: &OwnedFd, ids: &IdMap) -> Result<(), SpawnError> {
    if let IdMap::Ranges(ranges) = ids {
        match receive(socket)? {
            FromSupervisor::Unshared => {}
            other => return Err(unexpected(&other)),
        }
        ranges.write(child.id()).map_err(SpawnError::IdMap)?;
        let bytes = wire::encode(&ToSupervisor::Mapped)?;
        seqpacket::send(socket, &bytes, &[], SendFlags::empty()).map_err(SpawnError::Socket)?;
    }
    Ok(())
}

fn receive(socket: &OwnedFd) -> Result<FromSupervisor, SpawnError> {
    let mut buffer = vec![0; seqpacket::MAX_MESSAGE];
    let (length, _) =
        seqpacket::receive(socket, &mut buffer, RecvFlags::empty()).map_err(SpawnError::Socket)?;
    if length == 0 {
        return Err(SpawnError::Lost);
    }
    match wire::decode(buffer.get(..length).unwrap_or_default())? {
        FromSupervisor::Failed { message } => Err(SpawnError::Refused(message)),
        message => Ok(message),
    }
}

fn unexpected(message: &FromSupervisor) -> SpawnError {
    let name = match message {
        FromSupervisor::Unshared => "Unshared",
        FromSupervisor::Status(_) | FromSupervisor::StatusWritten => "Status",
        FromSupervisor::Failed { .. } => "Failed",
        FromSupervisor::Ended => "Ended",
    };
    SpawnError::Wire(WireError::Malformed(format!("`{name}` at this point")))
}
