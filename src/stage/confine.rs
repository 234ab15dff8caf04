//! Who a process in a container is: limits, groups, user, capabilities.

use std::io;

use rustix::fs::{Gid, Uid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::stage::At;
use crate::wire::{Failure, IdSpace, Step};

/// The capabilities a container has by default: what containerd gives, without MKNOD, `NET_RAW` and
/// `AUDIT_WRITE`. Together 0x800405fb.
pub const DEFAULT_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
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

/// Changes to the container's user with the default capabilities; the order is that of
/// `capabilities(7)`: the bounding set needs SETPCAP and the groups need SETGID, which end with
/// the change of user unless KEEPCAPS holds them.
///
/// # Errors
/// The step.
pub fn become_user(identity: &Identity, ids: IdSpace) -> Result<(), Failure> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if DEFAULT_CAPABILITIES.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The first number the kernel does not know ends the list.
            Err(rustix::io::Errno::INVAL) => break,
            Err(errno) => return Err(errno).at(Step::Credentials, "bounding set"),
        }
    }
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
        DEFAULT_CAPABILITIES.intersection(permitted)
    } else {
        CapabilitySet::empty()
    };
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: held,
            permitted: held,
            inheritable: CapabilitySet::empty(),
        },
    )
    .at(Step::Credentials, "capabilities")?;
    Ok(())
}

/// Gives up every capability (pause needs none once it is set up).
///
/// # Errors
/// As `capset(2)`.
pub fn drop_all_capabilities() -> io::Result<()> {
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
        IdSpace::Ranges | IdSpace::Single => always,
    }
}

/// Keeps only what creating an image's files needs.
///
/// # Errors
/// As `capset(2)`.
pub fn keep_unpacking_capabilities(ids: IdSpace) -> io::Result<()> {
    let held =
        unpacking_capabilities(ids).intersection(rustix::thread::capabilities(None)?.permitted);
    Ok(rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: held,
            permitted: held,
            inheritable: CapabilitySet::empty(),
        },
    )?)
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
        assert_eq!(DEFAULT_CAPABILITIES.bits(), 0x8004_05fb);
    }
}
