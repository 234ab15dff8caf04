//! The node agent, `podrun __node`: one process for all pods of a user, there as long as one of
//! them uses the network.
//!
//! It makes the network namespace with the bridge, hands it to supervisors, and serves what the
//! pods find at the gateway's address. The kernel forwards between pods, so they lose nothing of
//! that when the agent dies; the supervisor that sees its end first starts another one in the same
//! namespace.
//!
//! The agent itself stays in the host's network namespace, from which a rootless process could not
//! come back: whatever belongs into the pods' is opened there by a thread.

mod network;
mod ports;
mod world;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, sockopt};

use crate::node::network::Network;
use crate::node::world::World;
use crate::runtime::spawn::HERE;
use crate::runtime::{node, resident};
use crate::stage::user_namespace;
use crate::store::Store;
use crate::sys::process::{self, Reloadable, SingleThread};
use crate::sys::{seqpacket, signal};
use crate::wire::{self, Begin, FromNode, IdSpace, ToNode};

/// Until an agent that nobody needs, but whose lock another process holds, looks again.
const PATIENCE: Duration = Duration::from_millis(100);

/// Changes of the store within this time are read together: a pod's start writes several.
const TOGETHER: Duration = Duration::from_millis(10);

/// Without work for this long it lets go of the memory that it can have back.
const REST: Duration = Duration::from_millis(100);

/// After the kernel has refused to forward as the store says.
const AGAIN: Duration = Duration::from_secs(1);

/// Longest message of a client.
const MAX_MESSAGE: usize = 16 * 1024;

const LISTENER: u64 = 0;
const WORLD: u64 = 1;
const RESOLVER: u64 = 2;
const FIRST_CLIENT: u64 = 16;

/// Runs the agent; its standard input is the socket of who started it.
pub fn run(mode: &str) -> u8 {
    let Ok(starter) = process::inherited(0) else {
        return 125;
    };
    let mut agent = match Agent::begin(mode, &starter) {
        Ok(agent) => agent,
        Err(message) => {
            say(&starter, &FromNode::Failed { message }, &[]);
            return 125;
        }
    };
    say(&starter, &FromNode::Ready, &[]);
    drop(starter);
    u8::from(agent.serve().is_err())
}

