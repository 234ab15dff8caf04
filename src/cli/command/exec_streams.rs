//! The streams of `podrun exec`: pipes or a terminal of the container's own.
//!
//! The caller's own descriptors never enter the container: without a terminal it gets pipes, with
//! one it gets a terminal of its own, and this process copies.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::cli::failure::Failure;
use crate::names::ContainerName;
use crate::runtime::client::Connection;
use crate::wire::{Reply, Request, TerminalSize};

/// Bytes copied at once.
const CHUNK: usize = 64 * 1024;

/// Whether the command gets the caller's input and a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Streams {
    /// `-i`
    pub(crate) stdin: bool,
    /// `-t`
    pub(crate) terminal: bool,
}

/// Runs the command and returns its exit code.
///
/// # Errors
/// A command that cannot be run (126, 127), a container that is not running, podrun's own failures.
pub(crate) fn run(
    connection: &Connection,
    container: ContainerName,
    argv: Vec<String>,
    streams: Streams,
) -> Result<u8, Failure> {
    let lost = |error: io::Error| match error.raw_os_error() {
        Some(libc::E2BIG | libc::EMSGSIZE) => {
            Failure::with_code(126, "the command's arguments are too long")
        }
        _ => Failure::internal(format!("the pod's supervisor does not answer: {error}")),
    };
    if streams.terminal {
        let request = Request::Exec {
            container,
            argv,
            terminal: Some(terminal_size().unwrap_or(DEFAULT)),
        };
        connection.send(&request, &[]).map_err(lost)?;
        with_terminal(connection, streams.stdin)
    } else {
        let request = Request::Exec {
            container,
            argv,
            terminal: None,
        };
        let pipes = || -> io::Result<_> {
            let flags = PipeFlags::CLOEXEC;
            Ok((pipe_with(flags)?, pipe_with(flags)?, pipe_with(flags)?))
        };
        let (stdin, stdout, stderr) = pipes().map_err(Failure::internal)?;
        connection
            .send(
                &request,
                &[stdin.0.as_fd(), stdout.1.as_fd(), stderr.1.as_fd()],
            )
            .map_err(lost)?;
        drop((stdin.0, stdout.1, stderr.1));
        let input = streams.stdin.then_some(stdin.1);
        with_pipes(connection, input, stdout.0, stderr.0, None)
    }
}

/// What a terminal has when the caller has none.
const DEFAULT: TerminalSize = TerminalSize {
    rows: 24,
    columns: 80,
};

