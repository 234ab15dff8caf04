//! A re-executed process with the pods' ids that performs one task and ends.

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};

use crate::stage::{confine, trial, unpack, user_namespace};
use crate::sys::process::{self, SingleThread};
use crate::sys::{seqpacket, tree};
use crate::wire::{self, FromSupervisor, IdSpace, Outcome, Task};

/// Runs the stage; its standard input is the socket.
pub fn run(mode: &str) -> u8 {
    let Ok(socket) = process::inherited(0) else {
        return 125;
    };
    let outcome = match prepare(mode, &socket) {
        Ok(ids) => perform(ids, &socket),
        Err(message) => {
            say(&socket, &FromSupervisor::Failed { message });
            return 125;
        }
    };
    say(&socket, &outcome);
    0
}

fn say<T: serde::Serialize>(socket: &OwnedFd, message: &T) {
    if let Ok(bytes) = wire::encode(message) {
        seqpacket::send(socket, &bytes, &[], SendFlags::empty()).ok();
    }
}

fn prepare(mode: &str, socket: &OwnedFd) -> Result<IdSpace, String> {
    process::close_on_exec_from(3).map_err(|error| error.to_string())?;
    process::die_with_parent().map_err(|error| error.to_string())?;
    let proof = SingleThread::prove().map_err(|error| error.to_string())?;
    let ids = IdSpace::from_word(mode).ok_or("this is podrun's own command")?;
    user_namespace::enter(&proof, ids, socket)?;
    // What is mounted for a task stays here.
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::DOWNSTREAM
            | rustix::mount::MountPropagationFlags::REC,
    )
    .map_err(|errno| errno.to_string())?;
    Ok(ids)
}

fn perform(ids: IdSpace, socket: &OwnedFd) -> Outcome {
    let failed = |message: String| Outcome::Failed { message };
    let mut buffer = vec![0; seqpacket::MAX_MESSAGE];
    let (length, descriptors) = match seqpacket::receive(socket, &mut buffer, RecvFlags::empty()) {
        Ok(received) => received,
        Err(error) => return failed(error.to_string()),
    };
    let task = match wire::decode(buffer.get(..length).unwrap_or_default()) {
        Ok(task) => task,
        Err(error) => return failed(error.to_string()),
    };
    let mut descriptors = descriptors.into_iter();
    match (task, descriptors.next(), descriptors.next()) {
        (Task::Unpack { max_bytes }, Some(layer), Some(target)) => {
            unpack_layer(ids, layer, &target, max_bytes)
        }
        (Task::Remove { name }, Some(parent), None) => {
            match tree::remove_beneath(parent.as_fd(), &name) {
                Ok(()) => Outcome::Done,
                Err(error) => failed(format!("{name} cannot be removed: {error}")),
            }
        }
        (Task::TrySandbox, None, None) => match trial::run(ids) {
            Ok(()) => Outcome::Done,
            Err(message) => failed(message),
        },
        _ => failed("a task came without its descriptors".to_owned()),
    }
}

/// With the target as root and only the capabilities that unpacking needs, so that even a flaw in
/// the path handling could not leave it.
fn unpack_layer(ids: IdSpace, layer: OwnedFd, target: &OwnedFd, max_bytes: u64) -> Outcome {
    let confined = rustix::process::fchdir(target)
        .and_then(|()| rustix::process::chroot("."))
        .map_err(std::io::Error::from)
        .and_then(|()| confine::keep_unpacking_capabilities(ids));
    if let Err(error) = confined {
        return Outcome::Failed {
            message: format!("the layer's directory cannot be entered: {error}"),
        };
    }
    rustix::process::umask(rustix::fs::Mode::empty());
    let ownership = match ids {
        IdSpace::Single => unpack::Ownership::Squash,
        IdSpace::Machine | IdSpace::Ranges | IdSpace::Own => unpack::Ownership::Exact,
    };
    let opaque = match ids {
        IdSpace::Machine => unpack::OpaqueAttribute::Trusted,
        IdSpace::Ranges | IdSpace::Own | IdSpace::Single => unpack::OpaqueAttribute::User,
    };
    let limits = unpack::Limits {
        max_bytes,
        ..unpack::Limits::default()
    };
    match unpack::run(
        std::fs::File::from(layer),
        target.as_fd(),
        ownership,
        opaque,
        &limits,
    ) {
        Ok(report) => Outcome::Unpacked {
            diff_id: report.diff_id,
            bytes: report.bytes,
            warnings: report.warnings,
        },
        Err(unpack::UnpackError::Invalid(message)) => Outcome::Invalid { message },
        Err(unpack::UnpackError::Failed(message)) => Outcome::Failed { message },
    }
}
