//! The prober: one process per pod that makes the network probes and HTTP hooks of its containers.
//!
//! It is a clone of the supervisor that has joined the pod's network namespace and has no
//! capabilities. The servers it talks to are the containers' own and may be hostile: what they send
//! is bounded in size and in time, and nothing of it is kept.
//!
//! ```text
//!  supervisor                    prober                       server
//!     │──── ProbeRequest ──────────▶│                            │
//!     │                             │── a thread, a connection ─▶│
//!     │◀──────────── ProbeReply ────│◀───────────────────────────│
//! ```
//!
//! A thread per probe ends with it, so an idle prober is one thread that waits; it gives back what
//! memory it can.

mod connection;
mod grpc;
mod h2c;
mod hpack;
mod http;
mod http2;
mod transport;
mod url;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::plan::Handler;
use crate::sys::process::{self, Reloadable};
use crate::sys::seqpacket;
use crate::wire::{self, MAX_PROBE_OUTPUT, ProbeReply, ProbeRequest, ProbeVerdict};
use connection::Deadline;

/// The most probes at once; further requests wait in the socket.
const MAX_IN_FLIGHT: u64 = 128;

/// A probe's stack. What is not touched costs nothing; but the C library keeps 40 MiB of stacks that
/// are no longer used for the next threads, with the pages that were touched: of these it keeps ten.
const STACK: usize = 4 * 1024 * 1024;

/// After so long without a probe, memory is given back.
const QUIET: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// The Kubernetes version that probes say they are of.
const VERSION: &str = "1.37";

/// Answers requests until the supervisor's socket or the lifeline ends. The caller has joined the
/// pod's network namespace and is the only thread.
///
/// # Errors
/// As `poll(2)`, `eventfd2(2)` and `recvmsg(2)`; a probe's own errors are in its reply.
pub fn run(requests: OwnedFd, lifeline: BorrowedFd<'_>) -> io::Result<()> {
    process::share_arena();
    let memory = Reloadable::find();
    let mut is_lean = false;
    let requests = Arc::new(requests);
    // Counts the probes that have ended.
    let ended = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let mut buffer = vec![0; seqpacket::MAX_MESSAGE];
    let mut in_flight = 0_u64;
    loop {
        let mut waited = vec![
            PollFd::from_borrowed_fd(lifeline, PollFlags::IN),
            PollFd::new(&*ended, PollFlags::IN),
        ];
        if in_flight < MAX_IN_FLIGHT {
            waited.push(PollFd::new(&*requests, PollFlags::IN));
        }
        let may_release = in_flight == 0 && !is_lean;
        match poll(&mut waited, may_release.then_some(&QUIET)) {
            Ok(0) => {
                memory.release();
                is_lean = true;
                continue;
            }
            Ok(_) => is_lean = false,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let is_ready = |at: usize| waited.get(at).is_some_and(|one| !one.revents().is_empty());
        if is_ready(0) {
            return Ok(());
        }
        if is_ready(1) {
            let mut count = [0; 8];
            if rustix::io::read(&*ended, &mut count).is_ok() {
                in_flight = in_flight.saturating_sub(u64::from_ne_bytes(count));
            }
        }
        if is_ready(2) {
            let (length, _) = seqpacket::receive(&*requests, &mut buffer, RecvFlags::empty())?;
            if length == 0 {
                return Ok(());
            }
            let message = buffer.get(..length).unwrap_or_default();
            if let Ok(request) = wire::decode(message) {
                in_flight = in_flight.saturating_add(1);
                start(request, &requests, &ended);
            }
        }
    }
}

/// Performs a request in a thread of its own.
fn start(request: ProbeRequest, replies: &Arc<OwnedFd>, ended: &Arc<OwnedFd>) {
    let id = request.id;
    let (thread_replies, thread_ended) = (Arc::clone(replies), Arc::clone(ended));
    let started = thread::Builder::new().stack_size(STACK).spawn(move || {
        reply(id, perform(&request), thread_replies.as_fd());
        count_ended(thread_ended.as_fd());
    });
    if let Err(error) = started {
        let verdict = Verdict::unknown(format!("cannot start a thread: {error}"));
        reply(id, verdict, replies.as_fd());
        count_ended(ended.as_fd());
    }
}

fn count_ended(ended: BorrowedFd<'_>) {
    // It cannot fail: the counter never comes near its limit.
    rustix::io::write(ended, &1_u64.to_ne_bytes()).ok();
}

/// Sends a reply; a supervisor that is gone needs none.
fn reply(id: u64, verdict: Verdict, replies: BorrowedFd<'_>) {
    let Verdict { result, mut output } = verdict;
    output.truncate(output.floor_char_boundary(MAX_PROBE_OUTPUT));
    let reply = ProbeReply {
        id,
        verdict: result,
        output,
    };
    if let Ok(bytes) = wire::encode(&reply) {
        seqpacket::send(replies, &bytes, &[], SendFlags::empty()).ok();
    }
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To learn how the container is.
    Probe,
    /// To tell the container something.
    Hook,
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    result: ProbeVerdict,
    output: String,
}

impl Verdict {
    fn success() -> Self {
        Self {
            result: ProbeVerdict::Success,
            output: String::new(),
        }
    }

    fn warning(output: impl Into<String>) -> Self {
        Self {
            result: ProbeVerdict::Warning,
            output: output.into(),
        }
    }

    fn failure(output: impl Into<String>) -> Self {
        Self {
            result: ProbeVerdict::Failure,
            output: output.into(),
        }
    }

    fn unknown(output: impl Into<String>) -> Self {
        Self {
            result: ProbeVerdict::Unknown,
            output: output.into(),
        }
    }
}

fn perform(request: &ProbeRequest) -> Verdict {
    let deadline = Deadline::after(request.timeout_ms);
    let purpose = if request.is_hook {
        Purpose::Hook
    } else {
        Purpose::Probe
    };
    match &request.handler {
        Handler::HttpGet(get) => http::probe(get, purpose, deadline),
        Handler::TcpSocket { host, port } => tcp(host, *port, deadline),
        Handler::Grpc {
            host,
            port,
            service,
            tls,
        } => {
            let check = grpc::Check {
                host,
                port: *port,
                service,
                tls: *tls,
                timeout_ms: request.timeout_ms,
            };
            grpc::probe(check, deadline)
        }
        Handler::Exec { .. } | Handler::Sleep { .. } => {
            Verdict::unknown("not a probe over the network")
        }
    }
}

/// Whether a connection can be made (pkg/probe/tcp).
fn tcp(host: &str, port: u16, deadline: Deadline) -> Verdict {
    let connected = connection::addresses(host, port, deadline)
        .and_then(|addresses| connection::dial(&addresses, deadline));
    match connected {
        Ok(_) => Verdict::success(),
        Err(error) => Verdict::failure(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
