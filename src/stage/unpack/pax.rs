//! Extended headers: what they say of the next entry (POSIX.1-2017, pax, "pax Extended Header").

use rustix::fs::Timespec;

use super::{UnpackError, invalid, shown};

/// What is used of an extended header. Users' names, comments and times other than the
/// modification's are not.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    /// Bytes of content in the archive.
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) modified: Option<Timespec>,
    /// Extended attributes, in the order in which they are set.
    pub(super) attributes: Vec<(String, Vec<u8>)>,
}

impl Extended {
    /// Reads the records of one header, which the caller has bounded.
    ///
    /// Of a key that occurs twice the last record counts: POSIX says so, and GNU tar, Go's
    /// `archive/tar` and Python read it so. An empty `path` is a name to GNU tar and Python, and
    /// none to Go: it is refused, as is any value that its key cannot have. So are sparse files of
    /// GNU's formats 0.0, 0.1 and 1.0, which no builder of images makes: who does not know them
    /// writes their map as content.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, UnpackError> {
        let mut found = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some((key, value, after)) = record(rest) else {
                return invalid("an extended header has a record that is none");
            };
            rest = after;
            if !found.take(key, value)? {
                let (key, value) = (shown(key), shown(value));
                return invalid(format!("an extended header says `{key}={value}`"));
            }
        }
        Ok(found)
    }

    /// Returns whether the value is one of the key.
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<bool, UnpackError> {
        let id = || {
            let id = digits(value).and_then(|id| u32::try_from(id).ok());
            id.filter(|id| *id != u32::MAX)
        };
        match key {
            b"path" => self.path = Some(value.to_vec()).filter(|path| !path.is_empty()),
            b"linkpath" => self.link = Some(value.to_vec()).filter(|link| !link.is_empty()),
            b"size" => self.size = digits(value),
            b"uid" => self.uid = id(),
            b"gid" => self.gid = id(),
            b"mtime" => self.modified = time(value),
            key if key.starts_with(b"GNU.sparse.") => {
                return invalid(
                    "it has a sparse file in an extended header, which is not supported",
                );
            }
            key => {
                let name = key.strip_prefix(b"SCHILY.xattr.");
                if let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok())
                    && is_kept(name)
                {
                    self.attributes.push((name.to_owned(), value.to_vec()));
                }
                return Ok(true);
            }
        }
        Ok(match key {
            b"path" => self.path.is_some(),
            b"linkpath" => self.link.is_some(),
            b"size" => self.size.is_some(),
            b"uid" => self.uid.is_some(),
            b"gid" => self.gid.is_some(),
            _ => self.modified.is_some(),
        })
    }
}

/// The first record, `LENGTH KEY=VALUE\n`, and what follows it. The length counts all of the
/// record, so a value may hold anything, newlines and NUL bytes among it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(digits(bytes.get(..space)?)?).ok()?;
    let (record, after) = bytes.split_at_checked(length)?;
    let record = record.strip_suffix(b"\n")?.get(space.checked_add(1)?..)?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = record.split_at_checked(equals)?;
    let value = value.strip_prefix(b"=")?;
    (!key.is_empty()).then_some((key, value, after))
}

/// A decimal number without a sign.
fn digits(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds since 1970 with a sign and a fraction, cut to nanoseconds.
fn time(text: &[u8]) -> Option<Timespec> {
    let (is_negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(digits(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    digits(fraction.get(..9).unwrap_or(fraction)).or(fraction.is_empty().then_some(0))?;
    let nanoseconds = (0..9).fold(0, |sum: i64, place| {
        let digit = fraction
            .get(place)
            .map_or(0, |digit| digit.wrapping_sub(b'0'));
        sum.saturating_mul(10).saturating_add(i64::from(digit))
    });
    let (tv_sec, tv_nsec) = match (is_negative, nanoseconds) {
        (false, nanoseconds) => (seconds, nanoseconds),
        (true, 0) => (seconds.saturating_neg(), 0),
        // Nanoseconds count forwards.
        (true, nanoseconds) => (
            seconds.saturating_neg().saturating_sub(1),
            1_000_000_000_i64.saturating_sub(nanoseconds),
        ),
    };
    Some(Timespec { tv_sec, tv_nsec })
}

/// The user's own attributes and file capabilities; never what steers overlay, an LSM or the
/// integrity subsystem.
fn is_kept(name: &str) -> bool {
    let steers_overlay = name.contains(".overlay.");
    (name.starts_with("user.") && !steers_overlay) || name == "security.capability"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_signs_and_fractions() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("1350244992.023960108", Some((1_350_244_992, 23_960_108))),
            ("1.5", Some((1, 500_000_000))),
            ("1.", Some((1, 0))),
            ("1.0000000019", Some((1, 1))),
            ("-1", Some((-1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.000000001", Some((-1, 999_999_999))),
            ("9223372036854775807", Some((i64::MAX, 0))),
            ("9223372036854775808", None),
            ("", None),
            (".5", None),
            ("1.x", None),
            ("+1", None),
            ("--1", None),
            ("1e9", None),
        ] {
            let found = time(text.as_bytes()).map(|time| (time.tv_sec, time.tv_nsec));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_record_is_as_long_as_it_says() {
        let bytes = b"17 k=a\n9 path=x\n\n12 size=123\n";
        let (key, value, after) = record(bytes).unwrap();
        assert_eq!((key, value), (&b"k"[..], &b"a\n9 path=x\n"[..]));
        assert_eq!(record(after), Some((&b"size"[..], &b"123"[..], &b""[..])));
        for cut in 0..after.len() {
            assert_eq!(record(&after[..cut]), None, "{cut}");
        }
    }
}
