//! Packets that wait for a verdict (`linux/netfilter/nfnetlink_queue.h`): the first packet of a
//! connection to the outside, until it is known whether the outside takes the connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};

use super::TCP;
use super::encode::{ACK, Attributes, message};
use crate::net::netlink;
use crate::net::node::{REFUSED_MARK, UNREACHED_MARK, UNROUTED_MARK};

/// `NFNL_SUBSYS_QUEUE`
const QUEUE: u8 = 3;

/// `enum nfqnl_msg_types`
const PACKET: u8 = 0;
const VERDICT: u8 = 1;
const CONFIG: u8 = 2;

/// `NF_DROP`, `NF_ACCEPT` of `linux/netfilter.h`.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// Of a packet: the largest header of IP without options, and the beginning of TCP's.
const COPIED: u32 = 128;

/// Packets that may wait at once, of all pods: far more than connections that may be made.
const MOST: u32 = 65_536;

/// Numbers that are tried: an agent that was killed may not have left its queue yet.
const NUMBERS: Range<u16> = 0..16;

/// Bytes of `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 20;

/// What becomes of a packet that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Go,
    /// Nobody heard of it.
    Lost,
    /// It is answered with a reset.
    Refused,
    /// It is answered that there is no such host.
    Unreached,
    /// It is answered that there is no way to its network.
    Unrouted,
}

/// A packet that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The kernel's number.
    pub id: u32,
    /// Who wants to connect, and to whom; nothing of a packet that is not TCP's, or has options.
    pub flow: Option<Flow>,
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who makes it.
    pub client: SocketAddr,
    /// Who is to take it.
    pub destination: SocketAddr,
}

/// A queue of a network namespace.
#[derive(Debug)]
pub struct Queue {
    socket: Socket,
    number: u16,
}

impl Queue {
    /// The first queue of this thread's network namespace that no other process has.
    ///
    /// # Errors
    /// As `socket(2)`; EOPNOTSUPP or EINVAL where the kernel lacks `nfnetlink_queue`; EPERM when all
    /// are others', or without `CAP_NET_ADMIN`.
    pub fn open() -> io::Result<Self> {
        let mut queue = Self {
            socket: netlink::open(NETLINK_NETFILTER)?,
            number: NUMBERS.start,
        };
        // `NFQNL_CFG_CMD_BIND`
        let bind = Attributes::new().bytes(1, &[1, 0, 0, 0]);
        loop {
            match queue.configure(&bind) {
                // Another's queue, as `nfqnl_recv_config` puts it.
                Err(error)
                    if error.kind() == io::ErrorKind::PermissionDenied
                        && NUMBERS.contains(&queue.number.saturating_add(1)) =>
                {
                    queue.number = queue.number.saturating_add(1);
                }
                result => break result?,
            }
        }
        // `NFQNL_COPY_PACKET`
        let mut parameters = COPIED.to_be_bytes().to_vec();
        parameters.push(2);
        queue.configure(&Attributes::new().bytes(2, &parameters))?;
        // `NFQA_CFG_QUEUE_MAXLEN`: 1024 otherwise, which one pod could fill.
        queue.configure(&Attributes::new().number(3, MOST))?;
        Ok(queue)
    }

    /// What rules name it by.
    pub fn number(&self) -> u16 {
        self.number
    }

    fn configure(&self, attributes: &Attributes) -> io::Result<()> {
        let kind = u16::from_be_bytes([QUEUE, CONFIG]);
        let message = message(kind, ACK, 1, 0, self.number, attributes);
        self.socket.send(&message, 0)?;
        netlink::answers(&self.socket, 1)
    }

