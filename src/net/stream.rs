//! Two connected sockets and the bytes between them, moved by `splice(2)` and never copied here.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{Shutdown, getpeername, shutdown, sockopt};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use rustix::process::{Resource, getrlimit};

/// Bytes moved by one `splice(2)`, and what a pipe should hold. More than a pipe's default of
/// 64 KiB, so that a large segment of TCP is moved as a whole.
const CHUNK: usize = 256 * 1024;

/// Chunks that one direction moves before others have their turn.
const TURN: usize = 16;

/// Empty pipes that are kept for the next who needs one.
const SPARE: usize = 32;

/// The most streams of one loop, and the most flows of datagrams.
pub(super) const MOST: usize = 8192;

/// Descriptors that a stream has at worst: two sockets, and a pipe each way; a flow has one, and
/// one that it may share.
const DESCRIPTORS: u64 = 6 + 2;

/// How many streams each of some loops of this process may have with its limit of descriptors.
pub(super) fn most_streams(loops: u64) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let each = limit.checked_div(DESCRIPTORS.saturating_mul(loops));
    usize::try_from(each.unwrap_or(0)).map_or(MOST, |most| most.min(MOST))
}

/// Loops in the node agent: the way out and the two sides of node ports; as much again is for all
/// else.
pub(super) const AGENTS_LOOPS: u64 = 4;

/// A pipe's two ends.
type Pipe = (OwnedFd, OwnedFd);

/// Pipes for whoever has bytes on the way: an idle connection holds none.
#[derive(Debug, Default)]
pub(super) struct Pipes(Vec<Pipe>);

impl Pipes {
    fn take(&mut self) -> Result<Pipe, Errno> {
        if let Some(pipe) = self.0.pop() {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user's pipes have a limit together; beyond it they are smaller.
        fcntl_setpipe_size(&write, CHUNK).ok();
        Ok((read, write))
    }

    /// Takes back an empty pipe.
    fn give(&mut self, pipe: Pipe) {
        if self.0.len() < SPARE {
            self.0.push(pipe);
        }
    }
}

/// Bytes on their way from one socket to the other.
#[derive(Debug, Default)]
struct Direction {
    /// Where they wait; none when there are none.
    pipe: Option<Pipe>,
    buffered: usize,
    source_ended: bool,
    closed: bool,
}

impl Direction {
    /// Moves what can be moved without waiting, at most a turn; passes a half-close on once all
    /// bytes are through. Returns whether the turn ended before the bytes did.
    fn pump(&mut self, from: &OwnedFd, to: &OwnedFd, pipes: &mut Pipes) -> Result<bool, Errno> {
        if self.closed {
            return Ok(false);
        }
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let pipe = match self.pipe.take() {
            Some(pipe) => pipe,
            None => pipes.take()?,
        };
        let mut moved = true;
        let mut turns = 0;
        while moved && turns < TURN {
            moved = false;
            turns = turns.saturating_add(1);
            if !self.source_ended && self.buffered == 0 {
                match splice(from, None, &pipe.1, None, CHUNK, flags) {
                    Ok(0) => self.source_ended = true,
                    Ok(bytes) => {
                        self.buffered = bytes;
                        moved = true;
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            if self.buffered > 0 {
                match splice(&pipe.0, None, to, None, self.buffered, flags) {
                    Ok(bytes) => {
                        self.buffered = self.buffered.saturating_sub(bytes);
                        moved |= bytes > 0;
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        if self.buffered > 0 {
            self.pipe = Some(pipe);
        } else {
            pipes.give(pipe);
            if self.source_ended {
                self.closed = true;
                shutdown(to, Shutdown::Write).ok();
            }
        }
        Ok(moved)
    }
}

/// How a stream stands after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The next event of one of its sockets carries on.
    Waits,
    /// There was more than a turn's worth; no event will tell.
    HasMore,
    /// Both sides have sent all they had to send.
    Ended,
    /// One of the connections is broken, or was never made.
    Failed,
}

/// A connection that was accepted, and one that is being made or was made for it. Both are watched
/// for edges.
#[derive(Debug)]
pub(super) struct Stream {
    accepted: OwnedFd,
    made: OwnedFd,
    connected: bool,
    up: Direction,
    down: Direction,
}

/// What a stream's sockets are watched for.
pub(super) const EDGES: EventFlags = EventFlags::IN
    .union(EventFlags::OUT)
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);

impl Stream {
    /// Both sockets do not block; the second has begun to connect.
    pub(super) fn new(accepted: OwnedFd, made: OwnedFd) -> Self {
        // Whoever sends has decided how much goes in a segment.
        sockopt::set_tcp_nodelay(&accepted, true).ok();
        sockopt::set_tcp_nodelay(&made, true).ok();
        Self {
            accepted,
            made,
            connected: false,
            up: Direction::default(),
            down: Direction::default(),
        }
    }

    /// The connection that was accepted.
    pub(super) fn accepted(&self) -> &OwnedFd {
        &self.accepted
    }

    /// The connection that was made.
    pub(super) fn made(&self) -> &OwnedFd {
        &self.made
    }

    /// Moves what one of the sockets has become ready for.
    pub(super) fn advance(&mut self, event: EventFlags, pipes: &mut Pipes) -> Progress {
        if event.contains(EventFlags::ERR) {
            return Progress::Failed;
        }
        if !self.connected {
            match sockopt::socket_error(&self.made) {
                Ok(Ok(())) => match getpeername(&self.made) {
                    Ok(Some(_)) => self.connected = true,
                    // Still being connected.
                    _ => return Progress::Waits,
                },
                _ => return Progress::Failed,
            }
        }
        let up = self.up.pump(&self.accepted, &self.made, pipes);
        let down = self.down.pump(&self.made, &self.accepted, pipes);
        match (up, down) {
            (Ok(_), Ok(_)) if self.up.closed && self.down.closed => Progress::Ended,
            (Ok(false), Ok(false)) => Progress::Waits,
            (Ok(_), Ok(_)) => Progress::HasMore,
            _ => Progress::Failed,
        }
    }

    /// Ends both connections as a broken one ends.
    pub(super) fn reset(self) {
        reset(&self.accepted);
        reset(&self.made);
    }
}

/// Keeps SIGPIPE from this thread: `splice(2)` to a connection that the other side has reset sends
/// it, and knows no flag against it. The error says it as well.
///
/// # Errors
/// As `pthread_sigmask(3)`.
pub(super) fn block_broken_pipe() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGPIPE);
    Ok(signals.thread_block()?)
}

/// Makes the close of a socket a reset instead of an orderly end.
pub(super) fn reset(socket: impl AsFd) {
    sockopt::set_socket_linger(socket, Some(Duration::ZERO)).ok();
}

/// An `epoll_event`'s number of a socket.
///
/// # Errors
/// As `epoll_ctl(2)`.
pub(super) fn watch(
    epoll: &OwnedFd,
    socket: impl AsFd,
    token: u64,
    flags: EventFlags,
) -> io::Result<()> {
    let data = rustix::event::epoll::EventData::new_u64(token);
    Ok(rustix::event::epoll::add(epoll, socket, data, flags)?)
}
