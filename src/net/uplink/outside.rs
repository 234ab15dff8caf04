//! Services whose endpoints are outside the pod network: the rules bring their connections and
//! datagrams here with the Service's address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::net::endpoints::Endpoints;
use crate::net::nft::{Networks, ServicePort};
use crate::plan::Protocol;

/// The endpoints of such Services; every clone is the same one.
#[derive(Debug, Clone, Default)]
pub struct OutsideServices(Arc<Mutex<HashMap<(Protocol, SocketAddr), Endpoints>>>);

impl OutsideServices {
    /// Replaces all of them by those of these ports that the rules bring here. To be called with
    /// what the rules are made of, before they are.
    pub fn set(&self, ports: &[ServicePort], pods: &Networks) {
        let all = ports.iter().rev().map(|port| {
            let key = (port.protocol, SocketAddr::new(port.address, port.port));
            (key, Endpoints::new(port.outside(pods), port.affinity))
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
        let known = ports.get_mut(&(protocol, address));
        known
            .and_then(|endpoints| endpoints.choose(client))
            .unwrap_or(address)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::net::nft::Affinity;

    #[test]
    fn the_address_of_a_service_stands_for_its_endpoints_outside() {
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
        // The rules lead to the pod.
        port.endpoints.push(inside);
        services.set(&[port], &pods);
        assert_eq!(ask(2), address);
    }
}
