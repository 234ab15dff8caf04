//! TCP: redirected connections and the connections made for them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, connect, getpeername, socket_with, sockopt,
};

use super::sockets::Pair;
use super::{Family, Reach, Token};
use crate::net::nft::{Fate, Flow, Queue};
use crate::net::stream::{EDGES, Pipes, Progress, Stream, reset, watch};
use crate::plan::Protocol;

/// Connections accepted before others have their turn.
const TURN: usize = 64;

/// A pod's end of a connection vanishes with its namespace and says nothing: after this much
/// silence it is asked.
const SILENCE: Duration = Duration::from_mins(1);

/// Between two questions, and how many stay without an answer.
const ASK_EVERY: Duration = Duration::from_secs(10);
const ASK: u32 = 3;

/// A pod that has given up does not come for its connection.
const COMES: Duration = Duration::from_secs(10);

/// A connection that is being made while the pod's first packet waits.
#[derive(Debug)]
struct Asked {
    packet: u32,
    flow: Flow,
    made: OwnedFd,
}

#[derive(Debug)]
pub(super) struct Streams {
    listeners: Pair,
    queue: Option<Queue>,
    asked: HashMap<u64, Asked>,
    /// The numbers of those that are asked for: a pod asks again and again.
    asking: HashMap<Flow, u64>,
    /// What the outside has taken, until the pod comes for it.
    taken: HashMap<Flow, (OwnedFd, Instant)>,
    /// With whose they are.
    open: HashMap<u64, (IpAddr, Stream)>,
    pipes: Pipes,
    reach: Reach,
    most: usize,
    last: u64,
}

impl Streams {
    pub(super) fn new(
        epoll: &OwnedFd,
        listeners: Pair,
        queue: Option<Queue>,
        reach: Reach,
        most: usize,
    ) -> io::Result<Self> {
        if let Some(queue) = &queue {
            watch(epoll, queue, Token::Queue.number(), EventFlags::IN)?;
        }
        for (family, listener) in &listeners {
            // An edge: without descriptors to accept with, a level would never fall.
            let edge = EventFlags::IN | EventFlags::ET;
            watch(epoll, listener, Token::Listener(*family).number(), edge)?;
        }
        Ok(Self {
            listeners,
            queue,
            asked: HashMap::new(),
            asking: HashMap::new(),
            taken: HashMap::new(),
            open: HashMap::new(),
            pipes: Pipes::default(),
            reach,
            most,
            last: 0,
        })
    }

