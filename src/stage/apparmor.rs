//! The `AppArmor` profile that a container's processes are confined by from their `execve` on.

use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, fstatfs, openat2};

use crate::stage::At;
use crate::wire::{Failure, Step};

/// Asks for a profile that the machine's administrator has loaded (`aa_change_onexec(2)`). It comes
/// before `no_new_privs`, which lets a profile be narrowed only.
///
/// # Errors
/// ENOENT for a profile that is not loaded, EACCES for one that podrun's own does not allow.
pub(crate) fn change_on_exec(profile: &str) -> Result<(), Failure> {
    write(profile).at(
        Step::ProcessState,
        format!("the AppArmor profile `{}`", profile.escape_debug()),
    )
}

/// `/proc` is the container's, in which a privileged one may mount: what is written to is the
/// kernel's file of this thread, or nothing (CVE-2019-16884, CVE-2025-52881).
fn write(profile: &str) -> io::Result<()> {
    /// `PROC_SUPER_MAGIC` of `linux/magic.h`.
    const PROC_SUPER_MAGIC: i64 = 0x9fa0;
    /// `PROC_ROOT_INO` of `linux/proc_fs.h`.
    const PROC_ROOT_INO: u64 = 1;
    let proc = openat2(
        CWD,
        "/proc",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    )?;
    if fstatfs(&proc)?.f_type != PROC_SUPER_MAGIC || fstat(&proc)?.st_ino != PROC_ROOT_INO {
        return Err(io::Error::from_raw_os_error(libc::EXDEV));
    }
    let file = openat2(
        proc.as_fd(),
        "thread-self/attr/apparmor/exec",
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS,
    )?;
    std::fs::File::from(file).write_all(format!("exec {profile}").as_bytes())
}
