//! From rules to a program: a binary search over the numbers, so that the kernel, which checks and
//! translates the program at each container's start, has a tenth of the work it has with a list.

use seccompiler::{BpfProgram, SeccompRule, sock_filter};

use super::{Action, Policy, ProfileError, Rule};
use crate::plan::Filter;

/// `BPF_MAXINSNS` (`linux/bpf_common.h`).
const MAX_INSTRUCTIONS: usize = 4096;

/// Codes of `linux/bpf_common.h`: load a word of the call's description, jumps, return.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Places in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// `AUDIT_ARCH_*` of `linux/audit.h`.
const THIS_ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else if cfg!(target_arch = "aarch64") {
    0xc000_00b7
} else {
    0xc000_00f3
};

/// The first number of x32, whose calls are the others under another name: a policy by numbers
/// would not see them.
const X32: u32 = 0x4000_0000;

const ENOSYS: Action = Action::Errno(38);

/// What a range of numbers leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Code {
    Answer(sock_filter),
    Program(Vec<sock_filter>),
}

/// Compiles a policy. Calls of another architecture end the process, because their numbers mean
/// something else.
///
/// # Errors
/// [`ProfileError::TooLong`].
pub(super) fn compile(policy: Policy) -> Result<Filter, ProfileError> {
    let default = policy.default;
    let mut rules = policy.rules;
    // Those of one call stay in their order.
    rules.sort_by_key(|rule| rule.number);
    // Ranges of numbers with one answer: each begins where the one before ends.
    let mut ranges: Vec<(u32, Code)> = Vec::with_capacity(rules.len());
    ranges.push((0, Code::Answer(answer(default))));
    for rules in rules.chunk_by(|one, other| one.number == other.number) {
        if let Some(Rule { number, .. }) = rules.first() {
            begin(&mut ranges, *number, decide(rules, default)?);
            let after = Code::Answer(answer(default));
            begin(&mut ranges, number.saturating_add(1), after);
        }
    }
    if cfg!(target_arch = "x86_64") {
        begin(&mut ranges, X32, Code::Answer(answer(ENOSYS)));
    }
    let mut program = vec![
        instruction(LOAD, 0, 0, ARCHITECTURE),
        instruction(JUMP_IF_EQUAL, 1, 0, THIS_ARCHITECTURE),
        answer(Action::KillProcess),
        instruction(LOAD, 0, 0, NUMBER),
    ];
    search(&ranges, &mut program);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(ProfileError::TooLong);
    }
    Ok(Filter(program.iter().map(word).collect()))
}

/// Begins a range, instead of one that begins there already, or as part of an equal one before.
fn begin(ranges: &mut Vec<(u32, Code)>, start: u32, code: Code) {
    if ranges.last().is_some_and(|(last, _)| *last == start) {
        ranges.pop();
    }
    if ranges.last().is_none_or(|(_, last)| *last != code) {
        ranges.push((start, code));
    }
}

/// What a call's arguments decide.
fn decide(rules: &[Rule], default: Action) -> Result<Code, ProfileError> {
    let (plain, conditional): (Vec<&Rule>, Vec<&Rule>) =
        rules.iter().partition(|rule| rule.conditions.is_empty());
    let otherwise = answer(plain.first().map_or(default, |rule| rule.action));
    if conditional.is_empty() {
        return Ok(Code::Answer(otherwise));
    }
    let mut code = Vec::new();
    for rule in conditional {
        let conditions = SeccompRule::new(rule.conditions.clone());
        let conditions = conditions.map_err(|_| ProfileError::TooLong)?;
        // It goes on with the next instruction if they hold, and skips it if not.
        code.extend(BpfProgram::from(conditions));
        code.push(answer(rule.action));
    }
    code.push(otherwise);
    Ok(Code::Program(code))
}

/// The half that a number is in, again and again.
fn search(ranges: &[(u32, Code)], program: &mut Vec<sock_filter>) {
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let Some((start, code)) = high.first() else {
        return;
    };
    if low.is_empty() {
        match code {
            Code::Answer(answer) => program.push(answer.clone()),
            Code::Program(code) => program.extend_from_slice(code),
        }
        return;
    }
    let branch = program.len();
    program.push(instruction(JUMP_IF_AT_LEAST, 0, 0, *start));
    search(low, program);
    let length = program.len().saturating_sub(branch).saturating_sub(1);
    if let (Ok(length), Some(jump)) = (u8::try_from(length), program.get_mut(branch)) {
        jump.jt = length;
    } else {
        // A conditional jump does not reach that far.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let far = [
            instruction(JUMP_IF_AT_LEAST, 0, 1, *start),
            instruction(JUMP, 0, 0, length),
        ];
        program.splice(branch..=branch, far);
    }
    search(high, program);
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// `SECCOMP_RET_*` of `linux/seccomp.h`.
fn answer(action: Action) -> sock_filter {
    let value = match action {
        Action::Allow => 0x7fff_0000,
        Action::Log => 0x7ffc_0000,
        Action::Trace(data) => 0x7ff0_0000 | u32::from(data),
        Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
        Action::Trap => 0x0003_0000,
        Action::KillThread => 0,
        Action::KillProcess => 0x8000_0000,
    };
    instruction(RETURN, 0, 0, value)
}

