//! How a pod ends, what is said of it, and what is left of one whose supervisor is gone.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::census;
use crate::harness::{IMAGE, Mode, Podrun, container, mode, once, require_mode, until};
use crate::story::{Story, does, does_with, exec};

#[test]
fn a_pod_that_is_active_for_too_long_fails() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [does("a", "and trap 15 tell TERM -- tell start -- sleep")];
    let spec = json!({ "activeDeadlineSeconds": 2 });
    podrun.start(&story.pod("late", &spec, &[], &main));
    let status = podrun.until_phase("late", "Failed");
    assert_eq!(status["reason"], "DeadlineExceeded");
    assert_eq!(
        status["message"],
        "Pod was active on the node longer than the specified deadline"
    );
    // With its grace period, in which it has ended well: that does not help the pod.
    assert_eq!(story.told(), ["start", "TERM"]);
    let container = &status["containerStatuses"][0];
    assert_eq!(container["state"]["terminated"]["exitCode"], 0);
    let listed = podrun.run(["ps", "--no-headers"]).ok().stdout;
    assert!(listed.contains("DeadlineExceeded"), "{listed}");
}

#[test]
fn a_deadline_ends_init_containers_as_well() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let init = [does(
        "init",
        "and trap 15 then tell TERM ++ exit 1 -- sleep",
    )];
    let main = [does("a", "tell a")];
    let spec = json!({ "activeDeadlineSeconds": 2, "restartPolicy": "OnFailure" });
    podrun.start(&story.pod("late", &spec, &init, &main));
    let status = podrun.until_phase("late", "Failed");
    assert_eq!(status["reason"], "DeadlineExceeded");
    assert_eq!(story.told(), ["TERM"]);
}

#[test]
fn the_manifests_stop_signal_is_used() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [does_with(
        "a",
        "and trap 15 tell TERM -- trap 10 tell USR1 -- tell start -- sleep",
        &json!({ "lifecycle": { "stopSignal": "SIGUSR1" } }),
    )];
    let spec = json!({ "os": { "name": "linux" } });
    podrun.start(&story.pod("signal", &spec, &[], &main));
    story.until_told("start");
    podrun.run(["rm", "signal"]).ok();
    assert_eq!(story.told(), ["start", "USR1"]);
    podrun.nothing_left();
}

