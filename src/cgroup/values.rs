//! From resources to what is written into the files of cgroups, by the kubelet's numbers
//! (`helpers_linux.go`, `ResourceConfigForPod`) and the kernel's names. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::plan::{Amounts, ContainerPlan, PodPlan, Resources};

/// The generation of the kernel's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for each controller.
    One,
    /// One hierarchy.
    Two,
}

/// A controller that podrun has use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Time of processors.
    Cpu,
    /// Memory.
    Memory,
    /// Number of processes.
    Pids,
    /// Huge pages.
    HugeTlb,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Pids, Self::HugeTlb];

    /// The kernel's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::HugeTlb => "hugetlb",
        }
    }
}

/// What is written into a file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Whose file it is.
    pub controller: Controller,
    /// Its name.
    pub file: Cow<'static, str>,
    /// Its content.
    pub value: String,
    /// Whether a kernel may be without it.
    pub is_optional: bool,
}

/// `QuotaPeriod`, in microseconds.
const PERIOD: u64 = 100_000;

/// `MinQuotaPeriod`, in microseconds.
const LEAST_QUOTA: u64 = 1_000;

/// `MinShares` and the most that the kernel takes.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// Processes and threads of a pod: more than any needs, and fewer than would keep the machine from
/// starting others.
const MOST_PROCESSES: u64 = 4096;

/// The settings of a pod's cgroup.
pub fn of_pod_cgroup(plan: &PodPlan, page_sizes: &[u64], version: Version) -> Vec<Setting> {
    let requests = plan.together(|resources| &resources.requests);
    let limits = plan.limits();
    let mut settings = amounts(&requests, &limits, version);
    settings.push(setting(Controller::Pids, "pids.max", &MOST_PROCESSES));
    settings.extend(huge_pages(&limits.huge_pages, page_sizes, version));
    settings
}

/// The settings of a container's cgroup in a pod of such resources.
pub fn of_container(
    container: &ContainerPlan,
    pod: &Resources,
    page_sizes: &[u64],
    version: Version,
) -> Vec<Setting> {
    let limits = container.resources.limits_in(pod);
    let mut requests = container.resources.requests.clone();
    requests.cpu = requests.cpu.or(limits.cpu);
    let mut settings = amounts(&requests, &limits, version);
    settings.extend(huge_pages(&limits.huge_pages, page_sizes, version));
    if version == Version::Two {
        // As the kubelet's `singleProcessOOMKill: false`: what has lost a process is no longer what
        // it was, and is ended as a whole.
        settings.push(setting(Controller::Memory, "memory.oom.group", &1));
    }
    settings
}

fn amounts(requests: &Amounts, limits: &Amounts, version: Version) -> Vec<Setting> {
    let mut settings = Vec::new();
    let shares = shares(requests.cpu.unwrap_or(0));
    settings.push(match version {
        Version::One => setting(Controller::Cpu, "cpu.shares", &shares),
        Version::Two => setting(Controller::Cpu, "cpu.weight", &weight(shares)),
    });
    if let Some(cpu) = limits.some_cpu() {
        let quota = quota(cpu);
        match version {
            Version::One => {
                settings.push(setting(Controller::Cpu, "cpu.cfs_period_us", &PERIOD));
                settings.push(setting(Controller::Cpu, "cpu.cfs_quota_us", &quota));
            }
            Version::Two => {
                let value = format!("{quota} {PERIOD}");
                settings.push(setting(Controller::Cpu, "cpu.max", &value));
            }
        }
    }
    if let Some(memory) = limits.some_memory() {
        // Without swap (`NoSwap`); a kernel may not account for it.
        let (file, swap_file, swap) = match version {
            // Memory and swap together, which may not be less than memory at any time.
            Version::One => (
                "memory.limit_in_bytes",
                "memory.memsw.limit_in_bytes",
                memory,
            ),
            Version::Two => ("memory.max", "memory.swap.max", 0),
        };
        settings.push(setting(Controller::Memory, file, &memory));
        settings.push(Setting {
            is_optional: true,
            ..setting(Controller::Memory, swap_file, &swap)
        });
    }
    settings
}

/// Pages of every size are limited: there are none that were not asked for. Newer kernels count those
/// that are reserved, too, and refuse them before a process touches one that it cannot have.
fn huge_pages(
    limits: &BTreeMap<u64, u64>,
    page_sizes: &[u64],
    version: Version,
) -> impl Iterator<Item = Setting> {
    let of = move |size: u64| {
        let limit = limits.get(&size).copied().unwrap_or(0);
        ["", "rsvd."].map(|counted| {
            let end = match version {
                Version::One => "limit_in_bytes",
                Version::Two => "max",
            };
            Setting {
                is_optional: !counted.is_empty(),
                ..setting(
                    Controller::HugeTlb,
                    format!("hugetlb.{}.{counted}{end}", page_word(size)),
                    &limit,
                )
            }
        })
    };
    page_sizes.iter().flat_map(move |size| of(*size))
}

