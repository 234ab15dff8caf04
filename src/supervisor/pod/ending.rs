//! The end of a pod: what it had goes, in an order in which nothing is left.

use std::os::fd::AsFd;

use crate::runtime::control_socket;
use crate::supervisor::exec::Purpose;
use crate::supervisor::pod::{Pod, tell};
use crate::supervisor::sandbox;
use crate::supervisor::{control, sweep};
use crate::sys::{children, process};
use crate::wire::{FromSupervisor, Reply};

impl Pod {
    /// Nothing runs and nothing will: the namespaces, mounts and scratch directories go.
    pub(super) fn finish(&mut self) {
        if self.finished {
            return;
        }
        self.finished = true;
        self.tear_down();
        self.publish();
        if self.adopted.is_some() {
            // Nobody waits for news any more.
            self.front = None;
        } else if self.front.is_some() {
            self.tell(FromSupervisor::Ended);
        }
    }

    fn tear_down(&mut self) {
        self.listener = None;
        control_socket::remove(self.runtime_dir.as_fd(), &self.plan.uid);
        self.kill_commands(|_| true);
        self.checks.end();
        self.usage.end();
        if let Some(forwarder) = self.forwarder.take() {
            process::signal(&forwarder, libc::SIGKILL).ok();
            process::reap(&forwarder).ok();
        }
        // Before the others: their codes are wanted.
        for (_, session) in self.sessions.drain() {
            let purpose = session.purpose;
            let (code, _) = session.end(&mut self.buffer, &self.watch);
            if let Purpose::Client(client) = purpose
                && let Some(client) = self.clients.get(&client)
            {
                control::answer(client, &Reply::Exited { code });
            }
        }
        for (_, sweeper) in self.sweepers.drain() {
            process::reap(&sweeper).ok();
        }
        for (_, mut live) in self.containers.drain() {
            // One that was built ahead has said nothing yet.
            live.read_report(true, &mut self.buffer, &self.watch);
            live.kill_launcher();
            if let Some(init) = &live.init {
                process::signal(init, libc::SIGKILL).ok();
                children::reap_with_others(init).ok();
            }
            live.end(None, &mut self.buffer, &self.watch);
        }
        if let Some(pause) = self.pause.take() {
            self.watch.remove(&pause.pidfd);
            pause.end();
        }
        // With `hostPID` nothing else ends what the containers have left. Where the kernel kills a
        // cgroup as a whole, what forks meanwhile is not looked for one by one.
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        children::end_all_children();
        if let Some(cgroup) = self.cgroup.take() {
            cgroup.remove();
        }
        sandbox::unmount(&self.plan, &self.places);
    }

    /// The last act: an ended pod keeps its record and logs, a removed one nothing.
    pub(super) fn leave(&mut self) {
        if self.remove {
            self.dir.remove().ok();
        } else {
            sweep::remove_scratch(&self.places.pod_dir);
        }
        for client in self.deleters.drain(..) {
            control::answer(client, &Reply::Deleted);
        }
    }

    /// The pod cannot be set up: nothing of it stays.
    pub(super) fn give_up(&mut self, message: String) -> u8 {
        self.tear_down();
        self.remove = true;
        self.leave();
        if let Some(front) = self.front.take() {
            tell(&front, &FromSupervisor::Failed { message });
        }
        125
    }
}
