//! ICMP echo: pods' requests are repeated by ping sockets of the host, where it allows them
//! (`net.ipv4.ping_group_range`).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send,
    socket_with,
};

use super::datagrams::receive;
use super::icmp::Answers;
use super::sockets::Pair;
use super::{Family, Reach, Token};
use crate::net::stream::watch;

/// Messages taken from one socket before others have their turn.
const TURN: usize = 64;

/// The most pods' pings at once; a new one takes the place of the one that was silent longest.
const MOST: usize = 256;

/// A ping ends after this much silence.
const SILENCE: Duration = Duration::from_secs(10);

/// The largest message (`raw(7)`).
const MAX_MESSAGE: usize = 65_535;

/// Bytes of an echo's header (RFC 792, RFC 4443): type, code, checksum, identifier, number.
const HEADER: usize = 8;

/// A pod's address, the outside's, and the identifier that the pod chose.
type Ends = (IpAddr, IpAddr, [u8; 2]);

#[derive(Debug)]
struct Ping {
    ends: Ends,
    /// Connected to the outside, in the host's namespace, which gives it another identifier.
    socket: OwnedFd,
    last: Instant,
}

#[derive(Debug)]
pub(super) struct Echoes {
    from_pods: Pair,
    answers: Answers,
    pings: HashMap<u64, Ping>,
    number_of: HashMap<Ends, u64>,
    reach: Reach,
    last: u64,
    buffer: Vec<u8>,
}

impl Echoes {
    pub(super) fn new(
        epoll: &OwnedFd,
        from_pods: Pair,
        answers: Answers,
        reach: Reach,
    ) -> io::Result<Self> {
        for (family, socket) in &from_pods {
            let token = Token::Echoes(*family).number();
            watch(epoll, socket, token, EventFlags::IN)?;
        }
        Ok(Self {
            from_pods,
            answers,
            pings: HashMap::new(),
            number_of: HashMap::new(),
            reach,
            last: 0,
            buffer: vec![0; MAX_MESSAGE],
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pings.is_empty()
    }

    fn socket(&self, family: Family) -> Option<&OwnedFd> {
        let mut sockets = self.from_pods.iter();
        let (_, socket) = sockets.find(|(of, _)| *of == family)?;
        Some(socket)
    }

    /// Repeats a turn's worth of pods' requests outside.
    pub(super) fn carry_out(&mut self, epoll: &OwnedFd, family: Family) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..TURN {
            let Some(received) = self
                .socket(family)
                .and_then(|socket| receive(socket, &mut buffer).ok())
            else {
                break;
            };
            let (bytes, Some((pod, outside))) = received else {
                continue;
            };
            let Some(request) = buffer
                .get(..bytes)
                .and_then(|packet| request_in(family, packet))
            else {
                continue;
            };
            let Some(identifier) = request.get(4..6).and_then(|part| part.first_chunk()) else {
                continue;
            };
            let ends = (pod.ip(), outside.ip(), *identifier);
            if let Some(number) = self.ping(epoll, ends)
                && let Some(ping) = self.pings.get_mut(&number)
            {
                ping.last = Instant::now();
                send(&ping.socket, request, SendFlags::DONTWAIT).ok();
            }
        }
        self.buffer = buffer;
    }

    fn ping(&mut self, epoll: &OwnedFd, ends: Ends) -> Option<u64> {
        if let Some(number) = self.number_of.get(&ends) {
            return Some(*number);
        }
        let (_, outside, _) = ends;
        // Any port but none.
        if !self.reach.allows(SocketAddr::new(outside, 1)) {
            return None;
        }
        if self.pings.len() >= MOST {
            let oldest = self.pings.iter().min_by_key(|(_, ping)| ping.last);
            let oldest = *oldest?.0;
            self.end(oldest);
        }
        let (domain, protocol) = match outside {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(domain, SocketType::DGRAM, flags, Some(protocol)).ok()?;
        connect(&socket, &SocketAddr::new(outside, 0)).ok()?;
        self.last = self.last.wrapping_add(1);
        watch(
            epoll,
            &socket,
            Token::Ping(self.last).number(),
            EventFlags::IN,
        )
        .ok()?;
        let last = Instant::now();
        self.pings.insert(self.last, Ping { ends, socket, last });
        self.number_of.insert(ends, self.last);
        Some(self.last)
    }

    /// Carries a turn's worth of answers to the pod.
    pub(super) fn carry_in(&mut self, number: u64) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..TURN {
            let Some(ping) = self.pings.get_mut(&number) else {
                break;
            };
            let Ok((bytes, _)) = recv(&ping.socket, &mut buffer[..], RecvFlags::DONTWAIT) else {
                break;
            };
            ping.last = Instant::now();
            let (pod, outside, identifier) = ping.ends;
            if let Some(answer) = buffer.get_mut(..bytes)
                && let Some(place) = answer.get_mut(4..6)
            {
                place.copy_from_slice(&identifier);
                self.answers.send(pod, outside, answer);
            }
        }
        self.buffer = buffer;
    }

    /// Ends the pings that have been silent for long.
    pub(super) fn sweep(&mut self) {
        let all = self.pings.iter();
        let silent: Vec<u64> = all
            .filter(|(_, ping)| ping.last.elapsed() >= SILENCE)
            .map(|(number, _)| *number)
            .collect();
        for number in silent {
            self.end(number);
        }
    }

    fn end(&mut self, number: u64) {
        if let Some(ping) = self.pings.remove(&number) {
            self.number_of.remove(&ping.ends);
        }
    }
}

/// The echo request in what a raw socket received: with an IPv4 header in front, without an IPv6
/// one.
fn request_in(family: Family, packet: &[u8]) -> Option<&[u8]> {
    let (kind, message) = match family {
        Family::V4 => {
            // Its length in words of four bytes (RFC 791).
            let words = usize::from(packet.first()? & 0xf);
            (8, packet.get(words.checked_mul(4)?..)?)
        }
        Family::V6 => (128, packet),
    };
    (message.len() >= HEADER && message.first() == Some(&kind)).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_requests_are_taken() {
        let mut packet = vec![0x46; 24];
        packet.extend_from_slice(&[8, 0, 0, 0, 1, 2, 0, 1, 7]);
        let request = request_in(Family::V4, &packet).unwrap();
        assert_eq!(request, [8, 0, 0, 0, 1, 2, 0, 1, 7]);
        assert_eq!(request_in(Family::V4, &packet[..30]), None);
        assert_eq!(request_in(Family::V4, &[0x4f]), None);
        assert_eq!(request_in(Family::V4, &[]), None);
        packet[24] = 0;
        assert_eq!(request_in(Family::V4, &packet), None);
        assert_eq!(request_in(Family::V6, &[129, 0, 0, 0, 1, 2, 0, 1]), None);
    }
}
