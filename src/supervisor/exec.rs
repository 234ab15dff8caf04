//! Commands run in a container: for a client of the control socket, for a probe, for a hook.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::cgroup::PodCgroup;
use crate::lifecycle::{Hook, ProbeKind, RunId};
use crate::plan::{ContainerPlan, PodPlan, ResolvedUser};
use crate::runtime::wording;
use crate::stage::Reporter;
use crate::stage::confine::Identity;
use crate::stage::container::own_pipe;
use crate::stage::exec::{self as stage, ExecSetup, ExecStdio};
use crate::stage::launcher::{Destination, launch};
use crate::supervisor::cgroups::{self, Entry};
use crate::supervisor::sandbox::Pause;
use crate::supervisor::watch::{Source, Watch};
use crate::sys::process::{self, CloneFlags, Cloned, SingleThread};
use crate::sys::seqpacket;
use crate::wire::{
    self, CopyJob, Failure, IdSpace, MAX_PROBE_OUTPUT, Reply, Report, Step, TerminalSize,
};

/// Who waits for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A client of the control socket.
    Client(u32),
    /// A probe.
    Probe(RunId, ProbeKind),
    /// A hook.
    Hook(RunId, Hook),
}

/// A command that was cloned.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) purpose: Purpose,
    /// The container it runs in.
    pub(super) container: u32,
    /// Nobody waits for it any longer.
    is_killed: bool,
    report: Option<OwnedFd>,
    launcher: Option<OwnedFd>,
    command: Option<OwnedFd>,
    failure: Option<Failure>,
    capture: Option<Capture>,
}

/// The output of a command that nobody reads as it comes.
#[derive(Debug)]
struct Capture {
    pipe: OwnedFd,
    /// At most [`MAX_PROBE_OUTPUT`] bytes; the rest is read and dropped, so that no probe ends
    /// because of what it says.
    kept: Vec<u8>,
}

/// The standard streams of a command whose output is kept: no input, and one pipe.
#[derive(Debug)]
pub(super) struct CapturedStdio {
    pub(super) stdio: Vec<OwnedFd>,
    pub(super) pipe: OwnedFd,
}

impl CapturedStdio {
    pub(super) fn new() -> io::Result<Self> {
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let (pipe, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        Ok(Self {
            stdio: vec![null, theirs.try_clone()?, theirs],
            pipe,
        })
    }
}

/// What is done in a container.
#[derive(Debug)]
pub(super) enum Work {
    /// A command; never empty.
    Run(Vec<String>),
    /// A copy.
    Copy(CopyJob),
}

/// What a command is run with.
#[derive(Debug)]
pub(super) struct Command<'a> {
    pub(super) proof: &'a SingleThread,
    pub(super) plan: &'a PodPlan,
    pub(super) pause: &'a Pause,
    pub(super) index: u32,
    pub(super) container: &'a ContainerPlan,
    pub(super) user: &'a ResolvedUser,
    pub(super) init: &'a OwnedFd,
    pub(super) ids: IdSpace,
    /// The machine's id that is 0 in the pod, as far as this process sees it.
    pub(super) first_id: u32,
    pub(super) cgroup: Option<&'a PodCgroup>,
    pub(super) work: Work,
    pub(super) terminal: Option<TerminalSize>,
    pub(super) stdio: Vec<OwnedFd>,
}

