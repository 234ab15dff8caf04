//! Netlink attributes and the batches that `nf_tables` takes (`linux/netfilter/nfnetlink.h`,
//! `nf_tables.h`).
//!
//! ```text
//!  batch begin │ message │ message … │ batch end      all or nothing, in one generation
//!              └ nlmsghdr │ nfgenmsg │ attribute …    attribute: length, type, value, padding to 4
//! ```

/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_CREATE`, `NLM_F_APPEND` of `netlink.h`.
const REQUEST: u16 = 1;
pub(super) const ACK: u16 = 4;
pub(super) const CREATE: u16 = 0x400;
pub(super) const APPEND: u16 = 0x800;

/// `NLA_F_NESTED`: the value is attributes.
const NESTED: u16 = 0x8000;

/// `NFNL_SUBSYS_NFTABLES`
const NFTABLES: u8 = 10;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// `NFPROTO_INET`: IPv4 and IPv6.
const INET: u8 = 1;

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// The operations podrun asks for, as `enum nf_tables_msg_types` numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    NewTable,
    DeleteTable,
    NewChain,
    NewRule,
    NewSet,
    NewElements,
}

impl Operation {
    fn number(self) -> u8 {
        match self {
            Self::NewTable => 0,
            Self::DeleteTable => 2,
            Self::NewChain => 3,
            Self::NewRule => 6,
            Self::NewSet => 9,
            Self::NewElements => 12,
        }
    }
}

/// Attributes in the order they were put in.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A value as it is. All values are far below the 64 KiB that an attribute can hold.
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// A number; `nf_tables` has them in network byte order.
    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A signed number.
    pub(super) fn signed(self, kind: u16, value: i32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A name.
    pub(super) fn name(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Attributes within an attribute.
    pub(super) fn nest(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Changes that take place together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: usize,
    sequence: u32,
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            last: 0,
            sequence: 0,
        };
        batch.message(BATCH_BEGIN, 0, 0, u16::from(NFTABLES), &Attributes::new());
        batch
    }

    pub(super) fn add(&mut self, operation: Operation, flags: u16, attributes: &Attributes) {
        let kind = u16::from_be_bytes([NFTABLES, operation.number()]);
        self.message(kind, flags, INET, 0, attributes);
    }

    /// The datagram, and the sequence number of the answer that comes last: of the last change,
    /// which alone is answered when all goes well.
    pub(super) fn finish(mut self) -> (Vec<u8>, u32) {
        let answered = self.sequence;
        if let Some(flags) = self.bytes.get_mut(self.last.saturating_add(6)..)
            && let Some(flags) = flags.first_chunk_mut::<2>()
        {
            *flags = (u16::from_ne_bytes(*flags) | ACK).to_ne_bytes();
        }
        self.message(BATCH_END, 0, 0, u16::from(NFTABLES), &Attributes::new());
        (self.bytes, answered)
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        attributes: &Attributes,
    ) {
        self.sequence = self.sequence.wrapping_add(1);
        self.last = self.bytes.len();
        let message = message(kind, flags, self.sequence, family, resource, attributes);
        self.bytes.extend(message);
    }
}

/// A request: `struct nlmsghdr`, `struct nfgenmsg` and attributes.
pub(super) fn message(
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
    attributes: &Attributes,
) -> Vec<u8> {
    // `struct nfgenmsg` is four bytes.
    let length = HEADER.saturating_add(4).saturating_add(attributes.len());
    let mut bytes = Vec::with_capacity(length);
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(&[family, 0]);
    bytes.extend_from_slice(&resource.to_be_bytes());
    bytes.extend_from_slice(&attributes.0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_length_type_value_and_padding() {
        let inner = Attributes::new().name(1, "ab").number(2, 0x0102_0304);
        let outer = Attributes::new().nest(4, &inner);
        let mut expected = Vec::new();
        expected.extend_from_slice(&20_u16.to_ne_bytes());
        expected.extend_from_slice(&0x8004_u16.to_ne_bytes());
        expected.extend_from_slice(&7_u16.to_ne_bytes());
        expected.extend_from_slice(&1_u16.to_ne_bytes());
        expected.extend_from_slice(b"ab\0\0");
        expected.extend_from_slice(&8_u16.to_ne_bytes());
        expected.extend_from_slice(&2_u16.to_ne_bytes());
        expected.extend_from_slice(&[1, 2, 3, 4]);
        assert_eq!(outer.0, expected);
    }

    #[test]
    fn a_batch_is_framed_and_only_its_last_change_is_answered() {
        let mut batch = Batch::new();
        let table = Attributes::new().name(1, "t");
        batch.add(Operation::NewTable, CREATE, &table);
        batch.add(Operation::NewChain, CREATE, &table);
        let (bytes, answered) = batch.finish();
        let mut expected = Vec::new();
        for (length, kind, flags, sequence, family, resource, body) in [
            (20_u32, 0x10_u16, 1_u16, 1_u32, 0_u8, 10_u16, &[][..]),
            (28, 0x0a00, 0x401, 2, 1, 0, &table.0),
            (28, 0x0a03, 0x405, 3, 1, 0, &table.0),
            (20, 0x11, 1, 4, 0, 10, &[]),
        ] {
            expected.extend_from_slice(&length.to_ne_bytes());
            expected.extend_from_slice(&kind.to_ne_bytes());
            expected.extend_from_slice(&flags.to_ne_bytes());
            expected.extend_from_slice(&sequence.to_ne_bytes());
            expected.extend_from_slice(&[0; 4]);
            expected.extend_from_slice(&[family, 0]);
            expected.extend_from_slice(&resource.to_be_bytes());
            expected.extend_from_slice(body);
        }
        assert_eq!(bytes, expected);
        assert_eq!(answered, 3);
    }
}
