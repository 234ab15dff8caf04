//! Addresses of pods: one network for a user, one address for a pod.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::net::nft::Networks;
use crate::net::node::PodNetwork;
use crate::plan::Addresses;

/// The network pods get their addresses from; what podman and CNI's examples use as well, and
/// never routed anywhere from a pod.
const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 0);

/// Prefix length of the pod network.
pub const PREFIX_LEN: u8 = 16;

/// The same in IPv6: local addresses (RFC 4193), never routed from a pod either.
const NETWORK_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x88, 0, 0, 0, 0, 0);

/// Prefix length of the pod network in IPv6.
const PREFIX_LEN_V6: u8 = 64;

/// The addresses of Services.
const SERVICES: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 0);

/// The same in IPv6.
const SERVICES_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x89, 0, 0, 0, 0, 0);

/// The gateway of every pod, which is its resolver too.
pub fn gateway(ipv6: bool) -> Addresses {
    addresses(Ipv4Addr::from(u32::from(NETWORK) | 1), ipv6)
}

/// The pod network.
pub fn pod_network(ipv6: bool) -> PodNetwork {
    PodNetwork {
        gateway: gateway(ipv6),
        v4_len: PREFIX_LEN,
        v6_len: PREFIX_LEN_V6,
    }
}

/// The pods' addresses.
pub fn pods(ipv6: bool) -> Networks {
    Networks {
        v4: (NETWORK, PREFIX_LEN),
        v6: ipv6.then_some((NETWORK_V6, PREFIX_LEN_V6)),
    }
}

/// The Services' addresses.
pub fn services(ipv6: bool) -> Networks {
    Networks {
        v4: (SERVICES, PREFIX_LEN),
        v6: ipv6.then_some((SERVICES_V6, PREFIX_LEN_V6)),
    }
}

/// The addresses of who has this IPv4 address: both have the same host number.
pub fn addresses(v4: Ipv4Addr, ipv6: bool) -> Addresses {
    let host = u32::from(v4).wrapping_sub(u32::from(NETWORK));
    let v6 = Ipv6Addr::from(u128::from(NETWORK_V6) | u128::from(host));
    Addresses {
        v4,
        v6: ipv6.then_some(v6),
    }
}

/// First host number: .0.1 is kept for a gateway.
const FIRST: u32 = 2;

/// Last host number: .255.255 is the broadcast address.
const LAST: u32 = 0xfffe;

/// The address after the one handed out last, skipping those in use: a deleted pod's address is
/// not given to the next pod while the pod's peers may still remember it.
pub fn next_address(used: &BTreeSet<Ipv4Addr>, last: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    let base = u32::from(NETWORK);
    let start = last
        .and_then(|last| u32::from(last).checked_sub(base))
        .filter(|host| (FIRST..LAST).contains(host))
        .map_or(FIRST, |host| host.saturating_add(1));
    (start..=LAST)
        .chain(FIRST..start)
        .map(|host| Ipv4Addr::from(base.saturating_add(host)))
        .find(|address| !used.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_on_from_the_last_one_and_skip_used_ones() {
        let used = BTreeSet::from([Ipv4Addr::new(10, 88, 0, 3)]);
        assert_eq!(
            next_address(&BTreeSet::new(), None),
            Some(Ipv4Addr::new(10, 88, 0, 2))
        );
        let last = Some(Ipv4Addr::new(10, 88, 0, 2));
        assert_eq!(next_address(&used, last), Some(Ipv4Addr::new(10, 88, 0, 4)));
    }

    #[test]
    fn addresses_wrap_around_at_the_end() {
        let last = Some(Ipv4Addr::new(10, 88, 255, 254));
        assert_eq!(
            next_address(&BTreeSet::new(), last),
            Some(Ipv4Addr::new(10, 88, 0, 2))
        );
    }

    #[test]
    fn a_full_network_has_no_address() {
        let all = (FIRST..=LAST)
            .map(|h| Ipv4Addr::from(u32::from(NETWORK) + h))
            .collect();
        assert_eq!(next_address(&all, None), None);
    }
}