#[test]
fn exit_codes_have_the_kubelets_reasons() {
    let podrun = Podrun::new();
    let missing = json!({ "name": "missing", "image": IMAGE, "command": ["/missing"] });
    let containers = [
        container("fine", &["exit", "0"]),
        container("wrong", &["exit", "3"]),
        missing,
        container("killed", &["ready-sleep"]),
    ];
    podrun.start(&once("codes", &containers));
    podrun.wait_for_log("codes", "killed", "ready");
    // The container's own process, as the machine's kernel might end it.
    let probes = || -> Vec<census::Process> {
        let processes = podrun.processes().into_iter();
        processes.filter(|one| one.name == "probe").collect()
    };
    until("the others have ended", || probes().len() == 1);
    probes()[0].kill();
    let status = podrun.until_phase("codes", "Failed");
    let found: Vec<(&str, i64, &str)> = status["containerStatuses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|container| {
            let terminated = &container["state"]["terminated"];
            (
                container["name"].as_str().unwrap(),
                terminated["exitCode"].as_i64().unwrap(),
                terminated["reason"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("fine", 0, "Completed"),
            ("wrong", 3, "Error"),
            ("missing", 128, "StartError"),
            ("killed", 137, "Error"),
        ]
    );
    let message = &status["containerStatuses"][2]["state"]["terminated"]["message"];
    assert!(message.as_str().unwrap().contains("/missing"), "{message}");
}

/// The last words of the only container of a pod that has ended.
#[track_caller]
fn last_words(podrun: &Podrun, name: &str, words: &[&str], fields: &Value) -> Value {
    let container = crate::harness::container_with("a", words, fields);
    podrun.start(&once(name, &[container]));
    let status = podrun.until_status(name, "has ended", |status| {
        status["phase"] == "Failed" || status["phase"] == "Succeeded"
    });
    status["containerStatuses"][0]["state"]["terminated"]["message"].clone()
}

#[test]
fn a_termination_message_is_read_from_its_file() {
    let podrun = Podrun::new();
    let write = ["write", "/dev/termination-log", "last words"];
    assert_eq!(
        last_words(&podrun, "default", &write, &json!({})),
        "last words"
    );
    assert_eq!(
        last_words(
            &podrun,
            "own",
            &["and", "write", "/var/last", "own words", "--", "exit", "1"],
            &json!({ "terminationMessagePath": "/var/last" }),
        ),
        "own words"
    );
    assert_eq!(
        last_words(&podrun, "none", &["exit", "1"], &json!({})),
        Value::Null
    );
}

#[test]
fn only_the_end_of_a_long_termination_message_is_kept() {
    let podrun = Podrun::new();
    let long = format!("begin{}end", "x".repeat(5000));
    let write = ["write", "/dev/termination-log", &long];
    let words = last_words(&podrun, "long", &write, &json!({}));
    assert_eq!(words, &long[long.len() - 4096..]);
}

#[test]
fn any_user_of_a_container_may_write_its_termination_message() {
    // With one id there is nobody else.
    require_mode!(Mode::Root, Mode::User);
    let podrun = Podrun::new();
    let write = ["write", "/dev/termination-log", "from 1234"];
    let user = json!({ "securityContext": { "runAsUser": 1234, "runAsGroup": 1234 } });
    assert_eq!(last_words(&podrun, "user", &write, &user), "from 1234");
}

#[test]
fn the_log_stands_in_for_the_message_of_a_container_that_failed() {
    let podrun = Podrun::new();
    let fallback = json!({ "terminationMessagePolicy": "FallbackToLogsOnError" });
    let echo = ["and", "echo", "from the log", "--", "exit", "1"];
    assert_eq!(
        last_words(&podrun, "failed", &echo, &fallback),
        "from the log\n"
    );
    // Not when it has ended well, has written something, or has not asked for it.
    let fine = ["echo", "from the log"];
    assert_eq!(last_words(&podrun, "fine", &fine, &fallback), Value::Null);
    let both = [
        "and",
        "write",
        "/dev/termination-log",
        "from the file",
        "--",
        "echo",
        "from the log",
        "--",
        "exit",
        "1",
    ];
    assert_eq!(
        last_words(&podrun, "both", &both, &fallback),
        "from the file"
    );
    assert_eq!(
        last_words(&podrun, "unasked", &echo, &json!({})),
        Value::Null
    );
}

#[test]
fn up_says_the_last_words_of_a_container_that_failed() {
    let podrun = Podrun::new();
    let words = [
        "and",
        "write",
        "/dev/termination-log",
        "no database",
        "--",
        "exit",
        "1",
    ];
    let path = podrun.manifest("pod", &once("words", &[container("a", &words)]));
    podrun
        .run(["up", "--wait=done", &path])
        .code(1)
        .says("pod/words: container `a` failed: no database");
}

/// Kills a supervisor at a moment of its pod's life, and removes what is left of the pod.
#[track_caller]
fn survives_the_loss(podrun: &Podrun, name: &str) {
    let processes = podrun.processes();
    let supervisors = census::supervisors(&podrun.root());
    assert_eq!(supervisors.len(), 1, "{processes:#?}");
    let supervisor = processes.iter().find(|one| one.pid == supervisors[0]);
    supervisor.expect("it is one of them").kill();
    census::assert_all_end(&processes);
    let listed = podrun.run(["ps", "--no-headers"]).ok().stdout;
    assert!(listed.contains(name), "{listed}");
    assert!(listed.contains("SupervisorLost"), "{listed}");
    let status = podrun.pod(name)["status"].clone();
    assert_eq!(status["phase"], "Failed");
    for kind in ["initContainerStatuses", "containerStatuses"] {
        for container in status[kind].as_array().into_iter().flatten() {
            let state = &container["state"];
            assert!(state["running"].is_null(), "{container:#}");
            assert_eq!(
                container["ready"] == true,
                state["terminated"]["exitCode"] == 0
            );
        }
    }
    podrun.run(["rm", name]).ok();
    podrun.nothing_left();
}

#[test]
fn a_supervisor_may_be_killed_while_an_init_container_runs() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let init = [
        does("done", "tell done"),
        does("init", "and tell init -- sleep"),
    ];
    podrun.start(&story.pod("lost", &json!({}), &init, &[does("a", "sleep")]));
    story.until_told("init");
    podrun.until_status("lost", "shows it", |status| {
        status["initContainerStatuses"][1]["state"]["running"].is_object()
    });
    survives_the_loss(&podrun, "lost");
}

