//! Which end of a container starts it again, and with whom.

use serde_json::{Value, json};

use crate::census;
use crate::harness::{Podrun, until};
use crate::story::{Story, does, does_with};

fn rule(action: &str, operator: &str, codes: &[i32]) -> Value {
    json!([{ "action": action, "exitCodes": { "operator": operator, "values": codes } }])
}

#[test]
fn a_containers_own_restart_policy_wins_over_the_pods() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [
        does_with(
            "retried",
            "count-starts /empty/n",
            &json!({ "restartPolicy": "OnFailure" }),
        ),
        does("plain", "exit 0"),
    ];
    podrun.start(&story.pod("own", &json!({ "restartPolicy": "Never" }), &[], &main));
    let status = podrun.until_phase("own", "Succeeded");
    assert_eq!(status["containerStatuses"][0]["restartCount"], 2);
}

#[test]
fn a_container_that_is_never_restarted_leaves_its_pod_running() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [
        does_with("left", "exit 5", &json!({ "restartPolicy": "Never" })),
        does("main", "sleep"),
    ];
    let spec = json!({ "restartPolicy": "Always", "terminationGracePeriodSeconds": 1 });
    podrun.start(&story.pod("left", &spec, &[], &main));
    let status = podrun.until_status("left", "has ended", |status| {
        status["containerStatuses"][0]["state"]["terminated"].is_object()
    });
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(status["phase"], "Running");
}

#[test]
fn a_rule_restarts_on_the_exit_codes_that_it_lists() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [does_with(
        "a",
        "and tell a -- once /empty/once leave 42 -- exit 1",
        &json!({ "restartPolicy": "Never", "restartPolicyRules": rule("Restart", "In", &[41, 42]) }),
    )];
    podrun.start(&story.pod("in", &json!({}), &[], &main));
    let status = podrun.until_phase("in", "Failed");
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], 1);
    assert_eq!(container["state"]["terminated"]["exitCode"], 1);
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 42);
    assert_eq!(story.told(), ["a", "a"]);
}

#[test]
fn a_rule_restarts_on_the_exit_codes_that_it_does_not_list() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [does_with(
        "a",
        "and once /empty/once leave 9 -- exit 3",
        &json!({ "restartPolicy": "Never", "restartPolicyRules": rule("Restart", "NotIn", &[0, 3]) }),
    )];
    podrun.start(&story.pod("not-in", &json!({}), &[], &main));
    let status = podrun.until_phase("not-in", "Failed");
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], 1);
    assert_eq!(container["state"]["terminated"]["exitCode"], 3);
}

#[test]
fn restart_all_containers_begins_with_the_init_containers_and_keeps_the_pods_volumes_and_address() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let init = [does("init", "tell init")];
    let main = [
        does_with(
            "first",
            "and trap 15 then tell first ends ++ exit 88 -- tell first -- sleep",
            &json!({
                "restartPolicy": "Never",
                "restartPolicyRules": rule("RestartAllContainers", "In", &[88]),
            }),
        ),
        does_with(
            "second",
            "and tell second -- once /empty/once then wait-for /story/go ++ leave 88 -- sleep",
            &json!({
                "restartPolicy": "Never",
                "restartPolicyRules": rule("RestartAllContainers", "In", &[88]),
            }),
        ),
    ];
    let spec = json!({ "restartPolicy": "Never" });
    podrun.start(&story.pod("all", &spec, &init, &main));
    let before = podrun.until_phase("all", "Running");
    story.until_told("first");
    story.until_told("second");
    story.write("go", "");
    let status = podrun.until_status("all", "runs again", |status| {
        let containers = status["containerStatuses"].as_array().unwrap();
        containers.iter().all(|container| {
            container["restartCount"] == 1 && container["state"]["running"].is_object()
        })
    });
    until("both have begun again", || story.count("second") == 2);
    // What was stopped for it ends with the code of the rule as well, and begins nothing.
    story.assert_order(&["init", "first", "first ends", "init", "first"]);
    story.assert_order(&["init", "second", "init", "second"]);
    assert_eq!(story.told().len(), 7, "{:#?}", story.told());
    assert_eq!(status["initContainerStatuses"][0]["restartCount"], 1);
    assert_eq!(status["podIP"], before["podIP"]);
    assert_eq!(status["phase"], "Running");
    // The file that tells the second run from the first has survived.
    assert_eq!(podrun.probe("all", "first", &["exists", "/empty/once"]), "");
    podrun.run(["rm", "all", "--now"]).ok();
    podrun.nothing_left();
}

