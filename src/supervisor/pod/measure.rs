//! What the pod's containers use of processors and memory, for `top`.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::cgroup::PodCgroup;
use crate::names::ContainerName;
use crate::supervisor::control;
use crate::supervisor::pod::Pod;
use crate::supervisor::processes::{Processes, Ticks, used_between};
use crate::supervisor::watch::Source;
use crate::sys::process::{self, CloneFlags, Cloned};
use crate::wire::{ContainerUsage, Reply};

/// Between two looks: clock ticks, a hundred a second, are one percent of it.
const WINDOW: Duration = Duration::from_secs(1);

/// Time of processors that a container has used.
enum Time {
    /// In nanoseconds, all of it.
    Counted(u64),
    /// In clock ticks, by process.
    Summed(Ticks),
}

impl Pod {
    /// Lets a process of its own look twice and answer the client: there may be much to read.
    pub(super) fn measure(&mut self, client: u32) {
        let Some(client) = self.clients.remove(&client) else {
            return;
        };
        self.watch.remove(&client);
        let number = self.number();
        match process::clone_process(&self.proof, CloneFlags::default()) {
            Ok(Cloned::Parent(process)) => {
                if self.watch.add(&process, Source::Sweeper(number)).is_ok() {
                    self.sweepers.insert(number, process);
                }
            }
            Ok(Cloned::Child) => {
                let running = self.running();
                process::close_all_but(&[client.as_fd()])
                    .and_then(|()| process::die_with_parent())
                    .ok();
                let containers = usage(&running, self.cgroup.as_ref());
                control::answer(client, &Reply::Usage { containers });
                process::exit_now(0)
            }
            Err(error) => {
                let message = format!("nobody can look: {error}");
                control::answer(client, &Reply::Refused { code: 125, message });
            }
        }
    }

    /// The containers that run, in the Pod's order, with their first processes.
    fn running(&self) -> Vec<(ContainerName, i32)> {
        let all = self.machine.containers().iter().zip(0..);
        all.filter_map(|(container, index)| {
            let init = self.containers.get(&index)?.init.as_ref()?;
            Some((container.name.clone(), process::pid_of(init.as_fd()).ok()?))
        })
        .collect()
    }
}

fn usage(running: &[(ContainerName, i32)], cgroup: Option<&PodCgroup>) -> Vec<ContainerUsage> {
    let time = |name: &ContainerName, init: i32, processes: &Processes| {
        let counted = cgroup.and_then(|cgroup| cgroup.cpu_nanoseconds(name.as_str()));
        counted.map_or_else(|| Time::Summed(processes.ticks(init)), Time::Counted)
    };
    let look = || {
        let processes = Processes::read();
        let times: Vec<Time> = running
            .iter()
            .map(|(name, init)| time(name, *init, &processes))
            .collect();
        (times, clock_gettime(ClockId::Monotonic), processes)
    };
    let (before, begin, _) = look();
    std::thread::sleep(WINDOW);
    let (after, end, processes) = look();
    let passed = nanoseconds(end).saturating_sub(nanoseconds(begin)).max(1);
    let times = before.iter().zip(&after);
    let containers = running.iter().zip(times);
    containers
        .map(|((name, init), times)| {
            let used = match times {
                (Time::Counted(before), Time::Counted(after)) => after.saturating_sub(*before),
                (Time::Summed(before), Time::Summed(after)) => {
                    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
                    used_between(before, after).saturating_mul(tick)
                }
                // Its cgroup was made or has gone meanwhile.
                (Time::Counted(_), Time::Summed(_)) | (Time::Summed(_), Time::Counted(_)) => 0,
            };
            let nanocores = u128::from(used).saturating_mul(1_000_000_000) / u128::from(passed);
            let counted = cgroup.and_then(|cgroup| cgroup.memory_bytes(name.as_str()));
            ContainerUsage {
                name: name.clone(),
                nanocores: u64::try_from(nanocores).unwrap_or(u64::MAX),
                memory: counted.unwrap_or_else(|| processes.memory(*init)),
            }
        })
        .collect()
}

fn nanoseconds(time: Timespec) -> u64 {
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    part(time.tv_sec)
        .saturating_mul(1_000_000_000)
        .saturating_add(part(time.tv_nsec))
}
