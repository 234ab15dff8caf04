//! The codes `run` returns, and what it prints.

use serde_json::json;

use crate::harness::{Podrun, container, once, pod};

#[test]
fn run_returns_the_containers_code() {
    let podrun = Podrun::new();
    for code in [0, 1, 7, 255] {
        podrun
            .run_pod(&once(
                "code",
                &[container("a", &["exit", &code.to_string()])],
            ))
            .code(code);
        podrun.nothing_left();
    }
}

#[test]
fn run_returns_128_and_the_signal_that_ended_the_container() {
    let podrun = Podrun::new();
    // The first process of a pid namespace is immune to its own fatal signals but not to those of
    // a default fault; a shared namespace lets it be an ordinary process.
    let spec = json!({ "restartPolicy": "Never", "shareProcessNamespace": true });
    for (signal, code) in [(9, 137), (15, 143), (11, 139)] {
        let container = container("a", &["kill-self", &signal.to_string()]);
        podrun
            .run_pod(&pod("signal", spec.clone(), &[container]))
            .code(code);
    }
    podrun.nothing_left();
}

#[test]
fn run_returns_the_code_of_the_first_container_that_failed() {
    let podrun = Podrun::new();
    let spec = json!({
        "restartPolicy": "Never",
        "volumes": [{ "name": "v", "emptyDir": {} }],
    });
    let mount = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let with = |name, words: &[&str]| crate::harness::container_with(name, words, &mount);
    let three = [
        with("good", &["exit", "0"]),
        with("late", &["and", "wait-for", "/v/gone", "--", "exit", "9"]),
        with(
            "early",
            &["and", "write", "/v/gone", "x", "--", "exit", "7"],
        ),
    ];
    let output = podrun.run_pod(&pod("first", spec, &three));
    // `late` may win the race to be noticed, never `good`.
    assert!(
        output.code == 7 || output.code == 9,
        "{}: {}",
        output.code,
        output.stderr
    );
}

#[test]
fn run_prints_every_line_with_its_pod_and_container() {
    let podrun = Podrun::new();
    let two = [
        container("a", &["echo", "from a"]),
        container("b", &["echo", "from b"]),
    ];
    let output = podrun.run_pod(&once("prefixed", &two)).ok();
    let mut lines: Vec<&str> = output.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["prefixed/a │ from a", "prefixed/b │ from b"]);
}

#[test]
fn a_program_that_is_missing_is_said_and_leaves_nothing() {
    let podrun = Podrun::new();
    let container = json!({ "name": "a", "image": crate::harness::IMAGE, "command": ["/missing"] });
    let output = podrun.run_pod(&once("missing", &[container]));
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("/missing"), "{}", output.stderr);
    podrun.nothing_left();
}

#[test]
fn run_of_the_host_image_needs_no_registry() {
    let podrun = Podrun::empty();
    let container = json!({
        "name": "a", "image": "podrun.local/host", "command": ["sh", "-c", "echo from the host; exit 3"],
    });
    let output = podrun.run_pod(&once("host", &[container])).code(3);
    assert!(output.stdout.contains("from the host"), "{}", output.stdout);
    podrun.nothing_left();
}

#[test]
fn the_host_image_can_be_written_without_changing_the_host() {
    let podrun = Podrun::empty();
    let name = format!("/etc/podrun-test-{}", std::process::id());
    let script = format!("echo x >{name} && cat {name}");
    let container = json!({
        "name": "a", "image": "podrun.local/host", "command": ["sh", "-c", script],
    });
    let output = podrun.run_pod(&once("throwaway", &[container]));
    if crate::harness::mode() == crate::harness::Mode::Root {
        output.ok();
    }
    assert!(!std::fs::exists(&name).unwrap(), "{name} is on the host");
}
