//! UDP: flows between a pod's port and a port of the outside.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, sendto,
    socket_with,
};

use super::icmp::Answers;
use super::sockets::{self, Pair};
use super::{Family, Reach, Token};
use crate::net::node::within;
use crate::net::stream::watch;
use crate::plan::Protocol;

/// Datagrams taken from one socket before others have their turn.
const TURN: usize = 64;

/// The largest datagram (`udp(7)`).
const MAX_DATAGRAM: usize = 65_535;

/// A flow ends after this much silence.
const SILENCE: Duration = Duration::from_mins(1);

/// As above for questions to a resolver, which are many and short.
const DNS_SILENCE: Duration = Duration::from_secs(10);

/// The resolver's port.
const DNS: u16 = 53;

/// A pod's address and the outside's as the pod knows it.
type Ends = (SocketAddr, SocketAddr);

#[derive(Debug)]
struct Flow {
    ends: Ends,
    /// Connected to the outside, in the host's namespace.
    socket: OwnedFd,
    last: Instant,
}

/// A socket in the node's namespace that has an address of the outside.
#[derive(Debug)]
struct Outside {
    socket: OwnedFd,
    /// Flows that answer by it.
    flows: usize,
}

#[derive(Debug)]
pub(super) struct Datagrams {
    from_pods: Pair,
    node: OwnedFd,
    answers: Answers,
    flows: HashMap<u64, Flow>,
    number_of: HashMap<Ends, u64>,
    outsides: HashMap<SocketAddr, Outside>,
    reach: Reach,
    most: usize,
    last: u64,
    buffer: Vec<u8>,
}

