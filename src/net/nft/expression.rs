//! The expressions of `nf_tables` that podrun's rules are made of.
//!
//! A rule is a row of expressions; each loads into registers, compares them, or acts. Registers
//! are counted here as the kernel's sixteen of four bytes each, from 0.

use super::encode::Attributes;

/// `NFT_REG32_00`
const FIRST_REGISTER: u32 = 8;

/// `NFTA_LIST_ELEM`
const ELEMENT: u16 = 1;

/// Where a packet is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// `NFT_PAYLOAD_NETWORK_HEADER` 1, `NFT_PAYLOAD_TRANSPORT_HEADER` 2
    base: u32,
    offset: u32,
    length: u32,
}

/// The address of the packet's destination or source, by family; ports and ICMP types.
pub(super) const V4_SOURCE: Field = network(12, 4);
pub(super) const V4_DESTINATION: Field = network(16, 4);
pub(super) const V6_SOURCE: Field = network(8, 16);
pub(super) const V6_DESTINATION: Field = network(24, 16);
pub(super) const DESTINATION_PORT: Field = transport(2, 2);
pub(super) const TCP_FLAGS: Field = transport(13, 1);
pub(super) const ICMP_TYPE: Field = transport(0, 1);

const fn network(offset: u32, length: u32) -> Field {
    Field {
        base: 1,
        offset,
        length,
    }
}

const fn transport(offset: u32, length: u32) -> Field {
    Field {
        base: 2,
        offset,
        length,
    }
}

/// `enum nft_meta_keys`
#[derive(Debug, Clone, Copy)]
pub(super) enum Meta {
    Mark,
    InputName,
    OutputName,
    Family,
    Protocol,
}

impl Meta {
    fn key(self) -> u32 {
        match self {
            Self::Mark => 3,
            Self::InputName => 6,
            Self::OutputName => 7,
            Self::Family => 15,
            Self::Protocol => 16,
        }
    }
}

/// `enum nft_ct_keys`
#[derive(Debug, Clone, Copy)]
pub(super) enum Tracked {
    State,
    Status,
}

/// What a packet did not reach.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unreachable {
    Network,
    Port,
    Host,
}

impl Unreachable {
    /// `enum nft_reject_inet_code`
    fn code(self) -> u8 {
        match self {
            Self::Network => 0,
            Self::Port => 1,
            Self::Host => 2,
        }
    }
}

/// How a kernel lets packets wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queueing {
    /// By an expression of `nf_tables` (`CONFIG_NFT_QUEUE`).
    Expression,
    /// By the target that `iptables` has for it (`CONFIG_NFT_COMPAT`).
    Target,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict<'a> {
    Drop,
    Accept,
    Jump(&'a str),
    Goto(&'a str),
}

impl Verdict<'_> {
    /// `NFTA_DATA_VERDICT` with `NFTA_VERDICT_CODE` and `NFTA_VERDICT_CHAIN`.
    pub(super) fn data(self) -> Attributes {
        let (code, chain) = match self {
            Self::Drop => (0, None),
            Self::Accept => (1, None),
            Self::Jump(chain) => (-3, Some(chain)),
            Self::Goto(chain) => (-4, Some(chain)),
        };
        let mut verdict = Attributes::new().signed(1, code);
        if let Some(chain) = chain {
            verdict = verdict.name(2, chain);
        }
        Attributes::new().nest(2, &verdict)
    }
}

/// `NFTA_DATA_VALUE`
pub(super) fn value(bytes: &[u8]) -> Attributes {
    Attributes::new().bytes(1, bytes)
}

/// A set that a rule brings along.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnSet {
    /// Names it within the batch.
    pub(super) id: u32,
}

/// The name by which the kernel makes up one for a set without.
pub(super) const OWN_SET: &str = "__map%d";

/// A rule in the making.
#[derive(Debug, Default, Clone)]
pub(super) struct Rule(Attributes);

impl Rule {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn expressions(&self) -> &Attributes {
        &self.0
    }

    fn with(self, name: &str, data: &Attributes) -> Self {
        let expression = Attributes::new().name(1, name).nest(2, data);
        Self(self.0.nest(ELEMENT, &expression))
    }

    pub(super) fn load(self, field: Field, register: u32) -> Self {
        let data = Attributes::new()
            .number(1, register_number(register))
            .number(2, field.base)
            .number(3, field.offset)
            .number(4, field.length);
        self.with("payload", &data)
    }

