//! Looking into running pods: `attach`, `debug`, `restart`, `events`, `describe`, and what they
//! say when there is nothing to see.

use serde_json::{Value, json};

use crate::harness::{
    IMAGE, Podrun, Running, container, container_with, finish, lasting, once, pod, until,
};
use crate::terminal::Terminal;

#[test]
fn attach_passes_input_and_output_on_and_ends_with_the_containers_code() {
    let podrun = Podrun::new();
    let console = json!({ "stdin": true, "stdinOnce": true });
    let reader = container_with("a", &["and", "cat", "--", "exit", "7"], &console);
    podrun.up(&once("attached", &[reader])).ok();
    let mut command = podrun.command();
    command
        .args(["attach", "-i", "attached"])
        .stdin(std::process::Stdio::piped());
    // `stdinOnce`: the end of this input is the end of the container's.
    let output = finish(command, b"words from outside\n").code(7);
    assert_eq!(output.stdout, "words from outside\n");
    assert_eq!(
        podrun.run(["logs", "attached"]).ok().stdout,
        "words from outside\n"
    );
}

#[test]
fn an_attached_client_that_reads_slowly_gets_everything() {
    let podrun = Podrun::new();
    let console = json!({ "stdin": true, "stdinOnce": true });
    let words = [
        "and",
        "cat",
        "--",
        "counted-lines",
        "40000",
        "--",
        "exit",
        "7",
    ];
    let reader = container_with("a", &words, &console);
    podrun.up(&once("slow", &[reader])).ok();
    let mut command = podrun.command();
    command
        .args(["attach", "-i", "slow"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut client = command.spawn().unwrap();
    // The end of its input is the begin of the lines.
    drop(client.stdin.take());
    // Until nothing moves any more: everything on the way is full.
    let logged = || podrun.run(["logs", "slow"]).ok().bytes.len();
    let mut before = 0;
    until("its output waits for a reader", || {
        let now = logged();
        now > 300_000 && std::mem::replace(&mut before, now) == now
    });
    let mut received = Vec::new();
    std::io::Read::read_to_end(&mut client.stdout.take().unwrap(), &mut received).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(7));
    let lines: Vec<u8> = (0..40_000)
        .flat_map(|n| format!("{n:0>99}\n").into_bytes())
        .collect();
    assert_eq!(received.len(), lines.len());
    assert!(received == lines);
}

#[test]
fn a_debug_container_that_cannot_start_says_why() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("patient", &[container("a", &["ready-sleep"])]))
        .ok();
    let words = [
        "debug", "patient", "--attach", "--image", IMAGE, "--", "/missing",
    ];
    podrun.run(words).code(128).says("/missing");
}

#[test]
fn a_container_without_input_reads_its_end_and_attach_says_so() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("deaf", &[container("a", &["ready-sleep"])]))
        .ok();
    podrun
        .run(["attach", "-i", "deaf"])
        .code(1)
        .says("reads no input: `stdin` is not set in its manifest");
    podrun
        .run(["attach", "-t", "deaf"])
        .code(1)
        .says("has no terminal");
    podrun.run(["attach", "deaf", "-c", "none"]).code(4);
}

#[test]
fn attach_to_a_terminal_types_and_follows_the_window() {
    let podrun = Podrun::empty();
    let script = "while read word; do stty size; echo \"read $word\"; \
                  [ \"$word\" = end ] && exit 5; done";
    let shell = json!({
        "name": "a", "image": "podrun.local/host", "command": ["sh", "-c", script],
        "stdin": true, "tty": true,
    });
    podrun.up(&once("typing", &[shell])).ok();
    let mut command = podrun.command();
    command
        .args(["attach", "-it", "typing"])
        .env("TERM", "xterm");
    let mut terminal = Terminal::start(&command, 31, 99);
    terminal.wait_for("try pressing enter");
    terminal.type_text("one\r");
    terminal.wait_for("31 99");
    terminal.wait_for("read one");
    terminal.resize(41, 111);
    terminal.type_text("two\r");
    terminal.wait_for("41 111");
    terminal.type_text("end\r");
    let (code, shown) = terminal.end();
    assert_eq!(code, 5, "{shown}");
}