#[test]
fn up_waits_for_a_pod_that_restarts_all_its_containers() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [
        does_with(
            "first",
            "and tell first -- once /empty/once then wait-told second ++ leave 88 -- exit 0",
            &json!({
                "restartPolicy": "Never",
                "restartPolicyRules": rule("RestartAllContainers", "In", &[88]),
            }),
        ),
        // Until it has ended the restart is under way, for all to see.
        does(
            "second",
            "and trap 15 exit 0 -- tell second -- once /empty/twice sleep -- exit 0",
        ),
    ];
    let spec = json!({ "restartPolicy": "Never" });
    let path = podrun.manifest("pod", &story.pod("all", &spec, &[], &main));
    podrun.run(["up", "--wait=done", &path]).ok();
    assert_eq!(story.count("first"), 2);
    assert_eq!(story.count("second"), 2);
    let status = podrun.pod("all")["status"].clone();
    assert_eq!(status["phase"], "Succeeded");
}

#[test]
fn podrun_restart_is_a_restart_of_all_containers() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let init = [does("init", "tell init")];
    let main = [does(
        "a",
        "and trap 15 tell a ends -- tell a -- write /empty/kept x -- sleep",
    )];
    podrun.start(&story.pod("asked", &json!({}), &init, &main));
    let before = podrun.until_phase("asked", "Running");
    story.until_told("a");
    podrun.run(["restart", "asked"]).ok();
    until("it has begun again", || story.count("a") == 2);
    assert_eq!(story.told(), ["init", "a", "a ends", "init", "a"]);
    let status = podrun.pod("asked")["status"].clone();
    assert_eq!(status["containerStatuses"][0]["restartCount"], 1);
    assert_eq!(status["initContainerStatuses"][0]["restartCount"], 1);
    assert_eq!(status["podIP"], before["podIP"]);
    podrun.probe("asked", "a", &["exists", "/empty/kept"]);
}

#[test]
fn a_crash_does_not_run_the_init_containers_again() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let init = [does("init", "tell init")];
    let main = [
        does(
            "crashes",
            "and tell start -- once /empty/once leave 1 -- sleep",
        ),
        does("other", "and tell other -- sleep"),
    ];
    let spec = json!({ "terminationGracePeriodSeconds": 1 });
    podrun.start(&story.pod("crash", &spec, &init, &main));
    until("it runs again", || story.count("start") == 2);
    let status = podrun.until_status("crash", "runs again", |status| {
        status["containerStatuses"][0]["state"]["running"].is_object()
    });
    assert_eq!(story.count("init"), 1);
    assert_eq!(story.count("other"), 1);
    assert_eq!(status["initContainerStatuses"][0]["restartCount"], 0);
    assert_eq!(status["containerStatuses"][1]["restartCount"], 0);
    let crashed = &status["containerStatuses"][0];
    assert_eq!(crashed["restartCount"], 1);
    let last = &crashed["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 1, "{crashed}");
    assert_eq!(last["reason"], "Error");
    assert_ne!(last["containerID"], crashed["containerID"]);
    assert!(last["finishedAt"].is_string());
}

#[test]
fn logs_previous_prints_the_run_before() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [does(
        "a",
        "and once /empty/once then echo the first run ++ leave 1 -- echo the second run -- sleep",
    )];
    let spec = json!({ "terminationGracePeriodSeconds": 1 });
    podrun.start(&story.pod("previous", &spec, &[], &main));
    podrun.wait_for_log("previous", "a", "the second run");
    let logs = |options: &[&str]| {
        let mut args = vec!["logs", "previous"];
        args.extend(options);
        podrun.run(args).ok().stdout
    };
    assert_eq!(logs(&[]), "the second run\n");
    assert_eq!(logs(&["--previous"]), "the first run\n");
}

#[test]
fn of_many_runs_two_keep_their_logs() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [does("a", "and wait-for /story/go -- tell run -- exit 1")];
    let spec = json!({ "terminationGracePeriodSeconds": 1 });
    podrun.start(&story.pod("many", &spec, &[], &main));
    story.write("go", "");
    until("it has run again and again", || story.count("run") >= 5);
    let logs = || -> Vec<_> {
        let files = census::files_below(&podrun.root()).into_iter();
        files
            .filter(|file| file.extension().is_some_and(|end| end == "log"))
            .collect()
    };
    story.remove("go");
    until("the logs of the runs before are gone", || logs().len() <= 2);
}

#[test]
fn logs_previous_of_a_container_that_was_never_restarted_is_not_found() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let spec = json!({ "terminationGracePeriodSeconds": 1 });
    podrun.start(&story.pod("once", &spec, &[], &[does("a", "ready-sleep")]));
    podrun.wait_for_log("once", "a", "ready");
    podrun
        .run(["logs", "once", "--previous"])
        .code(4)
        .says("has no previous run");
}
