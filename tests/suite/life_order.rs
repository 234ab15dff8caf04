//! The order in which the containers of a pod start and end.

use serde_json::{Value, json};

use crate::harness::Podrun;
use crate::story::{Story, does, does_with, every_second, exec};

/// An init container that stays beside the containers.
fn sidecar(name: &str, words: &str, fields: &Value) -> Value {
    let mut sidecar = does_with(name, words, fields);
    sidecar["restartPolicy"] = "Always".into();
    sidecar
}

#[track_caller]
fn condition(status: &Value, name: &str) -> Value {
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|one| one["type"] == name);
    found.unwrap().clone()
}

#[test]
fn init_containers_run_one_after_another_before_the_containers() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let init = [
        does(
            "first",
            "and tell first begins -- wait-for /story/go -- tell first ends",
        ),
        does("second", "and tell second begins -- tell second ends"),
    ];
    let main = [does("main", "and tell main -- sleep")];
    podrun.start(&story.pod("ordered", &json!({}), &init, &main));
    story.until_told("first begins");
    let status = podrun.pod("ordered")["status"].clone();
    assert_eq!(status["phase"], "Pending");
    let initialized = condition(&status, "Initialized");
    assert_eq!(initialized["status"], "False");
    assert_eq!(initialized["reason"], "ContainersNotInitialized");
    assert_eq!(
        initialized["message"],
        "containers with incomplete status: [first second]"
    );
    for waiting in [
        &status["initContainerStatuses"][1],
        &status["containerStatuses"][0],
    ] {
        assert_eq!(
            waiting["state"]["waiting"]["reason"], "PodInitializing",
            "{waiting}"
        );
    }
    let listed = podrun.run(["ps", "--no-headers"]).ok().stdout;
    assert!(listed.contains("Init:0/2"), "{listed}");
    story.write("go", "");
    story.until_told("main");
    assert_eq!(
        story.told(),
        [
            "first begins",
            "first ends",
            "second begins",
            "second ends",
            "main"
        ]
    );
    let status = podrun.until_phase("ordered", "Running");
    assert_eq!(condition(&status, "Initialized")["status"], "True");
    for done in status["initContainerStatuses"].as_array().unwrap() {
        assert_eq!(done["state"]["terminated"]["reason"], "Completed", "{done}");
        assert_eq!(done["ready"], true, "{done}");
    }
}

#[test]
fn the_log_of_a_finished_init_container_can_be_read() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let init = [does("init", "echo from init")];
    let main = [does("main", "ready-sleep")];
    podrun
        .up(&story.pod(
            "kept",
            &json!({ "terminationGracePeriodSeconds": 1 }),
            &init,
            &main,
        ))
        .ok();
    let said = podrun.run(["logs", "kept", "-c", "init"]).ok().stdout;
    assert_eq!(said, "from init\n");
}

#[test]
fn a_failing_init_container_fails_the_pod_under_never() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let init = [
        does("good", "tell good"),
        does("bad", "and tell bad -- exit 7"),
        does("late", "tell late"),
    ];
    let main = [does("main", "and tell main -- sleep")];
    let spec = json!({ "restartPolicy": "Never" });
    let manifest = story.pod("failed", &spec, &init, &main);
    podrun.start(&manifest);
    let status = podrun.until_phase("failed", "Failed");
    assert_eq!(story.told(), ["good", "bad"]);
    let failed = &status["initContainerStatuses"][1];
    assert_eq!(failed["state"]["terminated"]["exitCode"], 7);
    assert_eq!(failed["restartCount"], 0);
    assert!(
        status["containerStatuses"][0]["state"]["waiting"].is_object(),
        "{status:#}"
    );
    let listed = podrun.run(["ps", "--no-headers"]).ok().stdout;
    assert!(listed.contains("Init:Error"), "{listed}");
    podrun.run(["rm", "failed"]).ok();
    podrun.nothing_left();
}

