//! One line of a log file.

use crate::store::Stream;

/// A line, or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// RFC 3339 with nanoseconds.
    pub time: &'a [u8],
    /// Where it came from.
    pub stream: Stream,
    /// `F`: a line break follows the content.
    pub is_full: bool,
    /// What the container wrote.
    pub content: &'a [u8],
}

/// Takes a line apart, given without its line break; nothing for one that is torn.
pub fn parse_line(line: &[u8]) -> Option<Line<'_>> {
    let space = memchr::memchr(b' ', line)?;
    let (time, rest) = line.split_at_checked(space)?;
    // The stream is six letters and the tag one: no search is needed.
    let (head, content) = rest.split_at_checked(10)?;
    let (stream, is_full) = match head {
        b" stdout F " => (Stream::Stdout, true),
        b" stdout P " => (Stream::Stdout, false),
        b" stderr F " => (Stream::Stderr, true),
        b" stderr P " => (Stream::Stderr, false),
        _ => return None,
    };
    Some(Line {
        time,
        stream,
        is_full,
        content,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart_and_a_torn_one_is_not_a_line() {
        let line = parse_line(b"2026-01-01T00:00:00Z stderr P a b ").unwrap();
        assert_eq!(line.stream, Stream::Stderr);
        assert!(!line.is_full);
        assert_eq!(line.content, b"a b ");
        assert_eq!(
            parse_line(b"2026-01-01T00:00:00Z stdout F ")
                .unwrap()
                .content,
            b""
        );
        for torn in [
            &b""[..],
            b"2026",
            b"2026 stdout",
            b"2026 stdout X a",
            b"2026 stdin  F a",
        ] {
            assert_eq!(parse_line(torn), None);
        }
    }
}