#[test]
fn debug_adds_a_container_that_sees_its_target_and_is_no_part_of_the_pods_health() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("patient", &[container("a", &["ready-sleep"])]))
        .ok();
    let words = |container: &str, command: &[&str]| -> Vec<String> {
        ["debug", "patient", "--image", IMAGE, "-c", container, "--"]
            .iter()
            .chain(command)
            .map(|word| (*word).to_owned())
            .collect()
    };
    // Its own code, its own output.
    let mut attached = words("first", &["/probe", "exit", "6"]);
    attached.insert(2, "--attach".to_owned());
    podrun.run(attached).code(6);
    // In the target's pid namespace process 1 is the target's.
    let mut seeing = words("second", &["/probe", "read", "/proc/1/cmdline"]);
    seeing.insert(2, "--attach".to_owned());
    seeing.insert(2, "--target=a".to_owned());
    let seen = podrun.run(seeing).ok().stdout;
    assert_eq!(seen, "/probe\0ready-sleep\0");
    // Without a target it has its own.
    let mut alone = words("third", &["/probe", "read", "/proc/1/cmdline"]);
    alone.insert(2, "--attach".to_owned());
    assert!(podrun.run(alone).ok().stdout.contains("/proc/1/cmdline"));
    podrun.run(words("first", &["/probe", "sleep"])).code(1);
    let mut lost = words("fourth", &["/probe", "sleep"]);
    lost.insert(2, "--target=nobody".to_owned());
    podrun.run(lost).code(4);

    let pod = podrun.pod("patient");
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["spec"]["ephemeralContainers"][0]["name"], "first");
    let ended = &pod["status"]["ephemeralContainerStatuses"][0];
    assert_eq!(ended["state"]["terminated"]["exitCode"], 6);
    assert_eq!(ended["restartCount"], 0);
    let listed = podrun.run(["ps", "--no-headers"]).ok().stdout;
    assert!(listed.contains("1/1"), "{listed}");
}

#[test]
fn a_debug_container_ends_with_its_pod() {
    let podrun = Podrun::new();
    let spec = json!({ "restartPolicy": "Never", "terminationGracePeriodSeconds": 1 });
    podrun
        .up(&pod("short", spec, &[container("a", &["wait-for", "/go"])]))
        .ok();
    podrun
        .run([
            "debug", "short", "--image", IMAGE, "-c", "d", "--", "/probe", "sleep",
        ])
        .ok();
    podrun
        .run([
            "exec", "short", "-c", "a", "--", "/probe", "write", "/go", "",
        ])
        .ok();
    podrun
        .run(["wait", "short", "--for=done", "--timeout=30s"])
        .ok();
    assert_eq!(podrun.pod("short")["status"]["phase"], "Succeeded");
    crate::census::assert_no_processes(&podrun.root());
}

#[test]
fn restart_starts_everything_again_in_the_same_pod() {
    let podrun = Podrun::new();
    let mounts = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let spec = json!({
        "terminationGracePeriodSeconds": 5,
        "volumes": [{ "name": "v", "emptyDir": {} }],
        "initContainers": [container_with("i", &["append", "/v/log", "i"], &mounts)],
    });
    let words = ["and", "append", "/v/log", "a", "--", "on-term", "0"];
    podrun
        .up(&pod("again", spec, &[container_with("a", &words, &mounts)]))
        .ok();
    podrun.wait_for_log("again", "a", "ready");
    let address = podrun.pod("again")["status"]["podIP"].clone();
    let said = podrun.run(["restart", "again"]).ok().stdout;
    assert_eq!(said, "pod/again restarted\n");
    until("both have run again", || {
        podrun
            .run(["exec", "again", "--", "/probe", "read", "/v/log"])
            .stdout
            == "iaia"
    });
    let status = podrun.pod("again")["status"].clone();
    assert_eq!(status["podIP"], address);
    for list in ["initContainerStatuses", "containerStatuses"] {
        assert_eq!(status[list][0]["restartCount"], 1, "{status}");
    }
    podrun.run(["restart", "nobody"]).code(4);
}

