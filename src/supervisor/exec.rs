//! Commands run in a container for a client of the control socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};

use crate::plan::{ContainerPlan, PodPlan, ResolvedUser};
use crate::runtime::wording;
use crate::stage::Reporter;
use crate::stage::confine::Identity;
use crate::stage::exec::{self as stage, ExecSetup, ExecStdio};
use crate::stage::launcher::{Destination, launch};
use crate::supervisor::sandbox::Pause;
use crate::supervisor::watch::{Source, Watch};
use crate::sys::process::{self, CloneFlags, Cloned, SingleThread};
use crate::sys::seqpacket;
use crate::wire::{self, Failure, IdSpace, Reply, Report, Step, TerminalSize};

/// A command that was cloned.
#[derive(Debug)]
pub(super) struct Session {
    /// The client that waits for it.
    pub(super) client: u32,
    report: Option<OwnedFd>,
    launcher: Option<OwnedFd>,
    command: Option<OwnedFd>,
    failure: Option<Failure>,
}

/// What a command is run with.
#[derive(Debug)]
pub(super) struct Command<'a> {
    pub(super) proof: &'a SingleThread,
    pub(super) plan: &'a PodPlan,
    pub(super) pause: &'a Pause,
    pub(super) container: &'a ContainerPlan,
    pub(super) user: &'a ResolvedUser,
    pub(super) init: &'a OwnedFd,
    pub(super) ids: IdSpace,
    pub(super) argv: Vec<String>,
    pub(super) terminal: Option<TerminalSize>,
    pub(super) stdio: Vec<OwnedFd>,
}

/// Clones the launcher of a command.
pub(super) fn start(
    command: &Command<'_>,
    session: u32,
    client: u32,
    watch: &Watch,
) -> io::Result<Session> {
    let (report, theirs) = seqpacket::pair()?;
    match process::clone_process(command.proof, CloneFlags::default())? {
        Cloned::Parent(launcher) => {
            watch.add(&report, Source::ExecReport(session))?;
            watch.add(&launcher, Source::ExecLauncher(session))?;
            Ok(Session {
                client,
                report: Some(report),
                launcher: Some(launcher),
                command: None,
                failure: None,
            })
        }
        Cloned::Child => enter_container(command, &Reporter::new(theirs)),
    }
}

/// In the launcher: into the container's namespaces, with nothing of the supervisor's but what is
/// needed, because the container's processes may look at this one from then on.
fn enter_container(command: &Command<'_>, reporter: &Reporter) -> ! {
    let mut kept: Vec<BorrowedFd<'_>> = vec![reporter.as_fd(), command.init.as_fd()];
    kept.extend(command.stdio.iter().map(AsFd::as_fd));
    if process::close_all_but(&kept).is_err() {
        process::exit_now(125);
    }
    let mut join = command.pause.namespaces | libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP;
    if command.plan.host_pid {
        join &= !libc::CLONE_NEWPID;
    }
    let destination = Destination {
        target: command.init.as_fd(),
        join,
        create: 0,
    };
    let mut env = command.container.env.clone();
    if !env.iter().any(|(name, _)| name == "HOME") {
        env.push(("HOME".to_owned(), command.user.home.clone()));
    }
    let identity = Identity {
        uid: command.user.uid,
        gid: command.user.gid,
        groups: command.user.supplemental_groups.clone(),
    };
    let stdio = match (command.terminal, command.stdio.as_slice()) {
        (Some(size), _) => ExecStdio::Terminal(size),
        (None, [stdin, stdout, stderr]) => {
            ExecStdio::Pipes([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])
        }
        (None, _) => process::exit_now(125),
    };
    let setup = ExecSetup {
        argv: &command.argv,
        env: &env,
        working_dir: &command.container.working_dir,
        identity: &identity,
        ids: command.ids,
        stdio,
    };
    launch(command.proof, reporter, &destination, |proof, reporter| {
        stage::run(proof, reporter, &setup)
    })
}

impl Session {
    /// Reads what the command reported so far; a terminal goes on to the client. Returns the
    /// answer when the command did not start. Once the command has ended there is no more to come,
    /// although a launcher that has not ended yet may still hold the socket open.
    pub(super) fn read_report(
        &mut self,
        session: u32,
        has_ended: bool,
        client: Option<&OwnedFd>,
        watch: &Watch,
    ) -> Option<Reply> {
        let mut buffer = [0; 8192];
        while let Some(report) = &self.report {
            match seqpacket::receive(report, &mut buffer, RecvFlags::DONTWAIT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !has_ended => {
                    return None;
                }
                Ok((0, _)) | Err(_) => {
                    watch.remove(report);
                    self.report = None;
                }
                Ok((length, descriptors)) => {
                    match wire::decode(buffer.get(..length).unwrap_or_default()) {
                        Ok(Report::Born) => {
                            if let Some(pidfd) = descriptors.into_iter().next() {
                                watch.add(&pidfd, Source::Exec(session)).ok();
                                self.command = Some(pidfd);
                            }
                        }
                        Ok(Report::Terminal) => {
                            let masters: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                            if let (Some(client), Ok(bytes)) =
                                (client, wire::encode(&Reply::Terminal))
                            {
                                seqpacket::send(client, &bytes, &masters, SendFlags::DONTWAIT).ok();
                            }
                        }
                        Ok(Report::Failed(failure)) => self.failure = Some(failure),
                        Ok(Report::Resolved { .. } | Report::Namespaces | Report::Ready)
                        | Err(_) => {}
                    }
                }
            }
        }
        let failure = match self.failure.take() {
            Some(failure) => failure,
            None if self.command.is_some() => return None,
            None => Failure {
                step: Step::Clone,
                object: String::new(),
                errno: libc::ECHILD,
            },
        };
        let code = match failure.step {
            Step::CommandNotFound => 127,
            Step::Execute | Step::WorkingDirectory => 126,
            _ => 125,
        };
        Some(Reply::Refused {
            code,
            message: wording::sentence(&failure),
        })
    }

    pub(super) fn reap_launcher(&mut self, watch: &Watch) {
        if let Some(launcher) = self.launcher.take() {
            watch.remove(&launcher);
            process::reap(&launcher).ok();
        }
    }

    /// After the command's end: how it ended.
    pub(super) fn end(mut self, watch: &Watch) -> i32 {
        self.reap_launcher(watch);
        self.command.take().map_or(125, |command| {
            watch.remove(&command);
            process::reap(&command).unwrap_or(255)
        })
    }

    /// Ends the command of a client that has gone.
    pub(super) fn kill(&self) {
        if let Some(command) = &self.command {
            process::signal(command, libc::SIGKILL).ok();
        }
    }
}
