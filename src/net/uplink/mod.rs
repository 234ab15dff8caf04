//! The way out of the pod network: what the rules of `net::nft` bring here is carried on by
//! sockets of the host's network namespace.
//!
//! ```text
//!  pod ──SYN──▶ queue ──▶ connection of the host's ──▶ outside
//!  pod ──TCP──▶ listener ═splice═▶ that connection
//!  pod ──UDP──▶ transparent socket ──▶ socket of the flow ──▶ outside
//!               socket with the outside's address ◀───┘
//!  pod ──ICMP echo──▶ raw socket ──▶ ping socket ──▶ outside
//! ```
//!
//! A pod's connection begins once the outside has taken it, and is refused as the outside refuses
//! it: its first packet waits until then. Where the kernel has no queue for packets, and for a
//! Service whose endpoints are outside, a stream is accepted first, and reset when the outside
//! refuses or does not answer. The host's loopback is never reached, neither by address nor by one
//! that means it; its other addresses are, as from any machine in its network.

mod datagrams;
mod echoes;
mod icmp;
mod outside;
mod sockets;
mod streams;

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::net::nft::Networks;
use crate::net::stream::{AGENTS_LOOPS, block_broken_pipe, most_streams, watch};
use crate::plan::Protocol;
use datagrams::Datagrams;
use echoes::Echoes;
use icmp::Answers;
pub use outside::OutsideServices;
pub use sockets::Sockets;
use streams::Streams;

/// Seconds between two looks for flows that have gone silent.
const SWEEP: i64 = 5;

/// Events taken at once.
const EVENTS: usize = 256;

/// The address family of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Family {
    V4,
    V6,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Token {
    /// There is work left that no event tells of.
    Again,
    /// Time to look for silent flows.
    Sweep,
    /// The end of [`Uplink::run`].
    Stop,
    /// Connections of pods.
    Listener(Family),
    /// Datagrams of pods.
    FromPods(Family),
    /// One of a stream's sockets.
    Stream(u64),
    /// A flow's socket.
    Flow(u64),
    /// Echo requests of pods.
    Echoes(Family),
    /// A ping's socket.
    Ping(u64),
    /// Connections that pods want.
    Queue,
    /// One that is being made for one that waits.
    Asked(u64),
}

impl Token {
    /// As epoll keeps it: the kind in the low bits, the number above.
    fn number(self) -> u64 {
        match self {
            Self::Again => 0,
            Self::Sweep => 1,
            Self::Stop => 2,
            Self::Listener(Family::V4) => 3,
            Self::Listener(Family::V6) => 4,
            Self::FromPods(Family::V4) => 5,
            Self::FromPods(Family::V6) => 6,
            Self::Echoes(Family::V4) => 7,
            Self::Echoes(Family::V6) => 0xb,
            Self::Stream(number) => (number << 4) | 8,
            Self::Flow(number) => (number << 4) | 9,
            Self::Ping(number) => (number << 4) | 0xa,
            Self::Queue => 0xc,
            Self::Asked(number) => (number << 4) | 0xd,
        }
    }

    fn of(number: u64) -> Self {
        match number & 0xf {
            1 => Self::Sweep,
            2 => Self::Stop,
            3 => Self::Listener(Family::V4),
            4 => Self::Listener(Family::V6),
            5 => Self::FromPods(Family::V4),
            6 => Self::FromPods(Family::V6),
            7 => Self::Echoes(Family::V4),
            8 => Self::Stream(number >> 4),
            9 => Self::Flow(number >> 4),
            0xa => Self::Ping(number >> 4),
            0xb => Self::Echoes(Family::V6),
            0xc => Self::Queue,
            0xd => Self::Asked(number >> 4),
            _ => Self::Again,
        }
    }
}

/// The node agent's side of what leaves the pod network. It belongs to a thread in the host's
/// network namespace: its own, with [`Uplink::run`], so that a large transfer delays nobody's
/// names; or one that watches [`Uplink::fd`], calls [`Uplink::ready`] and ignores SIGPIPE, as
/// Rust's programs do.
#[derive(Debug)]
pub struct Uplink {
    epoll: OwnedFd,
    /// Readable while `again` is not empty.
    wake: OwnedFd,
    timer: OwnedFd,
    again: HashSet<Token>,
    streams: Streams,
    datagrams: Datagrams,
    echoes: Echoes,
}

