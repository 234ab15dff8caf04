//! Services whose endpoints are outside the pod network: the rules bring their connections and
//! datagrams here with the Service's address.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::net::nft::{Affinity, Networks, ServicePort};
use crate::plan::Protocol;

#[derive(Debug)]
struct Port {
    endpoints: Vec<SocketAddr>,
    affinity: Affinity,
    /// The turn of the next connection.
    next: usize,
}

/// The endpoints of such Services; every clone is the same one.
#[derive(Debug, Clone, Default)]
pub struct OutsideServices(Arc<Mutex<HashMap<(Protocol, SocketAddr), Port>>>);

impl OutsideServices {
    /// Replaces all of them by those of these ports that the rules bring here. To be called with
    /// what the rules are made of, before they are.
    pub fn set(&self, ports: &[ServicePort], pods: &Networks) {
        let all = ports.iter().rev().map(|port| {
            let key = (port.protocol, SocketAddr::new(port.address, port.port));
            let known = Port {
                endpoints: port.outside(pods),
                affinity: port.affinity,
                next: 0,
            };
            (key, known)
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all.collect();
    }

    /// Where a client's connection to an address goes: to an endpoint in turn, or always to the
    /// same, when it is a Service's; to the address itself otherwise.
    pub(super) fn endpoint(
        &self,
        protocol: Protocol,
        address: SocketAddr,
        client: IpAddr,
    ) -> SocketAddr {
        let mut ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(port) = ports.get_mut(&(protocol, address)) else {
            return address;
        };
        let turn = match port.affinity {
            Affinity::None => {
                port.next = port.next.wrapping_add(1);
                port.next
            }
            Affinity::ClientIp => {
                let mut hasher = DefaultHasher::new();
                client.hash(&mut hasher);
                usize::try_from(hasher.finish() >> 33).unwrap_or(0)
            }
        };
        let index = turn.checked_rem(port.endpoints.len()).unwrap_or(0);
        port.endpoints.get(index).copied().unwrap_or(address)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn endpoints_have_their_turns_or_their_clients() {
        let pods = Networks {
            v4: (Ipv4Addr::new(10, 88, 0, 0), 16),
            v6: None,
        };
        let [first, second, inside] = ["192.0.2.7:80", "192.0.2.8:80", "10.88.0.2:80"]
            .map(|address| address.parse::<SocketAddr>().unwrap());
        let mut port = ServicePort {
            address: Ipv4Addr::new(10, 96, 0, 1).into(),
            protocol: Protocol::Tcp,
            port: 80,
            endpoints: vec![first, second],
            affinity: Affinity::None,
        };
        let address = SocketAddr::new(port.address, 80);
        let services = OutsideServices::default();
        let ask = |client: u8| {
            let client = Ipv4Addr::new(10, 88, 0, client).into();
            services.endpoint(Protocol::Tcp, address, client)
        };
        assert_eq!(ask(2), address);
        services.set(std::slice::from_ref(&port), &pods);
        assert_eq!(
            BTreeSet::from([ask(2), ask(2)]),
            BTreeSet::from([first, second])
        );
        let udp = services.endpoint(Protocol::Udp, address, first.ip());
        assert_eq!(udp, address);
        port.affinity = Affinity::ClientIp;
        services.set(std::slice::from_ref(&port), &pods);
        assert_eq!(ask(2), ask(2));
        let all: BTreeSet<SocketAddr> = (2..30).map(ask).collect();
        assert_eq!(all, BTreeSet::from([first, second]));
        // The rules lead to the pod.
        port.endpoints.push(inside);
        services.set(&[port], &pods);
        assert_eq!(ask(2), address);
    }
}