impl Datagrams {
    pub(super) fn new(
        epoll: &OwnedFd,
        from_pods: Pair,
        node: OwnedFd,
        answers: Answers,
        reach: Reach,
        most: usize,
    ) -> io::Result<Self> {
        for (family, socket) in &from_pods {
            let token = Token::FromPods(*family).number();
            watch(epoll, socket, token, EventFlags::IN)?;
        }
        Ok(Self {
            from_pods,
            node,
            answers,
            flows: HashMap::new(),
            number_of: HashMap::new(),
            outsides: HashMap::new(),
            reach,
            most,
            last: 0,
            buffer: vec![0; MAX_DATAGRAM],
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Carries a turn's worth of pods' datagrams outside. What is left keeps the socket readable,
    /// so there is never more to be done than events tell.
    pub(super) fn carry_out(&mut self, epoll: &OwnedFd, family: Family) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..TURN {
            let mut sockets = self.from_pods.iter();
            let Some((_, socket)) = sockets.find(|(of, _)| *of == family) else {
                break;
            };
            let (bytes, ends) = match receive(socket, &mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let (Some(ends), Some(datagram)) = (ends, buffer.get(..bytes)) else {
                continue;
            };
            let Some(number) = self.flow(epoll, ends) else {
                continue;
            };
            if let Some(flow) = self.flows.get_mut(&number) {
                flow.last = Instant::now();
                // The first datagram after a refusal is told of it and not sent.
                if send(&flow.socket, datagram, SendFlags::DONTWAIT) == Err(Errno::CONNREFUSED) {
                    self.answers.refuse(ends.0, ends.1);
                    send(&flow.socket, datagram, SendFlags::DONTWAIT).ok();
                }
            }
        }
        self.buffer = buffer;
        false
    }

    /// The flow between these ends, which may be new.
    fn flow(&mut self, epoll: &OwnedFd, ends: Ends) -> Option<u64> {
        if let Some(number) = self.number_of.get(&ends) {
            return Some(*number);
        }
        let (pod, outside) = ends;
        let reach = &self.reach;
        let destination = reach.destination(Protocol::Udp, outside, pod.ip())?;
        if self.flows.len() >= self.most {
            let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.last);
            let oldest = *oldest?.0;
            self.end(oldest);
        }
        let domain = match outside {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(domain, SocketType::DGRAM, flags, None).ok()?;
        connect(&socket, &destination).ok()?;
        self.last = self.last.wrapping_add(1);
        let token = Token::Flow(self.last).number();
        watch(epoll, &socket, token, EventFlags::IN).ok()?;
        if let Some(known) = self.outsides.get_mut(&outside) {
            known.flows = known.flows.saturating_add(1);
        } else {
            let socket = within(self.node.as_fd(), || sockets::open_as(outside)).ok()?;
            self.outsides.insert(outside, Outside { socket, flows: 1 });
        }
        let flow = Flow {
            ends,
            socket,
            last: Instant::now(),
        };
        self.flows.insert(self.last, flow);
        self.number_of.insert(ends, self.last);
        Some(self.last)
    }

    /// Carries a turn's worth of a flow's answers to the pod.
    pub(super) fn carry_in(&mut self, number: u64) -> bool {
        for _ in 0..TURN {
            let Some(flow) = self.flows.get_mut(&number) else {
                break;
            };
            let bytes = match recv(&flow.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((bytes, _)) => bytes,
                Err(Errno::INTR) => continue,
                Err(Errno::CONNREFUSED) => {
                    let (pod, outside) = flow.ends;
                    self.answers.refuse(pod, outside);
                    continue;
                }
                Err(_) => break,
            };
            flow.last = Instant::now();
            let (pod, outside) = flow.ends;
            if let (Some(outside), Some(datagram)) =
                (self.outsides.get(&outside), self.buffer.get(..bytes))
            {
                sendto(&outside.socket, datagram, SendFlags::DONTWAIT, &pod).ok();
            }
        }
        false
    }

    /// Ends the flows that have been silent for long.
    pub(super) fn sweep(&mut self) {
        let silent: Vec<u64> = self
            .flows
            .iter()
            .filter(|(_, flow)| {
                let (_, outside) = flow.ends;
                let bound = match outside.port() {
                    DNS => DNS_SILENCE,
                    _ => SILENCE,
                };
                flow.last.elapsed() >= bound
            })
            .map(|(number, _)| *number)
            .collect();
        for number in silent {
            self.end(number);
        }
    }

    fn end(&mut self, number: u64) {
        let Some(flow) = self.flows.remove(&number) else {
            return;
        };
        self.number_of.remove(&flow.ends);
        let (_, address) = flow.ends;
        if let Some(outside) = self.outsides.get_mut(&address) {
            outside.flows = outside.flows.saturating_sub(1);
            if outside.flows == 0 {
                self.outsides.remove(&address);
            }
        }
    }
}

/// A datagram's length and its ends: who sent it, and where to. The socket tells the latter as the
/// original destination or as packet information, which has no port.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<(usize, Option<Ends>)> {
    let mut control = nix::cmsg_space!(libc::sockaddr_in6);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let pod = message.address.as_ref().and_then(address_of);
    let outside = message.cmsgs().ok().and_then(|mut all| {
        all.find_map(|one| match one {
            ControlMessageOwned::Ipv4OrigDstAddr(to) => Some(v4(to)),
            ControlMessageOwned::Ipv6OrigDstAddr(to) => Some(v6(to)),
            ControlMessageOwned::Ipv4PacketInfo(to) => {
                let ip = u32::from_be(to.ipi_addr.s_addr);
                Some(SocketAddr::from((Ipv4Addr::from(ip), 0)))
            }
            ControlMessageOwned::Ipv6PacketInfo(to) => {
                let ip = Ipv6Addr::from(to.ipi6_addr.s6_addr);
                Some(SocketAddr::from((ip, 0)))
            }
            _ => None,
        })
    });
    Ok((message.bytes, pod.zip(outside)))
}

fn address_of(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|v4| SocketAddr::V4((*v4).into()));
    let v6 = || {
        storage
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::V6((*v6).into()))
    };
    v4.or_else(v6)
}

fn v4(address: libc::sockaddr_in) -> SocketAddr {
    let ip = u32::from_be(address.sin_addr.s_addr);
    SocketAddr::from((Ipv4Addr::from(ip), u16::from_be(address.sin_port)))
}

fn v6(address: libc::sockaddr_in6) -> SocketAddr {
    let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
    SocketAddr::from((ip, u16::from_be(address.sin6_port)))
}