#[test]
fn events_and_describe_tell_what_happened_in_the_kubelets_words() {
    let podrun = Podrun::new();
    let probed = container_with(
        "a",
        &["ready-sleep"],
        &json!({ "readinessProbe": {
            "exec": { "command": ["/probe", "and", "echo", "not yet", "--", "exit", "1"] },
            "periodSeconds": 1,
        } }),
    );
    let path = podrun.manifest("pod", &lasting("eventful", &[probed]));
    podrun.run(["up", "--wait=none", &path]).ok();
    until("the probe has failed", || {
        podrun
            .run(["events", "eventful"])
            .stdout
            .contains("Readiness probe failed: not yet")
    });
    let listed = podrun.run(["events"]).ok().stdout;
    let head: Vec<&str> = listed.lines().next().unwrap().split("   ").collect();
    assert_eq!(head[0], "LAST SEEN", "{listed}");
    assert!(listed.contains("Started container a"), "{listed}");
    let json: Value =
        serde_json::from_str(&podrun.run(["events", "-o", "json"]).ok().stdout).unwrap();
    let unhealthy = json["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["reason"] == "Unhealthy")
        .unwrap();
    assert_eq!(unhealthy["kind"], "Event");
    assert_eq!(unhealthy["type"], "Warning");
    assert_eq!(unhealthy["involvedObject"]["name"], "eventful");
    assert_eq!(
        unhealthy["involvedObject"]["fieldPath"],
        "spec.containers{a}"
    );
    let described = podrun.run(["describe", "eventful"]).ok().stdout;
    for words in [
        "Name:             eventful",
        "Readiness:      exec [/probe and echo not yet -- exit 1] delay=0s timeout=1s period=1s",
        "ContainersNotReady",
        "Unhealthy",
    ] {
        assert!(
            described.contains(words),
            "`{words}` is not in:\n{described}"
        );
    }
    podrun.run(["describe", "pod/nobody"]).code(4);
    podrun.run(["events", "nobody"]).code(4);
}

#[test]
fn a_readiness_gate_opens_with_its_condition() {
    let podrun = Podrun::new();
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "readinessGates": [{ "conditionType": "example.com/lb" }],
    });
    let path = podrun.manifest(
        "pod",
        &pod("gated", spec, &[container("a", &["ready-sleep"])]),
    );
    podrun
        .run(["up", "--wait=running", &path])
        .ok()
        .says("podrun condition set POD example.com/lb=True");
    podrun
        .run(["wait", "gated", "--for=condition=ContainersReady"])
        .ok();
    let ready = podrun.run(["get", "pod/gated", "-o", "json"]).ok().stdout;
    assert!(ready.contains("ReadinessGatesNotReady"), "{ready}");
    podrun
        .run(["condition", "set", "gated", "example.com/other=True"])
        .code(2)
        .says("they wait for example.com/lb");
    podrun
        .run(["condition", "set", "gated", "example.com/lb=True"])
        .ok();
    podrun
        .run(["wait", "gated", "--for=condition=Ready", "--timeout=20s"])
        .ok();
}

#[test]
fn a_pod_that_is_being_deleted_is_shown_as_terminating() {
    let podrun = Podrun::new();
    let spec = json!({ "terminationGracePeriodSeconds": 50 });
    podrun
        .up(&pod("stubborn", spec, &[container("a", &["ignore-term"])]))
        .ok();
    podrun.wait_for_log("stubborn", "a", "ready");
    let mut command = podrun.command();
    command.args(["rm", "stubborn"]);
    let removing = Running::start(command, b"");
    until("it is terminating", || {
        podrun.run(["ps"]).stdout.contains("Terminating")
    });
    let metadata = podrun.pod("stubborn")["metadata"].clone();
    assert!(metadata["deletionTimestamp"].is_string(), "{metadata}");
    assert_eq!(metadata["deletionGracePeriodSeconds"], 50);
    podrun.run(["rm", "stubborn", "--force"]).ok();
    removing.end().ok();
    podrun.nothing_left();
}

#[test]
fn a_pod_whose_empty_dir_has_grown_too_large_is_evicted() {
    let podrun = Podrun::new();
    let mounts = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "volumes": [{ "name": "v", "emptyDir": { "sizeLimit": "1Mi" } }],
    });
    let words = ["and", "fill", "/v/big", "4194304", "--", "on-term", "0"];
    let path = podrun.manifest(
        "pod",
        &pod("fat", spec, &[container_with("a", &words, &mounts)]),
    );
    podrun.run(["up", "--wait=none", &path]).ok();
    until("it is evicted", || {
        podrun.pod("fat")["status"]["reason"] == "Evicted"
    });
    until("it has ended", || {
        podrun.pod("fat")["status"]["phase"] == "Failed"
    });
    assert_eq!(
        podrun.pod("fat")["status"]["message"],
        "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "
    );
}
