//! The loop of one pod.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::DumpableBehavior;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::lifecycle::{Action, Event, Machine, Now};
use crate::plan::{PLAN_VERSION, PodPlan};
use crate::runtime::{control_socket, wording};
use crate::store::{Identity, LogLimits, PodDir, Stream};
use crate::supervisor::container::{self, Live, Outcome, Surroundings};
use crate::supervisor::exec::{self, Session};
use crate::supervisor::sandbox::{self, Pause, Places};
use crate::supervisor::watch::{Source, Watch};
use crate::supervisor::{control, sweep};
use crate::sys::process::{self, SingleThread};
use crate::sys::{seqpacket, signal};
use crate::wire::{self, Adopt, FromSupervisor, IdSpace, Reply, Report, Request, ToSupervisor};

/// Bytes read from a pipe at once.
const READ_SIZE: usize = 256 * 1024;

/// Runs the supervisor that `enter` executed. Its standard input is the front end's socket.
pub fn run() -> u8 {
    let Ok(front) = process::inherited(0) else {
        return 125;
    };
    match Pod::receive(front) {
        Ok(mut pod) => pod.live(),
        Err((front, message)) => {
            tell(&front, &FromSupervisor::Failed { message });
            125
        }
    }
}

fn tell(front: &OwnedFd, message: &FromSupervisor) {
    if let Ok(bytes) = wire::encode(message) {
        seqpacket::send(front, &bytes, &[], SendFlags::empty()).ok();
    }
}

struct Pod {
    proof: SingleThread,
    plan: PodPlan,
    ids: IdSpace,
    dir: PodDir,
    places: Places,
    runtime_dir: OwnedFd,
    machine: Machine,
    watch: Watch,
    timer: OwnedFd,
    signals: SignalFd,
    /// Until the pod is adopted or given up.
    front: Option<OwnedFd>,
    adopted: Option<Adopt>,
    /// Waits for pause before it is used.
    sockets: Vec<OwnedFd>,
    pause: Option<Pause>,
    forwarder: Option<OwnedFd>,
    containers: HashMap<u32, Live>,
    listener: Option<OwnedFd>,
    clients: HashMap<u32, OwnedFd>,
    sessions: HashMap<u32, Session>,
    sweepers: HashMap<u32, OwnedFd>,
    next_number: u32,
    /// Clients that asked for the pod's deletion.
    deleters: Vec<OwnedFd>,
    /// The pod and its record go when it has ended.
    remove: bool,
    finished: bool,
    buffer: Vec<u8>,
}

impl Pod {
    /// Takes over from the front end.
    fn receive(front: OwnedFd) -> Result<Self, (OwnedFd, String)> {
        match Self::set_up(&front) {
            Ok(mut pod) => {
                pod.front = Some(front);
                Ok(pod)
            }
            Err(message) => Err((front, message)),
        }
    }

