//! What commands ask of a running pod over its control socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};

use crate::lifecycle::Event;
use crate::plan::ContainerPlan;
use crate::supervisor::attach::Attachment;
use crate::supervisor::control;
use crate::supervisor::exec::{self, Purpose, Work};
use crate::supervisor::pod::Pod;
use crate::supervisor::sandbox;
use crate::supervisor::watch::Source;
use crate::sys::seqpacket;
use crate::wire::{self, Reply, Request};

/// The most commands that are served at once, far below what descriptors there are for.
const MAX_CLIENTS: usize = 256;

impl Pod {
    pub(super) fn number(&mut self) -> u32 {
        self.next_number = self.next_number.wrapping_add(1);
        self.next_number
    }

    pub(super) fn accept(&mut self) {
        let Some(client) = self.listener.as_ref().and_then(control::accept) else {
            return;
        };
        if self.clients.len() >= MAX_CLIENTS {
            let message = format!("the pod serves {MAX_CLIENTS} other commands");
            return control::answer(client, &Reply::Refused { code: 1, message });
        }
        let number = self.number();
        if self.watch.add(&client, Source::Client(number)).is_ok() {
            self.clients.insert(number, client);
        }
    }

    pub(super) fn client_spoke(&mut self, number: u32) {
        let Some(client) = self.clients.get(&number) else {
            return;
        };
        let received = seqpacket::receive(client, &mut self.buffer, RecvFlags::DONTWAIT);
        let (length, descriptors) = match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Ok((0, _)) | Err(_) => return self.client_left(number),
            Ok(received) => received,
        };
        match wire::decode(self.buffer.get(..length).unwrap_or_default()) {
            Ok(Request::Exec {
                container,
                argv,
                terminal,
            }) => {
                let refused = self.exec(
                    number,
                    container.as_str(),
                    Work::Run(argv),
                    terminal,
                    descriptors,
                );
                if let (Some(reply), Some(client)) = (refused, self.clients.get(&number)) {
                    control::answer(client, &reply);
                }
            }
            Ok(Request::Copy { container, job }) => {
                let work = Work::Copy(job);
                let refused = self.exec(number, container.as_str(), work, None, descriptors);
                if let (Some(reply), Some(client)) = (refused, self.clients.get(&number)) {
                    control::answer(client, &reply);
                }
            }
            Ok(Request::Attach { container, stdin }) => {
                let refused = self.attach(number, container.as_str(), stdin, descriptors);
                if let (Some(reply), Some(client)) = (refused, self.clients.get(&number)) {
                    control::answer(client, &reply);
                }
            }
            Ok(Request::Debug {
                plan,
                written,
                attach,
            }) => {
                let refused = self.debug(number, plan, written, attach, descriptors);
                if let (Some(reply), Some(client)) = (refused, self.clients.get(&number)) {
                    control::answer(client, &reply);
                }
            }
            Ok(Request::PortForward) => self.lend_sockets(number),
            Ok(Request::SetCondition { kind, is_true }) => {
                self.step(Event::SetCondition { kind, is_true });
                if let Some(client) = self.clients.get(&number) {
                    control::answer(client, &Reply::Done);
                }
            }
            Ok(Request::Usage) => self.measure(number),
            Ok(Request::UpdateVolumes) => {
                let reply = self.update_volumes(descriptors);
                if let Some(client) = self.clients.get(&number) {
                    control::answer(client, &reply);
                }
            }
            Ok(Request::Restart) => {
                if let Some(client) = self.clients.remove(&number) {
                    self.watch.remove(&client);
                    self.restarters.push(client);
                }
                // One that ends is not started again: `step` says so.
                self.step(Event::RestartAll);
            }
            Ok(Request::Delete { grace_period_ms }) => {
                if let Some(client) = self.clients.remove(&number) {
                    self.watch.remove(&client);
                    self.deleters.push(client);
                }
                self.remove = true;
                self.step(Event::Delete { grace_period_ms });
            }
            Err(error) => {
                control::answer(
                    client,
                    &Reply::Refused {
                        code: 125,
                        message: error.to_string(),
                    },
                );
            }
        }
    }

    fn client_left(&mut self, number: u32) {
        if let Some(client) = self.clients.remove(&number) {
            self.watch.remove(&client);
        }
        for live in self.containers.values_mut() {
            live.attachments.remove(number, &self.watch);
            live.resume_output(&self.watch);
        }
        self.kill_commands(|session| session.purpose == Purpose::Client(number));
    }

    /// Attaches a client; returns the answer when that is not possible.
    fn attach(
        &mut self,
        number: u32,
        container: &str,
        stdin: bool,
        pipes: Vec<OwnedFd>,
    ) -> Option<Reply> {
        let refused = |code, message: String| Some(Reply::Refused { code, message });
        let containers = self.machine.containers();
        let Some(index) = containers
            .iter()
            .position(|plan| plan.name.as_str() == container)
        else {
            return refused(4, format!("the pod has no container `{container}`"));
        };
        let attachment = self
            .clients
            .get(&number)
            .and_then(|client| Attachment::new(number, client, pipes, stdin));
        let live = u32::try_from(index)
            .ok()
            .and_then(|index| self.containers.get_mut(&index));
        match (live, attachment) {
            (Some(live), Some(attachment)) => {
                live.attach(attachment);
                None
            }
            (None, _) => refused(1, format!("container `{container}` is not running")),
            (_, None) => refused(125, "two pipes are needed".to_owned()),
        }
    }

    /// Gives a client a connection to a process that makes sockets in the pod's network namespace.
    fn lend_sockets(&self, number: u32) {
        let Some(client) = self.clients.get(&number) else {
            return;
        };
        let Some(pause) = self.pause.as_ref().filter(|_| self.is_set_up) else {
            let message = "the pod is not running".to_owned();
            return control::answer(client, &Reply::Refused { code: 1, message });
        };
        let made = sandbox::start_pod_sockets(&self.proof, &self.plan, pause);
        let sent = made.and_then(|socket| {
            let bytes = wire::encode(&Reply::PodSockets).map_err(io::Error::other)?;
            seqpacket::send(client, &bytes, &[socket.as_fd()], SendFlags::DONTWAIT)
        });
        if let Err(error) = sent {
            let message = format!("no new process can be made: {error}");
            control::answer(client, &Reply::Refused { code: 125, message });
        }
    }

    /// Adds an ephemeral container; returns the answer unless the client is attached to it.
    fn debug(
        &mut self,
        number: u32,
        plan: Box<ContainerPlan>,
        written: serde_json::Value,
        attach: bool,
        pipes: Vec<OwnedFd>,
    ) -> Option<Reply> {
        let refused = |code, message: String| Some(Reply::Refused { code, message });
        let name = plan.name.to_string();
        let containers = self.machine.containers();
        if containers.iter().any(|known| known.name == plan.name) {
            return refused(1, format!("the pod has a container `{name}` already"));
        }
        if !self.is_set_up || self.machine.is_ending() {
            return refused(1, "the pod is not running".to_owned());
        }
        let stdin = plan.console.stdin;
        // It is not shown if that fails, and runs.
        self.dir.add_ephemeral_container(written).ok();
        self.step(Event::AddEphemeral { plan });
        if attach {
            return self.attach(number, &name, stdin, pipes);
        }
        Some(Reply::Done)
    }

    /// Starts a command; returns the answer when that is not possible.
    fn exec(
        &mut self,
        client: u32,
        container: &str,
        work: Work,
        terminal: Option<wire::TerminalSize>,
        stdio: Vec<OwnedFd>,
    ) -> Option<Reply> {
        let refused = |code, message: String| Some(Reply::Refused { code, message });
        let session = self.number();
        let found = self
            .machine
            .containers()
            .iter()
            .zip(0_u32..)
            .find(|(plan, _)| plan.name.as_str() == container);
        let Some((plan, index)) = found else {
            return refused(4, format!("the pod has no container `{container}`"));
        };
        let live = self
            .containers
            .get(&index)
            .filter(|live| !live.is_starting());
        let (Some(pause), Some(init), Some(user)) = (
            &self.pause,
            live.and_then(|live| live.init.as_ref()),
            live.and_then(|live| live.user.as_ref()),
        ) else {
            return refused(1, format!("container `{container}` is not running"));
        };
        let is_empty = matches!(&work, Work::Run(argv) if argv.is_empty());
        if is_empty || (terminal.is_none() && stdio.len() != 3) {
            return refused(125, "a command and three descriptors are needed".to_owned());
        }
        let command = exec::Command {
            proof: &self.proof,
            plan: &self.plan,
            pause,
            index,
            container: live
                .and_then(|live| live.resolved.as_deref())
                .unwrap_or(plan),
            user,
            init,
            ids: self.ids,
            first_id: self.users.as_ref().map_or(0, |users| users.namespace.first),
            cgroup: self.cgroup.as_ref(),
            work,
            terminal,
            stdio,
        };
        match exec::start(
            &command,
            session,
            Purpose::Client(client),
            None,
            &self.watch,
        ) {
            Ok(started) => {
                self.sessions.insert(session, started);
                None
            }
            Err(error) => refused(125, format!("no new process can be made: {error}")),
        }
    }

    pub(super) fn command_spoke(&mut self, number: u32, has_ended: bool) {
        let Some(session) = self.sessions.get_mut(&number) else {
            return;
        };
        let purpose = session.purpose;
        let client = match purpose {
            Purpose::Client(client) => self.clients.get(&client),
            Purpose::Probe(..) | Purpose::Hook(..) => None,
        };
        let refusal = session.read_report(number, has_ended, client, &mut self.buffer, &self.watch);
        let Some(refusal) = refusal else { return };
        if let Some(client) = client {
            control::answer(client, &refusal);
        }
        if let Some(session) = self.sessions.remove(&number) {
            session.end(&mut self.buffer, &self.watch);
        }
        if let Reply::Refused { message, .. } = refusal {
            self.command_refused(number, purpose, message);
        }
    }

    pub(super) fn command_ended(&mut self, number: u32) {
        self.command_spoke(number, true);
        let Some(session) = self.sessions.remove(&number) else {
            return;
        };
        let purpose = session.purpose;
        let (code, output) = session.end(&mut self.buffer, &self.watch);
        if let Purpose::Client(client) = purpose
            && let Some(client) = self.clients.get(&client)
        {
            control::answer(client, &Reply::Exited { code });
        }
        if let Some(event) = self.command_checked(number, purpose, code, output) {
            self.step(event);
        }
    }
}
