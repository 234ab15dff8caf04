//! `podrun doctor`: every assumption about the machine, and what mends it.

mod ids;
mod machine;
mod network;
mod storage;
mod surroundings;

use std::path::Path;

use rustix::fs::{FileType, StatVfsMountFlags};

use self::ids::Helper;
use self::machine::Node;
use self::storage::FileSystem;
use self::surroundings::Variable;
use crate::cgroup::{self, Controller};
use crate::cli::apply::limits::{self, Control};
use crate::cli::failure::{FAILED, Failure};
use crate::cli::options::Global;
use crate::cli::{input, render};
use crate::runtime::idmap::IdMap;
use crate::runtime::trial::{self, Trial};

/// How an assumption stands; what is not as it should be, with what mends it.
#[derive(Debug)]
enum Outcome {
    Pass(String),
    /// It costs one feature.
    Limited(String, String),
    Fail(String, String),
}

impl Outcome {
    /// The word of the line, what is the case, and what mends it.
    fn parts(&self) -> (&'static str, &str, Option<&str>) {
        match self {
            Self::Pass(text) => ("ok", text, None),
            Self::Limited(text, mend) => ("note", text, Some(mend)),
            Self::Fail(text, mend) => ("FAIL", text, Some(mend)),
        }
    }
}

/// Performs the command.
///
/// # Errors
/// When standard output is gone; a failed check is exit code 1.
pub(crate) fn run(global: &Global) -> Result<u8, Failure> {
    let ids = IdMap::of_this_user();
    let mut failed = false;
    let checks = [
        ("kernel", kernel()),
        ("system calls", machine::seccomp(read(SECCOMP).as_deref())),
        ("security modules", security_modules()),
        ("devices", devices()),
        ("directories", directories(global)),
        ("user", user(&ids)),
        ("user namespaces", user_namespaces(&ids)),
        ("sandbox", sandbox(&ids)),
        (
            "pod network",
            network::pod_network(input::open_store(global), &ids),
        ),
        ("store", store(global)),
        ("published ports", ports(&ids)),
        ("cgroups", cgroups()),
    ];
    for (name, outcome) in checks {
        failed |= matches!(outcome, Outcome::Fail(..));
        let (word, text, mend) = outcome.parts();
        render::line(&format!("{word:4}  {name}: {}", render::visible(text)))?;
        if let Some(mend) = mend.filter(|mend| !mend.is_empty()) {
            render::line(&format!("      hint: {mend}"))?;
        }
    }
    Ok(if failed { FAILED } else { 0 })
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// The oldest kernel with all that is used: `mount_setattr(2)` came with 5.12.
const OLDEST: (u32, u32) = (5, 12);

const SECCOMP: &str = "/proc/sys/kernel/seccomp/actions_avail";

fn security_modules() -> Outcome {
    let enabled = read("/sys/module/apparmor/parameters/enabled");
    let active = read("/sys/kernel/security/lsm");
    machine::security_modules(active.as_deref(), enabled.as_deref() == Some("Y"))
}

fn devices() -> Outcome {
    let nodes = [
        ("null", (1, 3)),
        ("zero", (1, 5)),
        ("full", (1, 7)),
        ("random", (1, 8)),
        ("urandom", (1, 9)),
        ("tty", (5, 0)),
    ]
    .map(|(name, expected)| Node {
        name,
        expected,
        found: rustix::fs::lstat(format!("/dev/{name}"))
            .ok()
            .filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice)
            .map(|stat| {
                (
                    rustix::fs::major(stat.st_rdev),
                    rustix::fs::minor(stat.st_rdev),
                )
            }),
    });
    machine::devices(&nodes, rustix::fs::stat("/dev/net/tun").is_ok())
}

fn directories(global: &Global) -> Outcome {
    let names = ["XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_DATA_HOME"];
    let values = names.map(|name| std::env::var(name).ok());
    let uid = rustix::process::geteuid();
    let variables: Vec<Variable<'_>> = names
        .into_iter()
        .zip(&values)
        .map(|(name, value)| Variable {
            name,
            value: value.as_deref(),
            is_own_directory: value
                .as_deref()
                .and_then(|path| rustix::fs::stat(path).ok())
                .is_some_and(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                        && stat.st_uid == uid.as_raw()
                        && stat.st_mode & 0o022 == 0
                }),
        })
        .collect();
    surroundings::check(uid.is_root(), global.root.is_some(), &variables)
}

fn kernel() -> Outcome {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= OLDEST {
        Outcome::Pass(format!("Linux {release}"))
    } else {
        Outcome::Fail(
            format!("Linux {release} is older than {}.{}", OLDEST.0, OLDEST.1),
            "upgrade the kernel".to_owned(),
        )
    }
}

fn user(ids: &IdMap) -> Outcome {
    match ids {
        IdMap::Machine => Outcome::Pass("root; pods have the machine's ids".to_owned()),
        IdMap::Ranges(ranges) => {
            let helpers = ranges.programs().map(helper);
            let helpers: Vec<Helper<'_>> = helpers.into_iter().flatten().collect();
            ids::powerless(&helpers).unwrap_or_else(|| ids::size(ids.id_count().unwrap_or(1)))
        }
        IdMap::Single { why } => Outcome::Limited(
            format!("rootless; pods have user id 0 only: {why}"),
            "apt install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \"$USER\" (as root)".to_owned(),
        ),
    }
}

