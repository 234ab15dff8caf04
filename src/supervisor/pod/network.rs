//! The pod's wire, its hold on the node agent, and another agent when that one has died.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};

use crate::net::node::connect_pod;
use crate::net::route::Route;
use crate::plan::{Network, PodPlan};
use crate::runtime::node::{self, Start};
use crate::supervisor::pod::Pod;
use crate::supervisor::sandbox::Pause;
use crate::supervisor::watch::Source;
use crate::sys::process::{self, CloneFlags, Cloned, SingleThread};
use crate::sys::{seqpacket, signal};
use crate::wire::Node;

/// The pod network, for a pod that is in it.
#[derive(Debug)]
pub(super) struct Hold {
    /// The agent lives at least as long as this is open.
    agent: Option<OwnedFd>,
    /// Over this comes the connection to another agent, which is being started.
    successor: Option<OwnedFd>,
    /// Where that is done.
    mounts: OwnedFd,
    /// The network namespace with the bridge.
    network: OwnedFd,
    /// A routing socket in it, until the wire is made.
    route: Option<OwnedFd>,
    node: Node,
}

impl Hold {
    /// Takes the descriptors of a launch.
    pub(super) fn take(
        node: Node,
        descriptors: &mut impl Iterator<Item = OwnedFd>,
    ) -> Option<Self> {
        Some(Self {
            agent: Some(descriptors.next()?),
            successor: None,
            mounts: descriptors.next()?,
            network: descriptors.next()?,
            route: Some(descriptors.next()?),
            node,
        })
    }
}

impl Pod {
    /// Gives pause its pod, with the pod network if there is one.
    pub(super) fn set_up_pause(&mut self) -> Result<(), String> {
        let told = |error: io::Error| format!("the pod's network cannot be set up: {error}");
        let (Some(sealed), Some(pause)) = (self.sealed.take(), &self.pause) else {
            return Ok(());
        };
        let hold = self.hold.as_mut();
        let mut route = hold.and_then(|hold| Some((hold.route.take()?, hold.node.bridge)));
        let mut is_wired = false;
        // Pause has no privilege over the machine's namespaces then.
        if self.plan.own_users
            && let Some((route, bridge)) = route.take()
        {
            wire(&self.plan, pause, route, bridge).map_err(told)?;
            is_wired = true;
        }
        let route = route
            .as_ref()
            .map(|(route, bridge)| (route.as_fd(), *bridge));
        pause
            .set_up(&sealed, &self.places, route, is_wired)
            .map_err(told)
    }

    /// Watches for the agent's end.
    pub(super) fn watch_agent(&self) -> io::Result<()> {
        let agent = self.hold.as_ref().and_then(|hold| hold.agent.as_ref());
        agent.map_or(Ok(()), |agent| self.watch.add(agent, Source::Agent))
    }

    /// The agent has ended: what it serves is needed, so another one is started.
    pub(super) fn agent_ended(&mut self) {
        let Some(hold) = &mut self.hold else { return };
        if let Some(agent) = hold.agent.take() {
            self.watch.remove(&agent);
        }
        // A pod that ends needs no other; nor is there one where this fails, but for the next
        // command: the wires between pods stay.
        if self.machine.is_ending() {
            return;
        }
        if let Ok(socket) = succeed(&self.proof, hold, &self.runtime_dir)
            && self.watch.add(&socket, Source::Successor).is_ok()
        {
            hold.successor = Some(socket);
        }
    }

    /// The connection to another agent is there, or there is none.
    pub(super) fn successor_spoke(&mut self) {
        let Some(hold) = &mut self.hold else { return };
        let Some(socket) = hold.successor.take() else {
            return;
        };
        self.watch.remove(&socket);
        let received = seqpacket::receive(&socket, &mut [0; 16], RecvFlags::DONTWAIT);
        let agent = received.ok().and_then(|(_, it)| it.into_iter().next());
        if let Some(agent) = agent
            && self.watch.add(&agent, Source::Agent).is_ok()
        {
            hold.agent = Some(agent);
        }
    }
}

/// Makes the wire of a pod whose pause may not.
fn wire(plan: &PodPlan, pause: &Pause, route: OwnedFd, bridge: u32) -> io::Result<()> {
    let Network::Pod { address, .. } = plan.network else {
        return Ok(());
    };
    let pid = process::pid_of(pause.pidfd.as_fd())?;
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    let uid = plan.uid.as_str();
    connect_pod(
        &mut Route::of(route),
        bridge,
        uid,
        namespace.as_fd(),
        address,
    )
}

/// Clones a process that starts another agent, or finds the one that another supervisor has
/// started, and sends the connection to it.
fn succeed(proof: &SingleThread, hold: &Hold, runtime_dir: &OwnedFd) -> io::Result<OwnedFd> {
    let (socket, theirs) = seqpacket::pair()?;
    match process::clone_process(proof, CloneFlags::default())? {
        // It is reaped as any child that nobody waits for.
        Cloned::Parent(_) => Ok(socket),
        Cloned::Child => {
            let kept = [
                theirs.as_fd(),
                runtime_dir.as_fd(),
                hold.mounts.as_fd(),
                hold.network.as_fd(),
            ];
            // An agent in the pod's mount namespace would keep its volumes in use.
            let ready = process::close_all_but(&kept)
                .and_then(|()| signal::reset_all())
                .and_then(|()| process::join_namespaces(hold.mounts.as_fd(), libc::CLONE_NEWNS));
            if ready.is_err() {
                process::exit_now(125);
            }
            let start = Start::Again(hold.network.as_fd());
            if let Ok(joined) = node::join(runtime_dir.as_fd(), &hold.node.begin, start, &|| false)
            {
                let connection = [joined.connection.as_fd()];
                seqpacket::send(&theirs, b"agent", &connection, SendFlags::empty()).ok();
            }
            process::exit_now(0)
        }
    }
}
