//! The forwarder: a process of its own between the host's published ports and the pod's address.
//!
//! Its listening sockets were opened in the host's network namespace, its connections are made in
//! the pod's; bytes go through `splice(2)` and are never copied here. A connection the pod refuses
//! is reset, as the pod itself would do.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, connect, recvfrom,
    sendto, socket_with,
};

use crate::net::stream::{EDGES, Pipes, Progress, Stream, block_broken_pipe, reset, watch};
use crate::plan::{Protocol, PublishedPort};

/// The most connections or datagram flows at once; more are reset or dropped.
const MAX_FLOWS: usize = 8192;

/// The largest datagram (`udp(7)`).
const MAX_DATAGRAM: usize = 65_535;

const LIFELINE: u64 = 0;

/// One published port with its open socket.
#[derive(Debug)]
pub struct Listener {
    /// The host's socket, listening or bound.
    pub socket: OwnedFd,
    /// What it is published for.
    pub port: PublishedPort,
}

/// Forwards until the lifeline ends. The caller has joined the pod's network namespace.
///
/// # Errors
/// As `epoll_create1(2)` and `epoll_wait(2)`; errors of single connections end those only.
pub fn run(listeners: Vec<Listener>, target: Ipv4Addr, lifeline: BorrowedFd<'_>) -> io::Result<()> {
    block_broken_pipe()?;
    let mut forwarder = Forwarder::new(listeners, target, lifeline)?;
    let mut events = Vec::with_capacity(64);
    loop {
        match epoll::wait(&forwarder.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in events.drain(..) {
            let token = event.data.u64();
            if token == LIFELINE {
                return Ok(());
            }
            forwarder.handle(token, event.flags);
        }
    }
}

struct Forwarder {
    epoll: OwnedFd,
    target: Ipv4Addr,
    listeners: HashMap<u64, Listener>,
    connections: HashMap<u64, Connection>,
    pipes: Pipes,
    /// Both ends of a connection are watched under tokens of their own.
    owner_of: HashMap<u64, u64>,
    datagrams: HashMap<u64, DatagramFlow>,
    flow_of: HashMap<(u64, SocketAddr), u64>,
    next_token: u64,
}

struct DatagramFlow {
    listener: u64,
    client: SocketAddr,
    pod: OwnedFd,
}

struct Connection {
    stream: Stream,
    tokens: [u64; 2],
}

impl Forwarder {
    fn new(
        listeners: Vec<Listener>,
        target: Ipv4Addr,
        lifeline: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(&epoll, lifeline, LIFELINE, epoll::EventFlags::IN)?;
        let mut forwarder = Self {
            epoll,
            target,
            listeners: HashMap::new(),
            connections: HashMap::new(),
            pipes: Pipes::default(),
            owner_of: HashMap::new(),
            datagrams: HashMap::new(),
            flow_of: HashMap::new(),
            next_token: LIFELINE,
        };
        for listener in listeners {
            let token = forwarder.token();
            let readable = epoll::EventFlags::IN;
            watch(&forwarder.epoll, &listener.socket, token, readable)?;
            forwarder.listeners.insert(token, listener);
        }
        Ok(forwarder)
    }

    fn token(&mut self) -> u64 {
        self.next_token = self.next_token.wrapping_add(1);
        self.next_token
    }

    fn handle(&mut self, token: u64, event: epoll::EventFlags) {
        if let Some(listener) = self.listeners.get(&token) {
            match listener.port.protocol {
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
        loop {
            let Some(listener) = self.listeners.get(&token) else {
                return;
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // Out of descriptors or gone again: the next event tries anew.
            let Ok(client) = accept_with(&listener.socket, flags) else {
                return;
            };
            let port = listener.port.container_port;
            if self.connections.len() >= MAX_FLOWS {
                reset(&client);
                continue;
            }
            if let Err(client) = self.connect(client, port) {
                reset(&client);
            }
        }
    }

    /// Starts a connection to the pod; gives the client back when that fails at once.
    fn connect(&mut self, client: OwnedFd, port: u16) -> Result<(), OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(pod) = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None) else {
            return Err(client);
        };
        match connect(&pod, &SocketAddrV4::new(self.target, port)) {
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
        loop {
            match connection.stream.advance(event, &mut self.pipes) {
                Progress::Waits => return,
                Progress::HasMore => {}
                Progress::Ended => return self.end(owner, false),
                Progress::Failed => return self.end(owner, true),
            }
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
        loop {
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
            let port = listener.port.container_port;
            let Some(flow) = self.flow(token, client, port) else {
                continue;
            };
            if let (Some(flow), Some(datagram)) = (self.datagrams.get(&flow), buffer.get(..bytes)) {
                rustix::net::send(&flow.pod, datagram, SendFlags::DONTWAIT).ok();
            }
        }
    }

    /// The socket in the pod's namespace that stands for one client.
    fn flow(&mut self, listener: u64, client: SocketAddr, port: u16) -> Option<u64> {
        if let Some(token) = self.flow_of.get(&(listener, client)) {
            return Some(*token);
        }
        if self.datagrams.len() >= MAX_FLOWS {
            // The oldest has the smallest token.
            let oldest = self.datagrams.keys().min().copied()?;
            if let Some(flow) = self.datagrams.remove(&oldest) {
                self.flow_of.remove(&(flow.listener, flow.client));
            }
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let pod = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None).ok()?;
        connect(&pod, &SocketAddrV4::new(self.target, port)).ok()?;
        let token = self.token();
        watch(&self.epoll, &pod, token, epoll::EventFlags::IN).ok()?;
        self.flow_of.insert((listener, client), token);
        self.datagrams.insert(
            token,
            DatagramFlow {
                listener,
                client,
                pod,
            },
        );
        Some(token)
    }

    fn datagrams_out(&mut self, token: u64) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        while let Some(flow) = self.datagrams.get(&token) {
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
