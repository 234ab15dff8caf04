//! What commands ask of a running pod over its control socket.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::RecvFlags;

use crate::lifecycle::Event;
use crate::supervisor::control;
use crate::supervisor::exec;
use crate::supervisor::pod::Pod;
use crate::supervisor::watch::Source;
use crate::sys::seqpacket;
use crate::wire::{self, Reply, Request};

impl Pod {
    pub(super) fn number(&mut self) -> u32 {
        self.next_number = self.next_number.wrapping_add(1);
        self.next_number
    }

    pub(super) fn accept(&mut self) {
        let Some(client) = self.listener.as_ref().and_then(control::accept) else {
            return;
        };
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
                let refused = self.exec(number, container.as_str(), argv, terminal, descriptors);
                if let (Some(reply), Some(client)) = (refused, self.clients.get(&number)) {
                    control::answer(client, &reply);
                }
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
        for session in self
            .sessions
            .values()
            .filter(|session| session.client == number)
        {
            session.kill();
        }
    }

    /// Starts a command; returns the answer when that is not possible.
    fn exec(
        &mut self,
        client: u32,
        container: &str,
        argv: Vec<String>,
        terminal: Option<wire::TerminalSize>,
        stdio: Vec<OwnedFd>,
    ) -> Option<Reply> {
        let refused = |code, message: String| Some(Reply::Refused { code, message });
        let found = self
            .plan
            .containers
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
        if argv.is_empty() || (terminal.is_none() && stdio.len() != 3) {
            return refused(125, "a command and three descriptors are needed".to_owned());
        }
        self.next_number = self.next_number.wrapping_add(1);
        let session = self.next_number;
        let command = exec::Command {
            proof: &self.proof,
            plan: &self.plan,
            pause,
            container: plan,
            user,
            init,
            ids: self.ids,
            argv,
            terminal,
            stdio,
        };
        match exec::start(&command, session, client, &self.watch) {
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
        let client = self.clients.get(&session.client);
        let answer = session.read_report(number, has_ended, client, &self.watch);
        if let Some(reply) = answer {
            if let Some(client) = client {
                control::answer(client, &reply);
            }
            if let Some(session) = self.sessions.remove(&number) {
                session.end(&self.watch);
            }
        }
    }

    pub(super) fn command_ended(&mut self, number: u32) {
        self.command_spoke(number, true);
        let Some(session) = self.sessions.remove(&number) else {
            return;
        };
        let client = session.client;
        let code = session.end(&self.watch);
        if let Some(client) = self.clients.get(&client) {
            control::answer(client, &Reply::Exited { code });
        }
    }
}
