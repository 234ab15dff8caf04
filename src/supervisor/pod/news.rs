//! What the pod tells: its status, its events, and to itself when the next deadline is.

use std::io;

use rustix::net::SendFlags;
use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

use crate::lifecycle::PodEvent;
use crate::plan::ContainerPlan;
use crate::store::{Deletion, EventRecord};
use crate::supervisor::pod::Pod;
use crate::supervisor::watch::Source;
use crate::sys::seqpacket;
use crate::wire::{self, FromSupervisor};

impl Pod {
    /// Remembers an event until the next time the status is written.
    pub(super) fn note(&mut self, event: &PodEvent) {
        let at = jiff::Timestamp::now();
        let plan = event
            .container
            .and_then(|index| self.machine.container(index));
        self.events.add(EventRecord {
            is_warning: event.is_warning,
            reason: event.reason.clone(),
            message: event.message.clone(),
            field_path: plan.map(ContainerPlan::field_path),
            count: 1,
            first: at,
            last: at,
        });
        self.has_news = true;
    }

    /// Writes the status down and tells the front end.
    ///
    /// Not while a container starts for the first time: writing would take the processor from it,
    /// and its start, or its failure, is the news that everybody waits for.
    pub(super) fn publish(&mut self) {
        if self.machine.is_starting() && !self.machine.is_deleted() {
            return;
        }
        if std::mem::take(&mut self.has_news) {
            self.dir.write_events(&self.events).ok();
        }
        if let Some(grace_ms) = self.machine.deletion_grace_ms()
            && !std::mem::replace(&mut self.is_deletion_written, true)
        {
            let grace_period_seconds = grace_ms.div_ceil(1_000);
            let seconds = i64::try_from(grace_period_seconds).unwrap_or(i64::MAX);
            let timestamp = jiff::Timestamp::now()
                .checked_add(jiff::SignedDuration::from_secs(seconds))
                .unwrap_or(jiff::Timestamp::MAX);
            let deletion = Deletion {
                timestamp,
                grace_period_seconds,
            };
            self.dir.write_deletion(&deletion).ok();
        }
        let status = self.machine.status();
        if self.published.as_ref() == Some(&status) {
            return;
        }
        // A full disk must not end the pod; the next change tries again.
        let is_written = self.dir.write_status(&status).is_ok();
        if self.front.is_some() {
            self.tell(FromSupervisor::Status(Box::new(status.clone())));
        }
        self.published = Some(status).filter(|_| is_written);
    }

    /// Tells the front end, as soon as it can be told: one that is stopped keeps nobody waiting.
    pub(super) fn tell(&mut self, message: FromSupervisor) {
        // The latest status is all that counts.
        self.untold
            .retain(|untold| !matches!(untold, FromSupervisor::Status(_)));
        self.untold.push_back(message);
        self.tell_untold();
    }

    fn tell_untold(&mut self) {
        let Some(front) = &self.front else {
            self.untold.clear();
            return;
        };
        while let Some(message) = self.untold.front() {
            let bytes = wire::encode(message)
                .ok()
                .filter(|bytes| bytes.len() <= seqpacket::MAX_MESSAGE)
                .or_else(|| wire::encode(&FromSupervisor::StatusWritten).ok())
                .unwrap_or_default();
            match seqpacket::send(front, &bytes, &[], SendFlags::DONTWAIT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.watch.wait_for_room(front, Source::Front, true);
                    return;
                }
                // A front end that is gone is heard of.
                Ok(()) | Err(_) => self.untold.pop_front(),
            };
        }
    }

    /// The front end has read something, perhaps.
    pub(super) fn tell_again(&mut self) {
        self.tell_untold();
        if let Some(front) = self.front.as_ref().filter(|_| self.untold.is_empty()) {
            self.watch.wait_for_room(front, Source::Front, false);
        }
    }

    pub(super) fn arm_timer(&self) {
        let deadlines = [
            self.machine.next_deadline(),
            self.checks.next_deadline(),
            self.usage.next_deadline(),
        ];
        let at = deadlines.into_iter().flatten().min();
        let value = at.map_or(
            Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            |ms| Timespec {
                tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
                // Never zero, which would disarm the timer.
                tv_nsec: i64::try_from(ms % 1000)
                    .unwrap_or(0)
                    .saturating_mul(1_000_000)
                    .max(1),
            },
        );
        let setting = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &setting).ok();
    }
}
