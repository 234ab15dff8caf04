//! What the processes of containers use, where no cgroup counts it, from `/proc`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// One process of the machine.
#[derive(Debug)]
struct Process {
    pid: i32,
    parent: i32,
    /// In clock ticks since boot: with the number, it is no other process.
    start: u64,
    /// Of all its threads, in clock ticks.
    cpu: u64,
    /// Its mount namespace, where this process may see it.
    mounts: Option<PathBuf>,
}

/// All processes of the machine.
#[derive(Debug)]
pub(super) struct Processes(Vec<Process>);

/// Time of processors by process, in clock ticks.
pub(super) type Ticks = HashMap<(i32, u64), u64>;

impl Processes {
    pub(super) fn read() -> Self {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self(pids.filter_map(Process::read).collect())
    }

    /// The processes of a container, by its first one: those in its mount namespace, which is no other
    /// container's, and their descendants.
    fn of(&self, init: i32) -> Vec<&Process> {
        let first = self.0.iter().find(|one| one.pid == init);
        let mounts = first.and_then(|first| first.mounts.as_ref());
        let is_inside =
            |one: &&Process| one.pid == init || (mounts.is_some() && one.mounts.as_ref() == mounts);
        let mut found: HashSet<i32> = self.0.iter().filter(is_inside).map(|it| it.pid).collect();
        loop {
            let below = self.0.iter().filter(|one| found.contains(&one.parent));
            let new: Vec<i32> = below
                .map(|one| one.pid)
                .filter(|pid| !found.contains(pid))
                .collect();
            if new.is_empty() {
                break;
            }
            found.extend(new);
        }
        let all = self.0.iter();
        all.filter(|one| found.contains(&one.pid)).collect()
    }

    /// The time that each process of a container has used.
    pub(super) fn ticks(&self, init: i32) -> Ticks {
        let all = self.of(init).into_iter();
        all.map(|one| ((one.pid, one.start), one.cpu)).collect()
    }

    /// Bytes of memory of a container's processes; of pages that several have, each counts its part.
    pub(super) fn memory(&self, init: i32) -> u64 {
        let all = self.of(init).into_iter();
        all.map(|one| proportional_memory(one.pid))
            .fold(0, u64::saturating_add)
    }
}

/// What was used between two looks, in clock ticks. What a process has used that has ended is not
/// known.
pub(super) fn used_between(before: &Ticks, after: &Ticks) -> u64 {
    let used = after
        .iter()
        .map(|(process, ticks)| ticks.saturating_sub(before.get(process).copied().unwrap_or(0)));
    used.fold(0, u64::saturating_add)
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let directory = Path::new("/proc").join(pid.to_string());
        let stat = std::fs::read_to_string(directory.join("stat")).ok()?;
        // The second field is a name in parentheses that may contain anything.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // `proc_pid_stat(5)` counts from 1, and these begin with the third.
        let field = |number: usize| -> Option<u64> { fields.get(number - 3)?.parse().ok() };
        Some(Self {
            pid,
            parent: i32::try_from(field(4)?).ok()?,
            start: field(22)?,
            cpu: field(14)?.saturating_add(field(15)?),
            mounts: std::fs::read_link(directory.join("ns/mnt")).ok(),
        })
    }
}

fn proportional_memory(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, mounts: &str) -> Process {
        Process {
            pid,
            parent,
            start: 1,
            cpu: 0,
            mounts: Some(mounts.into()).filter(|_| !mounts.is_empty()),
        }
    }

    #[test]
    fn processes_are_the_containers_by_namespace_or_descent() {
        let all = Processes(vec![
            process(1, 0, "machine"),
            process(5, 1, "machine"),
            process(10, 5, "a"),
            process(11, 5, "a"),
            process(12, 11, "unshared"),
            process(13, 12, ""),
            process(20, 5, "b"),
        ]);
        let of = |init| all.of(init).iter().map(|one| one.pid).collect::<Vec<_>>();
        assert_eq!(of(10), [10, 11, 12, 13]);
        assert_eq!(of(20), [20]);
        assert_eq!(of(99), Vec::<i32>::new());
        // Where namespaces are not seen, nothing else is taken for its own.
        let blind = Processes(vec![
            process(10, 5, ""),
            process(20, 5, ""),
            process(21, 10, ""),
        ]);
        let found: Vec<i32> = blind.of(10).iter().map(|one| one.pid).collect();
        assert_eq!(found, [10, 21]);
    }

    #[test]
    fn what_is_used_is_of_processes_that_are_there() {
        let before = Ticks::from([((1, 1), 10), ((2, 1), 50)]);
        let after = Ticks::from([((1, 1), 15), ((2, 2), 7)]);
        assert_eq!(used_between(&before, &after), 12);
    }
}
