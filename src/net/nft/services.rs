//! The table `podrun-services`: addresses of Services become addresses of their endpoints.
//!
//! ```text
//!  10.96.0.7 . tcp . 80 ─map v4─▶ chain s3 ─numgen or jhash─▶ 10.88.0.5 . 8080
//!  10.96.0.8 . tcp . 80 ─set outside4─▶ the node agent, which connects to 192.0.2.7 . 80
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::encode::{Attributes, Batch, CREATE, Operation};
use super::expression::{
    DESTINATION_PORT, Field, Meta, OWN_SET, OwnSet, Rule, V4_DESTINATION, V4_SOURCE,
    V6_DESTINATION, V6_SOURCE, Verdict, value,
};
use super::outbound::{MANGLE, Networks, Outbound};
use super::{Base, Hook, IPV4, IPV6, TCP, Table, UDP};
use crate::net::node::MARK;
use crate::plan::Protocol;

const TABLE: &str = "podrun-services";

/// `NF_IP_PRI_NAT_DST` and `NF_IP_PRI_NAT_SRC`
const BEFORE_ROUTING: i32 = -100;
const AFTER_ROUTING: i32 = 100;

/// Elements in one message: an attribute ends at 64 KiB, an element has at most 92 bytes.
const ELEMENTS: usize = 500;

/// `enum nft_set_flags`
const ANONYMOUS: u32 = 1;
const CONSTANT: u32 = 2;
const MAP: u32 = 8;

/// `NFT_DATA_VERDICT`
const VERDICTS: u32 = 0xffff_ff00;

/// Types of data as the program nft numbers them, for its listing; the kernel does not look.
const INTEGER: u32 = 4;
const V4_ADDRESS: u32 = 7;
const V6_ADDRESS: u32 = 8;
const PROTOCOL: u32 = 12;
const PORT: u32 = 13;

/// How an endpoint is chosen for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Affinity {
    /// `None`: any of them.
    #[default]
    None,
    /// `ClientIP`: the same for the same client, as long as the endpoints are the same.
    ClientIp,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The Service's address.
    pub address: IpAddr,
    /// The port's protocol.
    pub protocol: Protocol,
    /// The port at that address.
    pub port: u16,
    /// The ready endpoints; those of the other address family are not used, and those outside the
    /// pod network only when none is in it.
    pub endpoints: Vec<SocketAddr>,
    /// How one of them is chosen.
    pub affinity: Affinity,
}

impl ServicePort {
    /// The endpoints that the pod network has.
    fn pods(&self, pods: &Networks) -> Vec<SocketAddr> {
        let of_family = self.of_family();
        of_family
            .filter(|endpoint| pods.contain(endpoint.ip()))
            .collect()
    }

    /// The endpoints that the node agent connects to, when the pod network has none.
    pub fn outside(&self, pods: &Networks) -> Vec<SocketAddr> {
        if self.pods(pods).is_empty() {
            self.of_family().collect()
        } else {
            Vec::new()
        }
    }

    fn of_family(&self) -> impl Iterator<Item = SocketAddr> {
        let endpoints = self.endpoints.iter().copied();
        endpoints.filter(|endpoint| endpoint.is_ipv4() == self.address.is_ipv4())
    }
}

/// What differs between IPv4 and IPv6.
#[derive(Debug, Clone, Copy)]
struct Family {
    number: u8,
    destination: Field,
    source: Field,
    /// Registers of four bytes that an address takes.
    registers: u32,
    address_type: u32,
    map: &'static str,
    hairpins: &'static str,
    outside: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        number: IPV4,
        destination: V4_DESTINATION,
        source: V4_SOURCE,
        registers: 1,
        address_type: V4_ADDRESS,
        map: "v4",
        hairpins: "hairpins4",
        outside: "outside4",
    },
    Family {
        number: IPV6,
        destination: V6_DESTINATION,
        source: V6_SOURCE,
        registers: 4,
        address_type: V6_ADDRESS,
        map: "v6",
        hairpins: "hairpins6",
        outside: "outside6",
    },
];

