//! Times on the command line.

use std::time::Duration;

use crate::cli::failure::Failure;

/// Parses `30`, `500ms`, `5m`, `1h30m` (Go's durations, whole numbers; plain digits are seconds).
pub(crate) fn parse(text: &str) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = after;
    }
    Some(Duration::from_millis(total))
}

/// The duration of an option.
///
/// # Errors
/// A usage error that names the option.
pub(crate) fn of_option(option: &str, text: &str) -> Result<Duration, Failure> {
    parse(text).ok_or_else(|| {
        Failure::with_code(
            2,
            format!("{option}: `{}` is not a time", text.escape_debug()),
        )
        .hinted("write seconds or units: `30`, `500ms`, `5m`, `1h30m`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_have_units() {
        for (text, ms) in [
            ("2", 2_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "s",
            "1d",
            "-1",
            "1.5s",
            "5m3",
            "99999999999999999999",
            "18446744073709551615h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
