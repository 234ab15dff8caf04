//! emptyDir and hostPath.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::{Podrun, container_with, lasting, mode, once, pod};

fn spec(volume: &Value) -> Value {
    let mut volume = volume.clone();
    volume["name"] = "v".into();
    json!({ "terminationGracePeriodSeconds": 1, "volumes": [volume] })
}

fn mounted(name: &str, words: &[&str]) -> Value {
    container_with(
        name,
        words,
        &json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }),
    )
}

#[test]
fn containers_of_a_pod_share_an_empty_dir_and_pods_do_not() {
    for kind in [
        json!({ "emptyDir": {} }),
        json!({ "emptyDir": { "medium": "Memory" } }),
    ] {
        let podrun = Podrun::new();
        let two = [
            mounted("a", &["ready-sleep"]),
            mounted("b", &["ready-sleep"]),
        ];
        podrun.up(&pod("one", spec(&kind), &two)).ok();
        podrun.up(&pod("other", spec(&kind), &two)).ok();
        podrun.probe("one", "a", &["write", "/v/word", "mine"]);
        assert_eq!(podrun.probe("one", "b", &["read", "/v/word"]), "mine");
        let elsewhere = podrun.run([
            "exec", "other", "-c", "a", "--", "/probe", "read", "/v/word",
        ]);
        assert_eq!(elsewhere.code, 99, "{kind}: {}", elsewhere.stdout);
        assert_eq!(
            podrun.probe("one", "b", &["stat", "/v"]).trim(),
            "40777 0 0"
        );
        podrun.run(["rm", "--all"]).ok();
        podrun.nothing_left();
    }
}

#[test]
fn an_empty_dir_survives_a_restart_and_not_the_pod() {
    let podrun = Podrun::new();
    let mut spec = spec(&json!({ "emptyDir": {} }));
    spec["restartPolicy"] = "OnFailure".into();
    let manifest = pod("restart", spec, &[mounted("a", &["count-starts", "/v/n"])]);
    let path = podrun.manifest("pod", &manifest);
    for _ in 0..2 {
        let mut command = podrun.command();
        command
            .env("PODRUN_BACKOFF_INITIAL", "10ms")
            .args(["run", &path]);
        let output = crate::harness::finish(command, b"").ok();
        assert!(output.stdout.ends_with("start 3\n"), "{}", output.stdout);
    }
}

