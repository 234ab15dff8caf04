//! Clients that see a container's output as it comes, and write to its input.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::plan::Console;
use crate::store::Stream;
use crate::supervisor::control;
use crate::supervisor::watch::{Source, Watch};
use crate::sys::seqpacket;
use crate::wire::{self, Reply};

/// One attached client.
#[derive(Debug)]
pub(super) struct Attachment {
    /// The client's number.
    number: u32,
    client: OwnedFd,
    stdout: Outlet,
    stderr: Outlet,
    wants_input: bool,
    is_welcomed: bool,
}

/// One of a client's pipes.
#[derive(Debug)]
struct Outlet {
    pipe: OwnedFd,
    /// What did not fit into the pipe. Nothing more is read from the container until it did.
    held: Vec<u8>,
}

impl Outlet {
    /// Writes what is held and as much of this as there is room for; the rest is held. False when
    /// the client has closed the pipe.
    fn write(&mut self, chunk: &[u8], source: Source, watch: &Watch) -> bool {
        let was_held = !self.held.is_empty();
        self.held.extend_from_slice(chunk);
        let mut rest = self.held.as_slice();
        while !rest.is_empty() {
            match rustix::io::write(&self.pipe, rest) {
                Ok(length) => rest = rest.get(length..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    watch.remove(&self.pipe);
                    return false;
                }
            }
        }
        let written = self.held.len().saturating_sub(rest.len());
        self.held.drain(..written);
        match (was_held, !self.held.is_empty()) {
            (false, true) => watch.add_for_room(&self.pipe, source).is_ok(),
            (true, false) => {
                watch.remove(&self.pipe);
                true
            }
            (false, false) | (true, true) => true,
        }
    }
}

impl Attachment {
    /// Of the client with its pipes for standard output and error; nothing if they are not there.
    pub(super) fn new(
        number: u32,
        client: &OwnedFd,
        pipes: Vec<OwnedFd>,
        wants_input: bool,
    ) -> Option<Self> {
        let mut pipes = pipes.into_iter();
        let (stdout, stderr) = (pipes.next()?, pipes.next()?);
        for pipe in [&stdout, &stderr] {
            // What the client does not read must not keep the supervisor.
            rustix::fs::fcntl_setfl(pipe, OFlags::NONBLOCK).ok()?;
        }
        Some(Self {
            number,
            client: client.try_clone().ok()?,
            stdout: Outlet {
                pipe: stdout,
                held: Vec::new(),
            },
            stderr: Outlet {
                pipe: stderr,
                held: Vec::new(),
            },
            wants_input,
            is_welcomed: false,
        })
    }
}

/// The clients of one container, and its input.
#[derive(Debug)]
pub(super) struct Attachments {
    /// The way to the container's input, which stays open while nobody is attached.
    input: Option<OwnedFd>,
    all: Vec<Attachment>,
}

impl Attachments {
    pub(super) const fn new(input: Option<OwnedFd>) -> Self {
        Self {
            input,
            all: Vec::new(),
        }
    }

    /// The container's terminal exists.
    pub(super) fn set_input(&mut self, input: OwnedFd) {
        self.input = Some(input);
    }

    pub(super) fn add(&mut self, attachment: Attachment) {
        self.all.push(attachment);
    }

    /// Tells those who have not been told that they are attached, with the container's input.
    pub(super) fn welcome(&mut self, console: Console) {
        let mut is_taken = false;
        for attachment in self.all.iter_mut().filter(|one| !one.is_welcomed) {
            attachment.is_welcomed = true;
            let input = self
                .input
                .as_ref()
                .filter(|_| attachment.wants_input && console.stdin);
            is_taken |= input.is_some();
            // A terminal's window has a size, whoever types.
            let input = input.or(self.input.as_ref().filter(|_| console.tty));
            let descriptors: Vec<BorrowedFd<'_>> = input.into_iter().map(AsFd::as_fd).collect();
            let reply = Reply::Attached {
                is_terminal: console.tty,
            };
            if let Ok(bytes) = wire::encode(&reply) {
                seqpacket::send(
                    &attachment.client,
                    &bytes,
                    &descriptors,
                    SendFlags::DONTWAIT,
                )
                .ok();
            }
        }
        if is_taken && console.stdin_once && !console.tty {
            // Only the client holds it open now: its end is the input's.
            self.input = None;
        }
    }

    /// Gives the clients what the container has written.
    pub(super) fn pass_on(&mut self, stream: Stream, chunk: &[u8], source: Source, watch: &Watch) {
        self.all.retain_mut(|attachment| {
            let outlet = match stream {
                Stream::Stdout => &mut attachment.stdout,
                Stream::Stderr => &mut attachment.stderr,
            };
            outlet.write(chunk, source, watch)
        });
    }

    /// A client has read something: gives it what is held.
    pub(super) fn flush(&mut self, source: Source, watch: &Watch) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.pass_on(stream, &[], source, watch);
        }
    }

    /// Whether a client has not read what it was given.
    pub(super) fn is_full(&self) -> bool {
        let is_held = |outlet: &Outlet| !outlet.held.is_empty();
        self.all
            .iter()
            .any(|one| is_held(&one.stdout) || is_held(&one.stderr))
    }

    /// A client has gone.
    pub(super) fn remove(&mut self, number: u32, watch: &Watch) {
        self.all.retain(|attachment| {
            let goes = attachment.number == number;
            if goes {
                attachment.leave(watch);
            }
            !goes
        });
    }

    /// The container's start has failed.
    pub(super) fn refuse(&mut self, message: &str, watch: &Watch) {
        for attachment in self.all.drain(..) {
            attachment.leave(watch);
            let reply = Reply::Refused {
                code: 128,
                message: message.to_owned(),
            };
            control::answer(&attachment.client, &reply);
        }
    }

    /// The container has ended. A client that does not read now does not get the rest.
    pub(super) fn end(&mut self, code: i32, source: Source, watch: &Watch) {
        self.flush(source, watch);
        for attachment in self.all.drain(..) {
            attachment.leave(watch);
            let reply = if attachment.stdout.held.is_empty() && attachment.stderr.held.is_empty() {
                Reply::Exited { code }
            } else {
                let message = "the container has ended before all of its output was read";
                Reply::Refused {
                    code: 1,
                    message: message.to_owned(),
                }
            };
            control::answer(&attachment.client, &reply);
        }
        self.input = None;
    }
}

impl Attachment {
    /// Clones of the supervisor may hold the pipes open for a moment.
    fn leave(&self, watch: &Watch) {
        for outlet in [&self.stdout, &self.stderr] {
            watch.remove(&outlet.pipe);
        }
    }
}
