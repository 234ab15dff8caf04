//! `nf_tables` over netlink: the rules of the node's network namespace.
//!
//! The few messages are encoded here; there is no program and no library behind them.

mod encode;
mod expression;
mod outbound;
mod queue;
mod services;

use std::io;

use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};

use crate::net::netlink;

pub use encode::Batch;
use encode::{APPEND, Attributes, CREATE, Operation, message};
pub use expression::Queueing;
use expression::Rule;
pub use outbound::{Networks, Outbound, outbound};
pub use queue::{Fate, Flow, Queue, Waiting};
pub use services::{Affinity, ServicePort, services};

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// `IPPROTO_TCP`, `IPPROTO_UDP`, `IPPROTO_ICMP`, `IPPROTO_ICMPV6`
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Where a chain is asked: `enum nf_inet_hooks`.
#[derive(Debug, Clone, Copy)]
enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// A chain's kind, hook, priority and what becomes of packets it has no verdict for.
#[derive(Debug, Clone, Copy)]
struct Base {
    kind: &'static str,
    hook: Hook,
    priority: i32,
    accept: bool,
}

/// The rules of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Rules(Socket);

impl Rules {
    /// A socket of this thread's network namespace. To be kept: when it is closed the kernel waits
    /// until what it replaced is gone, which takes ten milliseconds and more
    /// (`nft_rcv_nl_event`).
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`; EPROTONOSUPPORT where the kernel lacks nfnetlink.
    pub fn open() -> io::Result<Self> {
        Ok(Self(netlink::open(NETLINK_NETFILTER)?))
    }

    /// Sets up the table of [`outbound()`], with connections that wait in one of the ways that this
    /// kernel has, if there is a queue for them: its number.
    ///
    /// # Errors
    /// As [`Rules::apply`].
    pub fn begin(&self, wanted: Outbound, queue: Option<u16>) -> io::Result<Outbound> {
        if let Some(queue) = queue {
            // A change that the kernel refuses costs ten milliseconds.
            let by = if self.has_queue_target() {
                Queueing::Target
            } else {
                Queueing::Expression
            };
            let waiting = Outbound {
                waits: Some((by, queue)),
                ..wanted
            };
            if self.apply(outbound(&waiting)).is_ok() {
                return Ok(waiting);
            }
        }
        self.apply(outbound(&wanted)).map(|()| wanted)
    }

    /// Whether the kernel has [`Queueing::Target`].
    fn has_queue_target(&self) -> bool {
        // `NFNL_SUBSYS_NFT_COMPAT`, `NFNL_MSG_COMPAT_GET`: revision 0, of targets.
        let kind = u16::from_be_bytes([11, 0]);
        let target = Attributes::new()
            .name(1, "NFQUEUE")
            .number(2, 0)
            .number(3, 1);
        let question = message(kind, 0, 1, IPV4, 0, &target);
        netlink::forget(&self.0);
        let answered = self.0.send(&question, 0).is_ok() && netlink::is_granted(&self.0);
        netlink::forget(&self.0);
        answered
    }

    /// Makes the changes of a batch, all at once or none.
    ///
    /// # Errors
    /// The kernel's answer to the first change it did not take; EMSGSIZE for a batch that is larger
    /// than a socket's send buffer may be (twice `net.core.wmem_max`, 400 KiB by default);
    /// EOPNOTSUPP where the kernel lacks `nf_tables`.
    pub fn apply(&self, batch: Batch) -> io::Result<()> {
        let (bytes, answered) = batch.finish();
        // A datagram must fit the buffer as a whole; the kernel gives what its limit allows.
        let room = bytes.len().saturating_add(4096);
        rustix::net::sockopt::set_socket_send_buffer_size(&self.0, room)?;
        // The messages of each batch are counted from one.
        netlink::forget(&self.0);
        self.0.send(&bytes, 0)?;
        netlink::answers(&self.0, answered)
    }
}

/// A table in the making: it replaces the one of its name.
struct Table {
    name: &'static str,
    batch: Batch,
}

impl Table {
    fn replace(name: &'static str) -> Self {
        let mut batch = Batch::new();
        let table = Attributes::new().name(1, name);
        // It must be there to be deleted.
        batch.add(Operation::NewTable, CREATE, &table);
        batch.add(Operation::DeleteTable, 0, &table);
        batch.add(Operation::NewTable, CREATE, &table);
        Self { name, batch }
    }

    /// A chain that others jump to.
    fn chain(&mut self, name: &str) {
        let chain = Attributes::new().name(1, self.name).name(3, name);
        self.batch.add(Operation::NewChain, CREATE, &chain);
    }

    /// A chain that the kernel asks.
    fn base_chain(&mut self, name: &str, base: Base) {
        let hook = match base.hook {
            Hook::Prerouting => 0,
            Hook::Input => 1,
            Hook::Forward => 2,
            Hook::Output => 3,
            Hook::Postrouting => 4,
        };
        let hook = Attributes::new().number(1, hook).signed(2, base.priority);
        let chain = Attributes::new()
            .name(1, self.name)
            .name(3, name)
            .nest(4, &hook)
            .number(5, u32::from(base.accept))
            .name(7, base.kind);
        self.batch.add(Operation::NewChain, CREATE, &chain);
    }

    /// A rule at the chain's end.
    fn rule(&mut self, chain: &str, rule: &Rule) {
        let rule = Attributes::new()
            .name(1, self.name)
            .name(2, chain)
            .nest(4, rule.expressions());
        self.batch.add(Operation::NewRule, CREATE | APPEND, &rule);
    }
}