fn helper(path: &Path) -> Option<Helper<'_>> {
    let stat = rustix::fs::stat(path).ok()?;
    let mut attribute = [0_u8; 64];
    Some(Helper {
        path: path.to_str()?,
        owner: stat.st_uid,
        mode: stat.st_mode,
        has_capability: rustix::fs::getxattr(path, "security.capability", &mut attribute).is_ok(),
        is_nosuid: rustix::fs::statvfs(path)
            .is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::NOSUID)),
    })
}

/// Of the namespaces that every pod has.
const LIMITS: [&str; 7] = [
    "max_cgroup_namespaces",
    "max_ipc_namespaces",
    "max_mnt_namespaces",
    "max_net_namespaces",
    "max_pid_namespaces",
    "max_user_namespaces",
    "max_uts_namespaces",
];

fn user_namespaces(ids: &IdMap) -> Outcome {
    let limits = LIMITS.map(|name| {
        let limit = read(&format!("/proc/sys/user/{name}"));
        (name, limit.and_then(|limit| limit.parse().ok()))
    });
    let is_root = *ids == IdMap::Machine;
    let counted = limits
        .into_iter()
        .filter(|(name, _)| !(is_root && *name == "max_user_namespaces"));
    if let Some(outcome) = machine::namespace_limits(&counted.collect::<Vec<_>>()) {
        return outcome;
    }
    if *ids == IdMap::Machine {
        return Outcome::Pass("not needed as root".to_owned());
    }
    let is = |path: &str, value: &str| read(path).as_deref() == Some(value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return Outcome::Fail(
            "kernel.unprivileged_userns_clone is 0".to_owned(),
            "sysctl -w kernel.unprivileged_userns_clone=1 (as root)".to_owned(),
        );
    }
    match trial::run(ids, Trial::Namespaces) {
        Ok(()) => Outcome::Pass("can be made".to_owned()),
        Err(error) => {
            let mend = if is(
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                "1",
            ) {
                "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (as root)"
            } else {
                machine::mend_of_sandbox(&error)
            };
            Outcome::Fail(error, mend.to_owned())
        }
    }
}

fn sandbox(ids: &IdMap) -> Outcome {
    match trial::run(ids, Trial::Sandbox) {
        Ok(()) => Outcome::Pass(
            "overlay, proc, sysfs, devpts and a network namespace with a bridge work".to_owned(),
        ),
        Err(error) => {
            let mend = machine::mend_of_sandbox(&error).to_owned();
            Outcome::Fail(error, mend)
        }
    }
}

fn store(global: &Global) -> Outcome {
    let store = match input::open_store(global) {
        Ok(store) => store,
        Err(failure) => {
            let mend = "set PODRUN_ROOT to a directory of your own that can be written to";
            return Outcome::Fail(
                failure.message,
                failure.hint.unwrap_or_else(|| mend.to_owned()),
            );
        }
    };
    let (state, data) = (store.state_dir(), store.data_dir());
    // The worse of the two, which mostly are one.
    let found = [data, state].map(file_system);
    let [data, state] = found;
    if matches!(data, Outcome::Pass(_)) {
        state
    } else {
        data
    }
}

fn file_system(path: &Path) -> Outcome {
    let shown = path.display().to_string();
    let found = rustix::fs::statfs(path).and_then(|fs| Ok((fs, rustix::fs::statvfs(path)?)));
    match found {
        Err(errno) => Outcome::Fail(format!("{shown}: {errno}"), String::new()),
        Ok((fs, vfs)) => storage::check(
            &shown,
            FileSystem {
                magic: fs.f_type,
                is_noexec: vfs.f_flag.contains(StatVfsMountFlags::NOEXEC),
                is_nosuid: vfs.f_flag.contains(StatVfsMountFlags::NOSUID),
                free_bytes: vfs.f_bavail.saturating_mul(vfs.f_frsize),
                free_files: Some(vfs.f_favail).filter(|_| vfs.f_files > 0),
            },
        ),
    }
}

fn ports(ids: &IdMap) -> Outcome {
    let first = read("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .and_then(|text| text.parse::<u32>().ok())
        .unwrap_or(1024);
    if *ids == IdMap::Machine || first == 0 {
        return Outcome::Pass("any port of the host can be published".to_owned());
    }
    Outcome::Limited(
        format!("ports from {first} on can be published"),
        "sysctl -w net.ipv4.ip_unprivileged_port_start=0 (as root) allows all".to_owned(),
    )
}

fn cgroups() -> Outcome {
    let names = |list: &[Controller]| {
        let names: Vec<_> = list.iter().map(|one| one.name()).collect();
        names.join(", ")
    };
    let mut needed = Controller::ALL.to_vec();
    // Systemd gives it to no user; what needs it says so.
    needed.retain(|controller| *controller != Controller::HugeTlb);
    let is_had = |places: &[cgroup::Place], controller: &Controller| {
        places.iter().any(|it| it.controllers.contains(controller))
    };
    let control = Control::find(|places| {
        let mut missing = needed.clone();
        missing.retain(|controller| !is_had(places, controller));
        missing
    });
    if !control.missing.is_empty() {
        return Outcome::Limited(
            format!(
                "no limits by {} are in force: {}",
                names(&control.missing),
                control.why
            ),
            limits::mend().to_owned(),
        );
    }
    let places = cgroup::find().unwrap_or_default();
    Outcome::Pass(if is_had(&places, &Controller::HugeTlb) {
        format!("limits are in force ({})", names(&Controller::ALL))
    } else {
        format!(
            "limits are in force ({}), but not of huge pages",
            names(&needed)
        )
    })
}