fn say(socket: &OwnedFd, message: &FromNode, descriptors: &[BorrowedFd<'_>]) {
    if let Ok(bytes) = wire::encode(message) {
        // A client that does not read is no reason to wait.
        seqpacket::send(socket, &bytes, descriptors, SendFlags::DONTWAIT).ok();
    }
}

struct Agent {
    epoll: OwnedFd,
    listener: OwnedFd,
    runtime_dir: OwnedFd,
    network: Network,
    world: World,
    /// When what has changed in the store is read.
    read_at: Option<Instant>,
    /// The user and mount namespace it is in.
    users: OwnedFd,
    mounts: OwnedFd,
    /// Who uses the network, or is about to.
    clients: HashMap<u64, OwnedFd>,
    next: u64,
}

impl Agent {
    fn begin(mode: &str, starter: &OwnedFd) -> Result<Self, String> {
        let told = |error: io::Error| format!("the node agent: {error}");
        enter(mode, starter)?;
        become_agent().map_err(told)?;
        let (begin, runtime_dir, pods) = receive(starter)?;
        let network = Network::open(pods)?;
        let open = || -> io::Result<_> {
            let listener = node::open(runtime_dir.as_fd())?;
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            watch(&epoll, &listener, LISTENER)?;
            watch(&epoll, &network.resolver, RESOLVER)?;
            let store = Store::of(begin.runtime, begin.state, begin.data);
            let world = World::watch(store)?;
            watch(&epoll, &world, WORLD)?;
            Ok((listener, epoll, world))
        };
        let (listener, epoll, world) = open().map_err(told)?;
        Ok(Self {
            epoll,
            listener,
            runtime_dir,
            network,
            world,
            read_at: Some(Instant::now()),
            users: namespace("user").map_err(told)?,
            mounts: namespace("mnt").map_err(told)?,
            clients: HashMap::new(),
            next: FIRST_CLIENT,
        })
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(64);
        let mut look_again = Some(Instant::now());
        let memory = Reloadable::find();
        let mut rest_at = None;
        loop {
            let resolver = self.network.resolver.deadline();
            let deadlines = [resolver, self.read_at, look_again, rest_at];
            let next = deadlines.into_iter().flatten().min();
            let timeout = next.map(|at| timespec(at.saturating_duration_since(Instant::now())));
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let now = Instant::now();
            if rest_at.is_some_and(|at| at <= now) && events.is_empty() {
                memory.release();
                rest_at = None;
            } else if !events.is_empty() {
                rest_at = now.checked_add(REST);
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    RESOLVER => {}
                    WORLD => {
                        if self.world.take_events() {
                            self.read_soon(now);
                        }
                    }
                    client => self.hear(client, now),
                }
            }
            self.network.resolver.ready(now)?;
            if self.read_at.is_some_and(|at| at <= now) {
                self.read(now);
            }
            look_again = None;
            if self.clients.is_empty() {
                if self.ends()? {
                    return Ok(());
                }
                look_again = now.checked_add(PATIENCE);
            }
        }
    }

    /// Reads what has changed, and serves by it.
    fn read(&mut self, now: Instant) {
        self.read_at = None;
        let view = self.world.refresh();
        if self.network.show(view).is_err() {
            // What was shown before stays: better than no agent. A node port may be free by then.
            self.read_at = now.checked_add(AGAIN);
        }
    }

    fn read_soon(&mut self, now: Instant) {
        self.read_at = self.read_at.or_else(|| now.checked_add(TOGETHER));
    }

    fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(client) = accept_with(&self.listener, flags) {
            let peer = sockopt::socket_peercred(&client);
            if peer.is_ok_and(|peer| peer.uid == rustix::process::geteuid()) {
                watch(&self.epoll, &client, self.next)?;
                self.clients.insert(self.next, client);
                self.next = self.next.wrapping_add(1).max(FIRST_CLIENT);
            }
        }
        Ok(())
    }

    fn hear(&mut self, number: u64, now: Instant) {
        let Some(client) = self.clients.get(&number) else {
            return;
        };
        let mut buffer = [0; MAX_MESSAGE];
        match seqpacket::receive(client, &mut buffer, RecvFlags::DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok((length, _)) if length > 0 => {
                match wire::decode(buffer.get(..length).unwrap_or_default()) {
                    Ok(ToNode::Join) => self.join(client),
                    Ok(ToNode::HasPort { protocol, port }) => {
                        self.world.take_events();
                        self.read(now);
                        let is_open = self.network.has_port(protocol, port);
                        if let Some(client) = self.clients.get(&number) {
                            say(client, &FromNode::Port { is_open }, &[]);
                        }
                    }
                    Ok(ToNode::Begin(_)) | Err(_) => {
                        self.clients.remove(&number);
                    }
                }
            }
            Ok(_) | Err(_) => {
                self.clients.remove(&number);
                // A supervisor that was killed writes nothing.
                self.world.all_pods_stale();
                self.read_soon(now);
            }
        }
    }

    fn join(&self, client: &OwnedFd) {
        let route = match self.network.open_route() {
            Ok(route) => route,
            Err(error) => {
                let message = format!("the node agent: a routing socket: {error}");
                say(client, &FromNode::Failed { message }, &[]);
                return;
            }
        };
        let descriptors = [
            self.users.as_fd(),
            self.mounts.as_fd(),
            self.network.namespace(),
            route.as_fd(),
        ];
        let joined = FromNode::Joined {
            bridge: self.network.bridge(),
            unruled: self.network.unruled(),
        };
        say(client, &joined, &descriptors);
    }

    /// Whether it has ended: nobody is connected, and nobody is about to be, because who starts an
    /// agent holds the lock until it has joined.
    fn ends(&mut self) -> io::Result<bool> {
        let lock = node::lock(self.runtime_dir.as_fd())?;
        if lock.try_lock().is_err() {
            return Ok(false);
        }
        self.accept()?;
        if !self.clients.is_empty() {
            return Ok(false);
        }
        node::remove(self.runtime_dir.as_fd());
        Ok(true)
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

fn watch(epoll: &OwnedFd, what: impl AsFd, token: u64) -> io::Result<()> {
    let data = epoll::EventData::new_u64(token);
    Ok(epoll::add(epoll, what, data, epoll::EventFlags::IN)?)
}

/// Enters the namespaces of the mode; an agent that is started again is where it belongs.
fn enter(mode: &str, starter: &OwnedFd) -> Result<(), String> {
    let told = |error: io::Error| format!("the node agent: {error}");
    // What the caller has left open would stay open as long as pods live.
    process::close_all_but(&[starter.as_fd()]).map_err(told)?;
    // Out of the terminal's foreground group: an interrupt is for the command that has it.
    rustix::process::setsid().ok();
    if mode == HERE {
        return Ok(());
    }
    let proof = SingleThread::prove().map_err(told)?;
    let ids = IdSpace::from_word(mode).ok_or("this is podrun's own command")?;
    if ids == IdSpace::Machine {
        return Ok(());
    }
    user_namespace::enter(&proof, ids, starter)?;
    let propagation = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", propagation).map_err(|errno| told(errno.into()))
}

fn become_agent() -> io::Result<()> {
    resident::settle()?;
    rustix::thread::set_name(c"podrun-node")?;
    signal::reset_all()
}

/// What it is for, the runtime directory, and the network namespace of pods that run.
fn receive(starter: &OwnedFd) -> Result<(Begin, OwnedFd, Option<OwnedFd>), String> {
    let mut buffer = [0; MAX_MESSAGE];
    let (length, descriptors) = seqpacket::receive(starter, &mut buffer, RecvFlags::empty())
        .map_err(|error| format!("the node agent: {error}"))?;
    let begin = match wire::decode(buffer.get(..length).unwrap_or_default()) {
        Ok(ToNode::Begin(begin)) => *begin,
        Ok(ToNode::Join | ToNode::HasPort { .. }) => {
            return Err("the node agent: nothing to begin with".to_owned());
        }
        Err(error) => return Err(format!("the node agent: {error}")),
    };
    let mut descriptors = descriptors.into_iter();
    let runtime_dir = descriptors
        .next()
        .ok_or("the node agent: descriptors are missing")?;
    Ok((begin, runtime_dir, descriptors.next()))
}

/// One of this process' namespaces.
fn namespace(kind: &str) -> io::Result<OwnedFd> {
    let file = File::open(format!("/proc/self/ns/{kind}"))?;
    Ok(file.into())
}
