//! Doing something with the pods' ids: the parent's side.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{RecvFlags, SendFlags};

use crate::runtime::idmap::IdMap;
use crate::runtime::spawn::{SpawnError, start_stage};
use crate::sys::seqpacket;
use crate::wire::{self, FromSupervisor, Outcome, Task};

/// Performs a task in a process of its own that has the pods' ids.
///
/// # Errors
/// A process that cannot be started; what the task itself says is in the outcome.
pub fn perform(
    ids: &IdMap,
    task: &Task,
    descriptors: &[BorrowedFd<'_>],
) -> Result<Outcome, SpawnError> {
    let (mut child, socket) = start_stage("__inside", ids)?;
    let talk = || -> Result<Outcome, SpawnError> {
        let bytes = wire::encode(task)?;
        match seqpacket::send(&socket, &bytes, descriptors, SendFlags::empty()) {
            Ok(()) => {}
            // It has said why it ended.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(SpawnError::Socket(error)),
        }
        receive(&socket)
    };
    let outcome = talk();
    drop(socket);
    child.wait().map_err(SpawnError::Spawn)?;
    outcome
}

fn receive(socket: &OwnedFd) -> Result<Outcome, SpawnError> {
    let mut buffer = vec![0; seqpacket::MAX_MESSAGE];
    let (length, _) =
        seqpacket::receive(socket, &mut buffer, RecvFlags::empty()).map_err(SpawnError::Socket)?;
    if length == 0 {
        return Err(SpawnError::Lost);
    }
    let bytes = buffer.get(..length).unwrap_or_default();
    match wire::decode::<Outcome>(bytes) {
        Ok(outcome) => Ok(outcome),
        Err(error) => match wire::decode::<FromSupervisor>(bytes) {
            Ok(FromSupervisor::Failed { message }) => Err(SpawnError::Refused(message)),
            _ => Err(SpawnError::Wire(error)),
        },
    }
}

/// Removes a tree whose files may belong to any of the pods' ids.
///
/// # Errors
/// One line.
pub fn remove(ids: &IdMap, path: &Path) -> Result<(), String> {
    let (Some(parent), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        return Err(format!("{} has no parent", path.display()));
    };
    let parent = rustix::fs::openat(
        CWD,
        parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| format!("{}: {errno}", parent.display()))?;
    let task = Task::Remove {
        name: name.to_owned(),
    };
    match perform(ids, &task, &[parent.as_fd()]).map_err(|error| error.to_string())? {
        Outcome::Done => Ok(()),
        Outcome::Failed { message } | Outcome::Invalid { message } => Err(message),
        Outcome::Unpacked { .. } => Err("an answer to another task".to_owned()),
    }
}
