//! Where connections go: one of some addresses.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use crate::net::nft::Affinity;

/// Addresses that are as good as one another.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    all: Vec<SocketAddr>,
    affinity: Affinity,
    /// The turn of the next connection.
    next: usize,
}

impl Endpoints {
    /// Each has its turn, or its clients.
    pub fn new(all: Vec<SocketAddr>, affinity: Affinity) -> Self {
        Self {
            all,
            affinity,
            next: 0,
        }
    }

    /// Whether connections may go there.
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.all.contains(&address)
    }

    /// Where a client's connection goes.
    pub fn choose(&mut self, client: IpAddr) -> Option<SocketAddr> {
        let turn = match self.affinity {
            Affinity::None => {
                self.next = self.next.wrapping_add(1);
                self.next
            }
            Affinity::ClientIp => {
                let mut hasher = DefaultHasher::new();
                client.to_canonical().hash(&mut hasher);
                usize::try_from(hasher.finish() >> 33).unwrap_or(0)
            }
        };
        self.all.get(turn.checked_rem(self.all.len())?).copied()
    }
}

impl From<SocketAddr> for Endpoints {
    fn from(only: SocketAddr) -> Self {
        Self::new(vec![only], Affinity::None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn endpoints_have_their_turns_or_their_clients() {
        let client = |number: u8| IpAddr::from(Ipv4Addr::new(10, 88, 0, number));
        let all = ["192.0.2.7:80", "192.0.2.8:80"].map(|it| it.parse::<SocketAddr>().unwrap());
        let mut endpoints = Endpoints::new(all.to_vec(), Affinity::None);
        let mut chosen = || endpoints.choose(client(2)).unwrap();
        assert_eq!(BTreeSet::from([chosen(), chosen()]), BTreeSet::from(all));
        let mut endpoints = Endpoints::new(all.to_vec(), Affinity::ClientIp);
        let mapped = Ipv4Addr::new(10, 88, 0, 2).to_ipv6_mapped().into();
        let own = endpoints.choose(client(2));
        assert_eq!(own, endpoints.choose(client(2)));
        assert_eq!(own, endpoints.choose(mapped));
        let chosen: BTreeSet<_> = (2..30)
            .filter_map(|it| endpoints.choose(client(it)))
            .collect();
        assert_eq!(chosen, BTreeSet::from(all));
        assert_eq!(Endpoints::default().choose(client(2)), None);
    }
}
