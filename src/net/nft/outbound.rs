//! The table `podrun`: what leaves the pod network goes to the node agent, and nothing else does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::encode::Batch;
use super::expression::{
    DESTINATION_PORT, Field, ICMP_TYPE, Meta, Queueing, Rule, TCP_FLAGS, Tracked, Unreachable,
    V4_DESTINATION, V4_SOURCE, V6_DESTINATION, V6_SOURCE, Verdict,
};
use super::{Base, Hook, ICMP, ICMPV6, IPV4, IPV6, TCP, Table, UDP};
use crate::net::node::{ANSWER_MARK, BRIDGE, MARK, REFUSED_MARK, UNREACHED_MARK, UNROUTED_MARK};

/// The table's name.
const TABLE: &str = "podrun";

/// `NF_IP_PRI_MANGLE`: before addresses are translated.
pub(super) const MANGLE: i32 = -150;

/// Before `NF_IP_PRI_NAT_DST`, at which the kernel asks all chains that translate, in their order.
const WAIT: i32 = -120;
const REFUSE: i32 = -110;

/// After the chain of Services.
const AFTER_SERVICES: i32 = -90;

/// `NF_IP_PRI_FILTER`
const FILTER: i32 = 0;

/// The resolver's port.
const DNS: u16 = 53;

/// `IP_CT_ESTABLISHED` and `IP_CT_RELATED`, as `NF_CT_STATE_BIT` counts them.
const KNOWN: u32 = (1 << 1) | (1 << 2);

/// `IPS_DST_NAT`: the destination was translated.
const TRANSLATED: u32 = 1 << 5;

/// FIN, SYN, RST and ACK of a TCP packet; the first of a connection has SYN alone (RFC 9293).
const FLAGS: u8 = 0x17;
const SYN: u8 = 0x02;

/// `ND_REDIRECT` (RFC 4861)
const ND_REDIRECT: u8 = 137;

/// Networks with their prefix lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Networks {
    /// IPv4
    pub v4: (Ipv4Addr, u8),
    /// IPv6, where the kernel has it.
    pub v6: Option<(Ipv6Addr, u8)>,
}

impl Networks {
    /// Whether one of them has the address.
    pub fn contain(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => {
                let (network, bits) = self.v4;
                let differing = u32::from(network) ^ u32::from(v4);
                differing.leading_zeros() >= u32::from(bits)
            }
            IpAddr::V6(v6) => self.v6.is_some_and(|(network, bits)| {
                let differing = u128::from(network) ^ u128::from(v6);
                differing.leading_zeros() >= u32::from(bits)
            }),
        }
    }
}

/// Where the node agent takes what leaves the pod network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outbound {
    /// The pods' addresses.
    pub pods: Networks,
    /// The Services' addresses.
    pub services: Networks,
    /// The port of the TCP listeners, IPv4's and IPv6's.
    pub tcp: [u16; 2],
    /// The port of the transparent UDP sockets, IPv4's and IPv6's.
    pub udp: [u16; 2],
    /// How connections wait until the agent says whether the outside takes them, and in which queue,
    /// if they do.
    pub waits: Option<(Queueing, u16)>,
}

/// A field and the first bits it must have.
type Prefix = (u8, Field, Vec<u8>, u8);

fn prefixes(networks: Networks) -> Vec<Prefix> {
    let (v4, v4_len) = networks.v4;
    let mut all = vec![(IPV4, V4_DESTINATION, v4.octets().to_vec(), v4_len)];
    if let Some((v6, v6_len)) = networks.v6 {
        all.push((IPV6, V6_DESTINATION, v6.octets().to_vec(), v6_len));
    }
    all
}

fn is_within((family, field, bytes, bits): &Prefix) -> Rule {
    Rule::new().family_is(*family).within(*field, bytes, *bits)
}

fn from_pods() -> Rule {
    Rule::new().name_is(Meta::InputName, BRIDGE)
}

