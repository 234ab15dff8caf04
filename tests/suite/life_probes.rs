//! Probes against real containers: what they ask, from where, and what their results lead to.

use serde_json::{Value, json};

use crate::census;
use crate::harness::{Podrun, until};
use crate::story::{Story, does, does_with, every_second, exec};

fn spec() -> Value {
    json!({ "terminationGracePeriodSeconds": 1 })
}

fn is_ready(status: &Value) -> bool {
    // There are none before the first status is written.
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// The processes of this name.
fn named(podrun: &Podrun, name: &str) -> usize {
    let processes = podrun.processes();
    processes.iter().filter(|one| one.name == name).count()
}

#[test]
fn an_exec_probe_makes_a_pod_ready_and_unready() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let readiness = every_second(exec("exists /story/ready"), &json!({}));
    let main = [does_with(
        "a",
        "sleep",
        &json!({ "readinessProbe": readiness }),
    )];
    podrun.start(&story.pod("exec", &spec(), &[], &main));
    podrun.until_event("exec", "Unhealthy Readiness probe failed");
    let status = podrun.pod("exec")["status"].clone();
    assert!(!is_ready(&status), "{status:#}");
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["containerStatuses"][0]["started"], true);
    story.write("ready", "");
    podrun.until_status("exec", "is ready", is_ready);
    story.remove("ready");
    let status = podrun.until_status("exec", "is unready again", |status| !is_ready(status));
    assert_eq!(status["containerStatuses"][0]["ready"], false);
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0);
}

#[test]
fn an_http_probe_asks_a_named_port_with_its_headers_and_judges_the_status() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let readiness = every_second(
        json!({ "httpGet": {
            "port": "web",
            "path": "/healthz?full",
            "httpHeaders": [{ "name": "X-Test", "value": "of the manifest" }],
        } }),
        &json!({}),
    );
    let main = [does_with(
        "a",
        "http-serve 0.0.0.0:8000 /story/status /story/requests",
        &json!({
            "ports": [{ "name": "web", "containerPort": 8000 }],
            "readinessProbe": readiness,
        }),
    )];
    podrun.start(&story.pod("http", &spec(), &[], &main));
    podrun.until_status("http", "is ready", is_ready);
    assert_eq!(
        story.read("requests").lines().next(),
        Some("GET /healthz?full HTTP/1.1 of the manifest")
    );
    story.write("status", "500");
    podrun.until_status("http", "is unready", |status| !is_ready(status));
    podrun.until_event(
        "http",
        "Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 500",
    );
    story.write("status", "399");
    podrun.until_status("http", "is ready again", is_ready);
}

#[test]
fn a_tcp_probe_succeeds_when_something_listens() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let readiness = every_second(json!({ "tcpSocket": { "port": 8000 } }), &json!({}));
    let main = [does_with(
        "a",
        "and wait-for /story/go -- http-serve 0.0.0.0:8000 /story/status /story/requests",
        &json!({ "readinessProbe": readiness }),
    )];
    podrun.start(&story.pod("tcp", &spec(), &[], &main));
    podrun.until_event("tcp", "Unhealthy Readiness probe failed");
    assert!(!is_ready(&podrun.pod("tcp")["status"]));
    story.write("go", "");
    podrun.until_status("tcp", "is ready", is_ready);
}

#[test]
fn probes_go_to_the_pods_address_and_not_to_its_loopback_one() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let probed = |name: &str, address: &str, probe: Value| {
        let words = format!("http-serve {address} /story/status /story/{name}");
        does_with(
            name,
            &words,
            &json!({ "readinessProbe": every_second(probe, &json!({})) }),
        )
    };
    let http = |port: u16| json!({ "httpGet": { "port": port } });
    let tcp = |port: u16| json!({ "tcpSocket": { "port": port } });
    let main = [
        probed("http-all", "0.0.0.0:8001", http(8001)),
        probed("tcp-all", "0.0.0.0:8002", tcp(8002)),
        probed("http-lo", "127.0.0.1:8003", http(8003)),
        probed("tcp-lo", "127.0.0.1:8004", tcp(8004)),
    ];
    podrun.start(&story.pod("address", &spec(), &[], &main));
    for name in ["http-lo", "tcp-lo"] {
        podrun.wait_for_log("address", name, "listening");
    }
    // From now on a probe that failed has failed for its address.
    let failed = || {
        let events = podrun.events("address");
        let failed = |port: u16| {
            let end = format!(":{port}");
            events
                .iter()
                .filter(|event| event.starts_with("Unhealthy") && event.contains(&end))
                .count()
        };
        [failed(8003), failed(8004)]
    };
    let before = failed();
    until("both are probed again", || {
        let now = failed();
        now[0] > before[0] && now[1] > before[1]
    });
    let status = podrun.until_status("address", "shows who is ready", |status| {
        let containers = status["containerStatuses"].as_array().unwrap();
        containers[0]["ready"] == true && containers[1]["ready"] == true
    });
    assert_eq!(status["containerStatuses"][2]["ready"], false);
    assert_eq!(status["containerStatuses"][3]["ready"], false);
    assert_eq!(story.read("http-lo"), "", "the loopback address was asked");
}

