//! The forwarder between the host's ports and pods' addresses.
//!
//! Its listening sockets were opened in the host's network namespace, its connections are made in
//! the one it runs in; bytes go through `splice(2)` and are never copied here. A connection that
//! the other side refuses is reset, as that would do itself.
//!
//! A pod's published ports have a process of their own, which the supervisor has cloned; node ports
//! have a thread of the node agent.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, connect, recvfrom,
    sendto, socket_with,
};

use crate::net::endpoints::Endpoints;
use crate::net::stream::{
    AGENTS_LOOPS, EDGES, Pipes, Progress, Stream, block_broken_pipe, most_streams, reset, watch,
};
use crate::plan::Protocol;

/// The largest datagram (`udp(7)`).
const MAX_DATAGRAM: usize = 65_535;

/// Clients or datagrams of a listener before others have their turn.
const TURN: usize = 64;

const CONTROL: u64 = 0;

/// A port of the host with its open socket.
#[derive(Debug)]
pub struct Listener {
    /// It listens, or is bound, and does not block.
    pub socket: OwnedFd,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where its clients go.
    pub to: Endpoints,
}

/// Forwards until the lifeline ends. The caller has joined the pod's network namespace.
///
/// # Errors
/// As `epoll_create1(2)` and `epoll_wait(2)`; errors of single connections end those only.
pub fn run(listeners: Vec<Listener>, lifeline: BorrowedFd<'_>) -> io::Result<()> {
    let mut forwarder = Forwarder::new(lifeline, most_streams(1))?;
    for listener in listeners {
        forwarder.add(listener)?;
    }
    forwarder.run(|_| false)
}

/// Listeners, and the connections that came by them.
#[derive(Debug)]
pub struct Forwarder {
    epoll: OwnedFd,
    listeners: HashMap<u64, Listener>,
    connections: HashMap<u64, Connection>,
    /// The most connections at once, more are reset; and the most flows of datagrams.
    most: usize,
    /// What has more than a turn's worth, of which no event tells.
    again: HashSet<u64>,
    pipes: Pipes,
    /// Both ends of a connection are watched under tokens of their own.
    owner_of: HashMap<u64, u64>,
    datagrams: HashMap<u64, DatagramFlow>,
    flow_of: HashMap<(u64, SocketAddr), u64>,
    next_token: u64,
}

#[derive(Debug)]
struct DatagramFlow {
    listener: u64,
    client: SocketAddr,
    endpoint: SocketAddr,
    pod: OwnedFd,
}

#[derive(Debug)]
struct Connection {
    stream: Stream,
    tokens: [u64; 2],
}

impl Forwarder {
    /// One without listeners, in the node agent. The control is readable when [`Forwarder::run`] is
    /// to ask what is to be done.
    ///
    /// # Errors
    /// As `epoll_create1(2)` and `epoll_ctl(2)`.
    pub fn of_agent(control: BorrowedFd<'_>) -> io::Result<Self> {
        Self::new(control, most_streams(AGENTS_LOOPS))
    }