/// The whole table anew. TCP to the outside is redirected to the agent's listeners, UDP handed to
/// its transparent sockets; a Service's address without an endpoint is refused; pods reach no port
/// of the agent but the resolver's; nothing is forwarded but from pod to pod.
pub fn outbound(outbound: &Outbound) -> Batch {
    let mut table = Table::replace(TABLE);
    stay(&mut table, outbound);
    datagrams(&mut table, outbound);
    if let Some((by, queue)) = outbound.waits {
        wait(&mut table, by, queue);
    }
    streams(&mut table, outbound);
    refuse_unserved(&mut table, outbound);
    guard_agent(&mut table);
    keep_inside(&mut table, outbound);
    table.batch
}

/// Chain `stay`: what is not for the outside.
fn stay(table: &mut Table, outbound: &Outbound) {
    let chain = "stay";
    table.chain(chain);
    let mut inside = prefixes(outbound.pods);
    inside.extend(prefixes(outbound.services));
    // Multicast, reserved and broadcast addresses (RFC 5771, RFC 1112).
    inside.push((IPV4, V4_DESTINATION, vec![224, 0, 0, 0], 3));
    // Link-local and multicast addresses (RFC 4291): the pod's link ends here.
    inside.push((IPV6, V6_DESTINATION, link_local(), 10));
    inside.push((IPV6, V6_DESTINATION, multicast(), 8));
    for prefix in &inside {
        table.rule(chain, &is_within(prefix).verdict(Verdict::Accept));
    }
}

fn link_local() -> Vec<u8> {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).octets().to_vec()
}

fn multicast() -> Vec<u8> {
    Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).octets().to_vec()
}

/// Echo requests and answers: of ICMP (RFC 792) and its like for IPv6 (RFC 4443).
const ECHOES: [(u8, u8, u8, u8); 2] = [(IPV4, ICMP, 8, 0), (IPV6, ICMPV6, 128, 129)];

/// Chain `datagrams`: UDP and echo requests to the outside.
fn datagrams(table: &mut Table, outbound: &Outbound) {
    let chain = "datagrams";
    let base = Base {
        kind: "filter",
        hook: Hook::Prerouting,
        priority: MANGLE,
        accept: true,
    };
    table.base_chain(chain, base);
    let rule = from_pods().protocol_is(UDP).verdict(Verdict::Jump("stay"));
    table.rule(chain, &rule);
    for (family, port) in [IPV4, IPV6].into_iter().zip(outbound.udp) {
        let rule = from_pods()
            .family_is(family)
            .protocol_is(UDP)
            .hand_over(family, port)
            .set_mark(MARK)
            .verdict(Verdict::Accept);
        table.rule(chain, &rule);
    }
    for (family, protocol, request, _) in ECHOES {
        let echo = || {
            from_pods()
                .family_is(family)
                .protocol_is(protocol)
                .field_is(ICMP_TYPE, &[request])
        };
        table.rule(chain, &echo().verdict(Verdict::Jump("stay")));
        let rule = echo().set_mark(MARK).verdict(Verdict::Accept);
        table.rule(chain, &rule);
    }
}

/// Chains `wait` and `refuse`: a connection begins when the outside has taken it, and not when the
/// outside has refused it.
fn wait(table: &mut Table, by: Queueing, queue: u16) {
    let base = |priority| Base {
        kind: "filter",
        hook: Hook::Prerouting,
        priority,
        accept: true,
    };
    table.base_chain("wait", base(WAIT));
    let first = || from_pods().protocol_is(TCP).bits_are(TCP_FLAGS, FLAGS, SYN);
    table.rule("wait", &first().verdict(Verdict::Jump("stay")));
    table.rule("wait", &first().queue(by, queue));
    table.base_chain("refuse", base(REFUSE));
    let marked = |mark| from_pods().protocol_is(TCP).mark_is(mark);
    table.rule("refuse", &marked(REFUSED_MARK).reset());
    for (mark, what) in [
        (UNREACHED_MARK, Unreachable::Host),
        (UNROUTED_MARK, Unreachable::Network),
    ] {
        table.rule("refuse", &marked(mark).unreachable(what));
    }
}

