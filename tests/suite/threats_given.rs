//! What containers are given, say and use up.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::census::{self, Canary};
use crate::harness::{
    Podrun, container, container_with, documents, finish, lasting, once, pod, until, with_a_pod,
};
use crate::isolation::all_kinds_of;

/// V34 (CVE-2020-14370, CVE-2021-3602): what the caller's environment holds is in no process of a pod
/// and in no file, and neither is a Secret in a command line, a log or an event.
#[test]
fn secrets_are_where_they_are_asked_for_and_nowhere_else() {
    let podrun = Podrun::new();
    let token = Canary::TOKEN;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" },
        "stringData": { "password": "hidden-8c11" },
    });
    let fields = json!({ "env": [
        { "name": "P", "valueFrom": { "secretKeyRef": { "name": "s", "key": "password" } } },
    ] });
    let manifest = lasting(
        "pod",
        &[
            container_with("a", &["and", "environment", "--", "ready-sleep"], &fields),
            container("b", &["and", "environment", "--", "ready-sleep"]),
        ],
    );
    let run = |words: &[&str]| {
        let mut command = podrun.command();
        command
            .env("CANARY_ENV", token)
            .env("AWS_SECRET_ACCESS_KEY", token)
            .args(words);
        finish(command, b"").ok()
    };
    let all = documents(&[secret, manifest]);
    let said = run(&["up", &podrun.manifest_text("all.yaml", &all)]);
    for container in ["a", "b"] {
        let shown = run(&[
            "exec",
            "pod",
            "-c",
            container,
            "--",
            "/probe",
            "environment",
        ])
        .stdout;
        let logged = run(&["logs", "pod", "-c", container]).stdout;
        for text in [&shown, &logged] {
            assert!(!text.contains(token), "{container}: {text}");
            assert_eq!(
                text.contains("hidden-8c11"),
                container == "a",
                "{container}: {text}"
            );
        }
    }
    let described = run(&["describe", "pod/pod"]).stdout + &said.stdout + &said.stderr;
    assert!(!described.contains("hidden-8c11"), "{described}");
    let mut own = 0;
    for process in podrun.processes() {
        let read = |name: &str| {
            let bytes = fs::read(format!("/proc/{}/{name}", process.pid)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        assert!(!read("environ").contains(token), "{process:?}");
        let words = read("cmdline");
        assert!(
            !words.contains(token) && !words.contains("hidden-8c11"),
            "{process:?}"
        );
        own += 1;
    }
    assert!(own >= 4, "{own}");
    for path in census::files_below(&podrun.root().join("state")) {
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains(token), "{}", path.display());
        if text.contains("hidden-8c11") {
            let mode = fs::metadata(&path).unwrap().mode();
            assert_eq!(mode & 0o077, 0, "{}", path.display());
        }
    }
}

/// V29 (CVE-2021-25743): what a container says of itself, and what its files are called, cannot
/// command the terminal of who looks.
#[test]
fn what_containers_say_and_call_their_files_does_not_command_a_terminal() {
    let podrun = Podrun::new();
    let evil = "x\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m\rnew\u{202e}";
    let shared = podrun.files().join("shared");
    fs::create_dir(&shared).unwrap();
    symlink("/nowhere", shared.join(evil)).unwrap();
    let words = [
        "and",
        "write",
        "/dev/termination-log",
        evil,
        "--",
        "exit",
        "3",
    ];
    let mut manifest = once("said", &[container("a", &words)]);
    manifest["metadata"]["annotations"] = json!({ "note": evil });
    let mut lasting = lasting(
        "lives",
        &[container_with(
            "a",
            &["ready-sleep"],
            &json!({
                "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
                "env": [{ "name": "E", "value": evil }],
            }),
        )],
    );
    lasting["spec"]["volumes"] = json!([{ "name": "v", "hostPath": { "path": shared } }]);
    let path = podrun.manifest("said", &manifest);
    let mut shown = vec![podrun.run(["up", "--wait=none", &path])];
    podrun.until_phase("said", "Failed");
    shown.push(podrun.up(&lasting));
    for words in [
        &["ps", "-o", "wide"][..],
        &["describe", "pod/said"],
        &["describe", "pod/lives"],
        &["events", "said"],
        &["get", "pod/said", "-o", "json"],
        &["get", "pod/said", "-o", "yaml"],
        &["cp", "lives:/v", "copied"],
        &["cp", "lives:/x\u{1b}[2J", "copied"],
        &["exec", "lives", "--", evil],
        &["rm", evil],
    ] {
        shown.push(podrun.run(words));
    }
    for output in shown {
        let text = format!("{}{}", output.stdout, output.stderr);
        let is_harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
        assert!(text.chars().all(is_harmless), "{text:?}");
        // YAML has no escapes outside of quotes.
        assert!(
            text.starts_with("apiVersion") || !text.contains('\u{202e}'),
            "{text:?}"
        );
    }
}