    pub(super) fn load_meta(self, meta: Meta, register: u32) -> Self {
        let data = Attributes::new()
            .number(1, register_number(register))
            .number(2, meta.key());
        self.with("meta", &data)
    }

    fn compare(self, operator: u32, bytes: &[u8]) -> Self {
        let data = Attributes::new()
            .number(1, register_number(0))
            .number(2, operator)
            .nest(3, &value(bytes));
        self.with("cmp", &data)
    }

    fn equals(self, bytes: &[u8]) -> Self {
        self.compare(0, bytes)
    }

    fn differs(self, bytes: &[u8]) -> Self {
        self.compare(1, bytes)
    }

    fn mask(self, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
        let data = Attributes::new()
            .number(1, register_number(0))
            .number(2, register_number(0))
            .number(3, length)
            .nest(4, &value(mask))
            .nest(5, &value(&vec![0; mask.len()]));
        self.with("bitwise", &data)
    }

    /// Goes on when the field's first bits are those of the prefix.
    pub(super) fn within(self, field: Field, prefix: &[u8], bits: u8) -> Self {
        let mask = mask_of(bits, prefix.len());
        let network: Vec<u8> = prefix.iter().zip(&mask).map(|(p, m)| p & m).collect();
        self.load(field, 0).mask(&mask).equals(&network)
    }

    pub(super) fn field_is(self, field: Field, bytes: &[u8]) -> Self {
        self.load(field, 0).equals(bytes)
    }

    /// Goes on when of these bits of a byte exactly those are set.
    pub(super) fn bits_are(self, field: Field, bits: u8, set: u8) -> Self {
        self.load(field, 0).mask(&[bits]).equals(&[set])
    }

    pub(super) fn protocol_is(self, protocol: u8) -> Self {
        self.load_meta(Meta::Protocol, 0).equals(&[protocol])
    }

    pub(super) fn family_is(self, family: u8) -> Self {
        self.load_meta(Meta::Family, 0).equals(&[family])
    }

    /// Interfaces' names are compared with all sixteen bytes of their place.
    pub(super) fn name_is(self, which: Meta, name: &str) -> Self {
        self.load_meta(which, 0).equals(&padded(name))
    }

    pub(super) fn name_is_not(self, which: Meta, name: &str) -> Self {
        self.load_meta(which, 0).differs(&padded(name))
    }

    pub(super) fn mark_is(self, mark: u32) -> Self {
        self.load_meta(Meta::Mark, 0).equals(&mark.to_ne_bytes())
    }

    /// Goes on when the connection has one of the bits.
    pub(super) fn tracked_has(self, tracked: Tracked, bits: u32) -> Self {
        let key = match tracked {
            Tracked::State => 0,
            Tracked::Status => 2,
        };
        let data = Attributes::new()
            .number(1, register_number(0))
            .number(2, key);
        self.with("ct", &data)
            .mask(&bits.to_ne_bytes())
            .differs(&[0; 4])
    }

    pub(super) fn verdict(self, verdict: Verdict<'_>) -> Self {
        // `NFT_REG_VERDICT` is 0.
        let data = Attributes::new().number(1, 0).nest(2, &verdict.data());
        self.with("immediate", &data)
    }

    /// Lets the packet wait in a queue; while nobody has opened it, drops it.
    pub(super) fn queue(self, by: Queueing, number: u16) -> Self {
        match by {
            Queueing::Expression => {
                let data = Attributes::new()
                    .bytes(1, &number.to_be_bytes())
                    .bytes(2, &[0, 1]);
                self.with("queue", &data)
            }
            Queueing::Target => {
                // Revision 0 of `struct xt_NFQ_info`, with its padding.
                let [low, high] = number.to_ne_bytes();
                let data = Attributes::new()
                    .name(1, "NFQUEUE")
                    .number(2, 0)
                    .bytes(3, &[low, high, 0, 0, 0, 0, 0, 0]);
                self.with("target", &data)
            }
        }
    }

    fn immediate(self, bytes: &[u8]) -> Self {
        let data = Attributes::new()
            .number(1, register_number(0))
            .nest(2, &value(bytes));
        self.with("immediate", &data)
    }

    pub(super) fn set_mark(self, mark: u32) -> Self {
        let data = Attributes::new()
            .number(2, Meta::Mark.key())
            .number(3, register_number(0));
        self.immediate(&mark.to_ne_bytes()).with("meta", &data)
    }