/// Clones the launcher of a command.
pub(super) fn start(
    command: &Command<'_>,
    session: u32,
    purpose: Purpose,
    capture: Option<OwnedFd>,
    watch: &Watch,
) -> io::Result<Session> {
    let (report, theirs) = seqpacket::pair()?;
    match process::clone_process(command.proof, CloneFlags::default())? {
        Cloned::Parent(launcher) => {
            watch.add(&report, Source::ExecReport(session))?;
            watch.add(&launcher, Source::ExecLauncher(session))?;
            if let Some(pipe) = &capture {
                watch.add(pipe, Source::ExecOutput(session))?;
            }
            Ok(Session {
                purpose,
                container: command.index,
                is_killed: false,
                report: Some(report),
                launcher: Some(launcher),
                command: None,
                failure: None,
                capture: capture.map(|pipe| Capture {
                    pipe,
                    kept: Vec::new(),
                }),
            })
        }
        Cloned::Child => {
            let reporter = Reporter::new(theirs);
            cgroups::enter(command.cgroup, command.container, Entry::Command, &reporter);
            enter_container(command, &reporter)
        }
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
        pid_of: None,
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
    if command.ids == IdSpace::Own {
        // The pod's root may not: they are not of its ids yet.
        for stream in &command.stdio {
            own_pipe(stream.as_fd(), command.first_id);
        }
    }
    let setup = ExecSetup {
        work: match &command.work {
            Work::Run(argv) => stage::Work::Run(argv),
            Work::Copy(job) => stage::Work::Copy(job),
        },
        env: &env,
        working_dir: &command.container.working_dir,
        identity: &identity,
        ids: command.ids,
        security: &command.container.security,
        stdio,
    };
    launch(command.proof, reporter, &destination, |proof, reporter| {
        stage::run(proof, reporter, &setup)
    })
}

impl Session {
    /// Whether its birth may still be reported.
    pub(super) fn is_unborn(&self) -> bool {
        self.report.is_some() && self.command.is_none()
    }

    /// Its processes.
    pub(super) fn children(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.launcher.iter().chain(&self.command).map(AsFd::as_fd)
    }

    /// Reads what the command reported so far; a terminal goes on to the client. Returns the
    /// answer when the command did not start. Once the command has ended there is no more to come,
    /// although a launcher that has not ended yet may still hold the socket open.
    pub(super) fn read_report(
        &mut self,
        session: u32,
        has_ended: bool,
        client: Option<&OwnedFd>,
        buffer: &mut [u8],
        watch: &Watch,
    ) -> Option<Reply> {
        while let Some(report) = &self.report {
            match seqpacket::receive(report, buffer, RecvFlags::DONTWAIT) {
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
                                if self.is_killed {
                                    self.kill();
                                }
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

    /// Keeps what the command has written; at the end of its output the pipe is let go. One read, for
    /// who writes without end must not keep the supervisor from everything else. False when there was
    /// nothing to read.
    pub(super) fn read_output(&mut self, buffer: &mut [u8], watch: &Watch) -> bool {
        let Some(capture) = &mut self.capture else {
            return false;
        };
        match rustix::io::read(&capture.pipe, &mut *buffer) {
            Err(rustix::io::Errno::INTR) => true,
            Err(rustix::io::Errno::AGAIN) => false,
            Ok(0) | Err(_) => {
                watch.remove(&capture.pipe);
                false
            }
            Ok(length) => {
                let room = MAX_PROBE_OUTPUT.saturating_sub(capture.kept.len());
                let chunk = buffer.get(..length.min(room)).unwrap_or_default();
                capture.kept.extend_from_slice(chunk);
                true
            }
        }
    }

    /// After the command's end: how it ended, and what it has written if that was kept. Something
    /// that it left in the background may hold the pipe open, and is not waited for.
    pub(super) fn end(mut self, buffer: &mut [u8], watch: &Watch) -> (i32, String) {
        if let Some(launcher) = &self.launcher {
            process::signal(launcher, libc::SIGKILL).ok();
        }
        self.reap_launcher(watch);
        let code = self.command.take().map_or(125, |command| {
            watch.remove(&command);
            process::reap(&command).unwrap_or(255)
        });
        let is_wanted = |session: &Self| {
            let mut kept = session.capture.iter().map(|capture| capture.kept.len());
            kept.any(|length| length < MAX_PROBE_OUTPUT)
        };
        while is_wanted(&self) && self.read_output(buffer, watch) {}
        let output = self.capture.take().map(|capture| {
            watch.remove(&capture.pipe);
            String::from_utf8_lossy(&capture.kept).into_owned()
        });
        (code, output.unwrap_or_default())
    }

    /// Ends a command that nobody waits for any longer; one that is not born yet, at its birth.
    pub(super) fn kill(&mut self) {
        self.is_killed = true;
        // It may wait for a process that the container has stopped.
        if let Some(launcher) = self.launcher.as_ref().filter(|_| self.command.is_none()) {
            process::signal(launcher, libc::SIGKILL).ok();
        }
        // It leads a session of its own. What a probe or a hook has started ends with it: a probe
        // that hangs would leave more of it every period.
        match (&self.command, self.purpose) {
            (Some(command), Purpose::Client(_)) => process::signal(command, libc::SIGKILL).ok(),
            (Some(command), Purpose::Probe(..) | Purpose::Hook(..)) => {
                process::signal_group(command, libc::SIGKILL).ok()
            }
            (None, _) => None,
        };
    }
}
