//! TCP: redirected connections and the connections made for them.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, connect, getpeername, socket_with, sockopt,
};

use super::sockets::Pair;
use super::{Family, Reach, Token};
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

#[derive(Debug)]
pub(super) struct Streams {
    listeners: Pair,
    open: HashMap<u64, Stream>,
    pipes: Pipes,
    reach: Reach,
    most: usize,
    last: u64,
}

impl Streams {
    pub(super) fn new(
        epoll: &OwnedFd,
        listeners: Pair,
        reach: Reach,
        most: usize,
    ) -> io::Result<Self> {
        for (family, listener) in &listeners {
            // An edge: without descriptors to accept with, a level would never fall.
            let edge = EventFlags::IN | EventFlags::ET;
            watch(epoll, listener, Token::Listener(*family).number(), edge)?;
        }
        Ok(Self {
            listeners,
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

    /// Begins the connection to where the pod meant to connect, or resets the pod's.
    fn carry_on(&mut self, epoll: &OwnedFd, family: Family, accepted: OwnedFd) {
        let destination = destination_of(family, &accepted)
            .ok()
            .filter(|_| self.has_room())
            .and_then(|address| {
                let client = SocketAddr::try_from(getpeername(&accepted).ok()??).ok()?;
                let reach = &self.reach;
                reach.destination(Protocol::Tcp, address, client.ip())
            });
        let made = destination.ok_or(Errno::CONNREFUSED).and_then(begin);
        let Ok(made) = made else {
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
        self.open.insert(self.last, stream);
    }

    fn has_room(&self) -> bool {
        self.open.len() < self.most
    }

    /// Moves a stream's bytes; returns whether it has more than its turn's worth.
    pub(super) fn advance(&mut self, number: u64, event: EventFlags) -> bool {
        let Some(stream) = self.open.get_mut(&number) else {
            return false;
        };
        match stream.advance(event, &mut self.pipes) {
            Progress::Waits => return false,
            Progress::HasMore => return true,
            Progress::Ended => {
                self.open.remove(&number);
            }
            Progress::Failed => {
                if let Some(stream) = self.open.remove(&number) {
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