    /// Delivers to this machine's port.
    pub(super) fn redirect(self, port: u16) -> Self {
        // `NF_NAT_RANGE_PROTO_SPECIFIED`
        let data = Attributes::new().number(1, register_number(0)).number(3, 2);
        self.immediate(&port.to_be_bytes()).with("redir", &data)
    }

    /// Hands the packet to the transparent socket at the port.
    pub(super) fn hand_over(self, family: u8, port: u16) -> Self {
        let data = Attributes::new()
            .number(1, u32::from(family))
            .number(3, register_number(0));
        self.immediate(&port.to_be_bytes()).with("tproxy", &data)
    }

    pub(super) fn masquerade(self) -> Self {
        self.with("masq", &Attributes::new())
    }

    /// Translates the destination to the address in register 0 and the port in the one given.
    pub(super) fn translate(self, family: u8, port_register: u32) -> Self {
        // `NFT_NAT_DNAT`, `NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED`
        let data = Attributes::new()
            .number(1, 1)
            .number(2, u32::from(family))
            .number(3, register_number(0))
            .number(5, register_number(port_register))
            .number(7, 3);
        self.with("nat", &data)
    }

    /// Answers with a reset.
    pub(super) fn reset(self) -> Self {
        // `NFT_REJECT_TCP_RST`
        self.with("reject", &Attributes::new().number(1, 1).bytes(2, &[0]))
    }

    /// Answers what cannot be reached, in the family's own words.
    pub(super) fn unreachable(self, what: Unreachable) -> Self {
        // `NFT_REJECT_ICMPX_UNREACH`
        let data = Attributes::new().number(1, 2).bytes(2, &[what.code()]);
        self.with("reject", &data)
    }

    /// Any number below the bound, into register 0.
    pub(super) fn random(self, below: u32) -> Self {
        // `NFT_NG_RANDOM`
        let data = Attributes::new()
            .number(1, register_number(0))
            .number(2, below)
            .number(3, 1);
        self.with("numgen", &data)
    }

    /// The same number below the bound for the same content of the field, into register 0.
    pub(super) fn hash(self, field: Field, below: u32) -> Self {
        // `NFT_HASH_JENKINS`; a seed would be another each time.
        let data = Attributes::new()
            .number(1, register_number(4))
            .number(2, register_number(0))
            .number(3, field.length)
            .number(4, below)
            .number(5, 0)
            .number(7, 0);
        self.load(field, 4).with("hash", &data)
    }

    /// Goes on when the set has what begins at register 0.
    pub(super) fn found_in(self, set: &str) -> Self {
        let data = Attributes::new().name(1, set).number(2, register_number(0));
        self.with("lookup", &data)
    }

    /// Follows the verdict that the map has for what begins at register 0.
    pub(super) fn verdict_of(self, map: &str) -> Self {
        let data = Attributes::new()
            .name(1, map)
            .number(2, register_number(0))
            .number(3, 0);
        self.with("lookup", &data)
    }

    /// Replaces what is in register 0 by what the rule's own map has for it.
    pub(super) fn map(self, set: OwnSet) -> Self {
        let data = Attributes::new()
            .name(1, OWN_SET)
            .number(2, register_number(0))
            .number(3, register_number(0))
            .number(4, set.id);
        self.with("lookup", &data)
    }
}

fn register_number(register: u32) -> u32 {
    FIRST_REGISTER.saturating_add(register)
}

fn padded(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (place, byte) in bytes.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    bytes
}

fn mask_of(bits: u8, bytes: usize) -> Vec<u8> {
    let mut left = bits;
    (0..bytes)
        .map(|_| {
            let here = left.min(8);
            left = left.saturating_sub(8);
            // Shifting a byte by eight is not defined; no bits means no mask.
            0xff_u8
                .checked_shl(u32::from(8_u8.saturating_sub(here)))
                .unwrap_or(0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_its_bits_in_front() {
        assert_eq!(mask_of(16, 4), [0xff, 0xff, 0, 0]);
        assert_eq!(mask_of(20, 4), [0xff, 0xff, 0xf0, 0]);
        assert_eq!(mask_of(3, 1), [0xe0]);
        assert_eq!(mask_of(0, 2), [0, 0]);
        assert_eq!(mask_of(32, 4), [0xff; 4]);
    }

    #[test]
    fn an_interface_name_fills_its_place() {
        assert_eq!(&padded("podrun0"), b"podrun0\0\0\0\0\0\0\0\0\0");
    }
}
