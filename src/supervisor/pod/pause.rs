//! Pause: made, given its pod, and heard.

use std::io;

use rustix::net::RecvFlags;

use crate::lifecycle::Event;
use crate::runtime::pod_ids::PodIds;
use crate::runtime::wording;
use crate::supervisor::container::Live;
use crate::supervisor::pod::Pod;
use crate::supervisor::sandbox::{self, Pause};
use crate::supervisor::users::Users;
use crate::supervisor::watch::Source;
use crate::sys::seqpacket;
use crate::wire::{self, Report};

impl Pod {
    /// Starts it, unless that was done ahead, and gives it the pod.
    pub(super) fn start_pause(&mut self, ids: Option<PodIds>) -> Result<(), String> {
        let told = |error: io::Error| format!("the pod's first process cannot be made: {error}");
        let pause = match self.pause.take() {
            Some(pause) => pause,
            None => Pause::start(&self.proof, sandbox::namespaces(&self.plan)).map_err(told)?,
        };
        let pause = self.pause.insert(pause);
        if let Some(ids) = ids {
            self.users = Some(Users::give(ids, pause)?);
        }
        self.watch
            .add(&pause.report, Source::PauseReport)
            .and_then(|()| self.watch.add(&pause.pidfd, Source::Pause))
            .and_then(|()| self.watch_agent())
            .map_err(|error| error.to_string())?;
        // Else the wire is made once the namespace is there to which it leads.
        if self.plan.own_users {
            Ok(())
        } else {
            self.set_up_pause()
        }
    }

    /// It has something to report.
    pub(super) fn pause_spoke(&mut self) -> Result<(), String> {
        let Some(pause) = &self.pause else {
            return Ok(());
        };
        let mut buffer = [0; 4096];
        let length = match seqpacket::receive(&pause.report, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((length, _)) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        if length == 0 {
            self.watch.remove(&pause.report);
            return Ok(());
        }
        match wire::decode(buffer.get(..length).unwrap_or_default()) {
            Ok(Report::Namespaces) => {
                self.set_up_pause()?;
                self.step(Event::SandboxReady);
                Ok(())
            }
            Ok(Report::Ready) => {
                self.is_set_up = true;
                self.containers.values_mut().for_each(Live::go);
                self.usage.begin(&self.plan);
                let sockets = std::mem::take(&mut self.sockets);
                let forwarder = sandbox::start_forwarder(&self.proof, &self.plan, pause, sockets)
                    .map_err(|error| format!("published ports: {error}"))?;
                if let Some(forwarder) = forwarder {
                    self.watch
                        .add(&forwarder, Source::Forwarder)
                        .map_err(|error| error.to_string())?;
                    self.forwarder = Some(forwarder);
                }
                Ok(())
            }
            Ok(Report::Failed(failure)) => Err(wording::sentence(&failure)),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}
