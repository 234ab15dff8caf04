//! A client that asks over a stream.

use std::io::Result;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::frames::{Frames, Stream};

/// How long a client may keep a stream after an answer, or without any (RFC 7766, 6.2.3).
const IDLE: Duration = Duration::from_secs(10);

/// How many questions of one stream are asked elsewhere at once (RFC 7766, 6.2.1.1); the next
/// ones stay unread until one is answered.
const MAX_WAITING: usize = 64;

/// Bytes of answers that a client may leave unread before no more of its questions are read.
const MAX_UNSENT: usize = 64 * 1024;

/// A stream of a client.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    frames: Frames,
    input: Stream,
    /// Questions that are asked elsewhere.
    waiting: usize,
    idle_until: Instant,
}

impl Client {
    pub(super) fn new(stream: TcpStream, now: Instant) -> Self {
        Self {
            stream,
            frames: Frames::default(),
            input: Stream::Open,
            waiting: 0,
            idle_until: later(now),
        }
    }

    /// Sends what goes.
    pub(super) fn send(&mut self) -> Result<()> {
        self.frames.write(&mut self.stream)
    }

    /// Receives what has come. Whoever calls it takes the questions as well: no event tells of
    /// those that are received.
    pub(super) fn receive(&mut self) -> Result<()> {
        if self.input == Stream::Open && !self.is_full() {
            self.input = self.frames.read(&mut self.stream)?;
        }
        Ok(())
    }

    /// The next question, where it may be asked already.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        if self.is_full() {
            return None;
        }
        self.frames.next()
    }

    /// A question is asked elsewhere.
    pub(super) fn wait(&mut self) {
        self.waiting = self.waiting.saturating_add(1);
    }

    /// What was asked elsewhere is answered.
    pub(super) fn wait_no_more(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Puts an answer in line.
    pub(super) fn answer(&mut self, message: &[u8], now: Instant) {
        self.frames.push(message);
        self.idle_until = later(now);
    }

    /// Bytes of answers that the client has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        self.frames.unsent()
    }

    fn is_full(&self) -> bool {
        self.waiting >= MAX_WAITING || self.unsent() > MAX_UNSENT
    }

    /// What to watch the stream for.
    pub(super) fn interest(&self) -> EventFlags {
        let mut flags = EventFlags::empty();
        if self.input == Stream::Open && !self.is_full() {
            flags |= EventFlags::IN;
        }
        if self.unsent() > 0 {
            flags |= EventFlags::OUT;
        }
        flags
    }

    /// Whether all that was asked is answered and nothing more will be.
    pub(super) fn is_done(&self) -> bool {
        self.input == Stream::Ended && self.waiting == 0 && self.unsent() == 0
    }

    /// When it is idle for too long; never while it waits for an answer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.waiting == 0).then_some(self.idle_until)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn later(now: Instant) -> Instant {
    now.checked_add(IDLE).unwrap_or(now)
}
