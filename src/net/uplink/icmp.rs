//! What the outside says to a pod by ICMP.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};

use super::Family;
use super::sockets::Pair;

/// `IPPROTO_UDP`
const UDP: u8 = 17;

/// The raw sockets in the node's namespace; every clone has the same.
#[derive(Debug, Clone)]
pub(super) struct Answers(Arc<Pair>);

impl Answers {
    /// # Errors
    /// As `fcntl(2)`.
    pub(super) fn by(sockets: &Pair) -> io::Result<Self> {
        let copies = sockets
            .iter()
            .map(|(family, socket)| Ok((*family, socket.try_clone()?)));
        Ok(Self(Arc::new(copies.collect::<io::Result<_>>()?)))
    }

    fn socket(&self, family: Family) -> Option<&OwnedFd> {
        let (_, socket) = self.0.iter().find(|(of, _)| *of == family)?;
        Some(socket)
    }

    /// Sends a message as if from the outside; its checksum is filled in. Like any datagram it may
    /// be lost.
    pub(super) fn send(&self, pod: IpAddr, outside: IpAddr, message: &mut [u8]) -> Option<()> {
        message.get_mut(2..4)?.fill(0);
        let to = SockaddrStorage::from(SocketAddr::new(pod, 0));
        let flags = MsgFlags::MSG_DONTWAIT;
        match outside {
            IpAddr::V4(outside) => {
                let sum = checksum(message);
                message.get_mut(2..4)?.copy_from_slice(&sum);
                let from = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from(outside).to_be(),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let control = [ControlMessage::Ipv4PacketInfo(&from)];
                let socket = self.socket(Family::V4)?.as_raw_fd();
                sendmsg(socket, &[IoSlice::new(message)], &control, flags, Some(&to)).ok()?;
            }
            // The kernel counts the checksum, of which the addresses are part.
            IpAddr::V6(outside) => {
                let from = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: outside.octets(),
                    },
                    ipi6_ifindex: 0,
                };
                let control = [ControlMessage::Ipv6PacketInfo(&from)];
                let socket = self.socket(Family::V6)?.as_raw_fd();
                sendmsg(socket, &[IoSlice::new(message)], &control, flags, Some(&to)).ok()?;
            }
        }
        Some(())
    }

    /// Tells a pod that nobody is at the port it has sent a datagram to.
    pub(super) fn refuse(&self, pod: SocketAddr, outside: SocketAddr) {
        if let Some(mut message) = port_unreachable(pod, outside) {
            self.send(pod.ip(), outside.ip(), &mut message);
        }
    }
}

/// The message (RFC 792, RFC 4443) with the beginning of a datagram like the one it is about: the
/// kernel looks at addresses and ports.
fn port_unreachable(pod: SocketAddr, outside: SocketAddr) -> Option<Vec<u8>> {
    let mut message = match (pod.ip(), outside.ip()) {
        (IpAddr::V4(pod), IpAddr::V4(outside)) => {
            let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
            // RFC 791: version and length, service, total length, identification, fragment,
            // time to live, protocol, checksum.
            message.extend_from_slice(&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, UDP, 0, 0]);
            message.extend_from_slice(&pod.octets());
            message.extend_from_slice(&outside.octets());
            message
        }
        (IpAddr::V6(pod), IpAddr::V6(outside)) => {
            let mut message = vec![1, 4, 0, 0, 0, 0, 0, 0];
            // RFC 8200: version, class and label, payload length, next header, hop limit.
            message.extend_from_slice(&[0x60, 0, 0, 0, 0, 8, UDP, 64]);
            message.extend_from_slice(&pod.octets());
            message.extend_from_slice(&outside.octets());
            message
        }
        _ => return None,
    };
    message.extend_from_slice(&pod.port().to_be_bytes());
    message.extend_from_slice(&outside.port().to_be_bytes());
    // RFC 768: length and checksum.
    message.extend_from_slice(&[0, 8, 0, 0]);
    Some(message)
}

/// The checksum of RFC 1071 over a message in whose place for it are zeros.
fn checksum(message: &[u8]) -> [u8; 2] {
    let sum = message.chunks(2).fold(0_u64, |sum, pair| {
        let high = pair.first().copied().unwrap_or(0);
        let low = pair.get(1).copied().unwrap_or(0);
        sum.saturating_add(u64::from(u16::from_be_bytes([high, low])))
    });
    // Carries are added until none is left; three times are enough for 64 KiB.
    let folded = (0..3).fold(sum, |sum, _| (sum & 0xffff).saturating_add(sum >> 16));
    let [.., high, low] = folded.to_be_bytes();
    [!high, !low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_the_rfc() {
        // The example of RFC 1071: the sum is ddf2.
        let message = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&message), [!0xdd, !0xf2]);
        assert_eq!(checksum(&vec![0xff; 65_534]), [0, 0]);
        assert_eq!(checksum(&[1]), [!1, !0]);
    }
}