#[test]
fn up_gives_up_on_a_pod_that_does_not_become_ready() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let readiness = every_second(exec("and echo not yet -- exit 1"), &json!({}));
    let main = [does_with(
        "a",
        "sleep",
        &json!({ "readinessProbe": readiness }),
    )];
    let path = podrun.manifest("pod", &story.pod("unready", &spec(), &[], &main));
    podrun
        .run(["up", "--wait=ready", "--timeout", "2s", &path])
        .code(124)
        .says("pod/unready is not ready in time")
        .says("Readiness probe failed: not yet");
    podrun.nothing_left();
}

#[test]
fn a_failed_liveness_probe_restarts_the_container_alone() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let liveness = every_second(exec("and wait-told sick -- exists /empty/fine"), &json!({}));
    let main = [
        does_with(
            "sick",
            "and trap 15 then tell sick ends ++ write /empty/fine x -- tell sick -- sleep",
            &json!({ "livenessProbe": liveness }),
        ),
        does("well", "and tell well -- sleep"),
    ];
    podrun.start(&story.pod("sick", &spec(), &[], &main));
    let status = podrun.until_status("sick", "has restarted", |status| {
        let sick = &status["containerStatuses"][0];
        sick["restartCount"] == 1 && sick["state"]["running"].is_object()
    });
    assert_eq!(status["containerStatuses"][1]["restartCount"], 0);
    let events = podrun.events("sick");
    let has = |wanted: &str| events.iter().any(|event| event.starts_with(wanted));
    assert!(has("Unhealthy Liveness probe failed"), "{events:#?}");
    assert!(
        has("Killing Container sick failed liveness probe, will be restarted"),
        "{events:#?}"
    );
    until("it has begun again", || story.count("sick") == 2);
    story.assert_order(&["sick", "sick ends", "sick"]);
    assert_eq!(story.count("well"), 1);
}

#[test]
fn a_probe_may_have_a_shorter_grace_period_than_its_pod() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let liveness = every_second(
        exec("exit 1"),
        &json!({ "terminationGracePeriodSeconds": 1 }),
    );
    let main = [does_with(
        "a",
        // The first run ignores TERM, which the pod's own grace period would let it for long.
        "and once /story/first ignore-term -- sleep",
        &json!({ "livenessProbe": liveness }),
    )];
    podrun.start(&story.pod("grace", &json!({}), &[], &main));
    let status = podrun.until_status("grace", "has restarted", |status| {
        status["containerStatuses"][0]["restartCount"] == 1
    });
    let last = &status["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 137, "{status:#}");
    podrun.run(["rm", "grace", "--force"]).ok();
}

#[test]
fn the_other_probes_wait_for_the_startup_probe_and_follow_it_at_once() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let startup = every_second(
        exec("and exists /story/go -- tell started"),
        &json!({ "failureThreshold": 100 }),
    );
    // Nobody could wait for a second of its periods.
    let seldom = |words: &str| {
        let mut probe = exec(words);
        probe["periodSeconds"] = 100_000.into();
        probe["timeoutSeconds"] = 60.into();
        probe
    };
    let main = [does_with(
        "a",
        "sleep",
        &json!({
            "startupProbe": startup,
            "livenessProbe": seldom("tell liveness"),
            "readinessProbe": seldom("tell readiness"),
        }),
    )];
    podrun.start(&story.pod("startup", &spec(), &[], &main));
    podrun.until_event("startup", "Unhealthy Startup probe failed");
    let container = podrun.pod("startup")["status"]["containerStatuses"][0].clone();
    assert_eq!(container["started"], false);
    assert_eq!(container["ready"], false);
    assert_eq!(story.told(), Vec::<String>::new());
    story.write("go", "");
    podrun.until_status("startup", "is ready", is_ready);
    until("liveness was probed", || story.has("liveness"));
    story.assert_order(&["started", "liveness"]);
    story.assert_order(&["started", "readiness"]);
    assert_eq!(story.told().len(), 3, "{:#?}", story.told());
}

#[test]
fn a_failed_startup_probe_restarts_the_container() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let startup = every_second(
        exec("and wait-told start -- exists /empty/fine"),
        &json!({}),
    );
    let main = [does_with(
        "slow",
        "and trap 15 write /empty/fine x -- tell start -- sleep",
        &json!({ "startupProbe": startup }),
    )];
    podrun.start(&story.pod("slow", &spec(), &[], &main));
    podrun.until_status("slow", "is ready", is_ready);
    let container = podrun.pod("slow")["status"]["containerStatuses"][0].clone();
    assert_eq!(container["restartCount"], 1);
    let events = podrun.events("slow");
    assert!(
        events
            .contains(&"Killing Container slow failed startup probe, will be restarted".to_owned()),
        "{events:#?}"
    );
}

