//! postStart and preStop.

use serde_json::{Value, json};

use crate::census;
use crate::harness::{Podrun, until};
use crate::story::{Story, does, does_with, every_second, exec};

fn hooked(name: &str, words: &str, which: &str, hook: &Value) -> Value {
    does_with(name, words, &json!({ "lifecycle": { which: hook } }))
}

#[test]
fn a_failed_post_start_hook_kills_the_container_and_it_is_restarted() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [hooked(
        "a",
        "and trap 15 then tell TERM ++ exit 5 -- tell start -- sleep",
        "postStart",
        // Not before the container is ready for its end.
        &exec("and wait-told start -- once /empty/once then echo broken ++ exit 3"),
    )];
    // By the code with which it ends when it is stopped.
    let spec = json!({ "restartPolicy": "OnFailure" });
    podrun.start(&story.pod("post", &spec, &[], &main));
    let status = podrun.until_status("post", "runs", |status| {
        status["containerStatuses"][0]["state"]["running"].is_object()
    });
    assert_eq!(status["containerStatuses"][0]["restartCount"], 1);
    until("it has begun again", || story.count("start") == 2);
    assert_eq!(story.told(), ["start", "TERM", "start"]);
    let events = podrun.events("post");
    let failed = events
        .iter()
        .find(|event| event.starts_with("FailedPostStartHook"));
    let failed = failed.expect("there is an event");
    assert!(failed.contains("PostStartHook failed"), "{failed}");
    podrun.run(["rm", "post"]).ok();
    podrun.nothing_left();
}

#[test]
fn a_failed_post_start_hook_fails_the_pod_under_never() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [hooked(
        "a",
        "and trap 15 exit 4 -- tell start -- sleep",
        "postStart",
        &exec("and wait-told start -- exit 1"),
    )];
    let spec = json!({ "restartPolicy": "Never" });
    podrun.start(&story.pod("post", &spec, &[], &main));
    let status = podrun.until_phase("post", "Failed");
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], 0);
    assert_eq!(container["state"]["terminated"]["exitCode"], 4);
}

#[test]
fn a_pre_stop_hook_runs_before_the_stop_signal() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [hooked(
        "a",
        "and trap 15 tell TERM -- tell start -- sleep",
        "preStop",
        // A long step in the middle, which TERM would come into.
        &exec("and tell hook begins -- wait-for /story/go -- tell hook ends"),
    )];
    podrun.start(&story.pod("pre", &json!({}), &[], &main));
    story.until_told("start");
    let mut command = podrun.command();
    command.args(["rm", "pre"]);
    let removal = crate::harness::Running::start(command, b"");
    story.until_told("hook begins");
    assert_eq!(podrun.pod("pre")["status"]["phase"], "Running");
    story.write("go", "");
    removal.end().ok();
    assert_eq!(story.told(), ["start", "hook begins", "hook ends", "TERM"]);
    podrun.nothing_left();
}

#[test]
fn a_pre_stop_hook_that_hangs_is_cut_off_by_the_grace_period() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [hooked(
        "a",
        "and trap 15 tell TERM -- tell start -- sleep",
        "preStop",
        &exec("and tell hook -- sleep"),
    )];
    let spec = json!({ "terminationGracePeriodSeconds": 2 });
    podrun.start(&story.pod("hangs", &spec, &[], &main));
    story.until_told("start");
    let processes = podrun.processes();
    podrun.run(["rm", "hangs"]).ok();
    // The container itself still has the time to end by itself.
    assert_eq!(story.told(), ["start", "hook", "TERM"]);
    census::assert_all_end(&processes);
    podrun.nothing_left();
}

#[test]
fn a_container_that_ends_by_itself_runs_no_pre_stop_hook() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [hooked("a", "tell ends", "preStop", &exec("tell hook"))];
    let spec = json!({ "restartPolicy": "Never" });
    podrun.start(&story.pod("itself", &spec, &[], &main));
    podrun.until_phase("itself", "Succeeded");
    assert_eq!(story.told(), ["ends"]);
}

#[test]
fn a_failed_liveness_probe_runs_the_pre_stop_hook() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let liveness = every_second(
        exec("and wait-told start -- exists /empty/fine"),
        &json!({}),
    );
    let main = [does_with(
        "a",
        "and trap 15 then tell TERM ++ write /empty/fine x -- tell start -- sleep",
        &json!({
            "livenessProbe": liveness,
            "lifecycle": { "preStop": exec("tell hook") },
        }),
    )];
    let spec = json!({ "terminationGracePeriodSeconds": 5 });
    podrun.start(&story.pod("sick", &spec, &[], &main));
    until("it has begun again", || story.count("start") == 2);
    assert_eq!(story.told(), ["start", "hook", "TERM", "start"]);
}

