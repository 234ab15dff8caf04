//! What is so only where systemd has the cgroups: `tests/machine/run` makes such a machine and runs
//! these there, as root and as a user who has logged in. Everywhere else they are listed as ignored.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::census;
use crate::harness::{
    Mode, Podrun, binary, container, finish, lasting, mode, once, require_mode, until,
};
use crate::limits::{assert_no_cgroups, cgroup, limited, read, uid};

/// A process' cgroup below the hierarchy's root.
fn cgroup_of(pid: i32) -> String {
    let line = read(Path::new("/proc").join(pid.to_string()).as_path(), "cgroup");
    line.strip_prefix("0::").unwrap().to_owned()
}

fn cgroup_of_supervisor(podrun: &Podrun) -> String {
    cgroup_of(census::supervisors(&podrun.root())[0])
}

fn own_cgroup() -> String {
    cgroup_of(i32::try_from(std::process::id()).unwrap())
}

#[test]
#[ignore = "in the machine of tests/machine/run"]
fn who_has_logged_in_gets_a_scope_for_limits_and_stays_where_there_are_none() {
    require_mode!(Mode::User);
    let own = own_cgroup();
    assert!(own.contains("/session-"), "{own}");
    let podrun = Podrun::new();
    podrun
        .up(&lasting("plain", &[container("a", &["ready-sleep"])]))
        .ok();
    assert_eq!(cgroup_of_supervisor(&podrun), own);
    podrun.run(["rm", "plain"]).ok();

    let resources = json!({ "limits": { "memory": "64Mi" } });
    let output = podrun
        .up(&lasting("p", &[limited("a", &["ready-sleep"], &resources)]))
        .ok();
    assert!(!output.stderr.contains("in force"), "{}", output.stderr);
    let scope = cgroup_of_supervisor(&podrun);
    assert!(scope.contains("/user@1000.service/"), "{scope}");
    assert!(scope.contains("/app.slice/podrun-"), "{scope}");
    let uid = uid(&podrun, "p");
    let memory = read(&cgroup("memory", &uid).join("container-a"), "memory.max");
    assert_eq!(memory, "67108864");
    podrun.run(["rm", "p"]).ok();
    assert_no_cgroups(&uid);
    podrun.nothing_left();
    let left = Path::new("/sys/fs/cgroup").join(scope.trim_start_matches('/'));
    until("the scope has gone", || !left.exists());
}

#[test]
#[ignore = "in the machine of tests/machine/run"]
fn what_systemd_runs_for_the_user_needs_no_other_scope() {
    require_mode!(Mode::User);
    let podrun = Podrun::new();
    let resources = json!({ "limits": { "cpu": "1", "memory": "64Mi" } });
    let sleeper = limited("a", &["ready-sleep"], &resources);
    let path = podrun.manifest("pod", &lasting("p", &[sleeper]));
    let mut command = podrun.environment(Command::new("systemd-run"));
    let uid = rustix::process::getuid();
    command
        .env("XDG_RUNTIME_DIR", format!("/run/user/{uid}"))
        .args(["--user", "--scope", "--quiet", "--unit=its-own", "--"])
        .arg(binary())
        .args(["up", "--strict-limits", &path]);
    finish(command, b"").ok();
    let scope = cgroup_of_supervisor(&podrun);
    assert!(scope.ends_with("/its-own.scope"), "{scope}");
}

#[test]
#[ignore = "in the machine of tests/machine/run"]
fn doctor_says_that_limits_are_in_force() {
    let podrun = Podrun::new();
    let output = podrun.run(["doctor"]);
    let line = output.stdout.lines().find(|line| line.contains("cgroups"));
    let line = line.unwrap_or_else(|| panic!("{}", output.stdout));
    assert!(
        line.contains("limits are in force (cpu, memory, pids)"),
        "{line}"
    );
}

#[test]
#[ignore = "in the machine of tests/machine/run"]
fn a_container_sees_its_own_cgroup_and_cannot_write_to_it() {
    let podrun = Podrun::new();
    let resources = json!({ "limits": { "memory": "64Mi" } });
    let file = "/sys/fs/cgroup/memory.max";
    let words = [
        "and",
        "read",
        "/proc/self/cgroup",
        "--",
        "and",
        "read",
        file,
        "--",
        "write-errno",
        file,
    ];
    let output = podrun
        .run_pod(&once("p", &[limited("a", &words, &resources)]))
        .ok();
    assert!(output.stdout.contains("0::/\n"), "{}", output.stdout);
    assert!(output.stdout.contains("67108864\n"), "{}", output.stdout);
    // EROFS
    assert!(output.stdout.contains("30\n"), "{}", output.stdout);
}
