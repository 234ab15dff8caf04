//! The cgroups of one pod.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;

use crate::cgroup::marker::Marker;
use crate::cgroup::{Controller, Place, Setting, Version, of_container, of_pod_cgroup, page_sizes};
use crate::plan::{ContainerPlan, InForce, PodPlan, Resources};

/// All pods of this machine, whoever's.
const ALL: &str = "podrun";

/// What cannot be done about a cgroup.
#[derive(Debug)]
pub struct CgroupError {
    /// The file or directory.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl std::fmt::Display for CgroupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cgroup {}: {}", self.path.display(), self.source)
    }
}

impl std::error::Error for CgroupError {}

/// The cgroups of a pod, one in each place.
#[derive(Debug)]
pub struct PodCgroup {
    groups: Vec<Group>,
    /// What the pod's containers together may have.
    resources: Resources,
    /// Of the machine's huge pages, where they are controlled.
    page_sizes: Vec<u64>,
    marker: Marker,
}

#[derive(Debug)]
struct Group {
    place: Place,
    directory: PathBuf,
}

fn name_of_container(name: &str) -> String {
    format!("container-{name}")
}

impl PodCgroup {
    /// Makes the pod's cgroups with their limits.
    ///
    /// # Errors
    /// The first file or directory that the kernel refuses; nothing is left then.
    pub fn make(
        places: Vec<Place>,
        plan: &PodPlan,
        runtime_dir: BorrowedFd<'_>,
    ) -> Result<Self, CgroupError> {
        let name = format!("pod{}", plan.uid);
        // Where nothing but huge pages is controlled, beside hierarchies of version 1, entering takes
        // longer than all else (`enter`): only for a pod that asks for them.
        let wants_pages = !plan.limits().huge_pages.is_empty();
        let places = places
            .into_iter()
            .filter(|place| wants_pages || place.controllers.as_slice() != [Controller::HugeTlb]);
        let groups = places.map(|place| {
            let directory = place.directory.join(ALL).join(&name);
            Group { place, directory }
        });
        let groups: Vec<Group> = groups.collect();
        let directories: Vec<&Path> = groups.iter().map(|it| it.directory.as_path()).collect();
        let marker =
            Marker::make(runtime_dir, &plan.uid, &directories).map_err(|source| CgroupError {
                path: PathBuf::from("its mark in the runtime directory"),
                source,
            })?;
        let is_controlled = groups.iter().any(|it| it.has(Controller::HugeTlb));
        let page_sizes = if is_controlled {
            page_sizes()
        } else {
            Vec::new()
        };
        let pod = Self {
            groups,
            resources: plan.resources.clone(),
            page_sizes,
            marker,
        };
        for group in &pod.groups {
            let made = group.make_pod().and_then(|()| {
                group.write(
                    &group.directory,
                    &of_pod_cgroup(plan, &pod.page_sizes, group.place.version),
                )
            });
            if let Err(error) = made {
                pod.remove();
                return Err(error);
            }
        }
        Ok(pod)
    }

    /// Makes a container's cgroups, unless an earlier run has, and moves this process into them.
    ///
    /// # Errors
    /// The first file or directory that the kernel refuses.
    pub fn enter_new(&self, container: &ContainerPlan) -> Result<(), CgroupError> {
        for group in &self.groups {
            let directory = group.container(container.name.as_str());
            make_directory(&directory)?;
            let settings = of_container(
                container,
                &self.resources,
                &self.page_sizes,
                group.place.version,
            );
            group.write(&directory, &settings)?;
        }
        self.enter(container.name.as_str())
    }

    /// Moves this process into a container's cgroups.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn enter(&self, container: &str) -> Result<(), CgroupError> {
        for group in &self.groups {
            // This process has one thread. To move itself alone it need not wait until no process of
            // the machine forks or ends (`cgroup_procs_write_start`), which takes many times as long
            // as all else; version 2 has no such way from one domain to another.
            let file = match group.place.version {
                Version::One => "tasks",
                Version::Two => "cgroup.procs",
            };
            // Whatever its number is where the file is read.
            write(&group.container(container).join(file), "0")?;
        }
        Ok(())
    }

    /// How many processes of a container the kernel has ended because its memory was used up, in
    /// all its runs.
    pub fn oom_kills(&self, container: &str) -> u64 {
        let read = self.read(container, Controller::Memory, |version| match version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        });
        read.and_then(|(_, text)| count(&text, "oom_kill"))
            .unwrap_or(0)
    }

    /// What the kernel gives out as it is told to.
    pub fn in_force(&self) -> InForce {
        let has = |controller| self.groups.iter().any(|group| group.has(controller));
        InForce {
            cpu: has(Controller::Cpu),
            memory: has(Controller::Memory),
            huge_pages: has(Controller::HugeTlb),
        }
    }

    /// The time of processors that a container has used, where the kernel counts it.
    pub fn cpu_nanoseconds(&self, container: &str) -> Option<u64> {
        let (version, text) = self.read(container, Controller::Cpu, |version| match version {
            // Where it is mounted with `cpu`.
            Version::One => "cpuacct.usage",
            Version::Two => "cpu.stat",
        })?;
        match version {
            Version::One => text.trim().parse().ok(),
            Version::Two => count(&text, "usage_usec")?.checked_mul(1000),
        }
    }

    /// A container's memory but for files that have not been read for long, where the kernel counts it
    /// (the kubelet's working set).
    pub fn memory_bytes(&self, container: &str) -> Option<u64> {
        let of = |one, two| {
            move |version| match version {
                Version::One => one,
                Version::Two => two,
            }
        };
        let files = of("memory.usage_in_bytes", "memory.current");
        let (version, text) = self.read(container, Controller::Memory, files)?;
        let all: u64 = text.trim().parse().ok()?;
        let (_, text) = self.read(container, Controller::Memory, |_| "memory.stat")?;
        let name = of("total_inactive_file", "inactive_file")(version);
        Some(all.saturating_sub(count(&text, name).unwrap_or(0)))
    }

    /// A file of a container's cgroup that a controller has.
    fn read(
        &self,
        container: &str,
        controller: Controller,
        file: impl Fn(Version) -> &'static str,
    ) -> Option<(Version, String)> {
        let mut groups = self.groups.iter();
        let group = groups.find(|it| it.place.controllers.contains(&controller))?;
        let version = group.place.version;
        let path = group.container(container).join(file(version));
        Some((version, std::fs::read_to_string(path).ok()?))
    }

    /// Kills what runs in a container's cgroup, where the kernel can do that at a stroke (version 2,
    /// Linux 5.14): nothing that forks meanwhile gets away. Elsewhere nothing happens.
    pub fn kill_container(&self, container: &str) {
        for group in &self.groups {
            kill(&group.container(container));
        }
    }

    /// The same for the whole pod.
    pub fn kill(&self) {
        for group in &self.groups {
            kill(&group.directory);
        }
    }

    /// Removes the pod's cgroups, and those of all pods if it was the last.
    pub fn remove(&self) {
        let mut is_gone = true;
        for group in &self.groups {
            is_gone &= remove(&group.directory);
        }
        if is_gone {
            self.marker.remove();
        }
    }
}