    /// Accepts a turn's worth of connections; returns whether there may be more.
    pub(super) fn accept(&mut self, epoll: &OwnedFd, family: Family) -> bool {
        for _ in 0..TURN {
            let mut listeners = self.listeners.iter();
            let Some((_, listener)) = listeners.find(|(of, _)| *of == family) else {
                return false;
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match accept_with(listener, flags) {
                Ok(accepted) => self.carry_on(epoll, family, accepted),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Begins a turn's worth of connections that pods want; returns whether there may be more.
    pub(super) fn ask(&mut self, epoll: &OwnedFd) -> bool {
        for _ in 0..TURN {
            let Some(waiting) = self.queue.as_ref().and_then(Queue::next) else {
                return false;
            };
            let Some(flow) = waiting.flow else {
                self.decide(waiting.id, Fate::Go);
                continue;
            };
            if self.taken.contains_key(&flow) {
                self.decide(waiting.id, Fate::Go);
            } else if self.asking.contains_key(&flow) {
                // The packet of before still waits.
                self.decide(waiting.id, Fate::Lost);
            } else if let Err(fate) = self.begin(epoll, waiting.id, flow) {
                self.decide(waiting.id, fate);
            }
        }
        true
    }

    fn begin(&mut self, epoll: &OwnedFd, packet: u32, flow: Flow) -> Result<(), Fate> {
        let pod = flow.client.ip();
        if !self.reach.allows(flow.destination) || !self.has_room(pod) {
            return Err(Fate::Refused);
        }
        // An outside that does not answer is waited for as long as the kernel's patience lasts: with
        // as many of those as one pod likes, others would have none.
        let share = self.most / 8;
        let is_pods = |asked: &&Asked| asked.flow.client.ip() == pod;
        if self.asked.len() >= share && self.asked.values().filter(is_pods).count() >= share {
            return Err(Fate::Lost);
        }
        let lost = |errno| fate_of(errno, flow.destination);
        let made = begin(flow.destination).map_err(lost)?;
        self.last = self.last.wrapping_add(1);
        let token = Token::Asked(self.last).number();
        watch(epoll, &made, token, EventFlags::OUT).map_err(|_| Fate::Lost)?;
        self.asking.insert(flow, self.last);
        let asked = Asked { packet, flow, made };
        self.asked.insert(self.last, asked);
        Ok(())
    }

    /// The outside has taken a connection, or not.
    pub(super) fn answered(&mut self, epoll: &OwnedFd, number: u64) {
        let Some(asked) = self.asked.remove(&number) else {
            return;
        };
        self.asking.remove(&asked.flow);
        let result = match sockopt::socket_error(&asked.made) {
            Ok(result) => result,
            Err(errno) => Err(errno),
        };
        // It is watched as a stream's from then on.
        rustix::event::epoll::delete(epoll, &asked.made).ok();
        let fate = match result {
            Ok(()) => {
                let taken = (asked.made, Instant::now());
                self.taken.insert(asked.flow, taken);
                Fate::Go
            }
            Err(errno) => fate_of(errno, asked.flow.destination),
        };
        self.decide(asked.packet, fate);
    }

    fn decide(&self, packet: u32, fate: Fate) {
        if let Some(queue) = &self.queue {
            // A packet that is gone needs no verdict.
            queue.decide(packet, fate).ok();
        }
    }

    /// Whether nothing waits for a pod to come.
    pub(super) fn waits_for_none(&self) -> bool {
        self.taken.is_empty()
    }

    /// Lets go of what no pod came for.
    pub(super) fn sweep(&mut self) {
        self.taken.retain(|_, (_, since)| since.elapsed() < COMES);
    }

    /// One that was taken for the same pod and destination, of which none has carried a byte. The
    /// kernel gives a client another port where its own would be at the listener twice.
    fn taken_for(&mut self, flow: Flow) -> Option<(OwnedFd, Instant)> {
        let is_like =
            |it: &&Flow| it.client.ip() == flow.client.ip() && it.destination == flow.destination;
        let like = self.taken.keys().find(is_like).copied()?;
        self.taken.remove(&like)
    }

    /// The connection to where the pod meant to connect: the one that was made while it waited.
    fn made_for(&mut self, family: Family, accepted: &OwnedFd) -> Result<(IpAddr, OwnedFd), Errno> {
        let refused = Errno::CONNREFUSED;
        let destination = destination_of(family, accepted).map_err(|_| refused)?;
        let client = getpeername(accepted)?.ok_or(refused)?;
        let client = SocketAddr::try_from(client)?;
        let flow = Flow {
            client,
            destination,
        };
        if let Some((made, _)) = self.taken.remove(&flow).or_else(|| self.taken_for(flow)) {
            return Ok((client.ip(), made));
        }
        let reach = &self.reach;
        let destination = reach.destination(Protocol::Tcp, destination, client.ip());
        let destination = destination.filter(|_| self.has_room(client.ip()));
        Ok((client.ip(), begin(destination.ok_or(refused)?)?))
    }

    /// Carries a pod's connection on, or resets it.
    fn carry_on(&mut self, epoll: &OwnedFd, family: Family, accepted: OwnedFd) {
        let made = self.made_for(family, &accepted);
        let Ok((client, made)) = made else {
            reset(accepted);
            return;
        };
        sockopt::set_socket_keepalive(&accepted, true).ok();
        sockopt::set_tcp_keepidle(&accepted, SILENCE).ok();
        sockopt::set_tcp_keepintvl(&accepted, ASK_EVERY).ok();
        sockopt::set_tcp_keepcnt(&accepted, ASK).ok();
        self.last = self.last.wrapping_add(1);
        let stream = Stream::new(accepted, made);
        let token = Token::Stream(self.last).number();
        // Both ends have one number: whichever is ready, both directions are looked at.
        if watch(epoll, stream.accepted(), token, EDGES).is_err()
            || watch(epoll, stream.made(), token, EDGES).is_err()
        {
            stream.reset();
            return;
        }
        self.open.insert(self.last, (client, stream));
    }

    /// Whether a pod may have one more: it has at most half of all, so that others have some left.
    fn has_room(&self, pod: IpAddr) -> bool {
        let asked = self.asked.values().map(|asked| asked.flow.client.ip());
        let taken = self.taken.keys().map(|flow| flow.client.ip());
        let open = self.open.values().map(|(client, _)| *client);
        let all = [self.open.len(), self.asked.len(), self.taken.len()];
        let all = all.iter().sum::<usize>();
        // They are counted only when it may matter.
        let half = self.most / 2;
        all < self.most
            && (all < half
                || open
                    .chain(asked)
                    .chain(taken)
                    .filter(|it| *it == pod)
                    .count()
                    < half)
    }

    /// Moves a stream's bytes; returns whether it has more than its turn's worth.
    pub(super) fn advance(&mut self, number: u64, event: EventFlags) -> bool {
        let Some((_, stream)) = self.open.get_mut(&number) else {
            return false;
        };
        match stream.advance(event, &mut self.pipes) {
            Progress::Waits => return false,
            Progress::HasMore => return true,
            Progress::Ended => {
                self.open.remove(&number);
            }
            Progress::Failed => {
                if let Some((_, stream)) = self.open.remove(&number) {
                    stream.reset();
                }
            }
        }
        false
    }
}

/// Where the pod meant to connect, before the connection was redirected.
fn destination_of(family: Family, accepted: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(match family {
        Family::V4 => sockopt::ip_original_dst(accepted)?.into(),
        Family::V6 => sockopt::ipv6_original_dst(accepted)?.into(),
    })
}

/// What becomes of a connection that was not made.
fn fate_of(errno: Errno, destination: SocketAddr) -> Fate {
    match errno {
        // The host may be short of something.
        Errno::TIMEDOUT
        | Errno::AGAIN
        | Errno::MFILE
        | Errno::NFILE
        | Errno::NOMEM
        | Errno::NOBUFS => Fate::Lost,
        // The host has no port left for it; in IPv6 also no address of its own.
        Errno::ADDRNOTAVAIL if destination.is_ipv4() => Fate::Lost,
        Errno::HOSTUNREACH | Errno::HOSTDOWN => Fate::Unreached,
        Errno::NETUNREACH | Errno::NETDOWN | Errno::ADDRNOTAVAIL => Fate::Unrouted,
        _ => Fate::Refused,
    }
}

fn begin(destination: SocketAddr) -> Result<OwnedFd, Errno> {
    let domain = match destination {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(domain, SocketType::STREAM, flags, None)?;
    match connect(&socket, &destination) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}