#[test]
fn an_empty_dir_in_memory_has_the_size_it_was_given() {
    let podrun = Podrun::new();
    let volume = json!({ "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } });
    podrun
        .up(&pod(
            "small",
            spec(&volume),
            &[mounted("a", &["ready-sleep"])],
        ))
        .ok();
    assert_eq!(
        podrun
            .probe("small", "a", &["fill", "/v/x", "900000"])
            .trim(),
        "written"
    );
    assert_eq!(
        podrun
            .probe("small", "a", &["fill", "/v/x", "2000000"])
            .trim(),
        "errno 28"
    );
}

#[test]
fn a_read_only_mount_cannot_be_written() {
    let podrun = Podrun::new();
    let read_only =
        json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v", "readOnly": true }] });
    let two = [
        mounted("a", &["ready-sleep"]),
        container_with("b", &["ready-sleep"], &read_only),
    ];
    podrun
        .up(&pod("ro", spec(&json!({ "emptyDir": {} })), &two))
        .ok();
    assert_eq!(
        podrun.probe("ro", "a", &["write-errno", "/v/x"]).trim(),
        "ok"
    );
    assert_eq!(
        podrun.probe("ro", "b", &["write-errno", "/v/x"]).trim(),
        "errno 30"
    );
}

#[test]
fn a_host_path_is_the_hosts() {
    let podrun = Podrun::new();
    let dir = podrun.files().join("shared");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("from-host"), "host").unwrap();
    let volume = json!({ "hostPath": { "path": dir, "type": "Directory" } });
    podrun
        .up(&pod(
            "host",
            spec(&volume),
            &[mounted("a", &["ready-sleep"])],
        ))
        .ok();
    assert_eq!(podrun.probe("host", "a", &["read", "/v/from-host"]), "host");
    podrun.probe("host", "a", &["write", "/v/from-pod", "pod"]);
    assert_eq!(fs::read_to_string(dir.join("from-pod")).unwrap(), "pod");
    podrun.run(["rm", "host"]).ok();
    assert!(
        dir.join("from-pod").exists(),
        "rm does not touch the host's files"
    );
}

#[test]
fn a_relative_host_path_starts_at_the_manifests_folder() {
    let podrun = Podrun::new();
    let dir = podrun.files().join("project");
    fs::create_dir_all(dir.join("data")).unwrap();
    fs::write(dir.join("data/word"), "relative").unwrap();
    let volume = json!({ "hostPath": { "path": "./data" } });
    let manifest = once("relative", &[mounted("a", &["read", "/v/word"])]);
    let mut manifest = manifest;
    manifest["spec"]["volumes"] = json!([{ "name": "v", "hostPath": volume["hostPath"] }]);
    fs::write(dir.join("pod.json"), manifest.to_string()).unwrap();
    let output = podrun.run(["run", "project/pod.json"]).ok();
    assert!(output.stdout.contains("relative"), "{}", output.stdout);
}

#[test]
fn a_host_path_must_be_what_its_type_says() {
    let podrun = Podrun::new();
    let files = podrun.files();
    fs::write(files.join("file"), "").unwrap();
    fs::create_dir(files.join("dir")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(files.join("socket")).unwrap();
    let table = [
        ("Directory", "dir", true),
        ("Directory", "file", false),
        ("Directory", "missing", false),
        ("File", "file", true),
        ("File", "dir", false),
        ("File", "missing", false),
        ("Socket", "socket", true),
        ("Socket", "file", false),
        ("CharDevice", "/dev/null", true),
        ("CharDevice", "file", false),
        ("BlockDevice", "/dev/null", false),
        ("DirectoryOrCreate", "new/deep/dir", true),
        ("DirectoryOrCreate", "file", false),
        ("FileOrCreate", "new-file", true),
        ("FileOrCreate", "no/parent", false),
        ("", "dir", true),
        ("", "missing", false),
    ];
    for (kind, path, fine) in table {
        let volume = json!({ "hostPath": { "path": files.join(path), "type": kind } });
        let mut spec = spec(&volume);
        spec["restartPolicy"] = "Never".into();
        let output = podrun.run_pod(&pod("typed", spec, &[mounted("a", &["stat", "/v"])]));
        assert_eq!(
            output.code == 0,
            fine,
            "{kind} {path}: {}{}",
            output.stdout,
            output.stderr
        );
        if !fine {
            assert!(
                output.stderr.contains(path),
                "{kind} {path}: {}",
                output.stderr
            );
        }
    }
    let mode = |path: &str| fs::metadata(files.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("new/deep/dir"), 0o755);
    assert_eq!(mode("new-file"), 0o644);
    podrun.nothing_left();
}

#[test]
fn nested_mounts_are_made_from_the_outside_in() {
    let podrun = Podrun::new();
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "volumes": [{ "name": "outer", "emptyDir": {} }, { "name": "inner", "emptyDir": {} }],
    });
    let mounts = json!({ "volumeMounts": [
        { "name": "inner", "mountPath": "/v/deep/inner" },
        { "name": "outer", "mountPath": "/v" },
    ] });
    podrun
        .up(&pod(
            "nested",
            spec,
            &[container_with("a", &["ready-sleep"], &mounts)],
        ))
        .ok();
    podrun.probe("nested", "a", &["write", "/v/deep/inner/x", "inner"]);
    podrun.probe("nested", "a", &["write", "/v/x", "outer"]);
    assert_eq!(
        podrun.probe("nested", "a", &["read", "/v/deep/inner/x"]),
        "inner"
    );
    assert_eq!(podrun.probe("nested", "a", &["read", "/v/x"]), "outer");
}

#[test]
fn mounts_over_what_podrun_owns_are_refused() {
    let podrun = Podrun::new();
    for path in [
        "/proc",
        "/proc/self/attr",
        "/proc/sys",
        "/proc/sys/net",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/pts",
        "//proc//sys",
        "/proc/../proc/sys",
    ] {
        let mount = json!({ "volumeMounts": [{ "name": "v", "mountPath": path }] });
        let container = container_with("a", &["ready-sleep"], &mount);
        let output = podrun.up(&pod("over", spec(&json!({ "emptyDir": {} })), &[container]));
        assert_ne!(output.code, 0, "{path} on {:?}", mode());
        podrun.nothing_left();
    }
}

#[test]
fn what_a_container_leaves_in_a_volume_is_removed_whatever_it_is() {
    let podrun = Podrun::new();
    let container = json!({
        "name": "a", "image": "podrun.local/host",
        "command": ["sh", "-c", "cd /v && mkdir -p a/b/c && ln -s / link && mkfifo fifo && echo x >a/b/c/x && chmod 000 a/b/c a/b && echo done"],
        "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
    });
    let mut spec = spec(&json!({ "emptyDir": {} }));
    spec["restartPolicy"] = "Never".into();
    podrun.run_pod(&pod("messy", spec, &[container])).ok();
    podrun.nothing_left();
    podrun.run_pod(&lasting_once()).ok();
}

fn lasting_once() -> Value {
    let mut manifest = lasting("after", &[crate::harness::container("a", &["exit", "0"])]);
    manifest["spec"]["restartPolicy"] = "Never".into();
    manifest
}
