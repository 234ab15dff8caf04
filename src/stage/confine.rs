//! Who a process in a container is: limits, groups, user, capabilities.

use std::io;

use rustix::fs::{Gid, Uid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::plan::{DEFAULT_CAPABILITIES, Filter, PodPlan, Seccomp, SecurityPlan};
use crate::stage::At;
use crate::sys::seccomp;
use crate::wire::{Failure, IdSpace, Step};

/// The most descriptors a container may open at first; the hard limit is the caller's.
const SOFT_DESCRIPTORS: u64 = 65536;

/// Numeric identity of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, the primary one among them.
    pub groups: Vec<u32>,
}

/// Limits and file mode mask that do not depend on the caller's.
///
/// # Errors
/// The step.
pub fn set_process_limits() -> Result<(), Failure> {
    // A host's core_pattern may be a pipe to a program outside of the container.
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .at(Step::ProcessState, "RLIMIT_CORE")?;
    let descriptors = getrlimit(Resource::Nofile);
    let soft = descriptors
        .maximum
        .map_or(SOFT_DESCRIPTORS, |hard| hard.min(SOFT_DESCRIPTORS));
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(soft),
            maximum: descriptors.maximum,
        },
    )
    .at(Step::ProcessState, "RLIMIT_NOFILE")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(())
}

/// Changes to the container's user; the order is that of `capabilities(7)`: the bounding set needs
/// SETPCAP and the groups need SETGID, which end with the change of user unless KEEPCAPS holds
/// them. Returns what [`confine`] leaves; until then this process may still load a filter.
///
/// # Errors
/// The step.
pub fn become_user(
    identity: &Identity,
    ids: IdSpace,
    security: &SecurityPlan,
) -> Result<CapabilitySet, Failure> {
    let bounding = CapabilitySet::from_bits_retain(security.capabilities);
    bound_to(bounding).at(Step::Credentials, "bounding set")?;
    rustix::thread::set_keep_capabilities(true).at(Step::Credentials, "keep capabilities")?;
    // A single-id map comes with setgroups denied (user_namespaces(7)): the groups stay the
    // caller's, which `up` has said.
    if ids != IdSpace::Single {
        let groups: Vec<Gid> = identity
            .groups
            .iter()
            .map(|gid| Gid::from_raw(*gid))
            .collect();
        rustix::thread::set_thread_groups(&groups).at(Step::Credentials, "groups")?;
    }
    let gid = Gid::from_raw(identity.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .at(Step::Credentials, format!("group {}", identity.gid))?;
    let uid = Uid::from_raw(identity.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .at(Step::Credentials, format!("user {}", identity.uid))?;
    rustix::thread::set_keep_capabilities(false).at(Step::Credentials, "keep capabilities")?;
    rustix::thread::clear_ambient_capability_set().at(Step::Credentials, "ambient set")?;
    // A caller may itself lack some of the default ones (podrun inside another container).
    let permitted = rustix::thread::capabilities(None)
        .at(Step::Credentials, "capabilities")?
        .permitted;
    let held = if identity.uid == 0 {
        bounding.intersection(permitted)
    } else {
        CapabilitySet::empty()
    };
    hold(held.union(permitted.intersection(CapabilitySet::SYS_ADMIN)))
        .at(Step::Credentials, "capabilities")?;
    Ok(held)
}

/// The last of it, after which nothing is done but `execve`: the filter may forbid all else.
/// Without `no_new_privs` a filter needs `SYS_ADMIN`, which is given up after it; with it the
/// filter comes last, so that it need not allow `capset(2)` (seccomp(2)).
///
/// # Errors
/// The step.
pub fn confine(security: &SecurityPlan, held: CapabilitySet) -> Result<(), Failure> {
    if security.no_new_privs {
        rustix::thread::set_no_new_privs(true).at(Step::ProcessState, "no_new_privs")?;
        hold(held).at(Step::Credentials, "capabilities")?;
        load_filter(security)
    } else {
        load_filter(security)?;
        hold(held).at(Step::Credentials, "capabilities")
    }
}

/// A container that is to be confined is never started without its filter.
fn load_filter(security: &SecurityPlan) -> Result<(), Failure> {
    if security.seccomp == Seccomp::Unconfined {
        return Ok(());
    }
    seccomp::load(&security.filter.0).at(Step::ProcessState, "the seccomp filter")
}

/// What podrun's own processes in a pod end up as: without a capability and a way to one, and with
/// no more system calls than they need.
///
/// # Errors
/// As `capset(2)`, `prctl(2)` and `seccomp(2)`.
pub fn confine_helper(filter: &Filter) -> io::Result<()> {
    drop_all_capabilities()?;
    rustix::thread::set_no_new_privs(true)?;
    seccomp::load(&filter.0)
}

/// What setting up a pod's processes needs: their files, ids, namespaces, networks and devices; and
/// the node agent, which a supervisor starts again, for pings to the outside.
const SUPERVISING: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::MKNOD);

/// Keeps what supervising a pod needs and what its containers may have. The supervisor has no
/// filter and no Landlock domain: all its children would have them, too, and a domain forbids
/// every mount.
///
/// # Errors
/// As `capset(2)` and `prctl(2)`.
pub fn keep_supervising_capabilities(plan: &PodPlan) -> io::Result<()> {
    let containers = plan
        .containers
        .iter()
        .fold(DEFAULT_CAPABILITIES, |all, one| {
            all | one.security.capabilities
        });
    let kept = SUPERVISING.union(CapabilitySet::from_bits_retain(containers));
    bound_to(kept)?;
    let held = kept.intersection(rustix::thread::capabilities(None)?.permitted);
    rustix::thread::clear_ambient_capability_set()?;
    hold(held)
}

/// Has these capabilities and hands none on.
fn hold(held: CapabilitySet) -> io::Result<()> {
    Ok(rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: held,
            permitted: held,
            inheritable: CapabilitySet::empty(),
        },
    )?)
}

