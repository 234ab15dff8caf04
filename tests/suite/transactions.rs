//! `up` does all of it or nothing, and doing it again changes nothing.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::census;
use crate::harness::{
    Podrun, Running, container, container_with, documents, free_port, lasting, once, pod, until,
};

#[test]
fn an_image_that_does_not_exist_starts_nothing() {
    let podrun = Podrun::new();
    let missing =
        json!({ "name": "b", "image": "localhost/missing:1", "imagePullPolicy": "Never" });
    let spec = json!({ "restartPolicy": "Never" });
    let output = podrun.up(&pod(
        "half",
        spec,
        &[container("a", &["sleep"]), missing.clone()],
    ));
    assert_ne!(output.code, 0);
    assert!(
        output.stderr.contains("localhost/missing:1"),
        "{}",
        output.stderr
    );
    podrun.nothing_left();

    // Nor does one in the second pod start the first.
    let two = [
        lasting("good", &[container("a", &["sleep"])]),
        lasting("bad", &[missing]),
    ];
    let path = podrun.manifest_text("two.yaml", &documents(&two));
    assert_ne!(podrun.run(["up", &path]).code, 0);
    podrun.nothing_left();
}

#[test]
fn a_registry_that_does_not_answer_starts_nothing() {
    let podrun = Podrun::new();
    let image = format!("127.0.0.1:{}/nothing:1", free_port());
    let missing = json!({ "name": "b", "image": image });
    let output = podrun.up(&lasting(
        "unreachable",
        &[container("a", &["sleep"]), missing],
    ));
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains(&image), "{}", output.stderr);
    podrun.nothing_left();
}

#[test]
fn a_container_that_fails_undoes_everything_and_shows_its_log() {
    let podrun = Podrun::new();
    let failing = container("bad", &["and", "echo", "my last words", "--", "exit", "3"]);
    let pods = [
        lasting("one", &[container("a", &["ready-sleep"])]),
        once("two", &[failing]),
    ];
    let path = podrun.manifest_text("two.yaml", &documents(&pods));
    let output = podrun.run(["up", "--wait=done", &path]);
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("my last words"), "{}", output.stderr);
    podrun.nothing_left();
}

#[test]
fn a_pod_that_was_there_before_survives_a_failed_up() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("old", &[container("a", &["ready-sleep"])]))
        .ok();
    let missing =
        json!({ "name": "b", "image": "localhost/missing:1", "imagePullPolicy": "Never" });
    assert_ne!(podrun.up(&lasting("new", &[missing])).code, 0);
    let names: Vec<Value> = podrun
        .pods()
        .iter()
        .map(|pod| pod["metadata"]["name"].clone())
        .collect();
    assert_eq!(names, ["old"]);
    assert_eq!(podrun.probe("old", "a", &["echo", "alive"]), "alive\n");
}

#[test]
fn a_signal_before_up_returns_undoes_what_it_started() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let podrun = Podrun::new();
        let waiting = container("a", &["ready-sleep"]);
        let path = podrun.manifest("pod", &once("interrupted", &[waiting]));
        let mut command = podrun.command();
        // It never is done, so up waits until it is told otherwise.
        command.args(["up", "--wait=done", &path]);
        let running = Running::start(command, b"");
        until("the container runs", || {
            podrun.run(["logs", "interrupted"]).stdout.contains("ready")
        });
        let before = podrun.processes();
        assert!(
            before.len() >= 3,
            "supervisor, pause and container: {before:?}"
        );
        let namespaces = census::namespaces_of(&before);
        running.signal(signal);
        running.end().code(code);
        census::assert_all_end(&before);
        census::assert_namespaces_gone(&namespaces);
        podrun.nothing_left();
    }
}

#[test]
fn a_signal_at_any_moment_leaves_nothing_or_a_whole_pod() {
    let podrun = Podrun::new();
    let path = podrun.manifest(
        "pod",
        &lasting("moment", &[container("a", &["on-term", "0"])]),
    );
    // Spread over the time a start takes; which step is hit differs from run to run.
    for delay in [0_u64, 2, 4, 6, 8, 11, 15, 20, 30, 45] {
        let mut command = podrun.command();
        command.args(["up", &path]);
        let running = Running::start(command, b"");
        std::thread::sleep(std::time::Duration::from_millis(delay));
        running.signal(Signal::TERM);
        let output = running.end();
        if output.code == 0 {
            podrun.run(["rm", "moment"]).ok();
        } else {
            assert_eq!(output.code, 143, "{}", output.stderr);
        }
        podrun.nothing_left();
    }
}

