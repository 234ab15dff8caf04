//! `port-forward`: connections to the machine's own listeners are carried on to the loopback of a
//! pod, as the kubelet does it. A server that listens on the pod's `localhost` only is reached.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, connect, getpeername, sockopt};
use rustix::time::Timespec;

use crate::net::pod_sockets::PodSockets;
use crate::net::stream::{
    EDGES, Pipes, Progress, Stream, block_broken_pipe, most_streams, reset, watch,
};

/// Connections accepted before others have their turn.
const TURN: usize = 64;

/// Events taken at once.
const EVENTS: usize = 256;

/// Where a pod's server may listen, in the order in which it is looked for.
const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SECOND: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// The numbers of the two events that end all; listeners follow, then connections.
const POD: u64 = 0;
const STOP: u64 = 1;

/// A port of the machine that leads to one of the pod.
#[derive(Debug)]
pub struct Listener {
    /// Listening, and not blocking.
    pub socket: OwnedFd,
    /// Which ports it is for.
    pub ports: Ports,
}

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The machine's port.
    pub local: u16,
    /// The pod's port.
    pub remote: u16,
}

/// What there is to tell of a connection.
#[derive(Debug)]
pub enum News {
    /// It was accepted.
    Accepted(Ports),
    /// It leads nowhere and was reset.
    Failed(Ports, io::Error),
}

/// Why there is no more forwarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The other side of the pod's sockets has ended.
    Pod,
    /// The caller's descriptor was ready.
    Stopped,
}

/// Forwards until the pod's side of `pod` ends, or `stop` is readable.
///
/// # Errors
/// As `epoll_create1(2)`, `epoll_ctl(2)` and `epoll_wait(2)`; a connection's own errors are news.
pub fn run(
    listeners: Vec<Listener>,
    pod: &PodSockets,
    stop: BorrowedFd<'_>,
    tell: &mut dyn FnMut(News),
) -> io::Result<Ended> {
    block_broken_pipe()?;
    let mut forward = Forward::new(listeners, pod, tell)?;
    watch(&forward.epoll, stop, STOP, EventFlags::IN)?;
    loop {
        if let Some(ended) = forward.turn()? {
            return Ok(ended);
        }
    }
}

struct Forward<'a> {
    epoll: OwnedFd,
    pod: &'a PodSockets,
    tell: &'a mut dyn FnMut(News),
    listeners: HashMap<u64, Listener>,
    connecting: HashMap<u64, Attempt>,
    /// Both ends of a connection have one number.
    open: HashMap<u64, Stream>,
    pipes: Pipes,
    /// Those that have more to do than a turn's worth; no event will tell.
    again: HashSet<u64>,
    /// The most connections at once; more are reset.
    most: usize,
    last: u64,
}

/// A connection to the pod that is being made.
struct Attempt {
    accepted: OwnedFd,
    made: OwnedFd,
    ports: Ports,
    address: IpAddr,
}

