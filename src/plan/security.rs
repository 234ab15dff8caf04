//! What a container's processes may do beside their user: capabilities, system calls, and whether
//! they may ever get more.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The capabilities a container has by default: CHOWN, `DAC_OVERRIDE`, FOWNER, FSETID, KILL, SETGID,
/// SETUID, SETPCAP, `NET_BIND_SERVICE`, `SYS_CHROOT` and SETFCAP. It is what containerd gives,
/// without MKNOD, `NET_RAW` and `AUDIT_WRITE`.
pub const DEFAULT_CAPABILITIES: u64 = 0x8004_05fb;

/// One container's, from `securityContext` of it and of its pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityPlan {
    /// The bounding set, a bit a number (`linux/capability.h`). User 0 has them in effect, too.
    pub capabilities: u64,
    /// `allowPrivilegeEscalation: false`: set-user-id programs and file capabilities give nothing
    /// (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privs: bool,
    /// `privileged`: nothing of `/proc` and `/sys` is hidden or read-only, and `/dev` has what the
    /// machine's has.
    pub privileged: bool,
    /// `procMount: Unmasked`: nothing of `/proc` is hidden or read-only.
    pub unmasked_proc: bool,
    /// `appArmorProfile` of type `Localhost`: the name of a loaded profile.
    pub apparmor: Option<String>,
    /// Which system calls it may make.
    pub seccomp: Seccomp,
    /// What `seccomp` says, compiled for this machine; empty for `Unconfined` alone.
    pub filter: Filter,
}

/// What the kernel has of `AppArmor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppArmor {
    /// It is not enabled.
    Absent,
    /// It is enabled, and has these profiles as far as this user may know.
    Enabled(Option<Vec<String>>),
}

impl Default for SecurityPlan {
    fn default() -> Self {
        Self {
            capabilities: DEFAULT_CAPABILITIES,
            no_new_privs: false,
            privileged: false,
            unmasked_proc: false,
            apparmor: None,
            seccomp: Seccomp::RuntimeDefault,
            filter: Filter::default(),
        }
    }
}

/// `seccompProfile`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Seccomp {
    /// No filter.
    Unconfined,
    /// podrun's own; what a container has that asks for nothing.
    RuntimeDefault,
    /// A file of the machine's administrator, by its path below the folder of profiles.
    Localhost(String),
}

/// Makes filters, which needs files and the kernel's own numbers.
pub trait Filters: std::fmt::Debug {
    /// The filter for a container with these capabilities.
    ///
    /// # Errors
    /// Why there is none, in one line.
    fn filter(&self, seccomp: &Seccomp, capabilities: u64) -> Result<Filter, String>;

    /// The filter for podrun's own processes in a pod.
    ///
    /// # Errors
    /// Why there is none, in one line.
    fn helper(&self) -> Result<Filter, String>;
}

/// A program of the kernel's classic BPF, one instruction a word: code (16 bits), jump if true
/// (8), jump if false (8), operand (32), as `struct sock_filter` has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter(pub Vec<u64>);

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_be_bytes()).collect();
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(de::Error::custom)?;
        let (words, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(de::Error::custom("half an instruction"));
        }
        Ok(Self(
            words.iter().map(|word| u64::from_be_bytes(*word)).collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_as_it_was_written() {
        for filter in [
            Filter::default(),
            Filter(vec![0, u64::MAX, 0x0015_0001_0000_0002]),
        ] {
            let text = serde_json::to_string(&filter).unwrap();
            assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter);
        }
        assert!(serde_json::from_str::<Filter>("\"AAAA\"").is_err());
    }
}
