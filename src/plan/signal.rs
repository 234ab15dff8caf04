//! Signals by name, as images (`STOPSIGNAL`) and `lifecycle.stopSignal` write them.

/// Linux' signal numbers on x86 and ARM (`signal(7)`).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names of some of them.
const ALIASES: [(&str, i32); 3] = [("IOT", 6), ("CLD", 17), ("POLL", 29)];

/// First real-time signal as programs see it (glibc and musl keep two for themselves).
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of `SIGTERM`, `term`, `15`, `RTMIN+3`, `SIGRTMAX-1`.
pub(super) fn parse(text: &str) -> Option<i32> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .ok()
            .filter(|number| (1..=RTMAX).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        _ => rest
            .strip_prefix(sign)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<i32>().ok()),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest, '+')
            .and_then(|n| RTMIN.checked_add(n))
            .filter(|n| *n <= RTMAX);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest, '-')
            .and_then(|n| RTMAX.checked_sub(n))
            .filter(|n| *n >= RTMIN);
    }
    if let Some((_, number)) = ALIASES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let index = NAMES.iter().position(|known| *known == name)?;
    i32::try_from(index.checked_add(1)?).ok()
}

/// The name of a signal as `status.containerStatuses[].stopSignal` has it.
pub fn name(number: i32) -> Option<String> {
    if (RTMIN..=RTMAX).contains(&number) {
        return Some(match number.saturating_sub(RTMIN) {
            0 => "SIGRTMIN".to_owned(),
            30 => "SIGRTMAX".to_owned(),
            n if n <= 15 => format!("SIGRTMIN+{n}"),
            n => format!("SIGRTMAX-{}", 30_i32.saturating_sub(n)),
        });
    }
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    NAMES.get(index).map(|name| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_a_name_that_is_its_own() {
        for number in (1..=31).chain(RTMIN..=RTMAX) {
            let name = name(number).unwrap();
            assert_eq!(parse(&name), Some(number), "{name}");
        }
        assert_eq!(name(0), None);
        assert_eq!(name(32), None);
        assert_eq!(name(65), None);
    }

    #[test]
    fn signals_are_names_numbers_or_real_time() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("quit", 3),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("RTMIN", 34),
            ("SYS", 31),
            ("SIGIOT", 6),
            ("SIGCLD", 17),
            ("SIGPOLL", 29),
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in [
            "", "KILL; x", "0", "65", "RTMIN+99", "RTMIN-1", "SIG", "RTMIN+", "-9", "9 ",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