impl Uplink {
    /// Takes over the sockets that were opened in the node's namespace. Destinations in one of the
    /// networks are refused: the rules do not send them here. How many streams there may be
    /// follows from the process' limit of descriptors, which the caller has raised.
    ///
    /// # Errors
    /// As `epoll_create1(2)`, `epoll_ctl(2)`, `eventfd(2)` and `timerfd_create(2)`.
    pub fn new(
        node: OwnedFd,
        sockets: Sockets,
        inside: Vec<Networks>,
        services: OutsideServices,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        watch(&epoll, &wake, Token::Again.number(), EventFlags::IN)?;
        watch(&epoll, &timer, Token::Sweep.number(), EventFlags::IN)?;
        let most = most_streams(AGENTS_LOOPS);
        let reach = Reach { inside, services };
        let answers = Answers::by(&sockets.icmp)?;
        Ok(Self {
            streams: Streams::new(&epoll, sockets.tcp, sockets.queue, reach.clone(), most)?,
            echoes: Echoes::new(&epoll, sockets.icmp, answers.clone(), reach.clone())?,
            datagrams: Datagrams::new(&epoll, sockets.udp, node, answers, reach, most)?,
            epoll,
            wake,
            timer,
            again: HashSet::new(),
        })
    }

    /// Readable when [`Uplink::ready`] has something to do.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Does what can be done without waiting, up to a bound, and returns.
    ///
    /// # Errors
    /// As `epoll_wait(2)`; errors of single streams and flows end those only.
    pub fn ready(&mut self) -> io::Result<()> {
        self.turn(Some(&Timespec::default())).map(|_| ())
    }

    /// Works until the lifeline ends.
    ///
    /// # Errors
    /// As [`Uplink::ready`].
    pub fn run(mut self, lifeline: BorrowedFd<'_>) -> io::Result<()> {
        block_broken_pipe()?;
        watch(&self.epoll, lifeline, Token::Stop.number(), EventFlags::IN)?;
        while self.turn(None)? {}
        Ok(())
    }

    /// Returns whether to go on.
    fn turn(&mut self, timeout: Option<&Timespec>) -> io::Result<bool> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        // Those that wait for another turn come after those that had none.
        let waiting = std::mem::take(&mut self.again);
        let mut stop = false;
        for event in &events {
            let flags = event.flags;
            match Token::of(event.data.u64()) {
                Token::Stop => stop = true,
                token => self.handle(token, flags)?,
            }
        }
        for token in waiting {
            self.handle(token, EventFlags::empty())?;
        }
        if !self.again.is_empty() {
            rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).ok();
        }
        Ok(!stop)
    }

    fn handle(&mut self, token: Token, event: EventFlags) -> io::Result<()> {
        let more = match token {
            Token::Again => drained(&self.wake),
            Token::Stop => false,
            Token::Listener(family) => self.streams.accept(&self.epoll, family),
            Token::Stream(number) => self.streams.advance(number, event),
            Token::Queue => {
                let idle = self.is_idle();
                let more = self.streams.ask(&self.epoll);
                self.start_timer(idle)?;
                more
            }
            Token::Asked(number) => {
                let idle = self.is_idle();
                self.streams.answered(&self.epoll, number);
                self.start_timer(idle)?;
                false
            }
            Token::FromPods(family) => {
                let idle = self.is_idle();
                let more = self.datagrams.carry_out(&self.epoll, family);
                self.start_timer(idle)?;
                more
            }
            Token::Flow(number) => self.datagrams.carry_in(number),
            Token::Echoes(family) => {
                let idle = self.is_idle();
                self.echoes.carry_out(&self.epoll, family);
                self.start_timer(idle)?;
                false
            }
            Token::Ping(number) => {
                self.echoes.carry_in(number);
                false
            }
            Token::Sweep => {
                drained(&self.timer);
                self.datagrams.sweep();
                self.echoes.sweep();
                self.streams.sweep();
                if self.is_idle() {
                    self.set_timer(0)?;
                }
                false
            }
        };
        if more {
            self.again.insert(token);
        }
        Ok(())
    }

    /// Whether there is nothing that can go silent.
    fn is_idle(&self) -> bool {
        self.datagrams.is_empty() && self.echoes.is_empty() && self.streams.waits_for_none()
    }

    fn start_timer(&self, was_idle: bool) -> io::Result<()> {
        if was_idle && !self.is_idle() {
            self.set_timer(SWEEP)?;
        }
        Ok(())
    }

    /// Every so many seconds; 0 for never.
    fn set_timer(&self, seconds: i64) -> io::Result<()> {
        let interval = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        let every = Itimerspec {
            it_interval: interval,
            it_value: interval,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &every)?;
        Ok(())
    }
}