/// The size of a page in the names of the kernel's files (`mem_fmt` of `hugetlb_cgroup.c`).
fn page_word(size: u64) -> String {
    match size {
        0..0x10_0000 => format!("{}KB", size >> 10),
        0x10_0000..0x4000_0000 => format!("{}MB", size >> 20),
        _ => format!("{}GB", size >> 30),
    }
}

fn setting(
    controller: Controller,
    file: impl Into<Cow<'static, str>>,
    value: &impl ToString,
) -> Setting {
    Setting {
        controller,
        file: file.into(),
        value: value.to_string(),
        is_optional: false,
    }
}

/// `MilliCPUToShares`
fn shares(millicores: u64) -> u64 {
    let shares = millicores.saturating_mul(1024) / 1000;
    shares.clamp(*SHARES.start(), *SHARES.end())
}

/// `MilliCPUToQuota`
fn quota(millicores: u64) -> u64 {
    (millicores.saturating_mul(PERIOD) / 1000).max(LEAST_QUOTA)
}

/// Shares as a weight, so that the least is the least, the most the most and the default the
/// default: `10^((l² + 125 l) / 612 - 7 / 34)` with `l` the binary logarithm, rounded up.
fn weight(shares: u64) -> u64 {
    const MOST: u32 = 10_000;
    let logarithm = f64::from(u32::try_from(shares).unwrap_or(u32::MAX)).log2();
    let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
    // What is whole but for the last bits is whole.
    let exact = 10_f64.powf(exponent) - 1e-9;
    let weight = (1..MOST).find(|weight| f64::from(*weight) >= exact);
    weight.unwrap_or(MOST).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_quotas_are_the_kubelets() {
        for (millicores, expected) in [
            (0, (2, 1_000)),
            (1, (2, 1_000)),
            (3, (3, 1_000)),
            (10, (10, 1_000)),
            (100, (102, 10_000)),
            (250, (256, 25_000)),
            (1_000, (1_024, 100_000)),
            (1_500, (1_536, 150_000)),
            (1_000_000, (262_144, 100_000_000)),
        ] {
            let found = (shares(millicores), quota(millicores));
            assert_eq!(found, expected, "{millicores}");
        }
    }

    #[test]
    fn weights_have_the_same_ends_and_the_same_middle_as_shares() {
        for (shares, expected) in [
            (2, 1),
            (3, 2),
            (102, 17),
            (256, 35),
            (512, 59),
            (1_024, 100),
            (2_048, 174),
            (262_144, 10_000),
        ] {
            assert_eq!(weight(shares), expected, "{shares}");
        }
    }

    #[test]
    fn pages_of_every_size_are_limited() {
        let limits = BTreeMap::from([(2 << 20, 4 << 20)]);
        let sizes = [64 << 10, 2 << 20, 1 << 30];
        let settings: Vec<Setting> = huge_pages(&limits, &sizes, Version::Two).collect();
        assert_eq!(
            written(&settings),
            [
                "hugetlb.64KB.max=0",
                "hugetlb.64KB.rsvd.max=0",
                "hugetlb.2MB.max=4194304",
                "hugetlb.2MB.rsvd.max=4194304",
                "hugetlb.1GB.max=0",
                "hugetlb.1GB.rsvd.max=0",
            ]
        );
        let settings: Vec<Setting> = huge_pages(&limits, &sizes[1..2], Version::One).collect();
        assert_eq!(
            written(&settings),
            [
                "hugetlb.2MB.limit_in_bytes=4194304",
                "hugetlb.2MB.rsvd.limit_in_bytes=4194304",
            ]
        );
    }

    fn written(settings: &[Setting]) -> Vec<String> {
        let line = |it: &Setting| format!("{}={}", it.file, it.value);
        settings.iter().map(line).collect()
    }

    #[test]
    fn amounts_become_what_the_kernel_is_told() {
        let limits = Amounts {
            cpu: Some(500),
            memory: Some(64 << 20),
            ..Amounts::default()
        };
        let requests = Amounts {
            cpu: Some(250),
            ..limits.clone()
        };
        assert_eq!(
            written(&amounts(&requests, &limits, Version::One)),
            [
                "cpu.shares=256",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=67108864",
            ]
        );
        assert_eq!(
            written(&amounts(&requests, &limits, Version::Two)),
            [
                "cpu.weight=35",
                "cpu.max=50000 100000",
                "memory.max=67108864",
                "memory.swap.max=0",
            ]
        );
        let nothing = Amounts::default();
        assert_eq!(
            written(&amounts(&nothing, &nothing, Version::One)),
            ["cpu.shares=2"]
        );
    }
}