fn word(instruction: &sock_filter) -> u64 {
    u64::from(instruction.code) << 48
        | u64::from(instruction.jt) << 40
        | u64::from(instruction.jf) << 32
        | u64::from(instruction.k)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Runs a program on a call as the kernel does.
    pub(crate) fn execute(filter: &Filter, arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(number.to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend([0; 8]);
        for argument in arguments {
            data.extend(argument.to_le_bytes());
        }
        let (mut at, mut accumulator) = (0_usize, 0_u32);
        loop {
            let [c1, c2, jt, jf, k @ ..] = filter.0[at].to_be_bytes();
            let (code, k) = (u16::from_be_bytes([c1, c2]), u32::from_be_bytes(k));
            at += 1;
            let jump = |condition: bool| usize::from(if condition { jt } else { jf });
            match code {
                0x20 => {
                    let place = k as usize;
                    let bytes: [u8; 4] = data[place..place + 4].try_into().unwrap();
                    accumulator = u32::from_le_bytes(bytes);
                }
                0x54 => accumulator &= k,
                0x05 => at += k as usize,
                0x15 => at += jump(accumulator == k),
                0x25 => at += jump(accumulator > k),
                0x35 => at += jump(accumulator >= k),
                0x45 => at += jump(accumulator & k != 0),
                0x06 => return k,
                other => panic!("code {other:#x}"),
            }
        }
    }

    pub(crate) const ALLOW: u32 = 0x7fff_0000;
    pub(crate) const EPERM: u32 = 0x0005_0001;
    pub(crate) const ENOSYS: u32 = 0x0005_0026;
    const KILL: u32 = 0x8000_0000;

    /// What a call of this architecture becomes.
    pub(crate) fn call(filter: &Filter, name: &str, arguments: &[u64]) -> u32 {
        let number = crate::seccomp::names::number(name).unwrap();
        let mut six = [0; 6];
        six[..arguments.len()].copy_from_slice(arguments);
        execute(filter, THIS_ARCHITECTURE, number, six)
    }

    #[test]
    fn the_default_policy_is_what_the_table_says() {
        const ADMIN: u64 = 1 << 21;
        let usual = crate::plan::DEFAULT_CAPABILITIES;
        for (capabilities, name, arguments, expected) in [
            (usual, "read", &[][..], ALLOW),
            (usual, "execve", &[], ALLOW),
            (usual, "ptrace", &[], ALLOW),
            (usual, "chroot", &[], ALLOW),
            (0, "chroot", &[], EPERM),
            (usual, "clone", &[0x0010_0011], ALLOW),
            (usual, "clone", &[0x1000_0011], EPERM),
            (usual, "clone", &[0x0002_0000], EPERM),
            // What is above 32 bits is not read.
            (usual, "clone", &[0xffff_ffff_0000_0011], ALLOW),
            (usual, "clone", &[0xffff_ffff_4000_0011], EPERM),
            (usual | ADMIN, "clone", &[0x1000_0011], ALLOW),
            (usual, "clone3", &[], ENOSYS),
            (usual | ADMIN, "clone3", &[], ENOSYS),
            (usual, "unshare", &[0x200], ALLOW),
            (usual, "unshare", &[0x1000_0000], EPERM),
            (usual, "unshare", &[0x80], EPERM),
            (usual, "setns", &[], EPERM),
            (usual | ADMIN, "setns", &[], ALLOW),
            (usual, "mount", &[], EPERM),
            (usual | ADMIN, "mount", &[], ALLOW),
            (usual, "bpf", &[], EPERM),
            (usual | 1 << 39, "bpf", &[], ALLOW),
            (usual | ADMIN, "keyctl", &[], EPERM),
            (usual, "io_uring_setup", &[], EPERM),
            (usual, "userfaultfd", &[], EPERM),
            (usual, "open_by_handle_at", &[], EPERM),
            (usual | 1 << 2, "open_by_handle_at", &[], ALLOW),
            (usual, "socket", &[2], ALLOW),
            (usual, "socket", &[39], ALLOW),
            (usual, "socket", &[38], EPERM),
            (usual, "socket", &[40], EPERM),
            (usual, "socket", &[0xffff_ffff_0000_0026], EPERM),
            (usual, "personality", &[0xffff_ffff], ALLOW),
            (usual, "personality", &[0x2_0008], ALLOW),
            (usual, "personality", &[0x4_0000], EPERM),
        ] {
            let filter = crate::seccomp::runtime_default(capabilities).unwrap();
            let is = call(&filter, name, arguments);
            assert_eq!(is, expected, "{name} {arguments:x?} with {capabilities:x}");
        }
    }

    #[test]
    fn what_nobody_knows_is_not_there() {
        let filter = crate::seccomp::runtime_default(u64::MAX).unwrap();
        for number in [500, 1000, 0x3fff_ffff, u32::MAX] {
            assert_eq!(execute(&filter, THIS_ARCHITECTURE, number, [0; 6]), ENOSYS);
        }
        // The calls of i386, and those of x32.
        assert_eq!(execute(&filter, 0x4000_0003, 1, [0; 6]), KILL);
        assert_eq!(execute(&filter, THIS_ARCHITECTURE, X32 | 1, [0; 6]), ENOSYS);
    }

    #[test]
    fn podruns_own_processes_run_no_program() {
        let filter = crate::seccomp::helper().unwrap();
        for name in [
            "execve",
            "execveat",
            "ptrace",
            "chroot",
            "setns",
            "setresuid",
        ] {
            assert_eq!(call(&filter, name, &[]), EPERM, "{name}");
        }
        for name in ["read", "sendmsg", "connect", "socket", "openat", "splice"] {
            assert_eq!(call(&filter, name, &[]), ALLOW, "{name}");
        }
    }

    #[test]
    fn the_program_is_short() {
        let filter = crate::seccomp::runtime_default(crate::plan::DEFAULT_CAPABILITIES).unwrap();
        assert!(filter.0.len() < 400, "{} instructions", filter.0.len());
    }
}