/// Takes the count of an event or a timer; there is nothing more to do about it.
fn drained(counter: &OwnedFd) -> bool {
    rustix::io::read(counter, &mut [0; 8]).ok();
    false
}

/// Where pods may go by this way.
#[derive(Debug, Clone)]
struct Reach {
    /// Networks that are not outside.
    inside: Vec<Networks>,
    /// Addresses in them that stand for one outside.
    services: OutsideServices,
}

impl Reach {
    /// Where the connection of a client goes, if it may go there.
    fn destination(
        &self,
        protocol: Protocol,
        address: SocketAddr,
        client: IpAddr,
    ) -> Option<SocketAddr> {
        let destination = self.services.endpoint(protocol, address, client);
        self.allows(destination).then_some(destination)
    }

    /// Whether a pod may be connected there: not to the host's loopback, nor to an address that the
    /// kernel takes for it, nor to where the rules would not have sent it here.
    fn allows(&self, destination: SocketAddr) -> bool {
        let address = destination.ip().to_canonical();
        let on_host = match address {
            // 0.0.0.0 is this machine (`ip(7)`), the rest of 0/8 nobody (RFC 6890).
            IpAddr::V4(v4) => v4.is_loopback() || matches!(v4.octets(), [0, ..]),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified(),
        };
        let to_many = address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST);
        let inside = self.inside.iter().any(|network| network.contain(address));
        !(on_host || to_many || inside) && destination.port() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        for token in [
            Token::Again,
            Token::Sweep,
            Token::Stop,
            Token::Listener(Family::V4),
            Token::Listener(Family::V6),
            Token::FromPods(Family::V4),
            Token::FromPods(Family::V6),
            Token::Stream(0),
            Token::Stream(1 << 50),
            Token::Flow(7),
            Token::Echoes(Family::V4),
            Token::Echoes(Family::V6),
            Token::Ping(7),
            Token::Queue,
            Token::Asked(7),
        ] {
            assert_eq!(Token::of(token.number()), token);
        }
    }

    #[test]
    fn neither_the_hosts_loopback_nor_the_pod_network_is_reached() {
        let reach = Reach {
            inside: vec![Networks {
                v4: (Ipv4Addr::new(10, 88, 0, 0), 16),
                v6: Some(("fd00:88::".parse().unwrap(), 64)),
            }],
            services: OutsideServices::default(),
        };
        for refused in [
            "127.0.0.1:80",
            "127.8.9.10:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "[::1]:80",
            "[::]:80",
            "[::ffff:127.0.0.1]:80",
            "[::ffff:0.0.0.0]:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[ff02::1]:80",
            "10.88.0.1:80",
            "10.88.255.255:80",
            "[::ffff:10.88.0.1]:80",
            "[fd00:88::1]:80",
            "192.0.2.1:0",
        ] {
            assert!(!reach.allows(refused.parse().unwrap()), "{refused}");
        }
        for allowed in [
            "192.0.2.1:80",
            "169.254.169.254:80",
            "10.89.0.1:80",
            "[fd00:89::1]:80",
            "[2001:db8::1]:53",
        ] {
            assert!(reach.allows(allowed.parse().unwrap()), "{allowed}");
        }
    }
}