    fn set_up(front: &OwnedFd) -> Result<Self, String> {
        let proof = become_supervisor().map_err(|error| format!("supervisor: {error}"))?;
        let mut buffer = vec![0; READ_SIZE];
        let (length, descriptors) = seqpacket::receive(front, &mut buffer, RecvFlags::empty())
            .map_err(|error| format!("supervisor: {error}"))?;
        let launch = match wire::decode(buffer.get(..length).unwrap_or_default()) {
            Ok(ToSupervisor::Launch(launch)) => launch,
            Ok(_) => return Err("supervisor: a launch was expected".to_owned()),
            Err(error) => return Err(format!("supervisor: {error}")),
        };
        let mut descriptors = descriptors.into_iter();
        let (Some(plan), Some(dir), Some(runtime_dir)) =
            (descriptors.next(), descriptors.next(), descriptors.next())
        else {
            return Err("supervisor: descriptors are missing".to_owned());
        };
        let plan = read_plan(plan)?;
        let now = now();
        let pod_dir = PathBuf::from(launch.pod_dir);
        let ready = || -> io::Result<_> {
            same_directory(&dir, &pod_dir)?;
            let watch = Watch::new()?;
            let timer = timerfd_create(
                TimerfdClockId::Boottime,
                TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
            )?;
            let signals = SignalFd::with_flags(
                &SigSet::all(),
                SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
            )?;
            watch.add(front, Source::Front)?;
            watch.add(&timer, Source::Timer)?;
            watch.add(&signals, Source::Signals)?;
            Ok((watch, timer, signals))
        };
        let (watch, timer, signals) = ready().map_err(|error| format!("supervisor: {error}"))?;
        let dir = PodDir::from_fd(dir, pod_dir.clone());
        dir.write_identity(&Identity::of_self().map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            proof,
            machine: Machine::new(&plan, &now),
            plan,
            ids: launch.ids,
            dir,
            places: Places { pod_dir },
            runtime_dir,
            watch,
            timer,
            signals,
            front: None,
            adopted: None,
            sockets: descriptors.collect(),
            pause: None,
            forwarder: None,
            containers: HashMap::new(),
            listener: None,
            clients: HashMap::new(),
            sessions: HashMap::new(),
            sweepers: HashMap::new(),
            next_number: 0,
            deleters: Vec::new(),
            remove: false,
            finished: false,
            buffer,
        })
    }

    /// Starts the pod and waits until it is over.
    fn live(&mut self) -> u8 {
        if let Err(message) = self.start() {
            return self.give_up(message);
        }
        while !(self.finished && self.front.is_none()) {
            let Ok(sources) = self.watch.wait() else {
                break;
            };
            for source in sources {
                if let Err(message) = self.handle(source) {
                    return self.give_up(message);
                }
            }
        }
        self.leave();
        0
    }

    fn start(&mut self) -> Result<(), String> {
        let pause = Pause::start(&self.proof, &self.plan, &self.places)
            .map_err(|error| format!("the pod's first process cannot be made: {error}"))?;
        let watched = self
            .watch
            .add(&pause.report, Source::PauseReport)
            .and_then(|()| self.watch.add(&pause.pidfd, Source::Pause));
        self.pause = Some(pause);
        watched.map_err(|error| error.to_string())?;
        // While pause makes the namespaces.
        sandbox::prepare(&self.plan, &self.places)?;
        let listener = control::open(self.runtime_dir.as_fd(), &self.plan.uid)
            .map_err(|error| format!("the pod's control socket: {error}"))?;
        self.watch
            .add(&listener, Source::Listener)
            .map_err(|error| error.to_string())?;
        self.listener = Some(listener);
        Ok(())
    }

    fn handle(&mut self, source: Source) -> Result<(), String> {
        match source {
            Source::Front => self.front_spoke(),
            Source::Signals => self.take_signals(),
            Source::Timer => {
                let mut expirations = [0; 8];
                rustix::io::read(&self.timer, &mut expirations).ok();
                self.step(Event::Tick);
            }
            Source::Listener => self.accept(),
            Source::Client(number) => self.client_spoke(number),
            Source::PauseReport => return self.pause_spoke(),
            Source::Pause => {
                // The kernel has ended everything in the pod's pid namespace with it.
                if let Some(pause) = &self.pause {
                    self.watch.remove(&pause.pidfd);
                }
                self.step(Event::Delete {
                    grace_period_ms: Some(0),
                });
            }
            Source::Forwarder => {
                if let Some(forwarder) = self.forwarder.take() {
                    self.watch.remove(&forwarder);
                    process::reap(&forwarder).ok();
                }
            }
            Source::Report(index) => self.container_spoke(index, false),
            Source::Launcher(index) => {
                if let Some(live) = self.containers.get_mut(&index) {
                    live.reap_launcher(&self.watch);
                }
            }
            Source::Init(index) => self.container_ended(index),
            Source::Stdout(index) => self.copy_output(index, Stream::Stdout),
            Source::Stderr(index) => self.copy_output(index, Stream::Stderr),
            Source::ExecReport(number) => self.command_spoke(number, false),
            Source::ExecLauncher(number) => {
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.reap_launcher(&self.watch);
                }
            }
            Source::Exec(number) => self.command_ended(number),
            Source::Sweeper(number) => {
                if let Some(sweeper) = self.sweepers.remove(&number) {
                    self.watch.remove(&sweeper);
                    process::reap(&sweeper).ok();
                }
            }
        }
        Ok(())
    }

    /// Gives one event to the machine and performs what follows from it.
    fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.machine.step(event, &now()) {
                if let Some(consequence) = self.perform(&action) {
                    events.push_back(consequence);
                }
            }
        }
        self.publish();
        self.arm_timer();
    }

    fn perform(&mut self, action: &Action) -> Option<Event> {
        match action {
            Action::Start { container, attempt } => self.start_container(*container, *attempt),
            Action::Signal { container, signal } => {
                self.signal(*container, *signal);
                None
            }
            // Nested pid namespaces: init's end is the end of everything in the container.
            Action::Kill { container } => {
                self.signal(*container, libc::SIGKILL);
                None
            }
            Action::Finish => {
                self.finish();
                None
            }
        }
    }

    fn start_container(&mut self, container: usize, attempt: u32) -> Option<Event> {
        let failed = |message: String| {
            Some(Event::StartFailed {
                container,
                reason: "CreateContainerError".to_owned(),
                message,
                exit_code: 128,
            })
        };
        let (Some(pause), Some(plan), Ok(index)) = (
            &self.pause,
            self.plan.containers.get(container),
            u32::try_from(container),
        ) else {
            return failed("the pod's namespaces are gone".to_owned());
        };
        if let Some(previous) = attempt.checked_sub(1) {
            let directory = self.places.container(plan.name.as_str());
            self.next_number = self.next_number.wrapping_add(1);
            let number = self.next_number;
            // A failure leaves files until the pod is removed, and nothing else.
            if let Ok(sweeper) = sweep::remove_attempt(&self.proof, &directory, previous)
                && self.watch.add(&sweeper, Source::Sweeper(number)).is_ok()
            {
                self.sweepers.insert(number, sweeper);
            }
        }
        let around = Surroundings {
            proof: &self.proof,
            plan: &self.plan,
            places: &self.places,
            ids: self.ids,
            pause,
            watch: &self.watch,
        };
        match container::start(&around, index, plan, attempt, LogLimits::default()) {
            Ok(live) => {
                self.containers.insert(index, live);
                None
            }
            Err(error) => failed(format!("the container cannot be made: {error}")),
        }
    }

    fn signal(&self, container: usize, signal: i32) {
        let live = u32::try_from(container)
            .ok()
            .and_then(|index| self.containers.get(&index));
        if let Some(init) = live.and_then(|live| live.init.as_ref()) {
            process::signal(init, signal).ok();
        }
    }

    fn container_spoke(&mut self, index: u32, init_ended: bool) {
        let Some(live) = self.containers.get_mut(&index) else {
            return;
        };
        let outcome = live.read_report(index, init_ended, &self.watch);
        let Ok(container) = usize::try_from(index) else {
            return;
        };
        match outcome {
            Outcome::Pending => {}
            Outcome::Started => {
                let event = Event::Started {
                    container,
                    id: live.id.clone(),
                    user: live.user.clone(),
                };
                self.step(event);
            }
            Outcome::Failed(failure) => {
                if let Some(live) = self.containers.remove(&index) {
                    live.end(&mut self.buffer, &self.watch);
                }
                let worded = wording::start_failure(&failure);
                self.step(Event::StartFailed {
                    container,
                    reason: worded.reason.to_owned(),
                    message: worded.message,
                    exit_code: 128,
                });
            }
        }
    }

    fn container_ended(&mut self, index: u32) {
        // What it said before comes first.
        if self.containers.get(&index).is_some_and(Live::is_starting) {
            self.container_spoke(index, true);
        }
        let Some(live) = self.containers.remove(&index) else {
            return;
        };
        let code = live.end(&mut self.buffer, &self.watch);
        if let Ok(container) = usize::try_from(index) {
            self.step(Event::Exited {
                container,
                code,
                oom_killed: false,
            });
        }
    }

    fn copy_output(&mut self, index: u32, stream: Stream) {
        if let Some(live) = self.containers.get_mut(&index) {
            live.copy_output(stream, &mut self.buffer, &self.watch);
        }
    }

    fn pause_spoke(&mut self) -> Result<(), String> {
        let Some(pause) = &self.pause else {
            return Ok(());
        };
        let mut buffer = [0; 4096];
        let length = match seqpacket::receive(&pause.report, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((length, _)) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        if length == 0 {
            self.watch.remove(&pause.report);
            return Ok(());
        }
        match wire::decode(buffer.get(..length).unwrap_or_default()) {
            Ok(Report::Ready) => {
                let sockets = std::mem::take(&mut self.sockets);
                let forwarder = sandbox::start_forwarder(&self.proof, &self.plan, pause, sockets)
                    .map_err(|error| format!("published ports: {error}"))?;
                if let Some(forwarder) = forwarder {
                    self.watch
                        .add(&forwarder, Source::Forwarder)
                        .map_err(|error| error.to_string())?;
                    self.forwarder = Some(forwarder);
                }
                self.step(Event::SandboxReady);
                Ok(())
            }
            Ok(Report::Failed(failure)) => Err(wording::sentence(&failure)),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn front_spoke(&mut self) {
        let Some(front) = &self.front else { return };
        match seqpacket::receive(front, &mut self.buffer, RecvFlags::DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The front end has gone; what it did not adopt is undone.
            Ok((0, _)) | Err(_) => {
                self.watch.remove(front);
                self.front = None;
                if self.adopted.is_none() {
                    self.remove = true;
                    self.step(Event::Delete {
                        grace_period_ms: Some(0),
                    });
                }
            }
            Ok((length, _)) => {
                if let Ok(ToSupervisor::Adopt(adopt)) =
                    wire::decode(self.buffer.get(..length).unwrap_or_default())
                {
                    self.adopted = Some(adopt);
                    self.remove |= adopt.remove_when_done;
                    process::release_file_pages();
                }
            }
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            // A service manager's stop: the pod ends as when it is deleted, its record stays.
            if number == libc::SIGTERM || number == libc::SIGINT {
                self.step(Event::Delete {
                    grace_period_ms: None,
                });
            }
        }
    }

    fn number(&mut self) -> u32 {
        self.next_number = self.next_number.wrapping_add(1);
        self.next_number
    }

    fn accept(&mut self) {
        let Some(client) = self.listener.as_ref().and_then(control::accept) else {
            return;
        };
        let number = self.number();
        if self.watch.add(&client, Source::Client(number)).is_ok() {
            self.clients.insert(number, client);
        }
    }

    fn client_spoke(&mut self, number: u32) {
        let Some(client) = self.clients.get(&number) else {
            return;
        };
        let received = seqpacket::receive(client, &mut self.buffer, RecvFlags::DONTWAIT);
        let (length, descriptors) = match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Ok((0, _)) | Err(_) => return self.client_left(number),
            Ok(received) => received,
        };
        match wire::decode(self.buffer.get(..length).unwrap_or_default()) {
            Ok(Request::Exec {
                container,
                argv,
                terminal,
            }) => {
                let refused = self.exec(number, container.as_str(), argv, terminal, descriptors);
                if let (Some(reply), Some(client)) = (refused, self.clients.get(&number)) {
                    control::answer(client, &reply);
                }
            }
            Ok(Request::Delete { grace_period_ms }) => {
                if let Some(client) = self.clients.remove(&number) {
                    self.watch.remove(&client);
                    self.deleters.push(client);
                }
                self.remove = true;
                self.step(Event::Delete { grace_period_ms });
            }
            Err(error) => {
                control::answer(
                    client,
                    &Reply::Refused {
                        code: 125,
                        message: error.to_string(),
                    },
                );
            }
        }
    }

    fn client_left(&mut self, number: u32) {
        if let Some(client) = self.clients.remove(&number) {
            self.watch.remove(&client);
        }
        for session in self
            .sessions
            .values()
            .filter(|session| session.client == number)
        {
            session.kill();
        }
    }

    /// Starts a command; returns the answer when that is not possible.
    fn exec(
        &mut self,
        client: u32,
        container: &str,
        argv: Vec<String>,
        terminal: Option<wire::TerminalSize>,
        stdio: Vec<OwnedFd>,
    ) -> Option<Reply> {
        let refused = |code, message: String| Some(Reply::Refused { code, message });
        let found = self
            .plan
            .containers
            .iter()
            .zip(0_u32..)
            .find(|(plan, _)| plan.name.as_str() == container);
        let Some((plan, index)) = found else {
            return refused(4, format!("the pod has no container `{container}`"));
        };
        let live = self
            .containers
            .get(&index)
            .filter(|live| !live.is_starting());
        let (Some(pause), Some(init), Some(user)) = (
            &self.pause,
            live.and_then(|live| live.init.as_ref()),
            live.and_then(|live| live.user.as_ref()),
        ) else {
            return refused(1, format!("container `{container}` is not running"));
        };
        if argv.is_empty() || (terminal.is_none() && stdio.len() != 3) {
            return refused(125, "a command and three descriptors are needed".to_owned());
        }
        self.next_number = self.next_number.wrapping_add(1);
        let session = self.next_number;
        let command = exec::Command {
            proof: &self.proof,
            plan: &self.plan,
            pause,
            container: plan,
            user,
            init,
            ids: self.ids,
            argv,
            terminal,
            stdio,
        };
        match exec::start(&command, session, client, &self.watch) {
            Ok(started) => {
                self.sessions.insert(session, started);
                None
            }
            Err(error) => refused(125, format!("no new process can be made: {error}")),
        }
    }

    fn command_spoke(&mut self, number: u32, has_ended: bool) {
        let Some(session) = self.sessions.get_mut(&number) else {
            return;
        };
        let client = self.clients.get(&session.client);
        let answer = session.read_report(number, has_ended, client, &self.watch);
        if let Some(reply) = answer {
            if let Some(client) = client {
                control::answer(client, &reply);
            }
            if let Some(session) = self.sessions.remove(&number) {
                session.end(&self.watch);
            }
        }
    }

    fn command_ended(&mut self, number: u32) {
        self.command_spoke(number, true);
        let Some(session) = self.sessions.remove(&number) else {
            return;
        };
        let client = session.client;
        let code = session.end(&self.watch);
        if let Some(client) = self.clients.get(&client) {
            control::answer(client, &Reply::Exited { code });
        }
    }

    /// Writes the status down and tells the front end.
    fn publish(&self) {
        let status = self.machine.status(&now());
        // A full disk must not end the pod; the next change tries again.
        self.dir.write_status(&status).ok();
        if let Some(front) = &self.front {
            tell(front, &FromSupervisor::Status(Box::new(status)));
        }
    }

    fn arm_timer(&self) {
        let at = self.machine.next_deadline();
        let value = at.map_or(
            Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            |ms| Timespec {
                tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
                // Never zero, which would disarm the timer.
                tv_nsec: i64::try_from(ms % 1000)
                    .unwrap_or(0)
                    .saturating_mul(1_000_000)
                    .max(1),
            },
        );
        let setting = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &setting).ok();
    }

    /// Nothing runs and nothing will: the namespaces, mounts and scratch directories go.
    fn finish(&mut self) {
        if self.finished {
            return;
        }
        self.finished = true;
        self.tear_down();
        self.publish();
        if self.adopted.is_some() {
            // Nobody waits for news any more.
            self.front = None;
        } else if let Some(front) = &self.front {
            tell(front, &FromSupervisor::Ended);
        }
    }

    fn tear_down(&mut self) {
        self.listener = None;
        control_socket::remove(self.runtime_dir.as_fd(), &self.plan.uid);
        for session in self.sessions.values() {
            session.kill();
        }
        if let Some(forwarder) = self.forwarder.take() {
            process::signal(&forwarder, libc::SIGKILL).ok();
            process::reap(&forwarder).ok();
        }
        for (_, live) in self.containers.drain() {
            if let Some(init) = &live.init {
                process::signal(init, libc::SIGKILL).ok();
            }
            live.end(&mut self.buffer, &self.watch);
        }
        if let Some(pause) = self.pause.take() {
            self.watch.remove(&pause.pidfd);
            pause.end();
        }
        for (_, session) in self.sessions.drain() {
            let client = session.client;
            let code = session.end(&self.watch);
            if let Some(client) = self.clients.get(&client) {
                control::answer(client, &Reply::Exited { code });
            }
        }
        for (_, sweeper) in self.sweepers.drain() {
            process::reap(&sweeper).ok();
        }
        sandbox::unmount(&self.plan, &self.places);
    }

    /// The last act: an ended pod keeps its record and logs, a removed one nothing.
    fn leave(&mut self) {
        if self.remove {
            self.dir.remove().ok();
        } else {
            sweep::remove_scratch(&self.places.pod_dir);
        }
        for client in self.deleters.drain(..) {
            control::answer(client, &Reply::Deleted);
        }
    }

    /// The pod cannot be set up: nothing of it stays.
    fn give_up(&mut self, message: String) -> u8 {
        self.tear_down();
        self.remove = true;
        self.leave();
        if let Some(front) = self.front.take() {
            tell(&front, &FromSupervisor::Failed { message });
        }
        125
    }
}

