//! A container's first process, from its clone to its `execve`.

use std::io::Read;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::process::DumpableBehavior;

use crate::plan::{ContainerPlan, PodPlan, ResolvedUser, SecurityPlan, UserError, resolve_user};
use crate::stage::confine::{self, Identity};
use crate::stage::exec::open_terminal;
use crate::stage::{At, Reporter, apparmor, program, rootfs};
use crate::sys::process::{self, SingleThread};
use crate::sys::{credentials, signal};
use crate::wire::{Failure, IdSpace, Report, Step, TerminalSize};

/// What a terminal has that nobody is attached to yet.
const DEFAULT_SIZE: TerminalSize = TerminalSize {
    rows: 24,
    columns: 80,
};

/// The most bytes read of the image's `passwd` or `group`.
const USER_DATABASE_LIMIT: u64 = 10 * 1024 * 1024;

/// What a container's init needs; descriptors and paths are those of the supervisor's mount
/// namespace, of which the container's is a copy until it changes its root.
#[derive(Debug)]
pub struct ContainerSetup<'a> {
    /// The pod.
    pub plan: &'a PodPlan,
    /// The container.
    pub container: &'a ContainerPlan,
    /// Which ids exist.
    pub ids: IdSpace,
    /// `upper`, `work` and `merged` are here.
    pub attempt_dir: PathBuf,
    /// `hosts`, `hostname` and `resolv.conf` are here.
    pub etc_dir: PathBuf,
    /// The file system that becomes `/dev/shm`.
    pub shm_dir: PathBuf,
    /// An empty directory that hides others.
    pub mask_dir: PathBuf,
    /// The file that becomes `terminationMessagePath`.
    pub message_file: PathBuf,
    /// One detached mount for each of the container's mounts, in their order.
    pub volume_trees: Vec<OwnedFd>,
    /// stdin, stdout and stderr; a terminal of the container's own without.
    pub stdio: Option<[BorrowedFd<'a>; 3]>,
    /// Whether cgroup v2 is the machine's only hierarchy.
    pub unified_cgroups: bool,
}

/// Becomes the container; returns only what failed.
pub fn run(_proof: &SingleThread, reporter: &Reporter, setup: &ContainerSetup<'_>) -> Failure {
    match prepare(reporter, setup) {
        Ok(env) => program::execute(&setup.container.argv, &env),
        Err(failure) => failure,
    }
}

fn prepare(
    reporter: &Reporter,
    setup: &ContainerSetup<'_>,
) -> Result<Vec<(String, String)>, Failure> {
    // Until execve nobody in the pod may look into this process, which still knows the host.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .at(Step::ProcessState, "dumpable")?;
    // Mount points that have to be made in the image get the modes they are made with.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::setsid().at(Step::ProcessState, "session")?;
    own_keyring()?;
    rootfs::enter(setup)?;

    let user = find_user(setup)?;
    reporter.send(
        &Report::Resolved {
            uid: user.uid,
            gid: user.gid,
            supplemental_groups: user.supplemental_groups.clone(),
            home: user.home.clone(),
        },
        &[],
    );
    let identity = Identity {
        uid: user.uid,
        gid: user.gid,
        groups: user.supplemental_groups.clone(),
    };
    let mut env = setup.container.env.clone();
    if !env.iter().any(|(name, _)| name == "HOME") {
        env.push(("HOME".to_owned(), user.home));
    }
    // Its number is closed with all others before execve; nothing may close it again.
    let terminal = if setup.stdio.is_none() {
        if !env.iter().any(|(name, _)| name == "TERM") {
            env.push(("TERM".to_owned(), "xterm".to_owned()));
        }
        let slave = open_terminal(reporter, DEFAULT_SIZE, &identity)?;
        // Its number is closed with all others before execve; nothing may close it again.
        Some(ManuallyDrop::new(slave))
    } else {
        None
    };
    let of_terminal = terminal.as_ref().map(|slave| [slave.as_fd(); 3]);
    let Some(stdio) = setup.stdio.or(of_terminal) else {
        return Err(std::io::Error::from_raw_os_error(libc::EBADF)).at(Step::ProcessState, "stdio");
    };
    // The rest of the pod: its network, and the containers whose turn is before.
    reporter.wait_for_go()?;
    let security = &setup.container.security;
    become_command(reporter, &stdio, &identity, setup.ids, security, || {
        enter_working_directory(&setup.container.working_dir)
    })?;
    Ok(env)
}

