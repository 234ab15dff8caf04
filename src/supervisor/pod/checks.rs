//! Probes and hooks: commands run in the container, everything else is asked of the prober.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};

use crate::lifecycle::{Event, Hook, ProbeKind, ProbeVerdict, RunId};
use crate::plan::{ContainerPlan, Handler, Probe};
use crate::supervisor::exec::{self, CapturedStdio, Purpose, Session, Work};
use crate::supervisor::pod::{Pod, now};
use crate::supervisor::sandbox;
use crate::supervisor::watch::Source;
use crate::sys::{process, seqpacket};
use crate::wire::{self, ProbeReply, ProbeRequest};

/// What the supervisor waits for on behalf of probes and hooks.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// The prober's process and our end of its socket.
    prober: Option<(OwnedFd, OwnedFd)>,
    /// Requests to the prober that are not answered yet.
    asked: HashMap<u64, Purpose>,
    /// The prober may still be at a hook that nobody waits for.
    stray_hooks: bool,
    next_request: u64,
    /// When a session's command has taken too long, in monotonic milliseconds.
    deadlines: HashMap<u32, u64>,
    /// Sessions that were killed for it.
    late: Vec<u32>,
}

impl Checks {
    /// The earliest time at which a command has taken too long.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.values().copied().min()
    }

    /// The prober, if there is one.
    pub(super) fn child(&self) -> Option<BorrowedFd<'_>> {
        self.prober.as_ref().map(|(pidfd, _)| pidfd.as_fd())
    }

    /// The pod ends: the prober goes with it.
    pub(super) fn end(&mut self) {
        self.stray_hooks = false;
        if let Some((pidfd, socket)) = self.prober.take() {
            drop(socket);
            process::signal(&pidfd, libc::SIGKILL).ok();
            process::reap(&pidfd).ok();
        }
    }
}

fn probe_of(plan: &ContainerPlan, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => plan.probes.startup.as_ref(),
        ProbeKind::Liveness => plan.probes.liveness.as_ref(),
        ProbeKind::Readiness => plan.probes.readiness.as_ref(),
    }
}

/// What is told when a probe or a hook could not even be made.
fn unmade(purpose: Purpose, message: String) -> Option<Event> {
    match purpose {
        Purpose::Client(_) => None,
        Purpose::Probe(run, probe) => Some(Event::Probed {
            run,
            probe,
            verdict: ProbeVerdict::Unknown,
            output: message,
        }),
        Purpose::Hook(run, hook) => Some(Event::HookEnded {
            run,
            hook,
            failure: Some(message),
        }),
    }
}

impl Pod {
    /// Makes a probe; the event says what came of it if that is known at once.
    pub(super) fn probe(&mut self, run: RunId, kind: ProbeKind) -> Option<Event> {
        let plan = self.machine.container(run.container)?;
        let probe = probe_of(plan, kind)?;
        let (handler, timeout_ms) = (probe.handler.clone(), probe.timeout_ms);
        self.check(Purpose::Probe(run, kind), handler, Some(timeout_ms))
    }

    /// Runs a hook; the event says what came of it if that is known at once.
    pub(super) fn run_hook(&mut self, run: RunId, hook: Hook) -> Option<Event> {
        let hooks = &self.machine.container(run.container)?.hooks;
        let handler = match hook {
            Hook::PostStart => hooks.post_start.clone(),
            Hook::PreStop => hooks.pre_stop.clone(),
        };
        self.check(Purpose::Hook(run, hook), handler?, None)
    }

    fn check(
        &mut self,
        purpose: Purpose,
        handler: Handler,
        timeout_ms: Option<u64>,
    ) -> Option<Event> {
        let made = match handler {
            Handler::Exec { command } => self.check_by_command(purpose, command, timeout_ms),
            handler => self.ask_prober(purpose, handler, timeout_ms),
        };
        match made {
            Ok(()) => None,
            Err(error) => unmade(purpose, error.to_string()),
        }
    }

    fn check_by_command(
        &mut self,
        purpose: Purpose,
        argv: Vec<String>,
        timeout_ms: Option<u64>,
    ) -> io::Result<()> {
        let (Purpose::Probe(run, _) | Purpose::Hook(run, _)) = purpose else {
            return Ok(());
        };
        let not_running = || io::Error::other("the container is not running");
        let index = u32::try_from(run.container).map_err(io::Error::other)?;
        let number = self.number();
        let captured = CapturedStdio::new()?;
        let (Some(pause), Some(container), Some(live)) = (
            &self.pause,
            self.machine.container(run.container),
            self.containers.get(&index),
        ) else {
            return Err(not_running());
        };
        let (Some(init), Some(user)) = (&live.init, &live.user) else {
            return Err(not_running());
        };
        let command = exec::Command {
            proof: &self.proof,
            plan: &self.plan,
            pause,
            index,
            container: live.resolved.as_deref().unwrap_or(container),
            user,
            init,
            ids: self.ids,
            first_id: self.users.as_ref().map_or(0, |users| users.namespace.first),
            cgroup: self.cgroup.as_ref(),
            work: Work::Run(argv),
            terminal: None,
            stdio: captured.stdio,
        };
        let session = exec::start(&command, number, purpose, Some(captured.pipe), &self.watch)?;
        self.sessions.insert(number, session);
        if let Some(timeout_ms) = timeout_ms {
            let at = now().monotonic_ms.saturating_add(timeout_ms);
            self.checks.deadlines.insert(number, at);
        }
        Ok(())
    }

