//! Limits of pods and containers, by the kernel's cgroups.
//!
//! ```text
//!  PLACE                       each hierarchy of version 1; in version 2 one that is the user's,
//!  │                           beneath which systemd may have to bring podrun first
//!  └─ podrun
//!     └─ pod<uid>              made by the supervisor, which stays outside; no processes in it
//!        ├─ container-<name>   made by the container's launcher, which enters it before anything
//!        └─ …                  else, and so do the launchers of commands: who is cloned is inside
//! ```
//!
//! The prefix of the containers' directories keeps the kernel's own names free: a container may be
//! called `tasks`.

mod find;
mod marker;
mod pod;
mod systemd;
mod values;

pub use find::{Place, find};
pub use marker::sweep;
use pod::remove;
pub use pod::{CgroupError, PodCgroup};
pub use systemd::enter_scope;
pub use values::{Controller, Setting, Version, of_container, of_pod_cgroup};

use crate::plan::PodPlan;

/// The sizes of huge pages that the machine can have, in bytes, from
/// `/sys/kernel/mm/hugepages/hugepages-<KiB>kB`.
pub fn page_sizes() -> Vec<u64> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages");
    let names = entries.into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| -> Option<u64> {
        let name = entry.file_name();
        let kibibytes = name.to_str()?.strip_prefix("hugepages-")?;
        kibibytes
            .strip_suffix("kB")?
            .parse::<u64>()
            .ok()?
            .checked_mul(1024)
    };
    let mut sizes: Vec<u64> = names.filter_map(size).collect();
    sizes.sort_unstable();
    sizes
}

/// The fields of these pods that are not in force where only these controllers are, as Kubernetes names
/// them; none twice.
pub fn not_in_force(places: &[Place], pods: &[PodPlan]) -> Vec<&'static str> {
    let mut found = [false; 4];
    let all = pods.iter().flat_map(|pod| {
        let containers = pod.containers.iter().map(|container| &container.resources);
        containers.chain([&pod.resources])
    });
    for resources in all {
        for (is_found, is_written) in found.iter_mut().zip([
            resources.limits.some_cpu().is_some(),
            resources.limits.some_memory().is_some(),
            // One that follows from its limit is not told of twice.
            resources.requests.some_cpu() != resources.limits.some_cpu(),
            resources.limits.huge_pages.values().any(|limit| *limit > 0),
        ]) {
            *is_found |= is_written;
        }
    }
    let is_controlled = |controller: Controller| {
        places
            .iter()
            .any(|place| place.controllers.contains(&controller))
    };
    let fields = [
        ("limits.cpu", Controller::Cpu),
        ("limits.memory", Controller::Memory),
        ("requests.cpu", Controller::Cpu),
        ("limits.hugepages", Controller::HugeTlb),
    ];
    fields
        .into_iter()
        .zip(found)
        .filter(|((_, controller), is_found)| *is_found && !is_controlled(*controller))
        .map(|((name, _), _)| name)
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::path::Path;

    /// Writes a file of a tree that stands for the kernel's.
    pub(crate) fn write(path: &Path, text: &str) {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .create(true)
            .truncate(true)
            .write(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}
