//! `podrun attach`.

use std::io;
use std::os::fd::AsFd;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::cli::command::exec::pick_container;
use crate::cli::command::exec_streams::{Follows, RawMode, Streams, with_pipes};
use crate::cli::command::{get, restart};
use crate::cli::failure::Failure;
use crate::cli::options::{Attach, Global};
use crate::cli::{input, render};
use crate::runtime::client::Connection;
use crate::wire::{Reply, Request};

/// Bytes of output that wait for an attached client.
const ATTACH_PIPE: usize = 1024 * 1024;

/// Performs the command: follows the output until the container ends, and returns its code.
///
/// # Errors
/// No such pod or container (4), one that is not running (1).
pub(crate) fn run(global: &Global, options: &Attach) -> Result<u8, Failure> {
    let store = input::open_store(global)?;
    let pod = get::find_pod(global, &store, &options.pod)?;
    let container = pick_container(&pod, options.container.as_deref())?;
    let connection = restart::connect(&store, &pod)?;
    let what = format!("container `{container}`");
    let request = Request::Attach {
        container,
        stdin: options.stdin,
    };
    let streams = Streams {
        stdin: options.stdin,
        terminal: options.tty,
    };
    follow(&connection, &request, streams, &what)
}

/// Attaches to a container and returns its exit code when it ends. `request` is sent with the
/// pipes for its output.
///
/// # Errors
/// A container that is not running or ends before it could be attached to, output that was not
/// read in time.
pub(crate) fn follow(
    connection: &Connection,
    request: &Request,
    streams: Streams,
    what: &str,
) -> Result<u8, Failure> {
    let pipes = || -> io::Result<_> {
        let pipes = (
            pipe_with(PipeFlags::CLOEXEC)?,
            pipe_with(PipeFlags::CLOEXEC)?,
        );
        // Room for a burst; refused by the kernel it stays what it was.
        for (_, write) in [&pipes.0, &pipes.1] {
            rustix::pipe::fcntl_setpipe_size(write, ATTACH_PIPE).ok();
        }
        Ok(pipes)
    };
    let (stdout, stderr) = pipes().map_err(Failure::internal)?;
    connection
        .send(request, &[stdout.1.as_fd(), stderr.1.as_fd()])
        .map_err(|error| {
            Failure::internal(format!("the pod's supervisor does not answer: {error}"))
        })?;
    drop((stdout.1, stderr.1));
    let (is_terminal, input) = match connection.receive() {
        Ok(Some((Reply::Attached { is_terminal }, descriptors))) => {
            (is_terminal, descriptors.into_iter().next())
        }
        Ok(Some((Reply::Refused { code, message }, _))) => {
            return Err(Failure::with_code(
                u8::try_from(code).unwrap_or(125),
                message,
            ));
        }
        Ok(Some((Reply::Exited { code }, _))) => {
            return Ok(u8::try_from(code).unwrap_or(255));
        }
        Ok(_) => return Err(Failure::with_code(137, "the pod has ended")),
        Err(error) => return Err(Failure::internal(format!("the pod's supervisor: {error}"))),
    };
    if streams.terminal && !is_terminal {
        return Err(Failure::with_code(
            1,
            format!("{what} has no terminal: `tty` is not set in its manifest"),
        )
        .hinted("leave -t out"));
    }
    if streams.stdin && input.is_none() {
        return Err(Failure::with_code(
            1,
            format!("{what} reads no input: `stdin` is not set in its manifest"),
        )
        .hinted("leave -i out"));
    }
    // Not only for who types: a window has a size, whoever types.
    let follows = match &input {
        Some(master) if is_terminal && streams.terminal => {
            let master = master.try_clone().map_err(Failure::internal)?;
            Some(Follows::new(master)?)
        }
        Some(_) | None => None,
    };
    if is_terminal && streams.terminal && streams.stdin {
        render::say("If you don't see a command prompt, try pressing enter.");
    }
    let raw = (is_terminal && streams.terminal && streams.stdin)
        .then(RawMode::enter)
        .flatten();
    let input = input.filter(|_| streams.stdin);
    let code = with_pipes(connection, input, stdout.0, stderr.0, follows.as_ref());
    drop(raw);
    code
}