impl<'a> Forward<'a> {
    fn new(
        listeners: Vec<Listener>,
        pod: &'a PodSockets,
        tell: &'a mut dyn FnMut(News),
    ) -> io::Result<Self> {
        let mut forward = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            pod,
            tell,
            listeners: HashMap::new(),
            connecting: HashMap::new(),
            open: HashMap::new(),
            pipes: Pipes::default(),
            again: HashSet::new(),
            most: most_streams(1),
            last: STOP,
        };
        // It says nothing unasked, but for its end.
        watch(&forward.epoll, pod, POD, EventFlags::IN)?;
        for listener in listeners {
            let token = forward.token();
            // An edge: without descriptors to accept with, a level would never fall.
            let edge = EventFlags::IN | EventFlags::ET;
            watch(&forward.epoll, &listener.socket, token, edge)?;
            forward.listeners.insert(token, listener);
        }
        Ok(forward)
    }

    fn token(&mut self) -> u64 {
        self.last = self.last.wrapping_add(1);
        self.last
    }

    /// Does what there is to do; returns why there will be no more.
    fn turn(&mut self) -> io::Result<Option<Ended>> {
        let at_once = Timespec::default();
        let timeout = (!self.again.is_empty()).then_some(&at_once);
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        // Those that wait for another turn come after those that had none.
        let waiting = std::mem::take(&mut self.again);
        for event in &events {
            match event.data.u64() {
                POD => return Ok(Some(Ended::Pod)),
                STOP => return Ok(Some(Ended::Stopped)),
                token => self.handle(token, event.flags),
            }
        }
        for token in waiting {
            self.handle(token, EventFlags::empty());
        }
        Ok(None)
    }

    fn handle(&mut self, token: u64, event: EventFlags) {
        if self.open.contains_key(&token) {
            self.advance(token, event);
        } else if self.connecting.contains_key(&token) {
            self.look_at(token);
        } else {
            self.accept(token);
        }
    }

    /// Accepts a turn's worth of connections.
    fn accept(&mut self, token: u64) {
        for _ in 0..TURN {
            let Some(listener) = self.listeners.get(&token) else {
                return;
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match accept_with(&listener.socket, flags) {
                Ok(accepted) => {
                    let ports = listener.ports;
                    (self.tell)(News::Accepted(ports));
                    if self.open.len().saturating_add(self.connecting.len()) < self.most {
                        self.attempt(accepted, ports, FIRST);
                    } else {
                        let many = format!("there are {} connections already", self.most);
                        self.fail(&accepted, ports, io::Error::other(many));
                    }
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => return,
            }
        }
        self.again.insert(token);
    }

    /// Begins the connection to the pod.
    fn attempt(&mut self, accepted: OwnedFd, ports: Ports, address: IpAddr) {
        match self.begin(ports, address) {
            Ok((token, made)) => {
                let attempt = Attempt {
                    accepted,
                    made,
                    ports,
                    address,
                };
                self.connecting.insert(token, attempt);
            }
            Err(error) => self.refused(accepted, ports, address, error),
        }
    }

    fn begin(&mut self, ports: Ports, address: IpAddr) -> io::Result<(u64, OwnedFd)> {
        let made = self.pod.make(address)?;
        match connect(&made, &SocketAddr::new(address, ports.remote)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let token = self.token();
        watch(&self.epoll, &made, token, EDGES)?;
        Ok((token, made))
    }

    /// A connection to the pod is made, or is not.
    fn look_at(&mut self, token: u64) {
        let Some(attempt) = self.connecting.get(&token) else {
            return;
        };
        match outcome(&attempt.made) {
            Ok(false) => {}
            Ok(true) => {
                if let Some(attempt) = self.connecting.remove(&token) {
                    self.join(token, attempt);
                }
            }
            Err(errno) => {
                if let Some(attempt) = self.connecting.remove(&token) {
                    let Attempt {
                        accepted,
                        ports,
                        address,
                        ..
                    } = attempt;
                    self.refused(accepted, ports, address, errno.into());
                }
            }
        }
    }

    /// Looks at the other address, if there is one.
    fn refused(&mut self, accepted: OwnedFd, ports: Ports, address: IpAddr, error: io::Error) {
        let is_refused = error.kind() == io::ErrorKind::ConnectionRefused;
        if is_refused && address == FIRST {
            return self.attempt(accepted, ports, SECOND);
        }
        // Where there is no second address, the first one's answer stands.
        let is_missing = matches!(
            error.raw_os_error(),
            Some(libc::EADDRNOTAVAIL | libc::ENETUNREACH | libc::EAFNOSUPPORT)
        );
        let error = if address == SECOND && is_missing {
            Errno::CONNREFUSED.into()
        } else {
            error
        };
        self.fail(&accepted, ports, error);
    }

    fn fail(&mut self, accepted: &OwnedFd, ports: Ports, error: io::Error) {
        reset(accepted);
        (self.tell)(News::Failed(ports, error));
    }

    fn join(&mut self, token: u64, attempt: Attempt) {
        let Attempt {
            accepted,
            made,
            ports,
            ..
        } = attempt;
        let stream = Stream::new(accepted, made);
        if let Err(error) = watch(&self.epoll, stream.accepted(), token, EDGES) {
            stream.reset();
            (self.tell)(News::Failed(ports, error));
            return;
        }
        self.open.insert(token, stream);
        self.advance(token, EventFlags::empty());
    }

    fn advance(&mut self, token: u64, event: EventFlags) {
        let Some(stream) = self.open.get_mut(&token) else {
            return;
        };
        match stream.advance(event, &mut self.pipes) {
            Progress::Waits => {}
            Progress::HasMore => {
                self.again.insert(token);
            }
            Progress::Ended => {
                self.open.remove(&token);
            }
            Progress::Failed => {
                if let Some(stream) = self.open.remove(&token) {
                    stream.reset();
                }
            }
        }
    }
}

/// Whether a connection is made; false while it is being made.
fn outcome(made: &OwnedFd) -> Result<bool, Errno> {
    sockopt::socket_error(made)??;
    match getpeername(made) {
        Ok(peer) => Ok(peer.is_some()),
        Err(Errno::NOTCONN) => Ok(false),
        Err(errno) => Err(errno),
    }
}
