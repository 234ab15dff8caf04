//! Everything `up` decides before anything exists: documents, images, users' ids, plans.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use crate::cgroup;
use crate::cli::duration;
use crate::cli::failure::Failure;
use crate::names::{Namespace, PodUid};
use crate::net::{address, node};
use crate::plan::{self, Addresses, AppArmor, BackOff, HostFacts};
use crate::store::Store;

/// What the machine tells a plan; read once per command. `state` is on the disk of the pods.
pub(crate) fn host_facts(state: &Path, ids: Option<u32>) -> HostFacts {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    HostFacts {
        hostname: read("/proc/sys/kernel/hostname").trim().to_owned(),
        addresses: own_addresses(),
        hosts: read("/etc/hosts"),
        resolv_conf: resolv_conf(),
        pod_addresses: pod_addresses(None),
        prefix_len: address::PREFIX_LEN,
        cluster_dns: None,
        id_count: ids,
        cpus: rustix::thread::sched_getaffinity(None).map_or(1, |cpus| u64::from(cpus.count())),
        memory: {
            let system = rustix::system::sysinfo();
            system.totalram.saturating_mul(u64::from(system.mem_unit))
        },
        storage: rustix::fs::statvfs(state)
            .map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize)),
        huge_pages: BTreeMap::new(),
        capabilities: capabilities(ids.is_some()),
        apparmor: apparmor(),
    }
}

/// What is set aside for huge pages, from `hugepages-<KiB>kB/nr_hugepages`.
pub(super) fn huge_pages() -> BTreeMap<u64, u64> {
    let sizes = cgroup::page_sizes().into_iter();
    sizes
        .map(|size| {
            let kibibytes = size / 1024;
            let path = format!("/sys/kernel/mm/hugepages/hugepages-{kibibytes}kB/nr_hugepages");
            let count = std::fs::read_to_string(path).unwrap_or_default();
            let count: u64 = count.trim().parse().unwrap_or(0);
            (size, count.saturating_mul(size))
        })
        .collect()
}

/// The capabilities that a pod's containers can have: in a new user namespace every one the kernel
/// knows, as root those of this process.
fn capabilities(in_user_namespace: bool) -> u64 {
    if in_user_namespace {
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
        let last: u32 = last.trim().parse().unwrap_or(40);
        return u64::MAX >> 63_u32.saturating_sub(last);
    }
    let own = rustix::thread::capabilities(None).map(|own| own.permitted.bits());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bounding = bounding.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    own.unwrap_or_default() & bounding.unwrap_or_default()
}

/// `AppArmor` of the kernel; its list of profiles is for root.
fn apparmor() -> AppArmor {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if !enabled.is_ok_and(|word| word.trim() == "Y") {
        return AppArmor::Absent;
    }
    let profiles = std::fs::read_to_string("/sys/kernel/security/apparmor/profiles").ok();
    AppArmor::Enabled(profiles.map(|text| loaded_profiles(&text)))
}

/// One profile a line, with its mode in brackets; a name may have blanks.
fn loaded_profiles(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| line.rsplit_once(" ("));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// The addresses of a pod with this record, or of one whose addresses do not matter.
pub(crate) fn pod_addresses(v4: Option<Ipv4Addr>) -> Addresses {
    match v4 {
        Some(v4) => address::addresses(v4, node::has_ipv6()),
        None => Addresses {
            v4: Ipv4Addr::UNSPECIFIED,
            v6: None,
        },
    }
}

