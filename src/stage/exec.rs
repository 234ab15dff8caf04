//! A command, or a copy, in a container that exists: everything the container's init has, but for the
//! namespaces, which are joined.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::process::DumpableBehavior;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::plan::SecurityPlan;
use crate::stage::confine::Identity;
use crate::stage::container::{become_command, own_keyring};
use crate::stage::{At, Reporter, copy, own_users, program};
use crate::sys::process::SingleThread;
use crate::sys::terminal;
use crate::wire::{CopyJob, Failure, IdSpace, Report, Step, TerminalSize};

/// What an exec'd command needs.
#[derive(Debug)]
pub struct ExecSetup<'a> {
    /// What is done.
    pub work: Work<'a>,
    /// The container's environment, HOME included.
    pub env: &'a [(String, String)],
    /// The container's working directory.
    pub working_dir: &'a str,
    /// The container's user, as it was resolved at its start.
    pub identity: &'a Identity,
    /// Which ids exist.
    pub ids: IdSpace,
    /// What the container's processes may do.
    pub security: &'a SecurityPlan,
    /// Where its input comes from and its output goes.
    pub stdio: ExecStdio<'a>,
}

/// What is done in the container.
#[derive(Debug, Clone, Copy)]
pub enum Work<'a> {
    /// A command is executed.
    Run(&'a [String]),
    /// This process itself copies.
    Copy(&'a CopyJob),
}

/// Where a command's input comes from and its output goes.
#[derive(Debug)]
pub enum ExecStdio<'a> {
    /// Pipes of the client's.
    Pipes([BorrowedFd<'a>; 3]),
    /// A new terminal of the container's own.
    Terminal(TerminalSize),
}

/// Becomes the command; returns only what failed.
pub fn run(_proof: &SingleThread, reporter: &Reporter, setup: &ExecSetup<'_>) -> Failure {
    match prepare(reporter, setup) {
        Ok(env) => match setup.work {
            Work::Run(argv) => program::execute(argv, &env),
            Work::Copy(job) => copy::run(job),
        },
        Err(failure) => failure,
    }
}

fn prepare(reporter: &Reporter, setup: &ExecSetup<'_>) -> Result<Vec<(String, String)>, Failure> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .at(Step::ProcessState, "dumpable")?;
    rustix::process::setsid().at(Step::ProcessState, "session")?;
    own_keyring()?;
    if setup.ids == IdSpace::Own {
        own_users::become_root()?;
    }
    let mut env = setup.env.to_vec();
    let enter =
        || rustix::process::chdir(setup.working_dir).at(Step::WorkingDirectory, setup.working_dir);
    match &setup.stdio {
        ExecStdio::Pipes(stdio) => {
            become_command(
                reporter,
                stdio,
                setup.identity,
                setup.ids,
                setup.security,
                enter,
            )?;
        }
        ExecStdio::Terminal(size) => {
            // Its number is closed with all others before execve; nothing may close it again.
            let slave = ManuallyDrop::new(open_terminal(reporter, *size, setup.identity)?);
            let slave = slave.as_fd();
            become_command(
                reporter,
                &[slave, slave, slave],
                setup.identity,
                setup.ids,
                setup.security,
                enter,
            )?;
            if !env.iter().any(|(name, _)| name == "TERM") {
                env.push(("TERM".to_owned(), "xterm".to_owned()));
            }
        }
    }
    Ok(env)
}

/// A terminal from the container's own `/dev/pts`, opened by descriptor and checked to be one
/// (CVE-2025-52565); the caller's terminal is never passed in.
pub(crate) fn open_terminal(
    reporter: &Reporter,
    size: TerminalSize,
    identity: &Identity,
) -> Result<std::os::fd::OwnedFd, Failure> {
    /// `UNIX98_PTY_SLAVE_MAJOR`, the first of devpts' majors.
    const SLAVE_MAJOR: u32 = 136;
    let object = "/dev/pts/ptmx";
    let master = rustix::fs::openat2(
        CWD,
        object,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    )
    .at(Step::ProcessState, object)?;
    unlockpt(&master).at(Step::ProcessState, object)?;
    let slave = ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .at(Step::ProcessState, object)?;
    let stat = rustix::fs::fstat(&slave).at(Step::ProcessState, object)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice
        || rustix::fs::major(stat.st_rdev) != SLAVE_MAJOR
    {
        return Err(Failure {
            step: Step::ProcessState,
            object: object.to_owned(),
            errno: libc::ENOTTY,
        });
    }
    let window = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, window).at(Step::ProcessState, object)?;
    // The command opens it again as its own user.
    rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(identity.uid)), None)
        .at(Step::ProcessState, object)?;
    terminal::make_controlling(slave.as_fd()).at(Step::ProcessState, object)?;
    reporter.send(&Report::Terminal, &[master.as_fd()]);
    Ok(slave)
}
