//! The ids of a pod with `hostUsers: false`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::SendFlags;

use crate::plan::POD_IDS;
use crate::runtime::pod_ids::PodIds;
use crate::stage::Reporter;
use crate::stage::container::{ContainerSetup, own_pipe};
use crate::stage::own_users::{self, PodUsers};
use crate::supervisor::sandbox::Pause;
use crate::sys::process::{self, SingleThread};
use crate::sys::seqpacket;
use crate::wire::{Failure, GO, Report, Step};

/// The pod's user namespace, and its ids, which no other pod has as long as this exists.
#[derive(Debug)]
pub(super) struct Users {
    pub(super) namespace: PodUsers,
    _ids: PodIds,
}

impl Users {
    /// Maps the ids in the user namespace of pause, which waits for that.
    ///
    /// # Errors
    /// One line for the user.
    pub(super) fn give(ids: PodIds, pause: &Pause) -> Result<Self, String> {
        match map(ids.first, pause) {
            Ok(namespace) => Ok(Self {
                namespace,
                _ids: ids,
            }),
            Err(error) => {
                let (first, last) = (ids.first, ids.first.saturating_add(POD_IDS - 1));
                Err(format!(
                    "hostUsers: the ids {first} to {last} cannot be given to the pod: {error}"
                ))
            }
        }
    }
}

fn map(first: u32, pause: &Pause) -> io::Result<PodUsers> {
    let process = PathBuf::from(format!("/proc/{}", process::pid_of(pause.pidfd.as_fd())?));
    for file in ["uid_map", "gid_map"] {
        let mut file = File::options().write(true).open(process.join(file))?;
        file.write_all(format!("0 {first} {POD_IDS}").as_bytes())?;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::open(process.join("ns/user"), flags, Mode::empty())?;
    seqpacket::send(&pause.report, GO, &[], SendFlags::empty())?;
    Ok(PodUsers { first, namespace })
}

/// In the launcher: what only the machine's root can do for a container whose ids are others.
pub(super) fn hand_over(
    proof: &SingleThread,
    users: &PodUsers,
    setup: &mut ContainerSetup<'_>,
    reporter: &Reporter,
) {
    let give = || -> io::Result<()> {
        users.give(rustix::fs::openat(
            CWD,
            &setup.message_file,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?)?;
        for stream in setup.stdio.iter().flatten() {
            own_pipe(*stream, users.first);
        }
        Ok(())
    };
    let staged = give()
        .map_err(|error| Failure {
            step: Step::RootFilesystem,
            object: "the container's directory".to_owned(),
            errno: error.raw_os_error().unwrap_or(0),
        })
        .and_then(|()| own_users::stage(proof, setup, users));
    if let Err(failure) = staged {
        reporter.send(&Report::Failed(failure), &[]);
        process::exit_now(125)
    }
    // They are attached; these were their only descriptors.
    setup.volume_trees.clear();
}
