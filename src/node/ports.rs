//! Node ports: ports of the host that lead to the endpoints of Services.
//!
//! They are open while there is an endpoint that is ready: without one a connection is refused, as
//! a cluster's node refuses it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::net::endpoints::Endpoints;
use crate::net::forward::{Forwarder, Listener};
use crate::net::listen;
use crate::net::nft::{Affinity, Networks};
use crate::plan::Protocol;
use crate::sys::process;

/// A node port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodePort {
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    /// The ready endpoints.
    pub(super) endpoints: Vec<SocketAddr>,
    pub(super) affinity: Affinity,
}

/// How long listeners have for being closed.
const CLOSING: Duration = Duration::from_millis(100);

type Key = (Protocol, u16);

/// Where a port's endpoints are reached from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    /// The pods' network namespace.
    Inside,
    /// The host's.
    Outside,
}

/// Those that are open.
#[derive(Debug)]
pub(super) struct NodePorts {
    namespace: OwnedFd,
    pods: Networks,
    open: HashMap<Key, (Side, NodePort)>,
    /// From when they are needed until the agent ends.
    threads: HashMap<Side, Thread>,
}

impl NodePorts {
    /// None yet. The namespace is the pods', the networks are those in it.
    pub(super) fn new(namespace: OwnedFd, pods: Networks) -> Self {
        Self {
            namespace,
            pods,
            open: HashMap::new(),
            threads: HashMap::new(),
        }
    }

    /// Opens and closes until these are open, but for those that lead nowhere; of two with the same
    /// number and protocol the first counts.
    ///
    /// # Errors
    /// As `bind(2)` for one that cannot be opened; all others are.
    pub(super) fn show(&mut self, ports: &[NodePort]) -> io::Result<()> {
        let mut wanted = HashMap::new();
        for port in ports.iter().rev().filter(|port| !port.endpoints.is_empty()) {
            wanted.insert((port.protocol, port.port), self.sided(port));
        }
        let threads = &self.threads;
        let (closed, closing) = mpsc::channel();
        self.open.retain(|key, (side, _)| {
            let stays = wanted.get(key).is_some_and(|(wanted, _)| wanted == side);
            if let Some(thread) = threads.get(side).filter(|_| !stays) {
                thread.tell(Change::Close(*key, closed.clone()));
            }
            stays
        });
        // Their numbers may be wanted at once, on the other side or for another Service. A thread
        // comes to it after its turn.
        drop(closed);
        closing.recv_timeout(CLOSING).ok();
        let mut result = Ok(());
        for (key, (side, port)) in wanted {
            if self.open.get(&key).is_some_and(|(_, open)| *open == port) {
                continue;
            }
            match self.lead(key, side, &port) {
                Ok(()) => {
                    self.open.insert(key, (side, port));
                }
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Whether a port is open.
    pub(super) fn is_open(&self, protocol: Protocol, port: u16) -> bool {
        self.open.contains_key(&(protocol, port))
    }

    /// The pods among the endpoints; the others only when there are none, as for the Service's own
    /// address.
    fn sided(&self, port: &NodePort) -> (Side, NodePort) {
        let mut port = port.clone();
        let is_inside = |endpoint: &SocketAddr| self.pods.contain(endpoint.ip());
        let side = if port.endpoints.iter().any(is_inside) {
            port.endpoints.retain(is_inside);
            Side::Inside
        } else {
            Side::Outside
        };
        (side, port)
    }

    fn lead(&mut self, key: Key, side: Side, port: &NodePort) -> io::Result<()> {
        let to = Endpoints::new(port.endpoints.clone(), port.affinity);
        let change = if self.open.contains_key(&key) {
            Change::Lead(key, to)
        } else {
            let (socket, _) = listen::everywhere(port.protocol, port.port)?;
            let protocol = port.protocol;
            Change::Open(
                key,
                Listener {
                    socket,
                    protocol,
                    to,
                },
            )
        };
        if !self.threads.contains_key(&side) {
            let namespace = match side {
                Side::Inside => Some(self.namespace.try_clone()?),
                Side::Outside => None,
            };
            self.threads.insert(side, Thread::start(namespace)?);
        }
        if let Some(thread) = self.threads.get(&side) {
            thread.tell(change);
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Change {
    Open(Key, Listener),
    Lead(Key, Endpoints),
    /// The sender goes with the listener.
    Close(Key, Sender<()>),
}

/// A thread that forwards: large transfers delay nobody's names.
#[derive(Debug)]
struct Thread {
    changes: Arc<Mutex<Vec<Change>>>,
    wake: OwnedFd,
}

impl Thread {
    /// In a network namespace, or in this thread's.
    fn start(namespace: Option<OwnedFd>) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let changes = Arc::default();
        let thread = Self {
            changes: Arc::clone(&changes),
            wake: wake.try_clone()?,
        };
        std::thread::Builder::new()
            .name("podrun-ports".to_owned())
            .spawn(move || {
                let namespace = namespace.as_ref().map(AsFd::as_fd);
                forward(namespace, &wake, &changes).ok();
                // Another agent takes its place: a supervisor sees to that.
                process::exit_now(1)
            })?;
        Ok(thread)
    }

    fn tell(&self, change: Change) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.push(change);
        // Beyond the counter's end it is readable as well.
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).ok();
    }
}

fn forward(
    namespace: Option<BorrowedFd<'_>>,
    wake: &OwnedFd,
    changes: &Mutex<Vec<Change>>,
) -> io::Result<()> {
    if let Some(namespace) = namespace {
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
    }
    let mut numbers = HashMap::new();
    Forwarder::of_agent(wake.as_fd())?.run(|forwarder| {
        rustix::io::read(wake, &mut [0; 8]).ok();
        let changes = std::mem::take(&mut *changes.lock().unwrap_or_else(PoisonError::into_inner));
        for change in changes {
            match change {
                Change::Open(key, listener) => {
                    // Without it the port is closed, as one without endpoints.
                    if let Ok(number) = forwarder.add(listener) {
                        numbers.insert(key, number);
                    }
                }
                Change::Lead(key, to) => {
                    if let Some(number) = numbers.get(&key) {
                        forwarder.lead(*number, to);
                    }
                }
                Change::Close(key, _closed) => {
                    if let Some(number) = numbers.remove(&key) {
                        forwarder.remove(number);
                    }
                }
            }
        }
        true
    })
}
