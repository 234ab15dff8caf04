//! Capabilities by name (`capabilities(7)`).

/// Longest likeness that is no "did you mean".
const LIKENESS: f64 = 0.8;

/// By number (`linux/capability.h`).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What `capabilities.add` and `capabilities.drop` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// `ALL`.
    All,
    /// One, by its bit.
    One(u64),
}

impl Capability {
    /// Reads a name in any case, with `CAP_` or without, as runtimes do.
    pub fn parse(name: &str) -> Option<Self> {
        let name = bare(name);
        if name == "ALL" {
            return Some(Self::All);
        }
        let number = NAMES.iter().position(|known| *known == name)?;
        let bit = 1_u64.checked_shl(u32::try_from(number).ok()?)?;
        Some(Self::One(bit))
    }

    /// The known name that is most like one that is not known.
    pub fn nearest(name: &str) -> Option<&'static str> {
        let name = bare(name);
        NAMES
            .iter()
            .map(|known| (strsim::jaro_winkler(known, &name), *known))
            .filter(|(likeness, _)| *likeness >= LIKENESS)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, known)| known)
    }
}

fn bare(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case_with_and_without_their_prefix() {
        for (name, number) in [
            ("CHOWN", 0),
            ("cap_net_raw", 13),
            ("CAP_SYS_ADMIN", 21),
            ("Checkpoint_Restore", 40),
        ] {
            assert_eq!(
                Capability::parse(name),
                Some(Capability::One(1 << number)),
                "{name}"
            );
        }
        assert_eq!(Capability::parse("all"), Some(Capability::All));
        for name in ["", "CAP_", "NET_ADMN", "CAP_CAP_CHOWN", "CHOWN "] {
            assert_eq!(Capability::parse(name), None, "{name}");
        }
        assert_eq!(Capability::nearest("CAP_NET_ADMN"), Some("NET_ADMIN"));
        assert_eq!(Capability::nearest("xyz"), None);
    }
}
