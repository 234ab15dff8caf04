//! A pod ends with its supervisor, whatever its processes do.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::census;
use crate::harness::{Podrun, container, ends_within, lasting, pod};

#[test]
fn killing_the_supervisor_ends_every_process_of_the_pod() {
    let podrun = Podrun::new();
    let three = [
        container("daemon", &["daemonise"]),
        container("stubborn", &["ignore-term"]),
        container("plain", &["ready-sleep"]),
    ];
    let manifest = lasting("victim", &three);
    podrun.up(&manifest).ok();
    for name in ["daemon", "stubborn", "plain"] {
        podrun.wait_for_log("victim", name, "ready");
    }
    podrun.wait_for_log("victim", "daemon", "daemon");
    let mut command = podrun.command();
    command.args(["exec", "victim", "-c", "plain", "--", "/probe", "daemonise"]);
    let exec = crate::harness::Running::start(command, b"");
    crate::harness::until("the exec'd daemon runs", || {
        podrun
            .processes()
            .iter()
            .filter(|process| process.name == "probe")
            .count()
            >= 6
    });

    let processes = podrun.processes();
    let namespaces = census::namespaces_of(&processes);
    let supervisors = census::supervisors(&podrun.root());
    assert_eq!(supervisors.len(), 1, "{supervisors:?}");
    let pid = rustix::process::Pid::from_raw(supervisors[0]).unwrap();
    let killed = Instant::now();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    for process in &processes {
        let left = Duration::from_secs(1).saturating_sub(killed.elapsed());
        assert!(
            process.ends_within(left),
            "{process:?} lives a second after its supervisor"
        );
    }
    census::assert_namespaces_gone(&namespaces);
    census::assert_no_mounts(&podrun.root());
    assert_ne!(exec.end().code, 0, "exec reports that its pod is gone");

    // The next look says so.
    let listed = podrun.run(["ps", "--no-headers"]).ok().stdout;
    assert!(
        listed.contains("victim") && !listed.contains("Running"),
        "{listed}"
    );
    assert_ne!(podrun.pod("victim")["status"]["phase"], "Running");
    podrun
        .run(["exec", "victim", "-c", "plain", "--", "/probe", "exit", "0"])
        .says("victim");
    podrun.run(["rm", "victim"]).ok();
    podrun.nothing_left();
    podrun.up(&manifest).ok();
    podrun.run(["rm", "victim", "--force"]).ok();
    podrun.nothing_left();
}

#[test]
fn up_replaces_a_pod_whose_supervisor_was_killed() {
    let podrun = Podrun::new();
    let manifest = lasting("again", &[container("a", &["on-term", "0"])]);
    podrun.up(&manifest).ok();
    let before = podrun.processes();
    for pid in census::supervisors(&podrun.root()) {
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL)
            .unwrap();
    }
    census::assert_all_end(&before);
    podrun.up(&manifest).ok();
    assert_eq!(podrun.pod("again")["status"]["phase"], "Running");
    assert_eq!(podrun.pods().len(), 1);
    podrun.run(["rm", "again"]).ok();
    podrun.nothing_left();
}

#[test]
fn killing_pause_ends_the_pod() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("pauseless", &[container("a", &["daemonise"])]))
        .ok();
    podrun.wait_for_log("pauseless", "a", "daemon");
    let processes = podrun.processes();
    let pause = processes
        .iter()
        .find(|process| process.name == "podrun-pause");
    pause.expect("there is a pause process").kill();
    let rest: Vec<_> = processes
        .iter()
        .filter(|process| process.name == "probe")
        .cloned()
        .collect();
    assert!(rest.len() >= 2, "{processes:?}");
    census::assert_all_end(&rest);
    podrun.run(["rm", "pauseless"]).ok();
    podrun.nothing_left();
}

#[test]
fn a_daemon_dies_with_its_container() {
    let podrun = Podrun::new();
    let spec = json!({ "restartPolicy": "Never", "terminationGracePeriodSeconds": 1 });
    let container = container("a", &["daemonise"]);
    podrun.up(&pod("parent", spec, &[container])).ok();
    podrun.wait_for_log("parent", "a", "daemon");
    let probes: Vec<_> = podrun
        .processes()
        .into_iter()
        .filter(|process| process.name == "probe")
        .collect();
    assert_eq!(probes.len(), 2, "{probes:?}");
    probes[0].kill();
    census::assert_all_end(&probes);
    podrun
        .run([
            "wait",
            "parent",
            "--for=jsonpath={.status.phase}=Failed",
            "--timeout",
            "20s",
        ])
        .ok();
}

#[test]
fn two_pods_do_not_share_a_fate() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("first", &[container("a", &["ready-sleep"])]))
        .ok();
    let first = census::supervisors(&podrun.root());
    podrun
        .up(&lasting("second", &[container("a", &["ready-sleep"])]))
        .ok();
    let pid = rustix::process::Pid::from_raw(first[0]).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    assert!(ends_within(pid, Duration::from_secs(5)));
    assert_eq!(podrun.probe("second", "a", &["echo", "alive"]), "alive\n");
    assert_eq!(podrun.pod("second")["status"]["phase"], "Running");
}

#[test]
fn rm_ends_a_container_that_ignores_term_after_its_grace_period() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("stubborn", &[container("a", &["ignore-term"])]))
        .ok();
    let processes = podrun.processes();
    podrun.run(["rm", "stubborn"]).ok();
    census::assert_all_end(&processes);
    podrun.nothing_left();
}

#[test]
fn a_pod_has_a_supervisor_a_pause_and_its_containers_and_no_more() {
    let podrun = Podrun::new();
    let two = [
        container("a", &["ready-sleep"]),
        container("b", &["ready-sleep"]),
    ];
    podrun.up(&lasting("count", &two)).ok();
    let processes = podrun.processes();
    assert_eq!(processes.len(), 4, "{processes:#?}");
}

#[test]
fn orphans_inside_a_container_are_reaped_where_pause_is_their_parent() {
    let podrun = Podrun::new();
    let spec = json!({ "shareProcessNamespace": true, "terminationGracePeriodSeconds": 1 });
    podrun
        .up(&pod("orphans", spec, &[container("a", &["orphans", "20"])]))
        .ok();
    podrun.wait_for_log("orphans", "a", "ready");
    crate::harness::until("pause has reaped the orphans", || {
        let report: serde_json::Value =
            serde_json::from_str(podrun.probe("orphans", "a", &["report"]).trim()).unwrap();
        // Pause, the container, the 20 children it does not wait for, and the probe.
        report["processes"].as_object().unwrap().len() <= 23
    });
}

#[test]
fn what_a_container_leaves_behind_in_the_hosts_pid_namespace_goes_with_the_pod() {
    let podrun = Podrun::new();
    let spec = json!({ "hostPID": true, "terminationGracePeriodSeconds": 1 });
    let containers = [
        container("a", &["daemonise"]),
        container("b", &["orphans", "20"]),
    ];
    podrun.up(&pod("host", spec, &containers)).ok();
    podrun.wait_for_log("host", "a", "daemon");
    podrun.wait_for_log("host", "b", "ready");
    let processes = podrun.processes();
    let supervisor = census::supervisors(&podrun.root())[0];
    crate::harness::until("the supervisor has reaped the orphans", || {
        let children = format!("/proc/{supervisor}/task/{supervisor}/children");
        let children = std::fs::read_to_string(children).unwrap();
        // Pause and two containers, and the daemon once its parent has ended.
        children.split_ascii_whitespace().count() <= 4
    });
    podrun.run(["rm", "host"]).ok();
    census::assert_all_end(&processes);
    podrun.nothing_left();
}