#[test]
fn a_supervisor_may_be_killed_while_a_hook_runs() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [does_with(
        "a",
        "sleep",
        &json!({ "lifecycle": { "postStart": exec("and tell hook -- sleep") } }),
    )];
    podrun.start(&story.pod("lost", &json!({}), &[], &main));
    story.until_told("hook");
    survives_the_loss(&podrun, "lost");
}

#[test]
fn a_supervisor_may_be_killed_while_its_pod_is_removed() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [does_with(
        "a",
        "and tell start -- sleep",
        &json!({ "lifecycle": { "preStop": exec("and tell hook -- sleep") } }),
    )];
    podrun.start(&story.pod("lost", &json!({}), &[], &main));
    story.until_told("start");
    let mut command = podrun.command();
    command.args(["rm", "lost"]);
    let removal = crate::harness::Running::start(command, b"");
    story.until_told("hook");
    let processes = podrun.processes();
    for pid in census::supervisors(&podrun.root()) {
        let supervisor = processes.iter().find(|one| one.pid == pid);
        supervisor.expect("it is one of them").kill();
    }
    // It has been asked to remove the pod, and sees to it itself.
    removal.end().ok();
    podrun.nothing_left();
}

#[test]
fn a_supervisor_may_be_killed_while_a_container_backs_off() {
    let podrun = Podrun::new();
    let path = podrun.manifest(
        "pod",
        &crate::harness::lasting("lost", &[container("a", &["exit", "1"])]),
    );
    podrun.run(["up", "--wait=none", &path]).ok();
    podrun.until_status("lost", "backs off", |status| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
    survives_the_loss(&podrun, "lost");
}

#[test]
fn a_stopped_supervisor_stops_neither_those_who_look_nor_a_removal() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let spec = json!({ "terminationGracePeriodSeconds": 1 });
    podrun.start(&story.pod("frozen", &spec, &[], &[does("a", "ready-sleep")]));
    podrun.until_phase("frozen", "Running");
    podrun.wait_for_log("frozen", "a", "ready");
    let supervisors = census::supervisors(&podrun.root());
    let pid = rustix::process::Pid::from_raw(supervisors[0]).unwrap();
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    let stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", supervisors[0])).unwrap();
        stat.contains(") T ")
    };
    until("it is stopped", stopped);
    let listed = podrun.run(["ps", "--no-headers"]).ok().stdout;
    assert!(
        listed.contains("frozen") && listed.contains("Running"),
        "{listed}"
    );
    assert_eq!(podrun.run(["logs", "frozen"]).ok().stdout, "ready\n");
    assert_eq!(podrun.pod("frozen")["status"]["phase"], "Running");
    // It does not hear, and is ended all the same.
    let processes = podrun.processes();
    podrun.run(["rm", "frozen", "--force"]).ok();
    census::assert_all_end(&processes);
    podrun.nothing_left();
}

#[test]
fn failed_starts_that_come_together_are_not_taken_for_one_another() {
    let podrun = Podrun::new();
    let missing = |index: usize| {
        let mut missing = container(&format!("c{index}"), &[]);
        missing["command"] = json!(["/nosuch"]);
        missing
    };
    let containers: Vec<_> = (0..30).map(missing).collect();
    let spec = json!({ "terminationGracePeriodSeconds": 1 });
    let path = podrun.manifest("pod", &crate::harness::pod("many", spec, &containers));
    podrun.run(["up", "--wait=none", &path]).ok();
    // The first restart is at once, the next after ten seconds.
    until("all back off after their first restart", || {
        let status = podrun.pod("many")["status"].clone();
        let all = status["containerStatuses"].as_array().cloned();
        all.unwrap_or_default().iter().all(|one| {
            one["state"]["waiting"]["reason"] == "CrashLoopBackOff"
                && one["lastState"]["terminated"]["exitCode"] == 128
        }) && status["containerStatuses"].is_array()
    });
    podrun.run(["rm", "many"]).ok();
    podrun.nothing_left();
}

#[test]
fn a_container_that_was_built_ahead_and_never_started_keeps_no_pod() {
    let podrun = Podrun::new();
    let mut side = container("side", &[]);
    side["command"] = json!(["/nosuch"]);
    side["restartPolicy"] = json!("Always");
    let spec = json!({ "terminationGracePeriodSeconds": 1, "initContainers": [side] });
    let main = container("a", &["sleep"]);
    podrun.start(&crate::harness::pod("ahead", spec, &[main]));
    until("its start has failed", || {
        let events = podrun.run(["events", "ahead"]).stdout;
        events.contains("nosuch")
    });
    podrun.run(["rm", "ahead"]).ok();
    podrun.nothing_left();
}
