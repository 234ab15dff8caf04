//! Kubernetes' quantities (`k8s.io/apimachinery/pkg/api/resource`).

/// Bytes, or whole units, of a quantity such as `64Mi`, `1.5G`, `1e3`, `100m`; fractions are
/// rounded up.
///
/// # Errors
/// What is wrong with it, to follow the field's path.
pub fn parse_quantity(text: &str) -> Result<u64, String> {
    parse(text, 1)
}

/// Thousandths of a quantity: processors in millicores. Fractions are rounded up, as the API server
/// does it (`SetDefaults_ResourceList`).
///
/// # Errors
/// As [`parse_quantity`].
pub fn parse_thousandths(text: &str) -> Result<u64, String> {
    parse(text, 1000)
}

/// Bytes as a quantity is written: with the largest suffix that leaves a whole number, a binary one
/// unless the number is shorter with a decimal one.
pub fn bytes_text(bytes: u64) -> String {
    let binary = suffixed(bytes, 1024, &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]);
    let decimal = suffixed(bytes, 1000, &["", "k", "M", "G", "T", "P", "E"]);
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).count();
    if digits(&decimal) < digits(&binary) {
        decimal
    } else {
        binary
    }
}

/// Millicores as a quantity is written: `250m`, `2`.
pub fn millicores_text(millicores: u64) -> String {
    suffixed(millicores, 1000, &["m", "", "k", "M", "G", "T", "P"])
}

fn suffixed(mut value: u64, step: u64, suffixes: &[&'static str]) -> String {
    let mut rest = suffixes.iter();
    let mut suffix = rest.next().copied().unwrap_or_default();
    for larger in rest {
        if value == 0 || !value.is_multiple_of(step) {
            break;
        }
        value = value.checked_div(step).unwrap_or(value);
        suffix = larger;
    }
    if value == 0 {
        suffix = "";
    }
    format!("{value}{suffix}")
}

fn parse(text: &str, scale: u128) -> Result<u64, String> {
    let bad = || format!("`{}` is not a quantity", text.escape_debug());
    if text.starts_with('-') {
        return Err(format!("`{text}` is negative"));
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(bad());
    }
    let (mut numerator, mut denominator) = factor(suffix).ok_or_else(bad)?;
    // Thousandths of thousandths are below anything a quantity means.
    let fraction: String = fraction.chars().take(9).collect();
    let mut value: u128 = 0;
    for digit in whole.chars().chain(fraction.chars()) {
        let digit = u128::from(digit.to_digit(10).ok_or_else(bad)?);
        value = value.saturating_mul(10).saturating_add(digit);
    }
    for _ in fraction.chars() {
        denominator = denominator.saturating_mul(10);
    }
    if numerator == 0 {
        numerator = 1;
    }
    let scaled = value
        .checked_mul(numerator)
        .and_then(|value| value.checked_mul(scale))
        .ok_or_else(|| format!("`{text}` is too large"))?;
    u64::try_from(scaled.div_ceil(denominator)).map_err(|_| format!("`{text}` is too large"))
}

fn factor(suffix: &str) -> Option<(u128, u128)> {
    let power = |base: u128, exponent: u32| base.checked_pow(exponent);
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, power(10, 9)?),
        "u" => (1, power(10, 6)?),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (power(1000, 2)?, 1),
        "G" => (power(1000, 3)?, 1),
        "T" => (power(1000, 4)?, 1),
        "P" => (power(1000, 5)?, 1),
        "E" => (power(1000, 6)?, 1),
        "Ki" => (1024, 1),
        "Mi" => (power(1024, 2)?, 1),
        "Gi" => (power(1024, 3)?, 1),
        "Ti" => (power(1024, 4)?, 1),
        "Pi" => (power(1024, 5)?, 1),
        "Ei" => (power(1024, 6)?, 1),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let (negative, digits) = match exponent.strip_prefix('-') {
                Some(digits) => (true, digits),
                None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
            };
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let scale = power(10, digits.parse().ok()?)?;
            if negative { (1, scale) } else { (scale, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_all_of_kubernetes_suffixes() {
        for (text, value) in [
            ("0", 0),
            ("64Mi", 64 << 20),
            ("1.5Gi", 3 << 29),
            ("1G", 1_000_000_000),
            ("100m", 1),
            ("1e3", 1000),
            ("1E3", 1000),
            ("12e-1", 2),
            (".5k", 500),
            ("5.", 5),
            ("+1k", 1000),
        ] {
            assert_eq!(parse_quantity(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "Mi",
            "1 Gi",
            "1gi",
            "-1",
            "1..5",
            "1e",
            "99999999999E",
            "x",
        ] {
            assert!(parse_quantity(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_have_the_largest_suffix_that_fits() {
        let written = [0, 1, 1024, 1536, 10 << 20, 3 << 30].map(bytes_text);
        assert_eq!(written, ["0", "1", "1Ki", "1536", "10Mi", "3Gi"]);
        let written = [1_000_000, 1_500_000_000, 2_000_000_000, 1000 << 10].map(bytes_text);
        assert_eq!(written, ["1M", "1500M", "2G", "1000Ki"]);
        let written = [0, 250, 1000, 1500, 2_000_000].map(millicores_text);
        assert_eq!(written, ["0", "250m", "1", "1500m", "2k"]);
    }

    #[test]
    fn thousandths_are_rounded_up() {
        for (text, value) in [
            ("1", 1000),
            ("250m", 250),
            ("0.1", 100),
            ("1.5", 1500),
            ("100u", 1),
            ("0", 0),
        ] {
            assert_eq!(parse_thousandths(text), Ok(value), "{text}");
        }
        assert!(parse_thousandths("x").is_err());
    }
}