/// A session keyring of its own, so that the caller's keys are not readable inside; a kernel
/// without keyrings, or a user whose number of keys is used up, is no reason not to run.
pub(crate) fn own_keyring() -> Result<(), Failure> {
    match credentials::join_new_session_keyring() {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EDQUOT)) => {
            Err(error).at(Step::ProcessState, "session keyring")
        }
        _ => Ok(()),
    }
}

/// The last steps, common to a container's init and to exec: stdio, working directory, limits,
/// user, signals, no descriptor left but the report socket, and what it may do.
///
/// # Errors
/// The step.
pub(crate) fn become_command(
    reporter: &Reporter,
    stdio: &[BorrowedFd<'_>; 3],
    identity: &Identity,
    ids: IdSpace,
    security: &SecurityPlan,
    enter_directory: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    // A program that opens /dev/stdout opens the pipe again, as its own user.
    for fd in stdio {
        own_pipe(*fd, identity.uid);
    }
    for (number, fd) in (0..).zip(stdio) {
        process::install_descriptor(*fd, number).at(Step::ProcessState, "stdio")?;
    }
    confine::set_process_limits()?;
    if let Some(profile) = &security.apparmor {
        apparmor::change_on_exec(profile)?;
    }
    enter_directory()?;
    let held = confine::become_user(identity, ids, security)?;
    // Changing credentials made the process what /proc/sys/fs/suid_dumpable says.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .at(Step::ProcessState, "dumpable")?;
    signal::reset_all().at(Step::ProcessState, "signals")?;
    // The reporter stays under its own number: a command that cannot be executed is told over it.
    process::close_all_but(&[reporter.as_fd()]).at(Step::ProcessState, "descriptors")?;
    process::close_on_exec_from(3).at(Step::ProcessState, "descriptors")?;
    confine::confine(security, held)
}

/// Best effort: a file or device that was given as stdio keeps its owner.
pub fn own_pipe(fd: BorrowedFd<'_>, uid: u32) {
    if let Ok(stat) = rustix::fs::fstat(fd)
        && FileType::from_raw_mode(stat.st_mode) == FileType::Fifo
    {
        rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None).ok();
    }
}

fn find_user(setup: &ContainerSetup<'_>) -> Result<ResolvedUser, Failure> {
    let passwd = read_user_database("/etc/passwd")?;
    let group = read_user_database("/etc/group")?;
    resolve_user(&setup.container.user, &passwd, &group).map_err(|error| {
        let mut object = error.to_string();
        if let UserError::Root(_) = error {
            use std::fmt::Write;
            let PodPlan {
                name,
                namespace,
                uid,
                ..
            } = setup.plan;
            let container = &setup.container.name;
            // As the kubelet ends its sentence (`format.Pod`).
            write!(
                object,
                " (pod: \"{name}_{namespace}({uid})\", container: {container})"
            )
            .ok();
        }
        Failure {
            step: Step::User,
            object,
            errno: 0,
        }
    })
}

/// The image's file if it is a regular file of bearable size; nothing when there is none.
fn read_user_database(path: &str) -> Result<Vec<u8>, Failure> {
    let opened = rustix::fs::openat2(
        CWD,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    );
    let file = match opened {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(Vec::new()),
        Err(errno) => return Err(errno).at(Step::User, path),
    };
    let stat = rustix::fs::fstat(&file).at(Step::User, path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Failure {
            step: Step::User,
            object: path.to_owned(),
            errno: libc::EINVAL,
        });
    }
    if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > USER_DATABASE_LIMIT {
        return Err(Failure {
            step: Step::User,
            object: path.to_owned(),
            errno: libc::EFBIG,
        });
    }
    let mut content = Vec::new();
    std::fs::File::from(file)
        .take(USER_DATABASE_LIMIT)
        .read_to_end(&mut content)
        .at(Step::User, path)?;
    Ok(content)
}

/// Enters the working directory, making it when it is missing, and checks that it is inside of
/// the root: a descriptor that leaked would show here (CVE-2024-21626).
fn enter_working_directory(path: &str) -> Result<(), Failure> {
    let root = rustix::fs::openat2(
        CWD,
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::empty(),
    )
    .at(Step::WorkingDirectory, path)?;
    let directory = rootfs::open_or_make(root.as_fd(), path, rootfs::Missing::Directory)
        .at(Step::WorkingDirectory, path)?;
    rustix::process::fchdir(&directory).at(Step::WorkingDirectory, path)?;
    let current = rustix::process::getcwd(Vec::new()).at(Step::WorkingDirectory, path)?;
    // Outside of the root the kernel says "(unreachable)/…".
    if current.as_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Failure {
            step: Step::WorkingDirectory,
            object: path.to_owned(),
            errno: libc::EXDEV,
        })
    }
}