#[test]
fn killing_the_front_end_leaves_nothing_or_a_whole_pod() {
    let podrun = Podrun::new();
    let path = podrun.manifest(
        "pod",
        &lasting("killed", &[container("a", &["on-term", "0"])]),
    );
    for delay in [0_u64, 3, 6, 9, 13, 18, 25, 40] {
        let mut command = podrun.command();
        command.args(["up", &path]);
        let running = Running::start(command, b"");
        std::thread::sleep(std::time::Duration::from_millis(delay));
        running.signal(Signal::KILL);
        running.end();
        until("the supervisor has noticed", || {
            podrun.processes().is_empty() || !podrun.pods().is_empty()
        });
        podrun.run(["rm", "killed", "--ignore-not-found"]).ok();
        podrun.run(["prune"]).ok();
        podrun.nothing_left();
    }
}

#[test]
fn the_same_file_again_changes_nothing_and_says_so() {
    let podrun = Podrun::new();
    let manifest = lasting("same", &[container("a", &["ready-sleep"])]);
    podrun.up(&manifest).ok();
    let before = podrun.pod("same")["metadata"]["uid"].clone();
    let processes = podrun.processes();
    let output = podrun.up(&manifest).ok();
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains("unchanged"), "{said}");
    assert_eq!(podrun.pod("same")["metadata"]["uid"], before);
    assert_eq!(podrun.processes(), processes);
}

#[test]
fn only_the_pod_that_changed_is_replaced() {
    let podrun = Podrun::new();
    let stays = lasting("stays", &[container("a", &["on-term", "0"])]);
    let old = lasting("changes", &[container("a", &["on-term", "0"])]);
    let path = podrun.manifest_text("both.yaml", &documents(&[stays.clone(), old]));
    podrun.run(["up", &path]).ok();
    let uid = |name: &str| podrun.pod(name)["metadata"]["uid"].clone();
    let (stays_before, changes_before) = (uid("stays"), uid("changes"));
    let new = container_with(
        "a",
        &["on-term", "0"],
        &json!({ "env": [{ "name": "NEW", "value": "1" }] }),
    );
    let both = documents(&[stays, lasting("changes", &[new])]);
    let path = podrun.manifest_text("both.yaml", &both);
    podrun.run(["up", &path]).ok();
    assert_eq!(uid("stays"), stays_before);
    assert_ne!(uid("changes"), changes_before);
    podrun.run(["down", &path]).ok();
    podrun.nothing_left();
}

#[test]
fn a_port_that_is_taken_starts_nothing() {
    let podrun = Podrun::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ports =
        json!({ "ports": [{ "containerPort": 80, "hostPort": port, "hostIP": "127.0.0.1" }] });
    let output = podrun.up(&lasting("port", &[container_with("a", &["sleep"], &ports)]));
    assert_ne!(output.code, 0);
    assert!(
        output.stderr.contains(&port.to_string()),
        "{}",
        output.stderr
    );
    podrun.nothing_left();
}

#[test]
fn a_time_out_undoes_what_was_started() {
    let podrun = Podrun::new();
    let path = podrun.manifest("pod", &once("slow", &[container("a", &["ready-sleep"])]));
    podrun
        .run(["up", "--wait=done", "--timeout", "300ms", &path])
        .code(124);
    podrun.nothing_left();
}

#[test]
fn a_dry_run_starts_nothing() {
    let podrun = Podrun::new();
    let path = podrun.manifest("pod", &once("dry", &[container("a", &["sleep"])]));
    podrun.run(["up", "--dry-run", &path]).ok();
    podrun.nothing_left();
}

#[test]
fn down_removes_what_up_made_and_is_content_when_it_is_gone() {
    let podrun = Podrun::new();
    let path = podrun.manifest(
        "pod",
        &lasting("gone", &[container("a", &["on-term", "0"])]),
    );
    podrun.run(["up", &path]).ok();
    podrun.run(["down", &path]).ok();
    podrun.nothing_left();
    podrun.run(["down", "--ignore-not-found", &path]).ok();
}

#[test]
fn a_pod_with_more_to_tell_than_a_message_holds_starts_whoever_listens() {
    let podrun = Podrun::new();
    let containers: Vec<_> = (0..400)
        .map(|number| container(&format!("c{number}"), &["on-term", "0"]))
        .collect();
    let manifest = podrun.manifest("many.json", &lasting("many", &containers));
    let mut command = podrun.command();
    command.args(["up", &manifest]);
    let up = Running::start(command, b"");
    until("its supervisor has it", || {
        let mut pods = podrun.pods().into_iter();
        pods.any(|pod| pod["status"]["containerStatuses"].is_array())
    });
    // What it does not read must keep nobody, and it must get it later.
    up.signal(Signal::STOP);
    let running = |status: &Value| {
        let all = status["containerStatuses"].as_array();
        all.is_some_and(|all| all.iter().all(|one| one["state"]["running"].is_object()))
    };
    let status = podrun.until_status("many", "all containers run", running);
    assert!(status.to_string().len() > 128 * 1024);
    up.signal(Signal::CONT);
    up.end().ok();
    podrun.run(["rm", "many"]).ok();
    podrun.nothing_left();
}