    /// Kills the commands of probes that have taken too long; their end is told as a time-out.
    pub(super) fn end_late_commands(&mut self) {
        let now_ms = now().monotonic_ms;
        let late: Vec<u32> = self
            .checks
            .deadlines
            .iter()
            .filter(|(_, at)| **at <= now_ms)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            self.checks.deadlines.remove(&number);
            if let Some(session) = self.sessions.get_mut(&number) {
                session.kill();
                self.checks.late.push(number);
            }
        }
    }

    /// A probe's or hook's command has ended, with this code and output.
    pub(super) fn command_checked(
        &mut self,
        number: u32,
        purpose: Purpose,
        code: i32,
        output: String,
    ) -> Option<Event> {
        self.checks.deadlines.remove(&number);
        let is_late = self.checks.late.contains(&number);
        self.checks.late.retain(|late| *late != number);
        match purpose {
            Purpose::Client(_) => None,
            Purpose::Probe(run, probe) => Some(Event::Probed {
                run,
                probe,
                verdict: if code == 0 && !is_late {
                    ProbeVerdict::Success
                } else {
                    ProbeVerdict::Failure
                },
                output: if is_late {
                    "command timed out".to_owned()
                } else {
                    output
                },
            }),
            Purpose::Hook(run, hook) => Some(Event::HookEnded {
                run,
                hook,
                failure: (code != 0).then(|| {
                    let said = output.trim();
                    let colon = if said.is_empty() { "" } else { ": " };
                    format!("the command exited with {code}{colon}{said}")
                }),
            }),
        }
    }

    /// A probe's or hook's command did not start.
    pub(super) fn command_refused(&mut self, number: u32, purpose: Purpose, message: String) {
        self.checks.deadlines.remove(&number);
        self.checks.late.retain(|late| *late != number);
        if let Some(event) = unmade(purpose, message) {
            self.step(event);
        }
    }

    fn ask_prober(
        &mut self,
        purpose: Purpose,
        handler: Handler,
        timeout_ms: Option<u64>,
    ) -> io::Result<()> {
        self.checks.next_request = self.checks.next_request.wrapping_add(1);
        let id = self.checks.next_request;
        let request = ProbeRequest {
            id,
            handler,
            timeout_ms,
            is_hook: matches!(purpose, Purpose::Hook(..)),
        };
        let bytes = wire::encode(&request).map_err(io::Error::other)?;
        if self.checks.prober.is_none() {
            let Some(pause) = &self.pause else {
                return Err(io::Error::other("the pod's namespaces are gone"));
            };
            let (pidfd, socket) = sandbox::start_prober(&self.proof, &self.plan, pause)?;
            self.watch.add(&socket, Source::Prober)?;
            self.checks.prober = Some((pidfd, socket));
        }
        if let Some((_, socket)) = &self.checks.prober {
            // The prober reads at once; one whose queue is full does not.
            seqpacket::send(socket, &bytes, &[], SendFlags::DONTWAIT)?;
            self.checks.asked.insert(id, purpose);
        }
        Ok(())
    }

    /// A container's run is over: nobody waits for what was asked on its behalf. A hook's request has
    /// no limit of its own and would keep its thread of the prober: if nobody else's hook is on
    /// its way, a new prober makes the probes that are.
    pub(super) fn forget_checks(&mut self, container: usize) {
        let is_its = |purpose: &Purpose| match purpose {
            Purpose::Probe(run, _) | Purpose::Hook(run, _) => run.container == container,
            Purpose::Client(_) => false,
        };
        let is_hook = |purpose: &&Purpose| matches!(purpose, Purpose::Hook(..));
        let forgotten: Vec<Purpose> = self
            .checks
            .asked
            .extract_if(|_, purpose| is_its(purpose))
            .map(|(_, purpose)| purpose)
            .collect();
        self.checks.stray_hooks |= forgotten.iter().any(|purpose| is_hook(&purpose));
        if self.checks.stray_hooks && !self.checks.asked.values().any(|one| is_hook(&one)) {
            self.prober_lost();
        }
    }

    fn prober_lost(&mut self) {
        if let Some((_, socket)) = &self.checks.prober {
            self.watch.remove(socket);
        }
        self.checks.end();
        // Another one is started with the next request.
        let lost: Vec<Purpose> = self.checks.asked.drain().map(|(_, asked)| asked).collect();
        for purpose in lost {
            if let Some(event) = unmade(purpose, "the prober has ended".to_owned()) {
                self.step(event);
            }
        }
    }

    /// The prober answers, or has ended.
    pub(super) fn prober_spoke(&mut self) {
        let Some((_, socket)) = &self.checks.prober else {
            return;
        };
        match seqpacket::receive(socket, &mut self.buffer, RecvFlags::DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok((0, _)) | Err(_) => self.prober_lost(),
            Ok((length, _)) => {
                let bytes = self.buffer.get(..length).unwrap_or_default();
                let Ok(reply) = wire::decode::<ProbeReply>(bytes) else {
                    return;
                };
                let event = match self.checks.asked.remove(&reply.id) {
                    Some(Purpose::Probe(run, probe)) => Event::Probed {
                        run,
                        probe,
                        verdict: reply.verdict,
                        output: reply.output,
                    },
                    Some(Purpose::Hook(run, hook)) => Event::HookEnded {
                        run,
                        hook,
                        failure: match reply.verdict {
                            ProbeVerdict::Success | ProbeVerdict::Warning => None,
                            ProbeVerdict::Failure | ProbeVerdict::Unknown => Some(reply.output),
                        },
                    },
                    Some(Purpose::Client(_)) | None => return,
                };
                self.step(event);
            }
        }
    }

    /// Ends what nobody waits for any longer.
    pub(super) fn kill_commands(&mut self, of: impl Fn(&Session) -> bool) {
        for session in self.sessions.values_mut().filter(|session| of(session)) {
            session.kill();
        }
    }
}