#[test]
fn an_exec_probe_that_hangs_fails_in_time_and_is_killed() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let readiness = every_second(
        exec("and once /empty/once fork-sleep -- exit 0"),
        &json!({ "timeoutSeconds": 1 }),
    );
    let main = [does_with(
        "a",
        "sleep",
        &json!({ "readinessProbe": readiness }),
    )];
    podrun.start(&story.pod("hangs", &spec(), &[], &main));
    podrun.until_event(
        "hangs",
        "Unhealthy Readiness probe failed: command timed out",
    );
    // The next probe is made, and of the first nothing is left.
    podrun.until_status("hangs", "is ready", is_ready);
    until("only the container is left", || {
        named(&podrun, "probe") == 1
    });
    until("the supervisor has reaped what it started", || {
        podrun.processes().len() == 3
    });
}

#[test]
fn what_an_exec_probe_says_is_in_the_event_and_not_in_the_log() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let readiness = every_second(exec("and both -- exit 1"), &json!({}));
    let main = [does_with(
        "a",
        "ready-sleep",
        &json!({ "readinessProbe": readiness }),
    )];
    podrun.start(&story.pod("says", &spec(), &[], &main));
    podrun.wait_for_log("says", "a", "ready");
    podrun.until_event(
        "says",
        "Unhealthy Readiness probe failed: to stdout\nto stderr",
    );
    assert_eq!(podrun.run(["logs", "says"]).ok().stdout, "ready\n");
}

/// A pod with an exec probe, an HTTP probe and both hooks in flight, none of which ever ends.
fn busy(podrun: &Podrun, story: &Story, name: &str) {
    story.write("status", "wait");
    let forever = json!({ "timeoutSeconds": 3600 });
    let main = [
        does_with(
            "server",
            "http-serve 0.0.0.0:8000 /story/status /story/requests",
            &json!({
                "livenessProbe": every_second(json!({ "httpGet": { "port": 8000 } }), &json!({
                    "timeoutSeconds": 3600, "failureThreshold": 100,
                })),
                "readinessProbe": every_second(exec("and tell probe -- sleep"), &forever),
            }),
        ),
        does_with(
            "hooked",
            "sleep",
            &json!({ "lifecycle": { "postStart": exec("and tell hook -- sleep") } }),
        ),
    ];
    podrun.start(&story.pod(name, &spec(), &[], &main));
    story.until_told("probe");
    story.until_told("hook");
    until("the prober waits for its answer", || {
        !story.read("requests").is_empty()
    });
}

#[test]
fn probes_and_hooks_in_flight_die_with_the_supervisor() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    busy(&podrun, &story, "busy");
    let processes = podrun.processes();
    let count = |name: &str| processes.iter().filter(|one| one.name == name).count();
    assert_eq!(count("podrun-prober"), 1, "{processes:#?}");
    assert_eq!(count("podrun-pause"), 1, "{processes:#?}");
    assert_eq!(count("probe"), 4, "{processes:#?}");
    let namespaces = census::namespaces_of(&processes);
    let supervisors = census::supervisors(&podrun.root());
    assert_eq!(supervisors.len(), 1);
    for process in processes.iter().filter(|one| one.pid == supervisors[0]) {
        process.kill();
    }
    census::assert_all_end(&processes);
    census::assert_namespaces_gone(&namespaces);
    census::assert_no_mounts(&podrun.root());
    assert_eq!(podrun.pod("busy")["status"]["reason"], "SupervisorLost");
    podrun.run(["rm", "busy"]).ok();
    podrun.nothing_left();
}

#[test]
fn rm_ends_probes_and_hooks_in_flight() {
    for how in ["--now", "--force"] {
        let podrun = Podrun::new();
        let story = Story::new(&podrun);
        busy(&podrun, &story, "busy");
        let processes = podrun.processes();
        podrun.run(["rm", "busy", how]).ok();
        census::assert_all_end(&processes);
        podrun.nothing_left();
    }
}

#[test]
fn a_killed_prober_is_started_again() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let readiness = every_second(json!({ "httpGet": { "port": 8000 } }), &json!({}));
    let main = [does_with(
        "a",
        "http-serve 0.0.0.0:8000 /story/status /story/requests",
        &json!({ "readinessProbe": readiness }),
    )];
    podrun.start(&story.pod("prober", &spec(), &[], &main));
    podrun.until_status("prober", "is ready", is_ready);
    let processes = podrun.processes();
    let prober = processes.iter().find(|one| one.name == "podrun-prober");
    let prober = prober.expect("there is a prober");
    prober.kill();
    census::assert_all_end(std::slice::from_ref(prober));
    let asked = story.read("requests").lines().count();
    until("it is probed again", || {
        story.read("requests").lines().count() > asked
    });
    // Its end said nothing about the container.
    assert!(is_ready(&podrun.pod("prober")["status"]));
    assert_eq!(named(&podrun, "podrun-prober"), 1);
}
