//! `doctor`'s try: every kind of mount and namespace a pod needs, made and thrown away.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountFlags};

use crate::stage::rootfs::make_layer_directories;
use crate::sys::mount::{attach, new_filesystem};
use crate::sys::process::{
    CloneFlags, Cloned, SingleThread, clone_process, exit_now, reap, unshare,
};
use crate::wire::IdSpace;

/// Tries everything once.
///
/// # Errors
/// What did not work, in words.
pub fn run(ids: IdSpace) -> Result<(), String> {
    let worded = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| format!("{what}: {error}")
    };
    let proof = SingleThread::prove().map_err(worded("threads"))?;
    overlay(ids).map_err(worded("overlay"))?;
    unshare(
        &proof,
        libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS,
    )
    .map_err(worded("network, IPC and UTS namespaces"))?;
    for kind in ["sysfs", "devpts", "mqueue"] {
        new_filesystem(kind, &[], MountAttrFlags::empty()).map_err(worded(kind))?;
    }
    let flags = CloneFlags {
        namespaces: libc::CLONE_NEWPID,
        sibling: false,
    };
    match clone_process(&proof, flags).map_err(worded("pid namespace"))? {
        Cloned::Child => {
            let mounted = new_filesystem("proc", &[], MountAttrFlags::empty());
            exit_now(
                mounted
                    .err()
                    .and_then(|error| error.raw_os_error())
                    .unwrap_or(0),
            )
        }
        Cloned::Parent(child) => match reap(&child).map_err(worded("pid namespace"))? {
            0 => Ok(()),
            errno => Err(format!(
                "proc: {}",
                std::io::Error::from_raw_os_error(errno)
            )),
        },
    }
}

fn overlay(ids: IdSpace) -> std::io::Result<()> {
    // Any directory that is everywhere will do: the mount ends with this process.
    const PLACE: &str = "/sys";
    let scratch = new_filesystem("tmpfs", &[], MountAttrFlags::empty())?;
    let place = rustix::fs::open(PLACE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    attach(scratch.as_fd(), place.as_fd())?;
    make_layer_directories(scratch.as_fd())?;
    rustix::fs::mkdirat(&scratch, "lower", Mode::from_raw_mode(0o755))?;
    rustix::process::chdir(PLACE)?;
    let mut options = "lowerdir=lower,upperdir=upper,workdir=work,volatile".to_owned();
    if ids != IdSpace::Machine {
        options.push_str(",userxattr");
    }
    let options = std::ffi::CString::new(options)?;
    let flags = MountFlags::empty();
    Ok(rustix::mount::mount(
        "overlay",
        "merged",
        "overlay",
        flags,
        Some(options.as_c_str()),
    )?)
}
