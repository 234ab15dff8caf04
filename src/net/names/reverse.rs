//! Names of addresses: `5.0.88.10.in-addr.arpa` and its kin in `ip6.arpa` (RFC 1035, 3.5 and
//! RFC 3596, 2.5).

use std::net::IpAddr;

use super::zone::{Data, Found, Zone};

/// A network whose addresses have names here or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address of it.
    pub address: IpAddr,
    /// How many leading bits it is made of; at most 32, or 128.
    pub prefix: u8,
}

/// The two trees of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tree {
    /// `in-addr.arpa`: a label for a byte.
    InAddr,
    /// `ip6.arpa`: a label for half a byte.
    Ip6,
}

impl Tree {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::InAddr,
            IpAddr::V6(_) => Self::Ip6,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::InAddr => "in-addr.arpa",
            Self::Ip6 => "ip6.arpa",
        }
    }

    /// Bits in a label.
    fn bits(self) -> u32 {
        match self {
            Self::InAddr => 8,
            Self::Ip6 => 4,
        }
    }

    /// Labels in an address.
    fn labels(self) -> usize {
        match self {
            Self::InAddr => 4,
            Self::Ip6 => 32,
        }
    }

    /// The number a label stands for, written the one way it is written.
    fn digit(self, label: &str) -> Option<u8> {
        match self {
            Self::InAddr => {
                let number: u8 = label.parse().ok()?;
                (number.to_string() == label).then_some(number)
            }
            Self::Ip6 if label.len() == 1 => u8::from_str_radix(label, 16).ok(),
            Self::Ip6 => None,
        }
    }
}

/// An address's bits from the top, whatever its family.
fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

/// Whether two agree in their leading bits.
fn agree(one: u128, other: u128, bits: u32) -> bool {
    (one ^ other)
        .checked_shr(128_u32.saturating_sub(bits))
        .unwrap_or(0)
        == 0
}

impl Zone {
    /// Looks up a name below `in-addr.arpa` or `ip6.arpa`, its labels from there on.
    pub(super) fn reverse(&self, labels: &[&str], tree: Tree) -> Found {
        let mut start = 0_u128;
        let mut known = 0_u32;
        let mut digits = Vec::new();
        for label in labels.iter().take(tree.labels()) {
            let Some(digit) = tree.digit(label) else {
                break;
            };
            known = known.saturating_add(tree.bits());
            start |= u128::from(digit) << 128_u32.saturating_sub(known);
            digits.push(*label);
        }
        let inside = |network: &&Network| {
            Tree::of(network.address) == tree
                && known >= u32::from(network.prefix)
                && agree(start, bits_of(network.address), network.prefix.into())
        };
        let Some(network) = self.networks.iter().find(inside) else {
            return Found::Elsewhere;
        };
        // A zone begins at a label: a network that ends between two is several zones.
        let depth = u32::from(network.prefix).div_ceil(tree.bits());
        let depth = usize::try_from(depth)
            .unwrap_or(tree.labels())
            .clamp(1, tree.labels().saturating_sub(1));
        let mut apex: Vec<&str> = digits.iter().copied().take(depth).collect();
        apex.reverse();
        let records = if labels.len() > digits.len() {
            None
        } else if digits.len() == tree.labels() {
            self.names_at(start, tree)
        } else if digits.len() == depth {
            Some(vec![Data::Soa])
        } else {
            let below = |address: &IpAddr| {
                Tree::of(*address) == tree && agree(bits_of(*address), start, known)
            };
            self.names.keys().any(below).then(Vec::new)
        };
        Found::Here {
            apex: format!("{}.{}", apex.join("."), tree.suffix()),
            records,
        }
    }

    fn names_at(&self, bits: u128, tree: Tree) -> Option<Vec<Data>> {
        let address = match tree {
            Tree::InAddr => IpAddr::V4(u32::try_from(bits >> 96).ok()?.into()),
            Tree::Ip6 => IpAddr::V6(bits.into()),
        };
        let names = self.names.get(&address)?;
        Some(names.iter().cloned().map(Data::Ptr).collect())
    }
}