#[test]
fn up_and_run_tell_which_init_container_has_failed() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    // The sidecar ends with another code when the pod ends; it did not fail the pod.
    let init = [
        sidecar(
            "proxy",
            "and trap 15 exit 9 -- tell proxy -- sleep",
            &json!({}),
        ),
        does("bad", "and wait-told proxy -- echo why -- exit 7"),
    ];
    let main = [does("main", "sleep")];
    let spec = json!({ "restartPolicy": "Never" });
    let manifest = story.pod("failed", &spec, &init, &main);
    podrun
        .up(&manifest)
        .code(1)
        .says("pod/failed: container `bad` failed: Error (exit code 7)")
        .says("why");
    podrun.nothing_left();
    podrun.run_pod(&manifest).code(7);
    podrun.nothing_left();
}

#[test]
fn a_failed_init_container_is_tried_again_and_those_before_it_are_not() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let init = [
        does("good", "tell good"),
        does("retried", "and tell retried -- count-starts /empty/starts"),
    ];
    let main = [does("main", "tell main")];
    let spec = json!({ "restartPolicy": "OnFailure" });
    podrun.start(&story.pod("retried", &spec, &init, &main));
    let status = podrun.until_phase("retried", "Succeeded");
    assert_eq!(
        story.told(),
        ["good", "retried", "retried", "retried", "main"]
    );
    let counts: Vec<&Value> = status["initContainerStatuses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|container| &container["restartCount"])
        .collect();
    assert_eq!(counts, [&json!(0), &json!(2)]);
}

#[test]
fn the_next_init_container_waits_for_a_sidecars_startup_probe() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let startup = every_second(
        exec("and tell probed -- exists /story/go"),
        &json!({ "failureThreshold": 100 }),
    );
    // Readiness gates nothing here.
    let readiness = every_second(exec("exit 1"), &json!({}));
    let init = [
        sidecar(
            "proxy",
            "and tell proxy -- sleep",
            &json!({ "startupProbe": startup, "readinessProbe": readiness }),
        ),
        does("init", "tell init"),
    ];
    let main = [does("main", "and tell main -- sleep")];
    let spec = json!({ "terminationGracePeriodSeconds": 1 });
    podrun.start(&story.pod("gated", &spec, &init, &main));
    podrun.until_event("gated", "Unhealthy Startup probe failed");
    let status = podrun.pod("gated")["status"].clone();
    assert_eq!(status["phase"], "Pending");
    let proxy = &status["initContainerStatuses"][0];
    assert!(proxy["state"]["running"].is_object(), "{proxy}");
    assert_eq!(proxy["started"], false);
    assert!(!story.has("init"), "{:?}", story.told());
    story.write("go", "");
    story.until_told("main");
    story.assert_order(&["probed", "probed", "init", "main"]);
    let status = podrun.until_phase("gated", "Running");
    // A sidecar's readiness is the pod's.
    let ready = condition(&status, "Ready");
    assert_eq!(ready["status"], "False");
    assert!(
        ready["message"].as_str().unwrap().contains("[proxy]"),
        "{ready}"
    );
}

#[test]
fn a_sidecar_that_ends_well_starts_again_even_under_never() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let init = [
        sidecar(
            "proxy",
            "and once /empty/once leave 0 -- tell proxy runs on -- sleep",
            &json!({}),
        ),
        does("init", "wait-told proxy runs on"),
    ];
    let main = [does("main", "and tell main -- sleep")];
    let spec = json!({ "restartPolicy": "Never", "terminationGracePeriodSeconds": 1 });
    podrun.start(&story.pod("again", &spec, &init, &main));
    story.until_told("main");
    let status = podrun.until_phase("again", "Running");
    let proxy = &status["initContainerStatuses"][0];
    assert_eq!(proxy["restartCount"], 1);
    assert!(proxy["state"]["running"].is_object(), "{proxy}");
    assert_eq!(proxy["lastState"]["terminated"]["exitCode"], 0);
}