impl Family {
    fn has(&self, address: IpAddr) -> bool {
        address.is_ipv4() == (self.number == IPV4)
    }

    /// Loads the packet's destination, protocol and port, as the keys of maps have them.
    fn load_port(&self, rule: Rule) -> Rule {
        rule.load(self.destination, 0)
            .load_meta(Meta::Protocol, self.registers)
            .load(DESTINATION_PORT, self.registers.saturating_add(1))
    }

    /// Bytes of an address.
    fn bytes(&self) -> u32 {
        self.registers.saturating_mul(4)
    }
}

/// The whole table anew, for these ports and no others. A port without endpoints is left out; of
/// two with the same address, protocol and port the first counts.
pub fn services(ports: &[ServicePort], outbound: &Outbound) -> Batch {
    let mut table = Table::replace(TABLE);
    let datagrams = Base {
        kind: "filter",
        hook: Hook::Prerouting,
        priority: MANGLE,
        accept: true,
    };
    table.base_chain("datagrams", datagrams);
    table.base_chain("services", nat(Hook::Prerouting, BEFORE_ROUTING));
    table.base_chain("hairpins", nat(Hook::Postrouting, AFTER_ROUTING));
    let mut chosen = BTreeMap::new();
    for port in ports {
        let number = match port.protocol {
            Protocol::Tcp => TCP,
            Protocol::Udp => UDP,
        };
        chosen
            .entry((port.address, number, port.port))
            .or_insert(port);
    }
    let mut next = 0;
    let agents = outbound.tcp.into_iter().zip(outbound.udp);
    for (family, (tcp, udp)) in FAMILIES.iter().zip(agents) {
        let mut verdicts = Vec::new();
        let mut outside = Vec::new();
        let mut hairpins = BTreeMap::new();
        table.set(family.map, 0, &map_of_ports(family));
        table.set(family.outside, 0, &set_of_ports(family));
        table.set(family.hairpins, 0, &pairs(family));
        for ((address, protocol, number), port) in &chosen {
            if !family.has(*address) {
                continue;
            }
            let mut key = octets(*address);
            key.extend_from_slice(&[*protocol, 0, 0, 0]);
            key.extend(padded_port(*number));
            if !port.outside(&outbound.pods).is_empty() {
                outside.push(element(&key, None));
            }
            let endpoints = port.pods(&outbound.pods);
            if endpoints.is_empty() {
                continue;
            }
            next = u32::saturating_add(next, 1);
            let chain = format!("s{next}");
            table.chain(&chain);
            table.choose(family, &chain, next, port.affinity, &endpoints);
            verdicts.push(element(&key, Some(&Verdict::Goto(&chain).data())));
            for endpoint in endpoints {
                let pair = [octets(endpoint.ip()), octets(endpoint.ip())].concat();
                hairpins.insert(pair.clone(), element(&pair, None));
            }
        }
        table.elements(family.map, 0, &verdicts);
        table.elements(family.outside, 0, &outside);
        let hairpins: Vec<Attributes> = hairpins.into_values().collect();
        table.elements(family.hairpins, 0, &hairpins);
        let rule = Rule::new().protocol_is(UDP).family_is(family.number);
        let rule = family
            .load_port(rule)
            .found_in(family.outside)
            .hand_over(family.number, udp)
            .set_mark(MARK)
            .verdict(Verdict::Accept);
        table.rule("datagrams", &rule);
        let rule = Rule::new().protocol_is(TCP).family_is(family.number);
        let rule = family
            .load_port(rule)
            .found_in(family.outside)
            .redirect(tcp);
        table.rule("services", &rule);
        let rule = Rule::new().family_is(family.number);
        let rule = family.load_port(rule).verdict_of(family.map);
        table.rule("services", &rule);
        // A pod that is its own endpoint would get packets from itself; so they come from the
        // gateway.
        let rule = Rule::new()
            .family_is(family.number)
            .load(family.source, 0)
            .load(family.destination, family.registers)
            .found_in(family.hairpins)
            .masquerade();
        table.rule("hairpins", &rule);
    }
    table.batch
}

