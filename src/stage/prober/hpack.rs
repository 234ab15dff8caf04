//! As much of HPACK (RFC 7541) as a client needs that allows the server no dynamic table: literals
//! out, literals and `:status` in.
//!
//! The table's size is announced as zero, so no header refers to one before it, and a header that
//! a response's end lacks nothing by is skipped: of the static table only `:status` and `location` are
//! known.

use std::sync::LazyLock;

/// A header of which the name is empty when it is one of the static table's that nobody asks for.
pub(super) type Header = (Vec<u8>, Vec<u8>);

/// The values of `:status` in the static table, from its index 8 on (appendix A).
const STATUSES: [&str; 7] = ["200", "204", "206", "304", "400", "404", "500"];
const FIRST_STATUS: usize = 8;

/// The index of `location` in the static table.
const LOCATION: usize = 46;

/// The static table's last index.
const LAST_STATIC: usize = 61;

/// Appends a literal that is neither indexed nor compressed (6.2.2).
pub(super) fn put(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        put_length(block, text.len());
        block.extend_from_slice(text.as_bytes());
    }
}

/// An integer with a prefix of seven bits (5.1).
fn put_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(0x7f) else {
        block.push(u8::try_from(length).unwrap_or(0x7f));
        return;
    };
    block.push(0x7f);
    while rest >= 0x80 {
        block.push(0x80 | u8::try_from(rest & 0x7f).unwrap_or_default());
        rest >>= 7;
    }
    block.push(u8::try_from(rest).unwrap_or_default());
}

/// The headers of a whole block; none when it is malformed or refers to a dynamic table.
pub(super) fn decode(block: &[u8]) -> Option<Vec<Header>> {
    let mut input = Input(block);
    let mut headers = Vec::new();
    while let Some(first) = input.0.first().copied() {
        match first {
            // Indexed (6.1).
            0x80.. => {
                let index = input.integer(7)?;
                let status = index.checked_sub(FIRST_STATUS);
                let value = status.and_then(|at| STATUSES.get(at)).unwrap_or(&"");
                headers.push((static_name(index)?, value.as_bytes().to_vec()));
            }
            // A new size of the table (6.3), which can be no other than zero.
            0x20..0x40 => {
                if input.integer(5)? != 0 {
                    return None;
                }
            }
            // Literals: to be indexed (6.2.1), not to be (6.2.2) and never to be (6.2.3).
            _ => {
                let index = input.integer(if first & 0x40 == 0 { 4 } else { 6 })?;
                let name = match index {
                    0 => input.string()?,
                    index => static_name(index)?,
                };
                headers.push((name, input.string()?));
            }
        }
    }
    Some(headers)
}

fn static_name(index: usize) -> Option<Vec<u8>> {
    let is_status = index
        .checked_sub(FIRST_STATUS)
        .is_some_and(|at| at < STATUSES.len());
    match index {
        _ if is_status => Some(b":status".to_vec()),
        LOCATION => Some(b"location".to_vec()),
        1..=LAST_STATIC => Some(Vec::new()),
        _ => None,
    }
}

/// What is left of a block.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An integer of which the first byte holds so many bits (5.1); three more bytes are plenty
    /// here.
    fn integer(&mut self, prefix: u32) -> Option<usize> {
        let most = (1_usize << prefix).wrapping_sub(1);
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Some(value);
        }
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            value = value.checked_add(usize::from(byte & 0x7f) << shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A string (5.2).
    fn string(&mut self) -> Option<Vec<u8>> {
        let is_compressed = self.0.first()? & 0x80 != 0;
        let length = self.integer(7)?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        if is_compressed {
            decompress(bytes)
        } else {
            Some(bytes.to_vec())
        }
    }
}

/// The bits of each byte's code and of the end's (appendix B). The code is canonical: codes of one
/// length are consecutive in the order of their bytes, and follow on those that are shorter.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The symbols of one length of code.
struct Codes {
    /// The length.
    bits: u32,
    /// The first code.
    first: u32,
    /// What the codes from the first on stand for.
    symbols: Vec<u16>,
}

static CODES: LazyLock<Vec<Codes>> = LazyLock::new(|| {
    let mut all: Vec<Codes> = Vec::new();
    let mut next = 0_u32;
    for bits in 1..=30 {
        next <<= 1;
        let symbols: Vec<u16> = (0_u16..)
            .zip(LENGTHS)
            .filter(|(_, length)| u32::from(*length) == bits)
            .map(|(symbol, _)| symbol)
            .collect();
        let first = next;
        next = next.wrapping_add(u32::try_from(symbols.len()).unwrap_or_default());
        if !symbols.is_empty() {
            all.push(Codes {
                bits,
                first,
                symbols,
            });
        }
    }
    all
});

/// The bytes that a compressed string stands for.
fn decompress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(bytes.len());
    let (mut code, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        for shift in (0..8).rev() {
            code = (code << 1) | u32::from((byte >> shift) & 1);
            bits = bits.saturating_add(1);
            let Some(symbol) = symbol(code, bits) else {
                if bits >= 30 {
                    return None;
                }
                continue;
            };
            // The end's own code must not occur.
            text.push(u8::try_from(symbol).ok()?);
            (code, bits) = (0, 0);
        }
    }
    // What remains is the start of the end's code, which is all ones.
    let is_padding = bits < 8 && code == (1_u32 << bits).wrapping_sub(1);
    is_padding.then_some(text)
}

fn symbol(code: u32, bits: u32) -> Option<u16> {
    let codes = CODES.iter().find(|codes| codes.bits == bits)?;
    let at = code.checked_sub(codes.first)?;
    codes.symbols.get(usize::try_from(at).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(name: &str, value: &str) -> Header {
        (name.as_bytes().to_vec(), value.as_bytes().to_vec())
    }

    #[test]
    fn what_is_put_is_decoded() {
        let long = "x".repeat(20_000);
        let mut block = Vec::new();
        put(&mut block, "te", "trailers");
        put(&mut block, "long", &long);
        put(&mut block, "exact", &"y".repeat(127));
        assert_eq!(
            decode(&block).unwrap(),
            [
                header("te", "trailers"),
                header("long", &long),
                header("exact", &"y".repeat(127)),
            ]
        );
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // C.4.1: `www.example.com` in Huffman code.
        let text = [
            0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(Input(&text).string().unwrap(), b"www.example.com");
        // C.6.1: `:status: 302`, which is to be indexed, and one of a name that is not asked for.
        let block = [
            0x48, 0x82, 0x64, 0x02, 0x58, 0x85, 0xae, 0xc3, 0x77, 0x1a, 0x4b,
        ];
        assert_eq!(
            decode(&block).unwrap(),
            [header(":status", "302"), header("", "private")]
        );
        assert_eq!(decode(&[0x88]).unwrap(), [header(":status", "200")]);
        assert_eq!(decode(&[0x20, 0x8d]).unwrap(), [header(":status", "404")]);
    }

    #[test]
    fn what_refers_to_a_dynamic_table_or_is_cut_is_refused() {
        for block in [
            &[0xbe][..],
            &[0x80],
            &[0x3f, 0xe1, 0x1f],
            &[0x7e, 0x00],
            &[0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x00, 0x05, b'a'],
            &[0x00, 0x81],
            // The end's code, and padding of zeros.
            &[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00],
            &[0x00, 0x81, 0x00, 0x00],
        ] {
            assert_eq!(decode(block), None, "{block:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_bad(block in prop::collection::vec(any::<u8>(), 0..300)) {
            decode(&block);
        }
    }
}
