//! One run of one container, from the supervisor's side.

mod output;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::cgroup::PodCgroup;
use crate::plan::{Console, ContainerPlan, PodPlan, ResolvedUser, RootSource};
use crate::stage::container::{self as stage, ContainerSetup};
use crate::stage::launcher::{Destination, launch};
use crate::stage::own_users::PodUsers;
use crate::stage::{Reporter, masks, rootfs};
use crate::store::{LogLimits, LogWriter};
use crate::supervisor::attach::{Attachment, Attachments};
use crate::supervisor::cgroups::{self, Entry};
use crate::supervisor::last_words;
use crate::supervisor::sandbox::{Pause, Places, make_directory, open_directory};
use crate::supervisor::users;
use crate::supervisor::watch::{Source, Watch};
use crate::sys::process::{self, CloneFlags, Cloned, SingleThread};
use crate::sys::seqpacket;
use crate::volume;
use crate::wire::{self, Failure, GO, IdSpace, Report, Step};

/// Room for a burst of output while the supervisor writes; more than the default 64 KiB halves the
/// wake-ups of a flood. Refused by the kernel (`pipe-user-pages-soft`) it stays what it was.
const PIPE_SIZE: usize = 256 * 1024;

/// A container that was cloned.
#[derive(Debug)]
pub(super) struct Live {
    /// Of this run alone: what is still heard of an earlier run is not taken for this one's.
    pub(super) number: u32,
    pub(super) id: String,
    report: Option<OwnedFd>,
    launcher: Option<OwnedFd>,
    console: Console,
    pub(super) attachments: Attachments,
    pub(super) init: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// Nothing is read from it, because a client does not keep up.
    is_paused: bool,
    log: LogWriter,
    pub(super) user: Option<ResolvedUser>,
    failure: Option<Failure>,
    turn: Turn,
    /// What the container writes to `terminationMessagePath`.
    message: PathBuf,
    logs: PathBuf,
    /// How many runs there were before.
    pub(super) attempt: u32,
    /// Of earlier runs.
    oom_kills: u64,
    /// The plan with what was read for this run, if anything was.
    pub(super) resolved: Option<Box<ContainerPlan>>,
}

/// Whether a container that is being built may execute its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It is built ahead; the machine has not asked for its start.
    Ahead,
    /// Its start was asked for.
    Come,
    /// It was told to go on.
    Gone,
}

/// What all containers of the pod have in common.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) proof: &'a SingleThread,
    pub(super) plan: &'a PodPlan,
    pub(super) places: &'a Places,
    pub(super) ids: IdSpace,
    pub(super) cgroup: Option<&'a PodCgroup>,
    pub(super) pause: &'a Pause,
    /// With `hostUsers: false`.
    pub(super) users: Option<&'a PodUsers>,
    pub(super) watch: &'a Watch,
}

/// How a container's start ended, once its report socket has closed.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Still on its way.
    Pending,
    /// It was executed.
    Started,
    /// It failed.
    Failed(Failure),
}

