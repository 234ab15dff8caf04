//! Restarts, their back-off, the status that tells of them, and `wait`.

use serde_json::{Value, json};

use crate::harness::{Podrun, container, container_with, finish, lasting, once, pod, until};

fn with_volume(policy: &str) -> Value {
    json!({
        "restartPolicy": policy,
        "terminationGracePeriodSeconds": 1,
        "volumes": [{ "name": "v", "emptyDir": {} }],
    })
}

fn mounted(name: &str, words: &[&str]) -> Value {
    container_with(
        name,
        words,
        &json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }),
    )
}

#[test]
fn on_failure_restarts_until_it_succeeds() {
    let podrun = Podrun::new();
    let path = podrun.manifest(
        "pod",
        &pod(
            "retry",
            with_volume("OnFailure"),
            &[mounted("a", &["count-starts", "/v/n"])],
        ),
    );
    let mut command = podrun.command();
    command
        .env("PODRUN_BACKOFF_INITIAL", "10ms")
        .args(["up", "--wait=done", &path]);
    finish(command, b"").ok();
    let status = podrun.pod("retry")["status"].clone();
    assert_eq!(status["phase"], "Succeeded");
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], 2);
    assert_eq!(container["state"]["terminated"]["exitCode"], 0);
    assert_eq!(container["state"]["terminated"]["reason"], "Completed");
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 1);
}

#[test]
fn a_container_that_keeps_failing_backs_off() {
    let podrun = Podrun::new();
    let spec = json!({ "terminationGracePeriodSeconds": 1 });
    let path = podrun.manifest(
        "pod",
        &pod("crash", spec, &[container("a", &["exit", "3"])]),
    );
    podrun.run(["up", "--wait=none", &path]).ok();
    // The first restart is at once, the second after ten seconds: kubelet's constants.
    until("the container backs off", || {
        let status = podrun.pod("crash")["status"]["containerStatuses"][0].clone();
        status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
    let pod = podrun.pod("crash");
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["restartCount"], 1, "{status}");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(pod["status"]["phase"], "Running");
    let message = status["state"]["waiting"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("back-off 10s restarting failed container=a pod=crash_"),
        "{message}"
    );
    let listed = podrun.run(["ps", "--no-headers"]).ok().stdout;
    assert!(listed.contains("CrashLoopBackOff"), "{listed}");
    podrun.run(["rm", "crash"]).ok();
    podrun.nothing_left();
}

#[test]
fn never_leaves_a_failure_as_it_is() {
    let podrun = Podrun::new();
    let path = podrun.manifest("pod", &once("failed", &[container("a", &["exit", "5"])]));
    podrun.run(["up", "--wait=none", &path]).ok();
    podrun
        .run([
            "wait",
            "failed",
            "--for=jsonpath={.status.phase}=Failed",
            "--timeout=20s",
        ])
        .ok();
    let status = podrun.pod("failed")["status"].clone();
    assert_eq!(
        status["containerStatuses"][0]["state"]["terminated"]["exitCode"],
        5
    );
    assert_eq!(
        status["containerStatuses"][0]["state"]["terminated"]["reason"],
        "Error"
    );
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0);
}

#[test]
fn the_status_of_a_running_pod_is_kubernetes_own() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("status", &[container("a", &["ready-sleep"])]))
        .ok();
    let pod = podrun.pod("status");
    assert_eq!(pod["apiVersion"], "v1");
    assert_eq!(pod["kind"], "Pod");
    assert_eq!(pod["metadata"]["namespace"], "default");
    assert_eq!(pod["spec"]["containers"][0]["name"], "a");
    let status = &pod["status"];
    assert_eq!(status["phase"], "Running");
    let conditions: Vec<(&str, &str)> = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["type"].as_str().unwrap(),
                one["status"].as_str().unwrap(),
            )
        })
        .collect();
    for name in [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ] {
        assert!(
            conditions.contains(&(name, "True")),
            "{name}: {conditions:?}"
        );
    }
    let container = &status["containerStatuses"][0];
    assert_eq!(container["ready"], true);
    assert_eq!(container["started"], true);
    assert_eq!(container["image"], crate::harness::IMAGE);
    assert!(container["state"]["running"]["startedAt"].is_string());
    assert!(status["startTime"].is_string());
    assert_eq!(status["qosClass"], "BestEffort");
}

#[test]
fn ps_lists_in_kubectls_words() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting(
            "listed",
            &[container("a", &["sleep"]), container("b", &["sleep"])],
        ))
        .ok();
    let listed = podrun.run(["ps"]).ok().stdout;
    let mut lines = listed.lines();
    let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["listed", "2/2", "Running", "0"]);
    assert_eq!(podrun.run(["ps", "-o", "name"]).ok().stdout, "pod/listed\n");
    assert_eq!(podrun.run(["ps", "-q"]).ok().stdout, "listed\n");
    let path = "jsonpath={.items[*].metadata.name}";
    assert_eq!(
        podrun.run(["ps", "-o", path]).ok().stdout.trim_end(),
        "listed"
    );
}

#[test]
fn wait_returns_when_the_condition_holds() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("awaited", &[container("a", &["ready-sleep"])]))
        .ok();
    podrun
        .run(["wait", "awaited", "--for=condition=Ready", "--timeout=10s"])
        .ok();
    podrun
        .run(["wait", "awaited", "--for=delete", "--timeout=200ms"])
        .code(124);
    let mut command = podrun.command();
    command.args(["wait", "awaited", "--for=delete", "--timeout=30s"]);
    let waiting = crate::harness::Running::start(command, b"");
    podrun.run(["rm", "awaited"]).ok();
    waiting.end().ok();
    podrun
        .run(["wait", "awaited", "--for=condition=Ready", "--timeout=1s"])
        .code(4);
}

#[test]
fn term_goes_to_the_first_process_and_it_may_end_by_itself() {
    let podrun = Podrun::new();
    let spec = json!({ "terminationGracePeriodSeconds": 50 });
    podrun
        .up(&pod("polite", spec, &[container("a", &["on-term", "0"])]))
        .ok();
    podrun.wait_for_log("polite", "a", "ready");
    // Well before the grace period is over, or the harness calls it a hang.
    podrun.run(["rm", "polite"]).ok();
    podrun.nothing_left();
}

#[test]
fn the_images_stop_signal_is_used() {
    let podrun = Podrun::empty();
    let image = "localhost/stop:1";
    podrun.load(&crate::forge::image_over_probe(
        image,
        &json!({ "StopSignal": "SIGKILL" }),
        &[],
    ));
    let spec = json!({ "terminationGracePeriodSeconds": 50 });
    let container = json!({ "name": "a", "image": image, "command": ["/probe", "ignore-term"] });
    podrun.up(&pod("stop", spec, &[container])).ok();
    podrun.run(["rm", "stop"]).ok();
    podrun.nothing_left();
}
