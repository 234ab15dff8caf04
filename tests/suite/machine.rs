//! What is so only where systemd has the cgroups: `tests/machine/run` makes such a machine and runs
//! these there, as root and as a user who has logged in. Everywhere else they are listed as ignored.

use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::census::{self, Process};
use crate::harness::{
    Mode, Podrun, binary, container, finish, lasting, mode, once, pod, require_mode, until,
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
        line.starts_with("ok ") && line.contains("limits are in force (cpu, memory, pids"),
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

/// The processes of a container, those that its supervisor waits for first.
fn processes_in(podrun: &Podrun, container: &str) -> (Vec<Process>, Vec<Process>) {
    let supervisor = census::supervisors(&podrun.root())[0];
    let all = podrun.processes().into_iter();
    let inside = all.filter(|one| cgroup_of(one.pid).ends_with(&format!("/container-{container}")));
    inside.partition(|one| one.parent == supervisor)
}

#[test]
#[ignore = "in the machine of tests/machine/run"]
fn a_container_that_ends_leaves_nothing_in_the_namespace_it_shares() {
    let podrun = Podrun::new();
    let spec = json!({ "shareProcessNamespace": true, "restartPolicy": "Never" });
    let resources = json!({ "limits": { "memory": "64Mi" } });
    let containers = [
        limited("a", &["daemonise"], &resources),
        container("b", &["ready-sleep"]),
    ];
    podrun.up(&pod("p", spec, &containers)).ok();
    podrun.wait_for_log("p", "a", "daemon");
    let (first, daemon) = processes_in(&podrun, "a");
    assert_eq!((first.len(), daemon.len()), (1, 1));
    first[0].kill();
    census::assert_all_end(&daemon);
    podrun.until_status("p", "has the container's end", |status| {
        status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
            && status["containerStatuses"][1]["ready"] == true
    });
}

#[test]
#[ignore = "in the machine of tests/machine/run"]
fn what_a_killed_supervisor_leaves_in_the_hosts_pid_namespace_is_ended_by_the_next_command() {
    let podrun = Podrun::new();
    let spec = json!({ "hostPID": true });
    let resources = json!({ "limits": { "memory": "64Mi" } });
    let daemon = limited("a", &["daemonise"], &resources);
    podrun.up(&pod("p", spec, &[daemon])).ok();
    podrun.wait_for_log("p", "a", "daemon");
    let (_, daemon) = processes_in(&podrun, "a");
    let uid = uid(&podrun, "p");
    let pid = census::supervisors(&podrun.root())[0];
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    podrun.run(["ps"]).ok();
    census::assert_all_end(&daemon);
    assert_no_cgroups(&uid);
}

#[test]
#[ignore = "in the machine of tests/machine/run"]
fn a_pod_whose_supervisor_had_to_be_killed_leaves_no_cgroup() {
    let podrun = Podrun::new();
    let resources = json!({ "limits": { "memory": "64Mi" } });
    let sleeper = limited("a", &["ready-sleep"], &resources);
    podrun.up(&lasting("p", &[sleeper])).ok();
    let uid = uid(&podrun, "p");
    let pid = census::supervisors(&podrun.root())[0];
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    podrun.run(["rm", "--force", "p"]).ok();
    assert_no_cgroups(&uid);
    podrun.nothing_left();
}

#[test]
#[ignore = "in the machine of tests/machine/run"]
fn a_container_one_of_whose_processes_uses_up_its_memory_is_ended_as_a_whole() {
    let podrun = Podrun::new();
    let spec = json!({ "restartPolicy": "Never" });
    let resources = json!({ "limits": { "memory": "32Mi" } });
    let sleeper = limited("a", &["ready-sleep"], &resources);
    podrun.up(&pod("p", spec, &[sleeper])).ok();
    let hog = ["exec", "p", "--", "/probe", "hog", "64"];
    podrun.run(hog).code(137);
    let pod = podrun.until_phase("p", "Failed");
    let ended = &pod["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(ended["reason"], "OOMKilled", "{ended}");
    assert_eq!(ended["exitCode"], 137, "{ended}");
}
