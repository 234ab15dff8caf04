//! A question to one of the host's resolvers, over a socket of its own.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustix::rand::{GetRandomFlags, getrandom};

use super::answer::{Forward, Transport, Verdict};
use super::frames::{Frames, Stream};

/// Room for a datagram: more than was ever asked for.
const DATAGRAM: usize = 4096;

/// One attempt to have a question answered. Its socket, and with it the port that an answer must
/// go to, serves for this question only, and takes messages of this server only.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) server: SocketAddr,
    id: u16,
    link: Link,
}

#[derive(Debug)]
enum Link {
    Datagram(UdpSocket),
    Stream(TcpStream, Frames),
}

/// How far an attempt is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Waiting,
    /// The server's message and what it is.
    Answered(Verdict, Vec<u8>),
}

impl Attempt {
    /// Sends the question, or begins to.
    pub(super) fn start(
        forward: &Forward,
        server: SocketAddr,
        transport: Transport,
    ) -> io::Result<Self> {
        let id = random_id()?;
        let question = forward.question(id).ok_or(io::ErrorKind::InvalidData)?;
        let link = match transport {
            Transport::Udp => {
                let any = match server {
                    SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                    SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
                };
                let socket = UdpSocket::bind(any)?;
                socket.set_nonblocking(true)?;
                socket.connect(server)?;
                socket.send(&question)?;
                Link::Datagram(socket)
            }
            Transport::Tcp => {
                let mut frames = Frames::default();
                frames.push(&question);
                Link::Stream(connecting(server)?, frames)
            }
        };
        Ok(Self { server, id, link })
    }

    /// How the question was sent.
    pub(super) fn transport(&self) -> Transport {
        match self.link {
            Link::Datagram(_) => Transport::Udp,
            Link::Stream(..) => Transport::Tcp,
        }
    }

    /// Whether the socket is to be watched for room to write.
    pub(super) fn is_writing(&self) -> bool {
        match &self.link {
            Link::Datagram(_) => false,
            Link::Stream(_, frames) => frames.unsent() > 0,
        }
    }

    /// Goes on with what the socket is ready for. What is not the answer is passed over.
    pub(super) fn go_on(&mut self, forward: &Forward) -> io::Result<Progress> {
        match &mut self.link {
            Link::Datagram(socket) => {
                let mut buffer = [0; DATAGRAM];
                loop {
                    let length = match socket.recv(&mut buffer) {
                        Ok(length) => length,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            return Ok(Progress::Waiting);
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(error) => return Err(error),
                    };
                    let message = buffer.get(..length).unwrap_or_default();
                    match forward.judge(self.id, message) {
                        Verdict::Stranger => {}
                        verdict => return Ok(Progress::Answered(verdict, message.to_vec())),
                    }
                }
            }
            Link::Stream(stream, frames) => {
                frames.write(&mut *stream)?;
                let end = frames.read(&mut *stream)?;
                while let Some(message) = frames.next() {
                    match forward.judge(self.id, &message) {
                        Verdict::Stranger => {}
                        verdict => return Ok(Progress::Answered(verdict, message)),
                    }
                }
                match end {
                    Stream::Open => Ok(Progress::Waiting),
                    Stream::Ended => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        }
    }
}

impl AsFd for Attempt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.link {
            Link::Datagram(socket) => socket.as_fd(),
            Link::Stream(stream, _) => stream.as_fd(),
        }
    }
}

/// A stream that is being connected; writing to it waits for that, or says why it failed.
fn connecting(server: SocketAddr) -> io::Result<TcpStream> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(errno) => Err(errno.into()),
    }
}

fn random_id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(u16::from_be_bytes(bytes))
}
