//! `podrun doctor`: every assumption about the machine, and what mends it.

use crate::cgroup::Controller;
use crate::cli::apply::limits::{self, Control};
use crate::cli::failure::{FAILED, Failure};
use crate::cli::options::Global;
use crate::cli::{input, render};
use crate::runtime::idmap::IdMap;
use crate::runtime::trial::{self, Trial};

/// How an assumption stands.
enum Outcome {
    Pass(String),
    /// It costs one feature.
    Limited(String, String),
    Fail(String, String),
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
        ("user", user(&ids)),
        ("user namespaces", user_namespaces(&ids)),
        ("sandbox", sandbox(&ids)),
        ("store", store(global)),
        ("published ports", ports(&ids)),
        ("cgroups", cgroups()),
    ];
    for (name, outcome) in checks {
        let (word, text, mend) = match outcome {
            Outcome::Pass(text) => ("ok", text, None),
            Outcome::Limited(text, mend) => ("note", text, Some(mend)),
            Outcome::Fail(text, mend) => {
                failed = true;
                ("FAIL", text, Some(mend))
            }
        };
        render::line(&format!("{word:4}  {name}: {}", render::visible(&text)))?;
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
        IdMap::Ranges(_) => {
            let count = ids.id_count().unwrap_or(1);
            Outcome::Pass(format!("rootless; pods have {count} ids"))
        }
        IdMap::Single { why } => Outcome::Limited(
            format!("rootless; pods have user id 0 only: {why}"),
            "apt install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \"$USER\" (as root)".to_owned(),
        ),
    }
}

fn user_namespaces(ids: &IdMap) -> Outcome {
    if *ids == IdMap::Machine {
        return Outcome::Pass("not needed as root".to_owned());
    }
    let is = |path: &str, value: &str| read(path).as_deref() == Some(value);
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return Outcome::Fail(
            "user.max_user_namespaces is 0".to_owned(),
            "sysctl -w user.max_user_namespaces=15000 (as root)".to_owned(),
        );
    }
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
                ""
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
        Err(error) => Outcome::Fail(
            error,
            "inside another container podrun needs an unmasked /proc and /sys, and overlay on a disk file system".to_owned(),
        ),
    }
}

fn store(global: &Global) -> Outcome {
    match input::open_store(global) {
        Ok(store) => Outcome::Pass(format!(
            "{} and {}",
            store.state_dir().display(),
            store.data_dir().display()
        )),
        Err(failure) => Outcome::Fail(failure.message, failure.hint.unwrap_or_default()),
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
    let control = Control::find(|places| {
        let mut missing = Controller::ALL.to_vec();
        missing.retain(|controller| !places.iter().any(|it| it.controllers.contains(controller)));
        missing
    });
    let names = |list: &[Controller]| {
        let names: Vec<_> = list.iter().map(|one| one.name()).collect();
        names.join(", ")
    };
    if control.missing.is_empty() {
        return Outcome::Pass(format!("limits are in force ({})", names(&Controller::ALL)));
    }
    Outcome::Limited(
        format!(
            "no limits by {} are in force: {}",
            names(&control.missing),
            control.why
        ),
        limits::mend().to_owned(),
    )
}