/// The addresses the machine would use towards others (those of documentation, RFC 5737 and RFC
/// 3849); no packet is sent for this.
fn own_addresses() -> Addresses {
    let towards = |own: IpAddr, other: IpAddr| -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((own, 0))?;
        socket.connect((other, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    let v4 = towards(
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv4Addr::new(192, 0, 2, 1).into(),
    );
    let v6 = towards(
        Ipv6Addr::UNSPECIFIED.into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    );
    Addresses {
        v4: match v4 {
            Ok(IpAddr::V4(address)) => address,
            Ok(IpAddr::V6(_)) | Err(_) => Ipv4Addr::LOCALHOST,
        },
        v6: match v6 {
            Ok(IpAddr::V6(address)) => Some(address),
            Ok(IpAddr::V4(_)) | Err(_) => None,
        },
    }
}

/// The machine's resolver configuration. systemd-resolved's stub listens on a loopback address
/// that a pod does not share; its file with the real servers is taken instead (kubelet documents
/// the same remedy for its `resolvConf`).
fn resolv_conf() -> String {
    const STUB: &str = "127.0.0.53";
    const REAL: &str = "/run/systemd/resolve/resolv.conf";
    let own = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    if own
        .lines()
        .any(|line| line.split_whitespace().eq(["nameserver", STUB]))
    {
        std::fs::read_to_string(REAL).unwrap_or(own)
    } else {
        own
    }
}

/// The back-off that the environment asks for, in seconds or with a unit (`500ms`, `2s`).
///
/// # Errors
/// A value that is not a duration.
pub(crate) fn back_off() -> Result<BackOff, Failure> {
    let read = |name: &'static str, default: u64| match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => {
            let duration = duration::of_option(name, &text)?;
            u64::try_from(duration.as_millis()).map_err(Failure::internal)
        }
    };
    let default = BackOff::default();
    Ok(BackOff {
        initial_ms: read("PODRUN_BACKOFF_INITIAL", default.initial_ms)?,
        max_ms: read("PODRUN_BACKOFF_MAX", default.max_ms)?,
    })
}

/// The digest that says whether a Pod has changed: of its checked form and its namespace, so that
/// comments, order of keys and defaults that are written out make no difference.
pub(crate) fn digest(
    pod: &Pod,
    namespace: &Namespace,
    published: &[plan::PublishedPort],
) -> Result<String, Failure> {
    use sha2::{Digest, Sha256};
    use std::fmt::Write;
    let value = serde_json::to_value((pod, namespace, published)).map_err(Failure::internal)?;
    let mut text = String::new();
    for byte in Sha256::digest(value.to_string().as_bytes()) {
        write!(text, "{byte:02x}").map_err(Failure::internal)?;
    }
    Ok(text)
}

/// A new `metadata.uid`.
///
/// # Errors
/// When the kernel's generator cannot be read.
pub(crate) fn new_uid() -> Result<PodUid, Failure> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(|error| {
        Failure::internal(format!(
            "/proc/sys/kernel/random/uuid cannot be read: {error}"
        ))
    })?;
    PodUid::new(text.trim()).map_err(Failure::internal)
}

/// Five characters for `generateName` (`k8s.io/apiserver` names.SimpleNameGenerator; the alphabet
/// is apimachinery's `rand`, which avoids words).
///
/// # Errors
/// When the kernel's generator cannot be read.
pub(crate) fn name_suffix() -> Result<String, Failure> {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let uid = new_uid()?;
    let mut value =
        u64::from_str_radix(uid.as_str().get(..8).unwrap_or("0"), 16).unwrap_or_default();
    let mut suffix = String::new();
    let size = u64::try_from(ALPHABET.len()).unwrap_or(1);
    for _ in 0..5 {
        let index = usize::try_from(value % size).unwrap_or_default();
        suffix.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'x')));
        value /= size;
    }
    Ok(suffix)
}

/// The addresses that are taken, and the one handed out last.
pub(crate) fn addresses(store: &Store) -> Result<(BTreeSet<Ipv4Addr>, Option<Ipv4Addr>), Failure> {
    let mut used = BTreeMap::new();
    for pod in store.pods().map_err(Failure::internal)? {
        if let Some(address) = pod.record.address {
            used.insert(pod.record.created, address);
        }
    }
    let last = used.values().next_back().copied();
    Ok((used.into_values().collect(), last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_listed_without_their_modes() {
        let text = "lsb_release (enforce)\n/usr/bin/man (complain)\na (b) (kill)\nbroken\n";
        let expected = ["lsb_release", "/usr/bin/man", "a (b)"];
        assert_eq!(loaded_profiles(text), expected);
    }
}
