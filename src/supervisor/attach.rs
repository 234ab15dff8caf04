//! Clients that see a container's output as it comes, and write to its input.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::net::SendFlags;

use crate::plan::Console;
use crate::store::Stream;
use crate::supervisor::control;
use crate::sys::seqpacket;
use crate::wire::{self, Reply};

/// One attached client.
#[derive(Debug)]
pub(super) struct Attachment {
    /// The client's number.
    number: u32,
    client: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    wants_input: bool,
    is_welcomed: bool,
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
            stdout,
            stderr,
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

    /// Gives the clients what the container has written. One that does not read is let go.
    pub(super) fn pass_on(&mut self, stream: Stream, chunk: &[u8]) {
        self.all.retain(|attachment| {
            let pipe = match stream {
                Stream::Stdout => &attachment.stdout,
                Stream::Stderr => &attachment.stderr,
            };
            let mut rest = chunk;
            while !rest.is_empty() {
                match rustix::io::write(pipe, rest).map_err(std::io::Error::from) {
                    Ok(length) => rest = rest.get(length..).unwrap_or_default(),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => {
                        if error.kind() == ErrorKind::WouldBlock {
                            let reply = Reply::Refused {
                                code: 1,
                                message: "detached: the output was not read fast enough".to_owned(),
                            };
                            control::answer(&attachment.client, &reply);
                        }
                        return false;
                    }
                }
            }
            true
        });
    }

    /// A client has gone.
    pub(super) fn remove(&mut self, number: u32) {
        self.all.retain(|attachment| attachment.number != number);
    }

    /// The container has ended.
    pub(super) fn end(&mut self, code: i32) {
        for attachment in self.all.drain(..) {
            control::answer(&attachment.client, &Reply::Exited { code });
        }
        self.input = None;
    }
}