    /// The next packet that waits; nothing when none does.
    pub fn next(&self) -> Option<Waiting> {
        let mut bytes = Vec::with_capacity(1024);
        loop {
            bytes.clear();
            match self.socket.recv(&mut bytes, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                // Some were lost: their senders send them again.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            }
            if let Some(waiting) = read(&bytes) {
                return Some(waiting);
            }
        }
    }

    /// Decides about a packet.
    ///
    /// # Errors
    /// As `send(2)`.
    pub fn decide(&self, id: u32, fate: Fate) -> io::Result<()> {
        let verdict = if fate == Fate::Lost { DROP } else { ACCEPT };
        let header = [verdict.to_be_bytes(), id.to_be_bytes()].concat();
        let mut attributes = Attributes::new().bytes(2, &header);
        let mark = match fate {
            Fate::Go | Fate::Lost => None,
            Fate::Refused => Some(REFUSED_MARK),
            Fate::Unreached => Some(UNREACHED_MARK),
            Fate::Unrouted => Some(UNROUTED_MARK),
        };
        if let Some(mark) = mark {
            attributes = attributes.number(3, mark);
        }
        let kind = u16::from_be_bytes([QUEUE, VERDICT]);
        let message = message(kind, 0, 0, 0, self.number, &attributes);
        self.socket.send(&message, 0)?;
        Ok(())
    }
}

impl AsFd for Queue {
    /// Readable when a packet waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A message with a packet.
fn read(bytes: &[u8]) -> Option<Waiting> {
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    if kind != u16::from_be_bytes([QUEUE, PACKET]) {
        return None;
    }
    let (mut id, mut flow) = (None, None);
    let mut rest = bytes.get(HEADERS..)?;
    while let Some((header, _)) = rest.split_first_chunk::<4>() {
        let [low, high, kind_low, kind_high] = *header;
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let value = rest.get(4..length)?;
        match u16::from_ne_bytes([kind_low, kind_high]) {
            1 => id = value.first_chunk().map(|id| u32::from_be_bytes(*id)),
            10 => flow = flow_of(value),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Waiting { id: id?, flow })
}

/// The ends of a TCP packet (RFC 791, RFC 8200, RFC 9293).
fn flow_of(packet: &[u8]) -> Option<Flow> {
    let (client, destination, transport): (IpAddr, IpAddr, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let words = usize::from(packet.first()? & 0xf);
            if *packet.get(9)? != TCP {
                return None;
            }
            let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
            let transport = packet.get(words.saturating_mul(4)..)?;
            (address(12)?.into(), address(16)?.into(), transport)
        }
        6 => {
            if *packet.get(6)? != TCP {
                return None;
            }
            let address = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
            (address(8)?.into(), address(24)?.into(), packet.get(40..)?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(*transport.get(at..)?.first_chunk()?));
    Some(Flow {
        client: SocketAddr::new(client, port(0)?),
        destination: SocketAddr::new(destination, port(2)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(packet: &[u8]) -> Vec<u8> {
        let attributes = Attributes::new()
            .bytes(1, &[0, 0, 0, 7, 8, 0, 0])
            .bytes(10, packet);
        message(u16::from_be_bytes([QUEUE, PACKET]), 0, 0, 2, 0, &attributes)
    }

    #[test]
    fn both_ends_of_a_connection_are_read() {
        let mut v4 = vec![0x46; 24];
        v4[9] = TCP;
        v4[12..20].copy_from_slice(&[10, 88, 0, 2, 192, 0, 2, 1]);
        v4.extend_from_slice(&[0x9c, 0x40, 0, 80]);
        let waiting = read(&told(&v4)).unwrap();
        assert_eq!(waiting.id, 7);
        assert_eq!(
            waiting.flow,
            Some(Flow {
                client: "10.88.0.2:40000".parse().unwrap(),
                destination: "192.0.2.1:80".parse().unwrap(),
            })
        );
        let mut v6 = vec![0x60; 40];
        v6[6] = TCP;
        v6[8..24].copy_from_slice(&"fd00::2".parse::<Ipv6Addr>().unwrap().octets());
        v6[24..40].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend_from_slice(&[0x9c, 0x40, 1, 187]);
        assert_eq!(
            read(&told(&v6)).unwrap().flow,
            Some(Flow {
                client: "[fd00::2]:40000".parse().unwrap(),
                destination: "[2001:db8::1]:443".parse().unwrap(),
            })
        );
    }

    #[test]
    fn what_is_cut_off_or_not_tcp_has_no_ends() {
        let mut v4 = vec![0x45; 24];
        v4[9] = TCP;
        for length in 0..24 {
            assert_eq!(read(&told(&v4[..length])).unwrap().flow, None, "{length}");
        }
        assert!(read(&told(&v4)).unwrap().flow.is_some());
        v4[9] = 17;
        assert_eq!(read(&told(&v4)).unwrap().flow, None);
        assert_eq!(read(&told(&[0x60; 40])).unwrap().flow, None);
        let whole = told(&v4);
        for length in 0..whole.len() {
            read(&whole[..length]);
        }
    }
}