#[test]
fn a_pod_succeeds_with_its_containers_and_its_sidecar_is_stopped_after_them() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    // Its own exit code means nothing.
    let init = [sidecar(
        "proxy",
        "and trap 15 then tell proxy ends ++ exit 3 -- tell proxy -- sleep",
        &json!({}),
    )];
    let main = [
        does("short", "and wait-told proxy -- tell short ends"),
        does("long", "and wait-for /story/go -- tell long ends"),
    ];
    let spec = json!({ "restartPolicy": "Never" });
    podrun.start(&story.pod("done", &spec, &init, &main));
    podrun.until_status("done", "has lost one container", |status| {
        status["containerStatuses"][0]["state"]["terminated"].is_object()
    });
    let status = podrun.pod("done")["status"].clone();
    assert!(
        status["initContainerStatuses"][0]["state"]["running"].is_object(),
        "{status:#}"
    );
    story.write("go", "");
    let status = podrun.until_phase("done", "Succeeded");
    assert_eq!(
        story.told(),
        ["proxy", "short ends", "long ends", "proxy ends"]
    );
    let proxy = &status["initContainerStatuses"][0];
    assert_eq!(proxy["state"]["terminated"]["exitCode"], 3);
    assert_eq!(proxy["restartCount"], 0);
}

#[test]
fn sidecars_stop_in_reverse_order_after_the_containers_and_their_hooks_run_at_once() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let helper = |name: &str| {
        let words = format!("and trap 15 tell {name} ends -- tell {name} -- sleep");
        let hook = exec(&format!("tell {name} preStop"));
        sidecar(name, &words, &json!({ "lifecycle": { "preStop": hook } }))
    };
    let init = [helper("s1"), helper("s2")];
    // It ends only when the hooks of the sidecars have run.
    let main = [does(
        "main",
        "and trap 15 then wait-told s1 preStop ++ wait-told s2 preStop ++ tell main ends -- tell main -- sleep",
    )];
    podrun.start(&story.pod("reverse", &json!({}), &init, &main));
    for name in ["s1", "s2", "main"] {
        story.until_told(name);
    }
    podrun.run(["rm", "reverse"]).ok();
    story.assert_order(&["main ends", "s2 ends", "s1 ends"]);
    story.assert_order(&["s1 preStop", "main ends"]);
    story.assert_order(&["s2 preStop", "main ends"]);
    assert_eq!(story.told().len(), 8, "{:#?}", story.told());
    podrun.nothing_left();
}

#[test]
fn the_next_container_waits_for_the_post_start_hook_and_not_for_readiness() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let hook = exec("and tell hook begins -- wait-for /story/go -- tell hook ends");
    let readiness = every_second(exec("exit 1"), &json!({}));
    let main = [
        does_with(
            "first",
            "sleep",
            &json!({ "lifecycle": { "postStart": hook }, "readinessProbe": readiness }),
        ),
        does("second", "and tell second -- sleep"),
    ];
    let spec = json!({ "terminationGracePeriodSeconds": 1 });
    podrun.start(&story.pod("hooked", &spec, &[], &main));
    story.until_told("hook begins");
    let status = podrun.pod("hooked")["status"].clone();
    assert_eq!(status["phase"], "Pending");
    for waiting in status["containerStatuses"].as_array().unwrap() {
        assert_eq!(
            waiting["state"]["waiting"]["reason"], "ContainerCreating",
            "{waiting}"
        );
    }
    story.write("go", "");
    story.until_told("second");
    assert_eq!(story.told(), ["hook begins", "hook ends", "second"]);
    podrun.until_phase("hooked", "Running");
}

#[test]
fn a_failing_container_does_not_stop_the_next_from_starting() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let main = [
        json!({ "name": "missing", "image": crate::harness::IMAGE, "command": ["/missing"] }),
        does("second", "tell second"),
    ];
    let spec = json!({ "restartPolicy": "Never" });
    podrun.start(&story.pod("partly", &spec, &[], &main));
    podrun.until_phase("partly", "Failed");
    assert_eq!(story.told(), ["second"]);
}
