//! Profiles in JSON: the form of the OCI runtime specification (`linux.seccomp`) and what Docker
//! adds to it (`archMap`, `minKernel`, `includes`, `excludes`). A member that is not known is an
//! error, for it could be meant to forbid something.

use std::fmt;

use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition};
use serde::Deserialize;

use super::{Action, Policy, Rule, names};
use crate::manifest::Capability;

/// What a profile's conditions ask about.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// The container's capabilities, a bit a number.
    pub capabilities: u64,
    /// The kernel's version: major and minor.
    pub kernel: (u32, u32),
}

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileError {
    /// It is not such a profile; with line and column.
    Malformed(String),
    /// It asks for what there is not.
    Unsupported(String),
    /// The kernel takes no filter of this length.
    TooLong,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "is not a seccomp profile: {why}"),
            Self::Unsupported(what) => f.write_str(what),
            Self::TooLong => f.write_str("has more rules than the kernel's filters can hold"),
        }
    }
}

impl std::error::Error for ProfileError {}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Profile {
    default_action: Word,
    #[serde(default)]
    default_errno_ret: Option<u16>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Syscalls>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchMap {
    architecture: String,
    #[serde(default, rename = "subArchitectures")]
    _others: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Syscalls {
    #[serde(default)]
    names: Vec<String>,
    /// Docker's older form.
    #[serde(default)]
    name: Option<String>,
    action: Word,
    #[serde(default)]
    errno_ret: Option<u16>,
    /// Docker's name of the errno beside its number, as in the profile that it generates.
    #[serde(default, rename = "errno")]
    _errno_name: Option<String>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<When>,
    #[serde(default)]
    excludes: Option<When>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: Operator,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct When {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    min_kernel: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Word {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
}

impl Word {
    fn action(self, errno: Option<u16>) -> Action {
        match self {
            Self::Allow => Action::Allow,
            // EPERM, as the specification says.
            Self::Errno => Action::Errno(errno.unwrap_or(1)),
            Self::KillThread => Action::KillThread,
            Self::KillProcess => Action::KillProcess,
            Self::Log => Action::Log,
            Self::Trace => Action::Trace(errno.unwrap_or(1)),
            Self::Trap => Action::Trap,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Operator {
    #[serde(rename = "SCMP_CMP_NE")]
    Ne,
    #[serde(rename = "SCMP_CMP_LT")]
    Lt,
    #[serde(rename = "SCMP_CMP_LE")]
    Le,
    #[serde(rename = "SCMP_CMP_EQ")]
    Eq,
    #[serde(rename = "SCMP_CMP_GE")]
    Ge,
    #[serde(rename = "SCMP_CMP_GT")]
    Gt,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEq,
}

/// This architecture in libseccomp's words and in Go's.
const ARCHITECTURE: (&str, &str) = if cfg!(target_arch = "x86_64") {
    ("SCMP_ARCH_X86_64", "amd64")
} else if cfg!(target_arch = "aarch64") {
    ("SCMP_ARCH_AARCH64", "arm64")
} else {
    ("SCMP_ARCH_RISCV64", "riscv64")
};

/// Reads a profile for this machine. System calls that this architecture does not have are passed
/// over, as every runtime does: profiles are written for many.
///
/// # Errors
/// As [`ProfileError`] says.
pub(super) fn read(text: &[u8], machine: &Machine) -> Result<Policy, ProfileError> {
    let profile: Profile =
        serde_json::from_slice(text).map_err(|error| ProfileError::Malformed(error.to_string()))?;
    let (architecture, _) = ARCHITECTURE;
    let listed = profile.architectures.iter().flatten();
    let mapped = profile
        .arch_map
        .iter()
        .flatten()
        .map(|map| &map.architecture);
    let mut architectures = listed.chain(mapped).peekable();
    if architectures.peek().is_some() && !architectures.any(|name| name == architecture) {
        return Err(ProfileError::Unsupported(format!(
            "is for other machines: `architectures` has no {architecture}"
        )));
    }
    for flag in &profile.flags {
        // What is faster with the second is the default of every kernel since 5.16, and the first
        // is about threads, of which there is one.
        if !matches!(
            flag.as_str(),
            "SECCOMP_FILTER_FLAG_TSYNC" | "SECCOMP_FILTER_FLAG_SPEC_ALLOW"
        ) {
            return Err(ProfileError::Unsupported(format!(
                "has the flag `{}`, which is not supported",
                flag.escape_debug()
            )));
        }
    }
    let mut rules = Vec::new();
    for syscalls in &profile.syscalls {
        if applies(syscalls, machine)? {
            add(&mut rules, syscalls)?;
        }
    }
    Ok(Policy {
        default: profile.default_action.action(profile.default_errno_ret),
        rules,
    })
}

fn add(rules: &mut Vec<Rule>, syscalls: &Syscalls) -> Result<(), ProfileError> {
    let action = syscalls.action.action(syscalls.errno_ret);
    let arguments = syscalls.args.as_deref().unwrap_or_default();
    let conditions = arguments
        .iter()
        .map(condition)
        .collect::<Result<Vec<_>, _>>()?;
    // Two conditions on one argument are two rules; on different ones, one (runc does so).
    let is_double = arguments.iter().enumerate().any(|(number, argument)| {
        arguments
            .iter()
            .take(number)
            .any(|other| other.index == argument.index)
    });
    let alternatives: Vec<Vec<SeccompCondition>> = if is_double {
        conditions
            .into_iter()
            .map(|condition| vec![condition])
            .collect()
    } else {
        vec![conditions]
    };
    let names = syscalls.names.iter().chain(&syscalls.name);
    for number in names.filter_map(|name| names::number(name)) {
        rules.extend(alternatives.iter().map(|conditions| Rule {
            number,
            action,
            conditions: conditions.clone(),
        }));
    }
    Ok(())
}

fn condition(argument: &Argument) -> Result<SeccompCondition, ProfileError> {
    let (operator, value) = match argument.op {
        Operator::Ne => (SeccompCmpOp::Ne, argument.value),
        Operator::Lt => (SeccompCmpOp::Lt, argument.value),
        Operator::Le => (SeccompCmpOp::Le, argument.value),
        Operator::Eq => (SeccompCmpOp::Eq, argument.value),
        Operator::Ge => (SeccompCmpOp::Ge, argument.value),
        Operator::Gt => (SeccompCmpOp::Gt, argument.value),
        Operator::MaskedEq => (SeccompCmpOp::MaskedEq(argument.value), argument.value_two),
    };
    SeccompCondition::new(argument.index, SeccompCmpArgLen::Qword, operator, value).map_err(|_| {
        ProfileError::Unsupported(format!(
            "has a condition on argument {}; there are 0 to 5",
            argument.index
        ))
    })
}

/// Docker's conditions on a rule: all of what it includes must be so, and nothing of what it
/// excludes.
fn applies(syscalls: &Syscalls, machine: &Machine) -> Result<bool, ProfileError> {
    let holds = |name: &String| match Capability::parse(name) {
        Some(Capability::One(bit)) => Ok(machine.capabilities & bit != 0),
        Some(Capability::All) | None => Err(ProfileError::Unsupported(format!(
            "names `{}`, which is not a capability",
            name.escape_debug()
        ))),
    };
    let is_here = |name: &String| *name == ARCHITECTURE.1 || *name == ARCHITECTURE.0;
    if let Some(includes) = &syscalls.includes {
        for name in &includes.caps {
            if !holds(name)? {
                return Ok(false);
            }
        }
        if !includes.arches.is_empty() && !includes.arches.iter().any(is_here) {
            return Ok(false);
        }
        if let Some(least) = &includes.min_kernel
            && machine.kernel < version(least)?
        {
            return Ok(false);
        }
    }
    if let Some(excludes) = &syscalls.excludes {
        for name in &excludes.caps {
            if holds(name)? {
                return Ok(false);
            }
        }
        if excludes.arches.iter().any(is_here) {
            return Ok(false);
        }
        if let Some(least) = &excludes.min_kernel
            && machine.kernel >= version(least)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn version(text: &str) -> Result<(u32, u32), ProfileError> {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    match (major.parse(), minor.parse()) {
        (Ok(major), Ok(minor)) => Ok((major, minor)),
        _ => Err(ProfileError::Unsupported(format!(
            "has the kernel version `{}`, which is none",
            text.escape_debug()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::compile::tests::{ALLOW, ENOSYS, EPERM, call};

    const MACHINE: Machine = Machine {
        capabilities: 1,
        kernel: (6, 1),
    };

    fn localhost(text: &str) -> Result<crate::plan::Filter, ProfileError> {
        crate::seccomp::localhost(text.as_bytes(), &MACHINE)
    }

    #[test]
    fn actions_and_conditions_are_obeyed() {
        let filter = localhost(
            r#"{
                "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
                "syscalls": [
                    {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
                    {"name": "mkdirat", "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
                    {"names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS", "args": [
                        {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                        {"index": 1, "value": 9, "op": "SCMP_CMP_GE"}]},
                    {"names": ["kill"], "action": "SCMP_ACT_ALLOW"},
                    {"names": ["dup"], "action": "SCMP_ACT_LOG", "args": [
                        {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                        {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
                    {"names": ["personality"], "action": "SCMP_ACT_TRAP", "args": [
                        {"index": 0, "value": 240, "valueTwo": 16, "op": "SCMP_CMP_MASKED_EQ"}]},
                    {"names": ["socket"], "action": "SCMP_ACT_TRACE", "args": [
                        {"index": 0, "value": 4294967296, "op": "SCMP_CMP_LT"},
                        {"index": 1, "value": 3, "op": "SCMP_CMP_NE"},
                        {"index": 2, "value": 7, "op": "SCMP_CMP_LE"}]},
                    {"names": ["chdir"], "action": "SCMP_ACT_ALLOW",
                     "includes": {"caps": ["CAP_CHOWN"], "minKernel": "4.8"}},
                    {"names": ["fchdir"], "action": "SCMP_ACT_ALLOW",
                     "excludes": {"caps": ["CAP_CHOWN"]}},
                    {"names": ["getcwd"], "action": "SCMP_ACT_ALLOW",
                     "includes": {"minKernel": "6.2"}}
                ]
            }"#,
        )
        .unwrap();
        for (name, arguments, expected) in [
            ("read", &[][..], ALLOW),
            ("write", &[], ENOSYS),
            ("mkdirat", &[], 0x0005_0005),
            ("kill", &[1, 9], 0x8000_0000),
            ("kill", &[1, 8], ALLOW),
            ("kill", &[2, 9], ALLOW),
            ("dup", &[1], 0x7ffc_0000),
            ("dup", &[2], 0x7ffc_0000),
            ("dup", &[3], ENOSYS),
            ("personality", &[0x1f], 0x0003_0000),
            ("personality", &[0x2f], ENOSYS),
            ("socket", &[1, 1, 7], 0x7ff0_0001),
            ("socket", &[1 << 32, 1, 7], ENOSYS),
            ("socket", &[1, 3, 7], ENOSYS),
            ("socket", &[1, 1, 8], ENOSYS),
            ("chdir", &[], ALLOW),
            ("fchdir", &[], ENOSYS),
            ("getcwd", &[], ENOSYS),
        ] {
            assert_eq!(
                call(&filter, name, arguments),
                expected,
                "{name} {arguments:?}"
            );
        }
        let open = localhost(r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]}"#).unwrap();
        assert_eq!(call(&open, "ptrace", &[]), EPERM);
        assert_eq!(call(&open, "mount", &[]), ALLOW);
    }

    #[test]
    fn a_profile_that_is_not_understood_is_refused() {
        for (text, words) in [
            ("", "line 1 column 0"),
            ("{\n  \"defaultAction\": \"SCMP_ACT_MAYBE\"}", "line 2"),
            (r#"{"syscalls": []}"#, "defaultAction"),
            (
                r#"{"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"}"#,
                "SCMP_ACT_NOTIFY",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "deny": []}"#,
                "unknown field `deny`",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_S390X"]}"#,
                "is for other machines",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}"#,
                "SECCOMP_FILTER_FLAG_LOG",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"],
                    "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
                "argument 6",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"],
                    "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_X"]}}]}"#,
                "CAP_X",
            ),
        ] {
            let said = localhost(text).unwrap_err().to_string();
            assert!(said.contains(words), "{words} is not in: {said}");
        }
    }
}
