//! The loop of one pod.

mod checks;
mod clients;
mod containers;
mod ending;
mod env_files;
mod measure;
mod network;
mod news;
mod pause;
mod setup;
mod strangers;
mod updates;
mod usage;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::PodStatus;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::{ClockId, TimerfdClockId, TimerfdFlags, clock_gettime, timerfd_create};

use crate::cgroup::PodCgroup;
use crate::lifecycle::{Action, Event, Machine, Now};
use crate::plan::PodPlan;
use crate::runtime::pod_ids::PodIds;
use crate::stage::{confine, oom_score, sealed_plan};
use crate::store::{EventLog, Identity, PodDir, Stream};
use crate::supervisor::cgroups;
use crate::supervisor::container::Live;
use crate::supervisor::control;
use crate::supervisor::exec::Session;
use crate::supervisor::pod::checks::Checks;
use crate::supervisor::pod::network::Hold;
use crate::supervisor::pod::usage::Usage;
use crate::supervisor::sandbox::{self, Pause, Places};
use crate::supervisor::users::Users;
use crate::supervisor::watch::{Source, Watch};
use crate::sys::process::{self, SingleThread};
use crate::sys::seqpacket;
use crate::wire::{self, Adopt, FromSupervisor, IdSpace, Reply, ToSupervisor};

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
    /// What the front end could not be told yet.
    untold: VecDeque<FromSupervisor>,
    adopted: Option<Adopt>,
    /// Waits for pause before it is used.
    sockets: Vec<OwnedFd>,
    /// The machine's mounts that volumes share, until the volumes are made.
    trees: Vec<OwnedFd>,
    pause: Option<Pause>,
    /// The pod network, for a pod that is in it.
    hold: Option<Hold>,
    /// The plan as it came, until pause has it.
    sealed: Option<OwnedFd>,
    /// With `hostUsers: false`.
    users: Option<Users>,
    cgroup: Option<PodCgroup>,
    /// Pause has set up the namespaces: containers may execute.
    is_set_up: bool,
    forwarder: Option<OwnedFd>,
    containers: HashMap<u32, Live>,
    listener: Option<OwnedFd>,
    clients: HashMap<u32, OwnedFd>,
    sessions: HashMap<u32, Session>,
    sweepers: HashMap<u32, OwnedFd>,
    checks: Checks,
    usage: Usage,
    events: EventLog,
    /// Events that are not written yet.
    has_news: bool,
    is_deletion_written: bool,
    /// The status that was written last.
    published: Option<PodStatus>,
    next_number: u32,
    /// Clients that wait until all containers were started again.
    restarters: Vec<OwnedFd>,
    /// Clients that asked for the pod's deletion.
    deleters: Vec<OwnedFd>,
    /// The pod and its record go when it has ended.
    remove: bool,
    finished: bool,
    /// A child has ended, and whether it is one that is waited for is not known yet.
    has_lost_children: bool,
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
        let proof = setup::become_supervisor().map_err(|error| format!("supervisor: {error}"))?;
        // While the front end makes the plan; most pods need just this.
        let ahead = Pause::start(&proof, sandbox::USUAL).ok();
        let mut buffer = vec![0; READ_SIZE];
        let (length, descriptors) = seqpacket::receive(front, &mut buffer, RecvFlags::empty())
            .map_err(|error| format!("supervisor: {error}"))?;
        let launch = match wire::decode(buffer.get(..length).unwrap_or_default()) {
            Ok(ToSupervisor::Launch(launch)) => launch,
            Ok(_) => return Err("supervisor: a launch was expected".to_owned()),
            Err(error) => return Err(format!("supervisor: {error}")),
        };
        let mut descriptors = descriptors.into_iter();
        let (Some(sealed), Some(dir), Some(runtime_dir)) =
            (descriptors.next(), descriptors.next(), descriptors.next())
        else {
            return Err("supervisor: descriptors are missing".to_owned());
        };
        let plan = sealed_plan::read(&sealed)?;
        let fits = sandbox::namespaces(&plan) == sandbox::USUAL;
        let pause = match ahead {
            Some(pause) if fits => Some(pause),
            Some(pause) => {
                pause.end();
                None
            }
            None => None,
        };
        let ids = if plan.own_users {
            IdSpace::Own
        } else {
            launch.ids
        };
        let hold = launch
            .node
            .and_then(|node| Hold::take(node, &mut descriptors));
        let sockets = descriptors.by_ref().take(plan.ports.len()).collect();
        let scores = plan.containers.iter().map(|it| it.oom_score_adj);
        if let Some(least) = scores.min() {
            oom_score::go_after(least);
        }
        confine::keep_supervising_capabilities(&plan)
            .map_err(|error| format!("supervisor: {error}"))?;
        let now = now();
        let pod_dir = PathBuf::from(launch.pod_dir);
        let ready = || -> io::Result<_> {
            setup::same_directory(&dir, &pod_dir)?;
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
            ids,
            dir,
            places: Places { pod_dir },
            runtime_dir,
            watch,
            timer,
            signals,
            front: None,
            untold: VecDeque::new(),
            adopted: None,
            sockets,
            trees: descriptors.collect(),
            pause,
            sealed: Some(sealed),
            hold,
            users: None,
            cgroup: None,
            is_set_up: false,
            forwarder: None,
            containers: HashMap::new(),
            listener: None,
            clients: HashMap::new(),
            sessions: HashMap::new(),
            sweepers: HashMap::new(),
            checks: Checks::default(),
            usage: Usage::default(),
            events: EventLog::default(),
            has_news: false,
            is_deletion_written: false,
            published: None,
            next_number: 0,
            restarters: Vec::new(),
            deleters: Vec::new(),
            remove: false,
            finished: false,
            has_lost_children: false,
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
            if self.has_lost_children {
                self.has_lost_children = !self.reap_strangers();
            }
        }
        self.leave();
        0
    }

    fn start(&mut self) -> Result<(), String> {
        let ids = self.plan.own_users.then(PodIds::take).transpose()?;
        self.start_pause(ids)?;
        // While pause makes the namespaces.
        self.cgroup = cgroups::make(&self.plan, self.runtime_dir.as_fd())?;
        if let Some(cgroup) = &self.cgroup {
            self.machine.set_in_force(cgroup.in_force());
        }
        let trees = std::mem::take(&mut self.trees);
        let users = self.users.as_ref().map(|users| &users.namespace);
        sandbox::prepare(&self.plan, &self.places, self.ids, trees, users)?;
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
                self.end_late_commands();
                self.look_at_usage();
                self.step(Event::Tick);
            }
            Source::Listener => self.accept(),
            Source::Client(number) => self.client_spoke(number),
            Source::PauseReport => return self.pause_spoke(),
            Source::Pause => {
                // Why it has ended, if it could say so.
                self.pause_spoke()?;
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
            Source::Launcher(number) => {
                let index = self.index_of(number);
                if let Some(live) = index.and_then(|index| self.containers.get_mut(&index)) {
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
            Source::ExecOutput(number) => {
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.read_output(&mut self.buffer, &self.watch);
                }
            }
            Source::Room(number) => {
                let index = self.index_of(number);
                if let Some(live) = index.and_then(|index| self.containers.get_mut(&index)) {
                    live.resume_output(&self.watch);
                }
            }
            Source::Prober => self.prober_spoke(),
            Source::Agent => self.agent_ended(),
            Source::Successor => self.successor_spoke(),
            Source::Usage => self.looked_at_usage(),
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
        if self.machine.is_settled() || self.machine.is_ending() {
            let reply = if self.machine.is_ending() {
                Reply::Refused {
                    code: 1,
                    message: "the pod is ending".to_owned(),
                }
            } else {
                Reply::Done
            };
            for client in self.restarters.drain(..) {
                control::answer(client, &reply);
            }
        }
    }

    fn perform(&mut self, action: &Action) -> Option<Event> {
        match action {
            Action::Start { container, attempt } => self.start_container(*container, *attempt),
            Action::Prepare { container } if self.reads_files(*container) => None,
            Action::Prepare { container } => {
                // What fails now fails again, and is told, when its turn has come.
                self.make_container(*container, 0).ok();
                None
            }
            Action::Signal { container, signal } => {
                self.signal(*container, *signal);
                None
            }
            Action::Kill { container } => {
                self.kill(*container);
                None
            }
            Action::Probe { run, probe } => self.probe(*run, *probe),
            Action::RunHook { run, hook } => self.run_hook(*run, *hook),
            Action::Record(event) => {
                self.note(event);
                None
            }
            Action::Finish => {
                self.finish();
                None
            }
        }
    }

    fn front_spoke(&mut self) {
        if !self.untold.is_empty() {
            self.tell_again();
        }
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
                    process::Reloadable::find().release();
                }
            }
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            self.has_lost_children |= number == libc::SIGCHLD;
            // A service manager's stop: the pod ends as when it is deleted, its record stays.
            if number == libc::SIGTERM || number == libc::SIGINT {
                self.step(Event::Delete {
                    grace_period_ms: None,
                });
            }
        }
    }
}

/// The time on the clock of the machine's timers, which goes on while the computer sleeps.
pub(super) fn now() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
    let milliseconds = u64::try_from(boot.tv_nsec / 1_000_000).unwrap_or_default();
    Now {
        monotonic_ms: seconds.saturating_mul(1000).saturating_add(milliseconds),
        wall: jiff::Timestamp::now(),
    }
}