/// Clones a container's launcher. The container is built and then waits for its turn. With a
/// target it lives in that process' pid namespace instead of one of its own.
pub(super) fn start(
    around: &Surroundings<'_>,
    number: u32,
    container: &ContainerPlan,
    attempt: u32,
    target: Option<BorrowedFd<'_>>,
    limits: LogLimits,
) -> io::Result<Live> {
    let places = around.places;
    let name = container.name.as_str();
    make_directory(&places.logs(name))?;
    let log_dir = rustix::fs::open(
        places.logs(name),
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let log = LogWriter::open(log_dir, attempt, limits)?;

    let null = rustix::fs::openat(
        CWD,
        "/dev/null",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let console = container.console;
    // Not made where a terminal takes its place.
    let pipes = if console.tty {
        None
    } else {
        Some((output_pipe()?, output_pipe()?))
    };
    let input = if console.stdin && !console.tty {
        Some(pipe_with(PipeFlags::CLOEXEC)?)
    } else {
        None
    };
    let (report, theirs) = seqpacket::pair()?;
    let id = new_id()?;
    let oom_kills = around.cgroup.map_or(0, |cgroup| cgroup.oom_kills(name));

    match process::clone_process(around.proof, CloneFlags::default())? {
        Cloned::Parent(launcher) => {
            let (stdout, stderr) = match pipes {
                None => (None, None),
                Some(((stdout, _), (stderr, _))) => (Some(stdout), Some(stderr)),
            };
            let watch = around.watch;
            let watched = watch
                .add(&launcher, Source::Launcher(number))
                .and_then(|()| match &stdout {
                    Some(stdout) => watch.add(stdout, Source::Stdout(number)),
                    None => Ok(()),
                })
                .and_then(|()| match &stderr {
                    Some(stderr) => watch.add(stderr, Source::Stderr(number)),
                    None => Ok(()),
                });
            if let Err(error) = watched {
                // What it has made meanwhile ends with it, or is a stranger.
                process::signal(&launcher, libc::SIGKILL).ok();
                process::reap(&launcher).ok();
                return Err(error);
            }
            Ok(Live {
                number,
                id,
                report: Some(report),
                launcher: Some(launcher),
                init: None,
                stdout,
                stderr,
                is_paused: false,
                console,
                attachments: Attachments::new(input.map(|(_, write)| write)),
                log,
                user: None,
                failure: None,
                turn: Turn::Ahead,
                message: places.message(name, attempt),
                logs: places.logs(name),
                attempt,
                oom_kills,
                resolved: None,
            })
        }
        Cloned::Child => {
            let reporter = Reporter::new(theirs);
            cgroups::enter(around.cgroup, container, Entry::Container, &reporter);
            let attempt_dir = make_directories(places, container, attempt, &reporter);
            let stdin = input.as_ref().map_or(&null, |(read, _)| read);
            let stdio = pipes
                .as_ref()
                .map(|((_, stdout), (_, stderr))| [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]);
            let mut setup = ContainerSetup {
                plan: around.plan,
                container,
                ids: around.ids,
                attempt_dir,
                etc_dir: places.etc(),
                shm_dir: places.shm(around.plan),
                mask_dir: places.mask(),
                message_file: places.message(name, attempt),
                volume_trees: open_volumes(around, container, &reporter),
                stdio,
                unified_cgroups: masks::unified_cgroups(),
            };
            if let Some(users) = around.users {
                users::hand_over(around.proof, users, &mut setup, &reporter);
            }
            enter_pod(around, &reporter, &setup, target)
        }
    }
}

/// In the launcher, so that the next container need not wait for it: what a run needs on the disk.
fn make_directories(
    places: &Places,
    container: &ContainerPlan,
    attempt: u32,
    reporter: &Reporter,
) -> PathBuf {
    let name = container.name.as_str();
    let attempt_dir = places.container(name).join(attempt.to_string());
    let make = || -> io::Result<()> {
        make_directory(&places.container(name))?;
        make_directory(&attempt_dir)?;
        if container.root != RootSource::Host {
            rootfs::make_layer_directories(open_directory(&attempt_dir)?.as_fd())?;
        }
        last_words::make_file(&places.message(name, attempt))
    };
    if let Err(error) = make() {
        let failure = Failure {
            step: Step::RootFilesystem,
            object: "the container's directory".to_owned(),
            errno: error.raw_os_error().unwrap_or(0),
        };
        reporter.send(&Report::Failed(failure), &[]);
        process::exit_now(125)
    }
    attempt_dir
}

/// In the launcher: the volumes, while this is still the mount namespace they were made in.
fn open_volumes(
    around: &Surroundings<'_>,
    container: &ContainerPlan,
    reporter: &Reporter,
) -> Vec<OwnedFd> {
    let users = around.users.map(|users| users.namespace.as_fd());
    match volume::open_trees(around.plan, container, &around.places.pod_dir, users) {
        Ok(trees) => trees,
        Err(error) => {
            let failure = Failure {
                step: Step::Volume,
                object: error.to_string(),
                errno: 0,
            };
            reporter.send(&Report::Failed(failure), &[]);
            process::exit_now(125)
        }
    }
}

/// In the launcher: into pause's namespaces, with nothing of the supervisor's but what is needed.
fn enter_pod(
    around: &Surroundings<'_>,
    reporter: &Reporter,
    setup: &ContainerSetup<'_>,
    target: Option<BorrowedFd<'_>>,
) -> ! {
    let mut create = libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP;
    if target.is_none() && !around.plan.share_process_namespace && !around.plan.host_pid {
        create |= libc::CLONE_NEWPID;
    }
    let mut kept: Vec<BorrowedFd<'_>> = vec![reporter.as_fd(), around.pause.pidfd.as_fd()];
    kept.extend(setup.volume_trees.iter().map(AsFd::as_fd));
    kept.extend(setup.stdio.into_iter().flatten());
    kept.extend(target);
    if process::close_all_but(&kept).is_err() {
        process::exit_now(125);
    }
    let destination = Destination {
        target: around.pause.pidfd.as_fd(),
        join: around.pause.namespaces,
        pid_of: target,
        create,
    };
    launch(around.proof, reporter, &destination, |proof, reporter| {
        stage::run(proof, reporter, setup)
    })
}

fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // Only our end: the container's must block as any pipe does.
    rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
    fcntl_setpipe_size(&write, PIPE_SIZE).ok();
    Ok((read, write))
}

/// A container id as runtimes have them: 64 hexadecimal digits.
fn new_id() -> io::Result<String> {
    let mut id = String::with_capacity(64);
    for _ in 0..2 {
        let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        id.extend(uuid.chars().filter(char::is_ascii_hexdigit));
    }
    Ok(id)
}

impl Live {
    /// Whether the kernel has ended a process of this run because its memory was used up.
    pub(super) fn ran_out_of_memory(&self, cgroup: &PodCgroup, name: &str) -> bool {
        cgroup.oom_kills(name) > self.oom_kills
    }

    /// Its processes.
    pub(super) fn children(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.launcher.iter().chain(&self.init).map(AsFd::as_fd)
    }

    /// Reads what the container reported so far. Once its init has ended there is no more to come,
    /// although a launcher that has not ended yet may still hold the socket open.
    fn hear(&mut self, init_ended: bool, buffer: &mut [u8], watch: &Watch) {
        while let Some(report) = &self.report {
            match seqpacket::receive(report, buffer, RecvFlags::DONTWAIT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !init_ended => return,
                // Heard again when its turn has come.
                Ok((0, _)) | Err(_) if self.turn == Turn::Ahead && !init_ended => return,
                Ok((0, _)) | Err(_) => {
                    watch.remove(report);
                    self.report = None;
                }
                Ok((length, descriptors)) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    self.note(wire::decode(bytes), descriptors, watch);
                }
            }
        }
    }

    /// Reads what the container reported so far, and tells what has come of its start. Of one that is
    /// built ahead nothing has, until its turn.
    pub(super) fn read_report(
        &mut self,
        init_ended: bool,
        buffer: &mut [u8],
        watch: &Watch,
    ) -> Outcome {
        self.hear(init_ended, buffer, watch);
        if self.report.is_some() {
            return Outcome::Pending;
        }
        match self.failure.take() {
            Some(failure) => Outcome::Failed(failure),
            None if self.init.is_some() => {
                self.attachments.welcome(self.console);
                Outcome::Started
            }
            None => Outcome::Failed(Failure {
                step: Step::Clone,
                object: String::new(),
                errno: libc::ECHILD,
            }),
        }
    }

    fn note(
        &mut self,
        report: Result<Report, wire::WireError>,
        descriptors: Vec<OwnedFd>,
        watch: &Watch,
    ) {
        match report {
            Ok(Report::Born) => {
                if let Some(pidfd) = descriptors.into_iter().next() {
                    watch.add(&pidfd, Source::Init(self.number)).ok();
                    self.init = Some(pidfd);
                }
            }
            Ok(Report::Resolved {
                uid,
                gid,
                supplemental_groups,
                home,
            }) => {
                self.user = Some(ResolvedUser {
                    uid,
                    gid,
                    supplemental_groups,
                    home,
                });
            }
            Ok(Report::Terminal) => {
                let master = descriptors.into_iter().next();
                if let Some(master) = master.filter(|_| self.console.tty) {
                    self.take_terminal(master, watch).ok();
                }
            }
            Ok(Report::Failed(failure)) => self.failure = Some(failure),
            Ok(Report::Namespaces | Report::Ready) | Err(_) => {}
        }
    }

    fn take_terminal(&mut self, master: OwnedFd, watch: &Watch) -> io::Result<()> {
        rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK)?;
        watch.add(&master, Source::Stdout(self.number))?;
        self.attachments.set_input(master.try_clone()?);
        self.stdout = Some(master);
        Ok(())
    }

    /// Attaches a client; it is told when the container has been executed.
    pub(super) fn attach(&mut self, attachment: Attachment) {
        self.attachments.add(attachment);
        if self.report.is_none() {
            self.attachments.welcome(self.console);
        }
    }

    /// The machine asks for its start: from now on it is of interest what it reports.
    pub(super) fn take_turn(&mut self, watch: &Watch) -> io::Result<()> {
        self.turn = Turn::Come;
        match &self.report {
            Some(report) => watch.add(report, Source::Report(self.number)),
            None => Ok(()),
        }
    }

    /// Lets it execute its command if its start was asked for; for when the namespaces are set up.
    pub(super) fn go(&mut self) {
        if let (Turn::Come, Some(report)) = (self.turn, &self.report) {
            self.turn = Turn::Gone;
            // One that has failed meanwhile has said so.
            seqpacket::send(report, GO, &[], SendFlags::DONTWAIT).ok();
        }
    }

    /// Reaps the init of a container that has ended before its turn; false for any other. That it
    /// has failed is told when it is asked for.
    pub(super) fn reap_ahead(&mut self, watch: &Watch) -> bool {
        if self.turn != Turn::Ahead {
            return false;
        }
        if let Some(init) = self.init.take() {
            watch.remove(&init);
            process::reap(&init).ok();
        }
        true
    }

    /// Whether its birth may still be reported.
    pub(super) fn is_unborn(&self) -> bool {
        self.report.is_some() && self.init.is_none()
    }

    /// Whether the report socket is still open.
    pub(super) fn is_starting(&self) -> bool {
        self.report.is_some()
    }

    /// Ends a launcher that may wait for a process which the container has stopped.
    pub(super) fn kill_launcher(&self) {
        if let Some(launcher) = &self.launcher {
            process::signal(launcher, libc::SIGKILL).ok();
        }
    }

    pub(super) fn reap_launcher(&mut self, watch: &Watch) {
        if let Some(launcher) = self.launcher.take() {
            watch.remove(&launcher);
            process::reap(&launcher).ok();
        }
    }
}