    fn new(control: BorrowedFd<'_>, most: usize) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(&epoll, control, CONTROL, epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            listeners: HashMap::new(),
            connections: HashMap::new(),
            most,
            again: HashSet::new(),
            pipes: Pipes::default(),
            owner_of: HashMap::new(),
            datagrams: HashMap::new(),
            flow_of: HashMap::new(),
            next_token: CONTROL,
        })
    }

    /// Takes a listener and returns its number.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    pub fn add(&mut self, listener: Listener) -> io::Result<u64> {
        let token = self.token();
        // An edge: without descriptors to accept with, a level would never fall.
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        watch(&self.epoll, &listener.socket, token, edge)?;
        self.listeners.insert(token, listener);
        Ok(token)
    }

    /// Closes a listener. Its connections go on; answers to datagrams would have come from its
    /// socket.
    pub fn remove(&mut self, listener: u64) {
        self.listeners.remove(&listener);
        self.end_flows(|flow| flow.listener == listener);
    }

    /// Where a listener's clients go from now on. Connections stay where they are; datagrams go
    /// no longer to an endpoint that is none any more.
    pub fn lead(&mut self, listener: u64, to: Endpoints) {
        self.end_flows(|flow| flow.listener == listener && !to.contains(flow.endpoint));
        if let Some(listener) = self.listeners.get_mut(&listener) {
            listener.to = to;
        }
    }

    fn end_flows(&mut self, is_over: impl Fn(&DatagramFlow) -> bool) {
        self.datagrams.retain(|_, flow| !is_over(flow));
        let alive = &self.datagrams;
        self.flow_of.retain(|_, token| alive.contains_key(token));
    }

    /// Forwards; `on_control` changes what there is to forward and says whether to go on.
    ///
    /// # Errors
    /// As `epoll_wait(2)`; errors of single connections end those only.
    pub fn run(mut self, mut on_control: impl FnMut(&mut Self) -> bool) -> io::Result<()> {
        block_broken_pipe()?;
        let mut events = Vec::with_capacity(64);
        loop {
            let now = Timespec::default();
            let timeout = (!self.again.is_empty()).then_some(&now);
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            // Those that wait for another turn come after those that had none.
            let waiting = std::mem::take(&mut self.again);
            for event in events.drain(..) {
                match event.data.u64() {
                    CONTROL if !on_control(&mut self) => return Ok(()),
                    CONTROL => {}
                    token => self.handle(token, event.flags),
                }
            }
            for token in waiting {
                self.handle(token, epoll::EventFlags::empty());
            }
        }
    }

    fn token(&mut self) -> u64 {
        self.next_token = self.next_token.wrapping_add(1);
        self.next_token
    }

    fn handle(&mut self, token: u64, event: epoll::EventFlags) {
        if let Some(listener) = self.listeners.get(&token) {
            match listener.protocol {
                Protocol::Tcp => self.accept(token),
                Protocol::Udp => self.datagrams_in(token),
            }
        } else if let Some(owner) = self.owner_of.get(&token).copied() {
            self.advance(owner, event);
        } else if self.datagrams.contains_key(&token) {
            self.datagrams_out(token);
        }
    }

    fn accept(&mut self, token: u64) {
        for _ in 0..TURN {
            let Some(listener) = self.listeners.get_mut(&token) else {
                return;
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let client = match accept_with(&listener.socket, flags) {
                Ok(client) => client,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(_) => return,
            };
            let peer = rustix::net::getpeername(&client).ok().flatten();
            let endpoint = peer
                .and_then(|peer| SocketAddr::try_from(peer).ok())
                .and_then(|peer| listener.to.choose(peer.ip()))
                .filter(|_| self.connections.len() < self.most);
            let begun = match endpoint {
                Some(endpoint) => self.connect(client, endpoint),
                None => Err(client),
            };
            if let Err(client) = begun {
                reset(&client);
            }
        }
        self.again.insert(token);
    }

    /// Starts a connection to an endpoint; gives the client back when that fails at once.
    fn connect(&mut self, client: OwnedFd, endpoint: SocketAddr) -> Result<(), OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(pod) = socket_with(family(endpoint), SocketType::STREAM, flags, None) else {
            return Err(client);
        };
        match connect(&pod, &endpoint) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(_) => return Err(client),
        }
        let tokens = [self.token(), self.token()];
        let [owner, other] = tokens;
        if watch(&self.epoll, &client, owner, EDGES).is_err()
            || watch(&self.epoll, &pod, other, EDGES).is_err()
        {
            return Err(client);
        }
        self.owner_of.insert(owner, owner);
        self.owner_of.insert(other, owner);
        let stream = Stream::new(client, pod);
        self.connections
            .insert(owner, Connection { stream, tokens });
        Ok(())
    }

    fn advance(&mut self, owner: u64, event: epoll::EventFlags) {
        let Some(connection) = self.connections.get_mut(&owner) else {
            return;
        };
        match connection.stream.advance(event, &mut self.pipes) {
            Progress::Waits => {}
            Progress::HasMore => {
                self.again.insert(owner);
            }
            Progress::Ended => self.end(owner, false),
            Progress::Failed => self.end(owner, true),
        }
    }

    fn end(&mut self, owner: u64, abort: bool) {
        if let Some(connection) = self.connections.remove(&owner) {
            for token in connection.tokens {
                self.owner_of.remove(&token);
            }
            if abort {
                connection.stream.reset();
            }
        }
    }

    fn datagrams_in(&mut self, token: u64) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        for _ in 0..TURN {
            let Some(listener) = self.listeners.get(&token) else {
                return;
            };
            let Ok((_, bytes, Some(client))) =
                recvfrom(&listener.socket, &mut buffer[..], RecvFlags::DONTWAIT)
            else {
                return;
            };
            let Ok(client) = SocketAddr::try_from(client) else {
                continue;
            };
            let Some(flow) = self.flow(token, client) else {
                continue;
            };
            if let (Some(flow), Some(datagram)) = (self.datagrams.get(&flow), buffer.get(..bytes)) {
                rustix::net::send(&flow.pod, datagram, SendFlags::DONTWAIT).ok();
            }
        }
        self.again.insert(token);
    }

    /// The socket that stands for one client.
    fn flow(&mut self, listener: u64, client: SocketAddr) -> Option<u64> {
        if let Some(token) = self.flow_of.get(&(listener, client)) {
            return Some(*token);
        }
        if self.datagrams.len() >= self.most {
            // The oldest has the smallest token.
            let oldest = self.datagrams.keys().min().copied()?;
            if let Some(flow) = self.datagrams.remove(&oldest) {
                self.flow_of.remove(&(flow.listener, flow.client));
            }
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let to = &mut self.listeners.get_mut(&listener)?.to;
        let endpoint = to.choose(client.ip())?;
        let pod = socket_with(family(endpoint), SocketType::DGRAM, flags, None).ok()?;
        connect(&pod, &endpoint).ok()?;
        let token = self.token();
        watch(&self.epoll, &pod, token, epoll::EventFlags::IN).ok()?;
        self.flow_of.insert((listener, client), token);
        self.datagrams.insert(
            token,
            DatagramFlow {
                listener,
                client,
                endpoint,
                pod,
            },
        );
        Some(token)
    }

    fn datagrams_out(&mut self, token: u64) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        // By level: what is left is told again.
        for _ in 0..TURN {
            let Some(flow) = self.datagrams.get(&token) else {
                return;
            };
            let Ok((bytes, _)) = rustix::net::recv(&flow.pod, &mut buffer[..], RecvFlags::DONTWAIT)
            else {
                return;
            };
            if let (Some(listener), Some(datagram)) =
                (self.listeners.get(&flow.listener), buffer.get(..bytes))
            {
                sendto(
                    &listener.socket,
                    datagram,
                    SendFlags::DONTWAIT,
                    &flow.client,
                )
                .ok();
            }
        }
    }
}

fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}