fn nat(hook: Hook, priority: i32) -> Base {
    Base {
        kind: "nat",
        hook,
        priority,
        accept: true,
    }
}

/// What a set is: flags, its key and what the key leads to, as types and bytes.
#[derive(Debug, Clone, Copy)]
struct Shape {
    flags: u32,
    key: (u32, u32),
    data: Option<(u32, u32)>,
}

fn map_of_ports(family: &Family) -> Shape {
    Shape {
        flags: MAP,
        key: (
            concatenated(&[family.address_type, PROTOCOL, PORT]),
            family.bytes().saturating_add(8),
        ),
        data: Some((VERDICTS, 0)),
    }
}

fn set_of_ports(family: &Family) -> Shape {
    Shape {
        flags: 0,
        data: None,
        ..map_of_ports(family)
    }
}

fn pairs(family: &Family) -> Shape {
    Shape {
        flags: 0,
        key: (
            concatenated(&[family.address_type, family.address_type]),
            family.bytes().saturating_mul(2),
        ),
        data: None,
    }
}

fn map_of_endpoints(family: &Family) -> Shape {
    Shape {
        flags: MAP | ANONYMOUS | CONSTANT,
        key: (INTEGER, 4),
        data: Some((
            concatenated(&[family.address_type, PORT]),
            family.bytes().saturating_add(4),
        )),
    }
}

/// nft's number of a concatenation: six bits for each part.
fn concatenated(types: &[u32]) -> u32 {
    types.iter().fold(0, |number, part| (number << 6) | part)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Parts of a concatenation begin at multiples of four bytes.
fn padded_port(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn element(key: &[u8], data: Option<&Attributes>) -> Attributes {
    let element = Attributes::new().nest(1, &value(key));
    match data {
        Some(data) => element.nest(2, data),
        None => element,
    }
}

impl Table {
    /// A set; the number names one without a name.
    fn set(&mut self, name: &str, number: u32, shape: &Shape) {
        let (key_type, key_bytes) = shape.key;
        let mut set = Attributes::new()
            .name(1, self.name)
            .name(2, name)
            .number(3, shape.flags)
            .number(4, key_type)
            .number(5, key_bytes);
        if let Some((data_type, data_bytes)) = shape.data {
            set = set.number(6, data_type);
            if data_bytes > 0 {
                set = set.number(7, data_bytes);
            }
        }
        self.batch
            .add(Operation::NewSet, CREATE, &set.number(10, number));
    }

    fn elements(&mut self, set: &str, number: u32, elements: &[Attributes]) {
        for some in elements.chunks(ELEMENTS) {
            let list = some
                .iter()
                .fold(Attributes::new(), |list, element| list.nest(1, element));
            let mut message = Attributes::new()
                .name(1, self.name)
                .name(2, set)
                .nest(3, &list);
            if number > 0 {
                message = message.number(4, number);
            }
            self.batch.add(Operation::NewElements, CREATE, &message);
        }
    }

    /// The rule that chooses an endpoint and translates to it.
    fn choose(
        &mut self,
        family: &Family,
        chain: &str,
        number: u32,
        affinity: Affinity,
        endpoints: &[SocketAddr],
    ) {
        self.set(OWN_SET, number, &map_of_endpoints(family));
        let elements: Vec<Attributes> = (0_u32..)
            .zip(endpoints)
            .map(|(index, endpoint)| {
                let mut data = octets(endpoint.ip());
                data.extend(padded_port(endpoint.port()));
                element(&index.to_ne_bytes(), Some(&value(&data)))
            })
            .collect();
        self.elements(OWN_SET, number, &elements);
        let count = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        let chosen = match affinity {
            Affinity::None => Rule::new().random(count),
            Affinity::ClientIp => Rule::new().hash(family.source, count),
        };
        let rule = chosen
            .map(OwnSet { id: number })
            .translate(family.number, family.registers);
        self.rule(chain, &rule);
    }
}