/// V28 (CVE-2022-23471, CVE-2025-64329): commands that have come and gone leave nothing open.
#[test]
fn commands_that_failed_leave_no_descriptor_open() {
    let podrun = with_a_pod();
    let supervisor = census::supervisors(&podrun.root())[0];
    let open = || fs::read_dir(format!("/proc/{supervisor}/fd")).map_or(0, Iterator::count);
    let exec = |words: &[&str]| {
        let mut all = vec!["exec", "pod", "--"];
        all.extend(words);
        podrun.run(all).code
    };
    assert_eq!(exec(&["/missing"]), 127);
    let before = open();
    for _ in 0..25 {
        assert_eq!(exec(&["/missing"]), 127);
        assert_eq!(exec(&["/probe", "exit", "3"]), 3);
    }
    // The last command's answer may come before its descriptors are closed.
    until("as many descriptors as before", || open() <= before + 2);
}

/// V21 (CVE-2020-8557): what every container may write to has an end that is not the disk's.
#[test]
fn what_is_mounted_into_every_container_has_an_end() {
    let podrun = Podrun::new();
    let read_only = json!({ "securityContext": { "readOnlyRootFilesystem": true } });
    let one = container_with("a", &["ready-sleep"], &read_only);
    podrun.up(&lasting("full", &[one])).ok();
    for (path, size) in [
        ("/dev/termination-log", 2 << 20),
        ("/etc/hosts", 2 << 20),
        ("/etc/hostname", 2 << 20),
        ("/etc/resolv.conf", 2 << 20),
        ("/dev/shm/x", 65 << 20),
        ("/dev/x", 65 << 20),
    ] {
        let said = podrun.probe("full", "a", &["fill", path, &size.to_string()]);
        assert_eq!(said.trim(), "errno 28", "{path}");
    }
    // The pod goes on, and another one has its own.
    podrun.run(["restart", "full"]).ok();
    podrun
        .up(&lasting("other", &[container("a", &["ready-sleep"])]))
        .ok();
    let hosts = podrun.probe("other", "a", &["read", "/etc/hosts"]);
    assert!(hosts.contains("localhost"), "{hosts}");
}