/// Takes all other capabilities out of the bounding set.
fn bound_to(kept: CapabilitySet) -> io::Result<()> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if kept.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The first number the kernel does not know ends the list.
            Err(rustix::io::Errno::INVAL) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn drop_all_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    rustix::thread::clear_ambient_capability_set()?;
    Ok(rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?)
}

/// What creating an image's files needs. As root these are the machine's own capabilities, and
/// `trusted.overlay.opaque` asks for `SYS_ADMIN` (xattr(7), "Trusted extended attributes"). In a
/// user namespace `user.overlay.opaque` asks for none, and whiteouts ask for none anywhere.
const fn unpacking_capabilities(ids: IdSpace) -> CapabilitySet {
    let always = CapabilitySet::CHOWN
        .union(CapabilitySet::DAC_OVERRIDE)
        .union(CapabilitySet::FOWNER)
        .union(CapabilitySet::FSETID)
        .union(CapabilitySet::MKNOD)
        .union(CapabilitySet::SETFCAP);
    match ids {
        IdSpace::Machine => always.union(CapabilitySet::SYS_ADMIN),
        IdSpace::Ranges | IdSpace::Own | IdSpace::Single => always,
    }
}

/// Keeps only what creating an image's files needs.
///
/// # Errors
/// As `capset(2)`.
pub fn keep_unpacking_capabilities(ids: IdSpace) -> io::Result<()> {
    let held =
        unpacking_capabilities(ids).intersection(rustix::thread::capabilities(None)?.permitted);
    hold(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_machines_unpacker_administers() {
        for (ids, may) in [
            (IdSpace::Machine, true),
            (IdSpace::Ranges, false),
            (IdSpace::Single, false),
        ] {
            let held = unpacking_capabilities(ids);
            assert_eq!(held.contains(CapabilitySet::SYS_ADMIN), may, "{ids:?}");
            assert!(!held.contains(CapabilitySet::SYS_CHROOT), "{ids:?}");
        }
    }

    #[test]
    fn the_default_capabilities_are_the_eleven() {
        let eleven = CapabilitySet::CHOWN
            .union(CapabilitySet::DAC_OVERRIDE)
            .union(CapabilitySet::FSETID)
            .union(CapabilitySet::FOWNER)
            .union(CapabilitySet::SETGID)
            .union(CapabilitySet::SETUID)
            .union(CapabilitySet::SETPCAP)
            .union(CapabilitySet::NET_BIND_SERVICE)
            .union(CapabilitySet::KILL)
            .union(CapabilitySet::SETFCAP)
            .union(CapabilitySet::SYS_CHROOT);
        assert_eq!(eleven.bits(), DEFAULT_CAPABILITIES);
    }

    #[test]
    fn a_filter_that_is_missing_is_an_error() {
        let security = SecurityPlan::default();
        assert!(security.filter.0.is_empty());
        assert_eq!(load_filter(&security).unwrap_err().errno, libc::EINVAL);
    }
}