/// Chain `streams`: TCP to the outside.
fn streams(table: &mut Table, outbound: &Outbound) {
    let chain = "streams";
    let base = Base {
        kind: "nat",
        hook: Hook::Prerouting,
        priority: AFTER_SERVICES,
        accept: true,
    };
    table.base_chain(chain, base);
    let rule = from_pods().protocol_is(TCP).verdict(Verdict::Jump("stay"));
    table.rule(chain, &rule);
    for (family, port) in [IPV4, IPV6].into_iter().zip(outbound.tcp) {
        let rule = from_pods()
            .family_is(family)
            .protocol_is(TCP)
            .redirect(port);
        table.rule(chain, &rule);
    }
}

/// Chain `unserved`: after translation an address of the service network is one of a Service that
/// has no such port or no endpoint, or of none.
fn refuse_unserved(table: &mut Table, outbound: &Outbound) {
    let chain = "unserved";
    let base = Base {
        kind: "filter",
        hook: Hook::Prerouting,
        priority: FILTER,
        accept: true,
    };
    table.base_chain(chain, base);
    // The agent has it already.
    let rule = Rule::new().mark_is(MARK).verdict(Verdict::Accept);
    table.rule(chain, &rule);
    for prefix in &prefixes(outbound.services) {
        table.rule(chain, &is_within(prefix).protocol_is(TCP).reset());
        table.rule(chain, &is_within(prefix).unreachable(Unreachable::Port));
    }
}

/// Chain `agent`: what of the node's namespace pods reach.
fn guard_agent(table: &mut Table) {
    let chain = "agent";
    let base = Base {
        kind: "filter",
        hook: Hook::Input,
        priority: FILTER,
        accept: true,
    };
    table.base_chain(chain, base);
    let accepted = [
        Rule::new().name_is_not(Meta::InputName, BRIDGE),
        // Redirected, or an answer.
        Rule::new().tracked_has(Tracked::Status, TRANSLATED),
        Rule::new().tracked_has(Tracked::State, KNOWN),
        Rule::new().mark_is(MARK),
        Rule::new().protocol_is(ICMP),
        Rule::new().protocol_is(ICMPV6),
        Rule::new()
            .protocol_is(UDP)
            .field_is(DESTINATION_PORT, &DNS.to_be_bytes()),
        Rule::new()
            .protocol_is(TCP)
            .field_is(DESTINATION_PORT, &DNS.to_be_bytes()),
    ];
    for rule in accepted {
        table.rule(chain, &rule.verdict(Verdict::Accept));
    }
    table.rule(chain, &Rule::new().protocol_is(TCP).reset());
    table.rule(chain, &Rule::new().unreachable(Unreachable::Port));
}

/// Chains `between` and `told`: from pod to pod only, and always by way of the gateway.
fn keep_inside(table: &mut Table, outbound: &Outbound) {
    let base = |hook, accept| Base {
        kind: "filter",
        hook,
        priority: FILTER,
        accept,
    };
    table.base_chain("between", base(Hook::Forward, false));
    let rule = from_pods()
        .name_is(Meta::OutputName, BRIDGE)
        .verdict(Verdict::Accept);
    table.rule("between", &rule);
    // IPv6 has no setting for it: a pod that was told its neighbour would go there directly.
    table.base_chain("told", base(Hook::Output, true));
    let rule = Rule::new()
        .protocol_is(ICMPV6)
        .field_is(ICMP_TYPE, &[ND_REDIRECT])
        .verdict(Verdict::Drop);
    table.rule("told", &rule);
    // The kernel answers what is delivered here; the outside itself answers by the agent.
    for (family, protocol, _, answer) in ECHOES {
        let echo = || {
            Rule::new()
                .family_is(family)
                .protocol_is(protocol)
                .field_is(ICMP_TYPE, &[answer])
        };
        let rule = echo().mark_is(ANSWER_MARK).verdict(Verdict::Accept);
        table.rule("told", &rule);
        for (of, _, bytes, bits) in &prefixes(outbound.pods) {
            let source = if *of == IPV4 { V4_SOURCE } else { V6_SOURCE };
            if *of == family {
                let rule = echo().within(source, bytes, *bits);
                table.rule("told", &rule.verdict(Verdict::Accept));
            }
        }
        table.rule("told", &echo().verdict(Verdict::Drop));
    }
}