/// V21: a run that fills the room for last words leaves it to the next one.
#[test]
fn last_words_without_end_are_gone_with_their_run() {
    let podrun = Podrun::new();
    let fill = |path| ["and", "fill", path, "2097152", "--", "exit", "1"];
    let own = json!({ "terminationMessagePath": "/var/last" });
    podrun.start(&pod(
        "fills",
        json!({ "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 1 }),
        &[
            container("a", &fill("/dev/termination-log")),
            container("still", &["ready-sleep"]),
            container_with("own", &["write", "/var/last", "words"], &own),
        ],
    ));
    let is_filled = |state: &Value| state["message"].as_str().is_some_and(|m| m.len() == 4096);
    for restarts in [3, 6] {
        podrun.until_status("fills", "was restarted often", |status| {
            let all = status["containerStatuses"].as_array();
            let one = all.and_then(|all| all.iter().find(|one| one["name"] == "a"));
            one.is_some_and(|one| {
                let last = &one["lastState"]["terminated"];
                one["restartCount"].as_u64() >= Some(restarts)
                    && (is_filled(last) || is_filled(&one["state"]["terminated"]))
            })
        });
    }
    podrun.run(["rm", "fills"]).ok();
    podrun.nothing_left();
}

/// V22 and V33 (CVE-2022-4318): what becomes a name or a line of a file is one, or nothing is made.
#[test]
fn what_becomes_a_name_or_a_line_of_a_file_is_one() {
    let podrun = Podrun::new();
    let map = |key: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": if key == "k" { "m" } else { "n" } },
            "data": { key: "x" },
        })
    };
    let with = |spec: &Value| {
        let mut pod = lasting("pod", &[container("a", &["ready-sleep"])]);
        for (key, value) in spec.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        pod
    };
    let file = |path: &str| {
        with(&json!({ "volumes": [{ "name": "v", "configMap": {
            "name": "m", "items": [{ "key": "k", "path": path }] } }] }))
    };
    let alias =
        |ip: &str, name: &str| with(&json!({ "hostAliases": [{ "ip": ip, "hostnames": [name] }] }));
    let long = "x".repeat(300);
    let mut manifests: Vec<Value> = [
        "..", "../x", "..data", "/abs", "a/b", "", "a\nb", "a\0b", &long,
    ]
    .iter()
    .map(|key| map(key))
    .collect();
    manifests.extend(["..", "../x", "..2024", "/abs", "a/../../b", "", "a/.."].map(file));
    manifests.extend([
        alias("1.2.3.4\n5.6.7.8", "name"),
        alias("1.2.3.4", "name\n5.6.7.8 registry"),
        alias("1.2.3.4", "name #"),
        alias("1.2.3.4", ""),
        with(&json!({ "hostname": "a\nb" })),
        with(&json!({ "hostname": "../../etc" })),
        with(&json!({ "volumes": [{ "name": "v", "configMap":
            { "name": "m", "defaultMode": 0o4755 } }] })),
        with(&json!({ "volumes": [{ "name": "../v", "emptyDir": {} }] })),
    ]);
    for name in ["../x", "-rf", "a\nb", "a b", "", ".", long.as_str()] {
        let mut pod = with(&json!({}));
        pod["metadata"]["name"] = name.into();
        manifests.push(pod);
        let mut map = map("k");
        map["metadata"]["name"] = name.into();
        manifests.push(map);
    }
    let good = documents(&[map("k"), file("a..b")]);
    podrun
        .run(["up", "--dry-run", &podrun.manifest_text("good.yaml", &good)])
        .ok();
    for manifest in manifests {
        // With all that it names.
        let path = documents(&[map("k"), manifest.clone()]);
        let path = podrun.manifest_text("bad.yaml", &path);
        let output = podrun.run(["up", &path]);
        assert_eq!(output.code, 3, "{manifest}: {}", output.stderr);
    }
    podrun.nothing_left();
    let objects = podrun.root().join("state/objects");
    let files = |path: &Path| fs::symlink_metadata(path).unwrap().is_file();
    let kept: Vec<_> = census::files_below(&objects);
    assert!(!kept.iter().any(|path| files(path)), "{kept:?}");
}

/// V02 (CVE-2024-21626): whatever its caller has left open, no process of a container has it.
#[test]
fn no_process_of_a_container_has_what_the_caller_left_open() {
    let podrun = Podrun::new();
    let leak = "exec 3</ 4<$PODRUN_ROOT 5</etc/passwd 6<&0 9<.; exec \"$0\" \"$@\"";
    let start = |manifest: &Value| {
        let mut command = podrun.environment(Command::new("sh"));
        command
            .args(["-c", leak])
            .arg(crate::harness::binary())
            .args(["up", "--wait=none", &podrun.manifest("kinds", manifest)])
            .env("PODRUN_BACKOFF_INITIAL", "10ms");
        finish(command, b"").ok();
    };
    let kinds = all_kinds_of(&podrun, &json!({}), &json!({}), start);
    assert_eq!(kinds.len(), 5);
    for (kind, report) in kinds {
        let open = report["fds"].as_object().unwrap();
        let numbers: Vec<&str> = open.keys().map(String::as_str).collect();
        assert_eq!(numbers, ["0", "1", "2"], "{kind}: {open:?}");
        for target in open.values().filter_map(Value::as_str) {
            let is_fine = target == "/dev/null" || target.starts_with("pipe:");
            assert!(is_fine, "{kind}: {target}");
        }
    }
}
