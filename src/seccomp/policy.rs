//! podrun's own policy, `RuntimeDefault`.
//!
//! A call that is not known here answers ENOSYS, so that newer programs fall back to what older
//! kernels have; so does `clone3`, whose flags no filter can read. What only an administrator of
//! the machine needs, or what has been a way out of containers without being needed inside, answers
//! EPERM unless the container has the capability that it is for. Everything else is allowed.

use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition};

use super::{Action, Policy, Rule, names};

const EPERM: Action = Action::Errno(1);
const ENOSYS: Action = Action::Errno(38);

const fn bit(number: u32) -> u64 {
    1 << number
}

const DAC_READ_SEARCH: u64 = bit(2);
const SYS_MODULE: u64 = bit(16);
const SYS_RAWIO: u64 = bit(17);
const SYS_CHROOT: u64 = bit(18);
const SYS_PTRACE: u64 = bit(19);
const SYS_PACCT: u64 = bit(20);
const SYS_ADMIN: u64 = bit(21);
const SYS_BOOT: u64 = bit(22);
const SYS_NICE: u64 = bit(23);
const SYS_TIME: u64 = bit(25);
const SYS_TTY_CONFIG: u64 = bit(26);
const SYSLOG: u64 = bit(34);
const PERFMON: u64 = bit(38);
const BPF: u64 = bit(39);

/// Unknown even to a container with every capability.
const ABSENT: &[&str] = &["clone3"];

/// Refused, unless the container has one of the capabilities.
const GUARDED: &[(u64, &[&str])] = &[
    (
        0,
        &[
            // Keyrings and these are not divided by namespaces, or not enough.
            "add_key",
            "keyctl",
            "request_key",
            "userfaultfd",
            // Runs calls that no filter sees.
            "io_uring_setup",
            "io_uring_enter",
            "io_uring_register",
            // The machine's, or long gone.
            "kexec_load",
            "kexec_file_load",
            "swapon",
            "swapoff",
            "migrate_pages",
            "move_pages",
            "nfsservctl",
            "pivot_root",
            "_sysctl",
            "sysfs",
            "uselib",
            "ustat",
        ],
    ),
    (
        SYS_ADMIN,
        &[
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "umount2",
        ],
    ),
    (SYS_ADMIN | BPF, &["bpf"]),
    (SYS_ADMIN | PERFMON, &["perf_event_open"]),
    (SYS_ADMIN | SYSLOG, &["syslog"]),
    (DAC_READ_SEARCH, &["open_by_handle_at"]),
    (SYS_BOOT, &["reboot"]),
    (SYS_CHROOT, &["chroot"]),
    (
        SYS_MODULE,
        &["init_module", "finit_module", "delete_module"],
    ),
    (
        SYS_NICE,
        &[
            "get_mempolicy",
            "mbind",
            "set_mempolicy",
            "set_mempolicy_home_node",
        ],
    ),
    (SYS_PACCT, &["acct"]),
    (SYS_PTRACE, &["kcmp", "pidfd_getfd", "process_madvise"]),
    (SYS_RAWIO, &["iopl", "ioperm"]),
    (SYS_TIME, &["clock_settime", "settimeofday"]),
    (SYS_TTY_CONFIG, &["vhangup"]),
];

/// `CLONE_NEW*` in the flags of `clone(2)`: time namespaces have no bit there.
const NAMESPACES: [u64; 7] = [
    0x0002_0000, // mount
    0x0200_0000, // cgroup
    0x0400_0000, // uts
    0x0800_0000, // ipc
    0x1000_0000, // user
    0x2000_0000, // pid
    0x4000_0000, // net
];

/// `CLONE_NEWTIME`, for `unshare(2)` only.
const TIME_NAMESPACE: u64 = 0x80;

/// The kernel's own crypto and the hypervisor's sockets, which are not divided by namespaces
/// (`AF_ALG`, `AF_VSOCK`).
const SOCKET_FAMILIES: [u64; 2] = [38, 40];

/// `PER_LINUX`, `PER_LINUX32`, `UNAME26` with each of them, and the question what it is.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The policy for a container with these capabilities.
pub(super) fn runtime_default(capabilities: u64) -> Policy {
    rules_of(capabilities, &[])
}

/// The policy for these capabilities, without what else is refused.
fn rules_of(capabilities: u64, refused: &[&str]) -> Policy {
    let guarded = GUARDED.iter();
    let guarded = guarded.filter(|(guards, _)| capabilities & guards == 0);
    let guarded = guarded.flat_map(|(_, calls)| calls.iter());
    // The plan of every pod waits for this: each name is looked up once, in a sorted list.
    let mut refused: Vec<&str> = guarded.chain(refused).copied().collect();
    refused.sort_unstable();
    let mut rules: Vec<Rule> = names::all()
        .filter(|(name, _)| !ABSENT.contains(name))
        .map(|(name, number)| Rule {
            number,
            action: if refused.binary_search(&name).is_ok() {
                EPERM
            } else {
                Action::Allow
            },
            conditions: Vec::new(),
        })
        .collect();
    let mut refuse = |name: &str, conditions: Vec<SeccompCondition>| {
        if let Some(number) = names::number(name) {
            rules.push(Rule {
                number,
                action: EPERM,
                conditions,
            });
        }
    };
    if capabilities & SYS_ADMIN == 0 {
        for namespace in NAMESPACES {
            refuse("clone", has_bit(namespace));
            refuse("unshare", has_bit(namespace));
        }
        refuse("unshare", has_bit(TIME_NAMESPACE));
    }
    for family in SOCKET_FAMILIES {
        refuse("socket", condition(SeccompCmpOp::Eq, family));
    }
    let others = PERSONALITIES.iter();
    let others = others.flat_map(|known| condition(SeccompCmpOp::Ne, *known));
    refuse("personality", others.collect());
    Policy {
        default: ENOSYS,
        rules,
    }
}

/// What the prober, the forwarder and pause never do, beside what no container does.
const NOT_FOR_HELPERS: &[&str] = &[
    "execve",
    "execveat",
    "fork",
    "vfork",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_open",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "mknod",
    "mknodat",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "setuid",
    "setresuid",
    "setgid",
    "setresgid",
    "setgroups",
    "capset",
];

/// The policy for podrun's own processes in a pod, which have no capability and run no program.
pub(super) fn helper() -> Policy {
    rules_of(0, NOT_FOR_HELPERS)
}

/// Of the first argument, as the kernel reads it: 32 bits, whatever is above them
/// (CVE-2019-10063).
fn condition(operator: SeccompCmpOp, value: u64) -> Vec<SeccompCondition> {
    SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value)
        .into_iter()
        .collect()
}

fn has_bit(bit: u64) -> Vec<SeccompCondition> {
    condition(SeccompCmpOp::MaskedEq(bit), bit)
}