#[test]
fn a_failed_pre_stop_hook_is_told_and_the_pod_ends_all_the_same() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [hooked(
        "a",
        "and trap 15 tell TERM -- tell start -- sleep",
        "preStop",
        &exec("exit 1"),
    )];
    podrun.start(&story.pod("fails", &json!({}), &[], &main));
    story.until_told("start");
    let status = Story::end(&podrun, "fails");
    assert_eq!(status["phase"], "Succeeded");
    assert_eq!(story.told(), ["start", "TERM"]);
    let said = podrun.run(["events", "fails"]).ok().stdout;
    assert!(said.contains("FailedPreStopHook"), "{said}");
    podrun.until_event("fails", "FailedPreStopHook PreStopHook failed");
}

#[test]
fn an_http_hook_is_a_request_whose_status_does_not_matter() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    story.write("status", "500");
    let main = [
        does(
            "server",
            // It serves until the other has ended.
            "and trap 15 wait-told TERM -- http-serve 0.0.0.0:8000 /story/status /story/requests",
        ),
        hooked(
            "client",
            "and trap 15 tell TERM -- tell start -- sleep",
            "preStop",
            &json!({ "httpGet": {
                "port": 8000,
                "path": "/bye",
                "httpHeaders": [{ "name": "X-Test", "value": "of the hook" }],
            } }),
        ),
    ];
    podrun.start(&story.pod("http", &json!({}), &[], &main));
    podrun.wait_for_log("http", "server", "listening");
    story.until_told("start");
    let status = Story::end(&podrun, "http");
    assert_eq!(status["phase"], "Succeeded");
    assert_eq!(story.read("requests"), "GET /bye HTTP/1.1 of the hook\n");
    assert_eq!(story.told(), ["start", "TERM"]);
    let events = podrun.events("http");
    assert!(
        !events.iter().any(|event| event.contains("Hook")),
        "{events:#?}"
    );
}

#[test]
fn a_sleeping_post_start_hook_holds_the_next_container_back() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [
        hooked(
            "a",
            "and tell a -- sleep",
            "postStart",
            &json!({ "sleep": { "seconds": 600 } }),
        ),
        does("b", "and tell b -- sleep"),
    ];
    let spec = json!({ "terminationGracePeriodSeconds": 600 });
    podrun.start(&story.pod("sleeps", &spec, &[], &main));
    story.until_told("a");
    podrun.until_status("sleeps", "waits", |status| {
        let containers = status["containerStatuses"].as_array().unwrap();
        containers
            .iter()
            .all(|one| one["state"]["waiting"]["reason"] == "ContainerCreating")
    });
    podrun.run(["rm", "sleeps", "--now"]).ok();
    assert_eq!(story.told(), ["a"]);
    podrun.nothing_left();
}

#[test]
fn a_sleeping_pre_stop_hook_is_within_the_grace_period() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [hooked(
        "a",
        "and trap 15 tell TERM -- tell start -- sleep",
        "preStop",
        &json!({ "sleep": { "seconds": 1 } }),
    )];
    podrun.start(&story.pod("sleeps", &json!({}), &[], &main));
    story.until_told("start");
    podrun.run(["rm", "sleeps"]).ok();
    assert_eq!(story.told(), ["start", "TERM"]);
    podrun.nothing_left();
}

#[test]
fn a_hook_does_not_outlive_its_container_where_pids_are_shared() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [hooked(
        "a",
        "and tell start -- once /empty/once then wait-told hook ++ leave 1 -- tell second run -- sleep",
        "postStart",
        &exec("and once /story/hook then tell hook ++ sleep -- exit 0"),
    )];
    let spec = json!({ "shareProcessNamespace": true, "terminationGracePeriodSeconds": 1 });
    podrun.start(&story.pod("shared", &spec, &[], &main));
    story.until_told("second run");
    until("the hook of the first run is gone", || {
        let processes = podrun.processes();
        processes.iter().filter(|one| one.name == "probe").count() == 1
    });
}

#[test]
fn an_http_hook_that_is_never_answered_ends_with_its_container() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [
        does("server", "and trap 15 -- tcp-silent 8000"),
        hooked(
            "client",
            "and tell start -- wait-for /story/go -- exit 0",
            "postStart",
            &json!({ "httpGet": { "port": 8000 } }),
        ),
    ];
    let spec = json!({ "restartPolicy": "Never" });
    podrun.start(&story.pod("http", &spec, &[], &main));
    let threads = || -> usize {
        let probers = podrun.processes().into_iter();
        let probers = probers.filter(|process| process.name == "podrun-prober");
        probers
            .filter_map(|prober| std::fs::read_dir(format!("/proc/{}/task", prober.pid)).ok())
            .map(Iterator::count)
            .sum()
    };
    until("the hook is on its way", || threads() == 2);
    story.write("go", "");
    until("nobody waits for its answer", || threads() < 2);
    podrun.run(["rm", "http"]).ok();
    podrun.nothing_left();
}