impl Group {
    fn has(&self, controller: Controller) -> bool {
        self.place.controllers.contains(&controller)
    }

    fn container(&self, name: &str) -> PathBuf {
        self.directory.join(name_of_container(name))
    }

    fn make_pod(&self) -> Result<(), CgroupError> {
        /// How often another pod's end may remove what this one's beginning needs.
        const TRIES: u32 = 100;
        let all = self.place.directory.join(ALL);
        let mut made = Ok(());
        for _ in 0..TRIES {
            made = make_directory(&all)
                .and_then(|()| self.enable_below(&self.place.directory))
                .and_then(|()| self.enable_below(&all))
                .and_then(|()| make_directory(&self.directory))
                .and_then(|()| self.enable_below(&self.directory));
            let is_gone = |error: &CgroupError| error.source.kind() == io::ErrorKind::NotFound;
            if !made.as_ref().is_err_and(is_gone) {
                break;
            }
        }
        made
    }

    /// In version 2 a cgroup says which controllers those below it have.
    fn enable_below(&self, directory: &Path) -> Result<(), CgroupError> {
        if self.place.version == Version::One {
            return Ok(());
        }
        let path = directory.join("cgroup.subtree_control");
        let enabled = std::fs::read_to_string(&path).unwrap_or_default();
        let missing = self.place.controllers.iter().filter(|controller| {
            let mut names = enabled.split_whitespace();
            names.all(|name| name != controller.name())
        });
        let words: Vec<String> = missing.map(|it| format!("+{}", it.name())).collect();
        if words.is_empty() {
            return Ok(());
        }
        write(&path, &words.join(" "))
    }

    fn write(&self, directory: &Path, settings: &[Setting]) -> Result<(), CgroupError> {
        for setting in settings {
            if !self.place.controllers.contains(&setting.controller) {
                continue;
            }
            match write(&directory.join(&*setting.file), &setting.value) {
                Err(error)
                    if setting.is_optional && error.source.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }
}

fn make_directory(path: &Path) -> Result<(), CgroupError> {
    // Whoever sees it in a container may read its limits there.
    let mode = Mode::from_raw_mode(0o755);
    match rustix::fs::mkdir(path, mode) {
        Ok(()) => rustix::fs::chmod(path, mode),
        Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
    .map_err(|errno| CgroupError {
        path: path.to_owned(),
        source: errno.into(),
    })
}

fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    let write = || {
        OpenOptions::new()
            .write(true)
            .open(path)?
            .write_all(text.as_bytes())
    };
    write().map_err(|source| CgroupError {
        path: path.to_owned(),
        source,
    })
}

/// True where the kernel does it (see [`PodCgroup::kill_container`]).
fn kill(directory: &Path) -> bool {
    write(&directory.join("cgroup.kill"), "1").is_ok()
}

/// Waits until what was killed is gone, as long as it may take on a machine that is busy.
fn wait_until_empty(directory: &Path) -> io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let deadline = Instant::now() + PATIENCE;
    let mut events = File::open(directory.join("cgroup.events"))?;
    loop {
        let mut text = String::new();
        events.rewind()?;
        events.read_to_string(&mut text)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if count(&text, "populated") == Some(0) || left.is_zero() {
            return Ok(());
        }
        // The file has changed since it was read.
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout))?;
    }
}

/// Removes a pod's cgroup with those of its containers, and the one of all pods if it is empty.
/// What still runs in it is killed where the kernel does that; false if something is left.
pub(super) fn remove(directory: &Path) -> bool {
    if kill(directory) {
        wait_until_empty(directory).ok();
    }
    let Ok(entries) = std::fs::read_dir(directory) else {
        return true;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            std::fs::remove_dir(entry.path()).ok();
        }
    }
    let is_gone = std::fs::remove_dir(directory).is_ok();
    if let Some(all) = directory.parent() {
        std::fs::remove_dir(all).ok();
    }
    is_gone
}

/// The number of a line `NAME NUMBER`.
fn count(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_that_of_its_line() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(count(text, "oom_kill"), Some(3));
        assert_eq!(
            count("low 0\noom 1\noom_kill 2\noom_group_kill 1\n", "oom_kill"),
            Some(2)
        );
        assert_eq!(count("", "oom_kill"), None);
    }
}
