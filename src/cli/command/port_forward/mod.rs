//! `podrun port-forward`: ports of this machine that lead to a running pod while the command runs.
//!
//! The listeners are this process', in the machine's network. What connects them to the pod are
//! sockets of the pod's network, which its supervisor has made for this process: so it needs no
//! privilege, and an interrupt ends all of it at once.

mod target;
mod words;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::apply::launch::Interrupts;
use crate::cli::command::restart;
use crate::cli::failure::{FAILED, Failure};
use crate::cli::options::{Global, PortForward};
use crate::cli::{input, render};
use crate::net::listen;
use crate::net::pod_sockets::PodSockets;
use crate::net::port_forward::{self as forward, Ended, Listener, News, Ports};
use crate::runtime::client::Connection;
use crate::store::PodRecord;
use crate::wire::{Reply, Request};
use target::Pair;
use words::Address;

/// How often another free port is looked for when the first address has one that the next has not.
const TRIES: usize = 16;

/// Performs the command: it goes on until it is interrupted or the pod ends.
///
/// # Errors
/// What is not typed rightly (2), no such pod, Service or port (4), a pod that is not running or has
/// ended, or a port that cannot be listened on (1); the interrupt (130, 143).
pub(crate) fn run(global: &Global, options: &PortForward) -> Result<u8, Failure> {
    let wanted = options
        .ports
        .iter()
        .map(|text| words::wanted(text))
        .collect::<Result<Vec<_>, _>>()?;
    let addresses = words::addresses(&options.address)?;
    let store = input::open_store(global)?;
    let target = target::find(global, &store, &options.pod, &wanted)?;
    let name = &target.pod.record.name;
    let connection = restart::connect(&store, &target.pod)?;
    let sockets = ask(&connection, &target.pod)?;
    raise_descriptors();
    let mut listeners = Vec::new();
    for pair in &target.ports {
        listeners.extend(listen_on(&addresses, *pair)?);
    }
    for (address, listener) in &listeners {
        let remote = listener.ports.remote;
        render::line(&format!("Forwarding from {address} -> {remote}"))?;
    }
    let listeners = listeners
        .into_iter()
        .map(|(_, listener)| listener)
        .collect();
    let interrupts = Interrupts::take().map_err(Failure::internal)?;
    let ended = forward::run(listeners, &sockets, interrupts.as_fd(), &mut tell);
    match ended.map_err(Failure::internal)? {
        Ended::Pod => {
            let lost = format!("lost connection to pod/{name}");
            Err(Failure::with_code(FAILED, lost))
        }
        Ended::Stopped => Err(interrupted(interrupts.arrived())),
    }
}

fn interrupted(signal: Option<i32>) -> Failure {
    let signal = signal.unwrap_or(libc::SIGINT);
    let code = u8::try_from(signal.saturating_add(128)).unwrap_or(130);
    // Whoever sent it knows.
    Failure::with_code(code, "")
}

/// Asks the pod's supervisor for a way to get sockets.
fn ask(connection: &Connection, pod: &PodRecord) -> Result<PodSockets, Failure> {
    let name = &pod.record.name;
    let status = pod.status();
    let phase = status.phase.as_deref().unwrap_or("Unknown");
    if phase != "Running" {
        let message = format!("pod/{name} is not running: its phase is {phase}");
        let failure = Failure::with_code(FAILED, message);
        return Err(match phase {
            "Pending" => failure.hinted(format!("wait for it: `podrun wait pod/{name}`")),
            _ => failure,
        });
    }
    connection
        .send(&Request::PortForward, &[])
        .map_err(|error| {
            Failure::internal(format!("the pod's supervisor does not answer: {error}"))
        })?;
    match connection.receive() {
        Ok(Some((Reply::PodSockets, descriptors))) => descriptors
            .into_iter()
            .next()
            .map(PodSockets::new)
            .ok_or_else(|| Failure::internal("the pod's supervisor gave no descriptor")),
        Ok(Some((Reply::Refused { code, message }, _))) => Err(Failure::with_code(
            u8::try_from(code).unwrap_or(125),
            format!("pod/{name}: {message}"),
        )),
        Ok(_) => Err(Failure::with_code(FAILED, format!("pod/{name} has ended"))),
        Err(error) => Err(Failure::internal(format!("the pod's supervisor: {error}"))),
    }
}

/// A connection takes up to six descriptors, and the usual soft limit is 1024.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Refused, there are fewer connections at once.
    setrlimit(Resource::Nofile, raised).ok();
}

/// Listens on all addresses. With a local port of 0 all have the same one, which is free.
fn listen_on(addresses: &[Address], pair: Pair) -> Result<Vec<(SocketAddr, Listener)>, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        match listen_once(addresses, pair) {
            Err((_, error))
                if pair.local == 0 && error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => {
            }
            listening => return listening.map_err(|(at, error)| not_listening(at, &error)),
        }
    }
}

fn listen_once(
    addresses: &[Address],
    pair: Pair,
) -> Result<Vec<(SocketAddr, Listener)>, (SocketAddr, io::Error)> {
    let mut ports = Ports {
        local: pair.local,
        remote: pair.remote,
    };
    let mut listeners = Vec::new();
    for address in addresses {
        let at = SocketAddr::new(address.ip, ports.local);
        let socket = match listen::tcp(at) {
            Ok((socket, local)) => {
                ports.local = local;
                socket
            }
            // A kernel without IPv6, or a machine without the address.
            Err(error)
                if address.is_optional
                    && matches!(
                        error.raw_os_error(),
                        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
                    ) =>
            {
                continue;
            }
            Err(error) => return Err((at, error)),
        };
        let at = SocketAddr::new(address.ip, ports.local);
        listeners.push((at, Listener { socket, ports }));
    }
    Ok(listeners)
}

fn not_listening(at: SocketAddr, error: &io::Error) -> Failure {
    let failed = |why: &str| Failure::with_code(FAILED, format!("port {at} of the host {why}"));
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => failed("is in use").hinted(
            "choose another one, `:REMOTE` for any that is free, or end what listens there \
             (`ss -ltnp` shows it)",
        ),
        Some(libc::EACCES) => failed("may not be opened by this user").hinted(
            "ports below net.ipv4.ip_unprivileged_port_start (1024) are root's; choose a higher one",
        ),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT) => {
            failed("cannot be opened: the host has no such address")
        }
        _ => failed(&format!("cannot be opened: {error}")),
    }
}

/// kubectl's words. Forwarding does not wait for whoever reads them.
fn tell(news: News) {
    match news {
        News::Accepted(ports) => {
            render::line_unless_full(&format!("Handling connection for {}", ports.local));
        }
        News::Failed(Ports { local, remote }, error) => {
            let why = error.to_string();
            let why = why.split(" (os error").next().unwrap_or_default();
            render::error_unless_full(&format!(
                "an error occurred forwarding {local} -> {remote}: {}",
                why.to_lowercase()
            ));
        }
    }
}