fn terminal_size() -> Option<TerminalSize> {
    let size = tcgetwinsize(rustix::stdio::stdin())
        .or_else(|_| tcgetwinsize(rustix::stdio::stdout()))
        .ok()?;
    Some(TerminalSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// The way to the command's input. It is never waited for: a command that reads only once its
/// output was taken would wait for ever for this process, which would wait for it.
struct Inlet<F> {
    to: F,
    /// What the command has not taken yet, at most [`CHUNK`] bytes: nothing is read before it is
    /// empty.
    pending: Vec<u8>,
}

impl<F: AsFd> Inlet<F> {
    fn new(to: F) -> Result<Self, Failure> {
        rustix::fs::fcntl_setfl(&to, OFlags::NONBLOCK).map_err(Failure::internal)?;
        Ok(Self {
            to,
            pending: Vec::new(),
        })
    }

    /// Passes on what the command takes at once; false when it takes no more ever.
    fn push(&mut self) -> bool {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.to, &self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

/// A terminal that follows the size of the caller's.
pub(super) struct Follows {
    signals: SignalFd,
    master: OwnedFd,
}

impl Follows {
    /// Gives the terminal the caller's size, now and after each change.
    ///
    /// # Errors
    /// As `signalfd(2)`.
    pub(super) fn new(master: OwnedFd) -> Result<Self, Failure> {
        let follows = Self {
            signals: resized()?,
            master,
        };
        follows.resize();
        Ok(follows)
    }

    fn resize(&self) {
        self.signals.read_signal().ok();
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            tcsetwinsize(&self.master, size).ok();
        }
    }
}

/// Copies until both outputs have ended and the answer has come.
pub(super) fn with_pipes(
    connection: &Connection,
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
    terminal: Option<&Follows>,
) -> Result<u8, Failure> {
    let mut input = stdin.map(Inlet::new).transpose()?;
    let mut outputs = [Some(stdout), Some(stderr)];
    let mut answer = None;
    let mut buffer = vec![0; CHUNK];
    let caller = rustix::stdio::stdin();
    loop {
        if answer.is_some() && outputs.iter().all(Option::is_none) {
            break;
        }
        let mut watched = Vec::with_capacity(5);
        let mut sources = Vec::with_capacity(5);
        if let Some(terminal) = terminal {
            watched.push(PollFd::new(&terminal.signals, PollFlags::IN));
            sources.push(Ready::Resized);
        }
        if answer.is_none() {
            watched.push(PollFd::new(connection, PollFlags::IN));
            sources.push(Ready::Answer);
        }
        for (index, output) in outputs.iter().enumerate() {
            if let Some(output) = output {
                watched.push(PollFd::new(output, PollFlags::IN));
                sources.push(Ready::Output(index));
            }
        }
        if let Some(input) = &input {
            let mut room = PollFlags::OUT;
            if input.pending.is_empty() {
                watched.push(PollFd::new(&caller, PollFlags::IN));
                sources.push(Ready::Input);
                // Only its error condition, which says that the command reads no more.
                room = PollFlags::empty();
            }
            watched.push(PollFd::new(&input.to, room));
            sources.push(Ready::Inlet);
        }
        let ready = wait(&mut watched, sources)?;
        drop(watched);
        for source in ready {
            match source {
                Ready::Resized => {
                    if let Some(terminal) = terminal {
                        terminal.resize();
                    }
                }
                Ready::Answer => answer = Some(receive(connection)?),
                Ready::Output(index) => {
                    let Some(slot) = outputs.get_mut(index) else {
                        continue;
                    };
                    let Some(output) = slot else { continue };
                    match rustix::io::read(&*output, &mut buffer) {
                        Ok(0) | Err(_) => *slot = None,
                        Ok(length) => {
                            let bytes = buffer.get(..length).unwrap_or_default();
                            let to = if index == 0 {
                                rustix::stdio::stdout()
                            } else {
                                rustix::stdio::stderr()
                            };
                            write_all(to, bytes)?;
                        }
                    }
                }
                Ready::Input => {
                    let Some(inlet) = &mut input else { continue };
                    match rustix::io::read(caller, &mut buffer) {
                        Ok(0) | Err(_) => input = None,
                        Ok(length) => {
                            let bytes = buffer.get(..length).unwrap_or_default();
                            inlet.pending.extend_from_slice(bytes);
                            // The command may have closed its input; that is its own affair.
                            if !inlet.push() {
                                input = None;
                            }
                        }
                    }
                }
                Ready::Inlet => {
                    let Some(inlet) = &mut input else { continue };
                    let is_closed = inlet.pending.is_empty() || !inlet.push();
                    if is_closed {
                        input = None;
                    }
                }
            }
        }
    }
    Ok(answer.unwrap_or(125))
}

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    Resized,
    Answer,
    Output(usize),
    Input,
    Inlet,
}

fn wait<T>(watched: &mut [PollFd<'_>], sources: Vec<T>) -> Result<Vec<T>, Failure> {
    match poll(watched, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(Failure::internal(errno)),
    }
    Ok(sources
        .into_iter()
        .zip(watched)
        .filter(|(_, fd)| !fd.revents().is_empty())
        .map(|(source, _)| source)
        .collect())
}

/// The answer to an exec: its code, or why it was refused.
///
/// # Errors
/// A refusal, a pod that has ended, a supervisor that does not answer.
pub(super) fn receive(connection: &Connection) -> Result<u8, Failure> {
    match connection.receive() {
        Ok(Some((Reply::Exited { code }, _))) => Ok(u8::try_from(code).unwrap_or(255)),
        Ok(Some((Reply::Refused { code, message }, _))) => Err(Failure::with_code(
            u8::try_from(code).unwrap_or(125),
            message,
        )),
        Ok(Some(_)) => Err(Failure::internal(
            "the pod's supervisor gave an answer to another question",
        )),
        Ok(None) => Err(Failure::with_code(137, "the pod has ended")),
        Err(error) => Err(Failure::internal(format!("the pod's supervisor: {error}"))),
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Failure> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Failure::internal(format!("output: {errno}"))),
        }
    }
    Ok(())
}

/// The caller's terminal in raw mode; it gets its own mode back whatever happens.
pub(super) struct RawMode(Termios);

impl RawMode {
    pub(super) fn enter() -> Option<Self> {
        let before = tcgetattr(rustix::stdio::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0).ok();
    }
}

/// The signal that says that the caller's terminal has another size.
fn resized() -> Result<SignalFd, Failure> {
    let mut resized = SigSet::empty();
    resized.add(Signal::SIGWINCH);
    resized
        .thread_block()
        .and_then(|()| {
            SignalFd::with_flags(&resized, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        })
        .map_err(Failure::internal)
}

fn with_terminal(connection: &Connection, stdin: bool) -> Result<u8, Failure> {
    let master = match connection.receive() {
        Ok(Some((Reply::Terminal, descriptors))) => descriptors.into_iter().next(),
        Ok(Some((Reply::Refused { code, message }, _))) => {
            return Err(Failure::with_code(
                u8::try_from(code).unwrap_or(125),
                message,
            ));
        }
        _ => None,
    };
    let Some(master) = master else {
        return Err(Failure::internal("the command got no terminal"));
    };
    let signals = resized()?;
    let raw = stdin.then(RawMode::enter).flatten();
    let code = copy_terminal(connection, &master, &signals, stdin);
    drop(raw);
    code
}

fn copy_terminal(
    connection: &Connection,
    master: &OwnedFd,
    signals: &SignalFd,
    stdin: bool,
) -> Result<u8, Failure> {
    let caller = rustix::stdio::stdin();
    let mut input = stdin.then(|| Inlet::new(master)).transpose()?;
    let mut output_open = true;
    let mut answer = None;
    let mut buffer = vec![0; CHUNK];
    while answer.is_none() || output_open {
        let mut watched = vec![PollFd::new(signals, PollFlags::IN)];
        let mut sources = vec![0_u8];
        if answer.is_none() {
            watched.push(PollFd::new(connection, PollFlags::IN));
            sources.push(1);
        }
        if output_open {
            watched.push(PollFd::new(master, PollFlags::IN));
            sources.push(2);
        }
        match &input {
            Some(input) if input.pending.is_empty() => {
                watched.push(PollFd::new(&caller, PollFlags::IN));
                sources.push(3);
            }
            Some(input) => {
                watched.push(PollFd::new(input.to, PollFlags::OUT));
                sources.push(4);
            }
            None => {}
        }
        for source in wait(&mut watched, sources)? {
            match source {
                0 => {
                    signals.read_signal().ok();
                    if let Ok(size) = tcgetwinsize(caller) {
                        tcsetwinsize(master, size).ok();
                    }
                }
                1 => answer = Some(receive(connection)?),
                2 => match rustix::io::read(master, &mut buffer) {
                    Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                    // EIO: the last process has closed the terminal.
                    Ok(0) | Err(_) => output_open = false,
                    Ok(length) => {
                        write_all(
                            rustix::stdio::stdout(),
                            buffer.get(..length).unwrap_or_default(),
                        )?;
                    }
                },
                3 => match rustix::io::read(caller, &mut buffer) {
                    Ok(0) | Err(_) => {
                        // End of file, as a terminal's driver knows it.
                        if let Some(mut inlet) = input.take() {
                            inlet.pending.push(4);
                            inlet.push();
                        }
                    }
                    Ok(length) => {
                        if let Some(inlet) = &mut input {
                            let bytes = buffer.get(..length).unwrap_or_default();
                            inlet.pending.extend_from_slice(bytes);
                            inlet.push();
                        }
                    }
                },
                _ => {
                    if let Some(inlet) = &mut input {
                        inlet.push();
                    }
                }
            }
        }
    }
    Ok(answer.unwrap_or(125))
}