/// The process' own state: no descriptor of the caller's, no terminal, no directory, nothing that
/// another process of the same user could read.
fn become_supervisor() -> io::Result<SingleThread> {
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    for number in 0..=2 {
        process::install_descriptor(null.as_fd(), number)?;
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(
        rustix::process::Resource::Core,
        rustix::process::Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    rustix::process::chdir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    rustix::thread::set_name(c"podrun-pod")?;
    signal::block_all()?;
    SingleThread::prove()
}

fn read_plan(file: OwnedFd) -> Result<PodPlan, String> {
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("the pod's plan: {error}"))?;
    let plan: PodPlan =
        serde_json::from_slice(&bytes).map_err(|error| format!("the pod's plan: {error}"))?;
    if plan.version == PLAN_VERSION {
        Ok(plan)
    } else {
        Err(format!(
            "the pod's plan has version {}, not {PLAN_VERSION}",
            plan.version
        ))
    }
}

/// The path must lead to the directory that the front end has locked.
fn same_directory(dir: &OwnedFd, path: &std::path::Path) -> io::Result<()> {
    let locked = rustix::fs::fstat(dir)?;
    let named = rustix::fs::fstat(sandbox::open_directory(path)?)?;
    if (locked.st_dev, locked.st_ino) == (named.st_dev, named.st_ino) {
        Ok(())
    } else {
        Err(io::Error::other("the pod's directory was replaced"))
    }
}

/// The time on the clock of the machine's timers, which goes on while the computer sleeps.
fn now() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
    let milliseconds = u64::try_from(boot.tv_nsec / 1_000_000).unwrap_or_default();
    Now {
        monotonic_ms: seconds.saturating_mul(1000).saturating_add(milliseconds),
        wall: jiff::Timestamp::now(),
    }
}
