//! Volumes of files that come from objects and from the pod itself.

use serde_json::{Value, json};

use crate::harness::{Mode, Podrun, container_with, documents, lasting, mode, until};
use crate::story::{Story, does_with, exec};

fn config_map(value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" },
        "data": { "a": value, "run.sh": "#!/probe\n" },
        "binaryData": { "raw": "/wA=" },
    })
}

fn secret() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "login" },
        "stringData": { "password": "s3cret" },
    })
}

fn pod() -> Value {
    let mounts = json!({ "volumeMounts": [
        { "name": "settings", "mountPath": "/settings" },
        { "name": "login", "mountPath": "/login" },
        { "name": "self", "mountPath": "/self" },
        { "name": "all", "mountPath": "/all" },
    ] });
    let container = container_with("a", &["ready-sleep"], &mounts);
    let mut pod = lasting("files", &[container]);
    pod["metadata"]["labels"] = json!({ "app": "web", "tier": "x\"y" });
    pod["spec"]["volumes"] = json!([
        { "name": "settings", "configMap": { "name": "settings", "defaultMode": 0o750 } },
        { "name": "login", "secret": { "secretName": "login", "defaultMode": 0o400 } },
        { "name": "self", "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "deep/name", "mode": 0o600, "fieldRef": { "fieldPath": "metadata.name" } },
        ] } },
        { "name": "all", "projected": { "sources": [
            { "configMap": { "name": "settings", "items": [{ "key": "a", "path": "from/map" }] } },
            { "secret": { "name": "login" } },
            { "configMap": { "name": "missing", "optional": true } },
        ] } },
    ]);
    pod
}

fn up(podrun: &Podrun, value: &str) {
    let all = documents(&[config_map(value), secret(), pod()]);
    let manifest = podrun.manifest_text("all.yaml", &all);
    podrun.run(["up", &manifest]).ok();
}

#[test]
fn files_are_what_the_objects_hold_with_the_modes_that_are_asked_for() {
    let podrun = Podrun::new();
    up(&podrun, "one");
    let read = |path: &str| podrun.probe("files", "a", &["read", path]);
    for (path, content) in [
        ("/settings/a", "one"),
        ("/settings/run.sh", "#!/probe\n"),
        ("/login/password", "s3cret"),
        ("/self/labels", "app=\"web\"\ntier=\"x\\\"y\""),
        ("/self/deep/name", "files"),
        ("/all/from/map", "one"),
        ("/all/password", "s3cret"),
    ] {
        assert_eq!(read(path), content, "{path}");
    }
    for (path, stat) in [
        ("/settings/a", "100750 0 0\n"),
        ("/settings/raw", "100750 0 0\n"),
        ("/login/password", "100400 0 0\n"),
        ("/self/labels", "100644 0 0\n"),
        ("/self/deep/name", "100600 0 0\n"),
        ("/all/from/map", "100644 0 0\n"),
        ("/settings", "40755 0 0\n"),
    ] {
        assert_eq!(podrun.probe("files", "a", &["stat", path]), stat, "{path}");
    }
    // Nobody in the pod may change them, root or not.
    for path in ["/settings/a", "/settings/new", "/login/password", "/all/x"] {
        let errno = podrun.probe("files", "a", &["write-errno", path]);
        assert_eq!(errno, format!("errno {}\n", libc::EROFS), "{path}");
    }
    podrun.run(["rm", "files"]).ok();
    podrun.nothing_left();
}

#[test]
fn a_changed_object_reaches_the_files_of_running_pods() {
    let podrun = Podrun::new();
    up(&podrun, "one");
    let id = podrun.pod("files")["metadata"]["uid"].clone();
    let read = |path: &str| podrun.probe("files", "a", &["read", path]);
    assert_eq!(read("/settings/a"), "one");
    // The pod itself need not be in the files.
    let mut changed = config_map("two");
    changed["data"].as_object_mut().unwrap().remove("run.sh");
    changed["data"]["more"] = "3".into();
    let manifest = podrun.manifest("changed.json", &changed);
    podrun.run(["up", &manifest]).ok();
    assert_eq!(podrun.pod("files")["metadata"]["uid"], id);
    assert_eq!(read("/settings/a"), "two");
    assert_eq!(read("/settings/more"), "3");
    assert_eq!(read("/all/from/map"), "two");
    assert_eq!(read("/login/password"), "s3cret");
    let gone = podrun.probe("files", "a", &["stat", "/settings/run.sh"]);
    assert_eq!(gone, format!("errno {}\n", libc::ENOENT));
    // What is needed and gone leaves the files as they are, and says so.
    let mut broken = config_map("three");
    broken["data"] = json!({ "other": "x" });
    let manifest = podrun.manifest("broken.json", &broken);
    podrun
        .run(["up", &manifest])
        .ok()
        .says("the volumes of pod/files stay as they were")
        .says("configmap/settings has no key `a`");
    assert_eq!(read("/settings/a"), "two");
}

#[test]
fn a_missing_object_starts_nothing_and_is_named_with_its_place() {
    let podrun = Podrun::new();
    let manifest = podrun.manifest("alone.json", &pod());
    podrun
        .run(["up", &manifest])
        .code(3)
        .says("configmap/settings is not in namespace default")
        .says("secret/login is not in namespace default");
    podrun.nothing_left();
}

#[test]
fn an_optional_object_that_comes_later_reaches_the_files_too() {
    let podrun = Podrun::new();
    let mounts = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let mut pod = lasting("early", &[container_with("a", &["ready-sleep"], &mounts)]);
    pod["spec"]["volumes"] = json!([
        { "name": "v", "configMap": { "name": "settings", "optional": true } },
    ]);
    podrun.up(&pod).ok();
    let stat = |path: &str| podrun.probe("early", "a", &["stat", path]);
    assert_eq!(stat("/v/a"), format!("errno {}\n", libc::ENOENT));
    let manifest = podrun.manifest("late.json", &config_map("late"));
    podrun.run(["up", &manifest]).ok();
    assert_eq!(podrun.probe("early", "a", &["read", "/v/a"]), "late");
    // What the API server would have filled in changes nothing.
    pod["spec"]["volumes"][0]["configMap"]["defaultMode"] = 0o644.into();
    let again = podrun.up(&pod).ok();
    assert!(
        again.stdout.contains("pod/early unchanged"),
        "{}",
        again.stdout
    );
}

#[test]
fn a_container_that_looks_all_the_time_sees_all_of_an_update_or_nothing() {
    let podrun = Podrun::new();
    let pair = |value: i32| {
        let mut map = config_map(&value.to_string());
        map["data"]["b"] = value.to_string().into();
        map
    };
    let last = 30;
    let mounts = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let words = ["watch-pair", "/v", &last.to_string()];
    let mut pod = lasting("watch", &[container_with("a", &words, &mounts)]);
    pod["spec"]["volumes"] = json!([{ "name": "v", "configMap": { "name": "settings" } }]);
    let manifest = podrun.manifest_text("both.yaml", &documents(&[pair(0), pod]));
    podrun.run(["up", &manifest]).ok();
    for value in 1..=last {
        let manifest = podrun.manifest("pair.json", &pair(value));
        podrun.run(["up", &manifest]).ok();
    }
    podrun.wait_for_log("watch", "a", "whole");
    let status = &podrun.pod("watch")["status"]["containerStatuses"][0];
    assert_eq!(status["restartCount"], 0);
}

#[test]
fn every_process_of_every_run_finds_the_files() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let mut fields = json!({ "lifecycle": { "postStart": exec("tell-file /v/a") } });
    fields["readinessProbe"] = exec("exists /v/a");
    let words = "and tell-file /v/a -- once /empty/once then leave 1 -- sleep";
    let mut pod = story.pod(
        "all",
        &json!({ "terminationGracePeriodSeconds": 1 }),
        &[does_with("first", "tell-file /v/a", &json!({}))],
        &[does_with("a", words, &fields)],
    );
    let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
    volumes.push(json!({ "name": "v", "configMap": { "name": "settings" } }));
    for list in ["initContainers", "containers"] {
        let mounts = pod["spec"][list][0]["volumeMounts"].as_array_mut().unwrap();
        mounts.push(json!({ "name": "v", "mountPath": "/v" }));
    }
    let all = documents(&[config_map("known"), pod]);
    podrun
        .run(["up", &podrun.manifest_text("all.yaml", &all)])
        .ok();
    // The init container, two runs and the hook of the second at least.
    until("all have told", || story.count("known") >= 4);
    assert_eq!(podrun.probe("all", "a", &["read", "/v/a"]), "known");
}

#[test]
fn files_belong_to_the_users_that_are_named() {
    let podrun = Podrun::new();
    let mounts = json!({
        "securityContext": { "runAsUser": 1000 },
        "volumeMounts": [{ "name": "v", "mountPath": "/v" }, { "name": "w", "mountPath": "/w" }],
    });
    let mut pod = lasting("owned", &[container_with("a", &["ready-sleep"], &mounts)]);
    let items = json!([
        { "key": "password", "path": "own" },
        { "key": "password", "path": "other", "user": 1001 },
    ]);
    let label = json!({ "path": "name", "fieldRef": { "fieldPath": "metadata.name" } });
    pod["spec"]["volumes"] = json!([
        { "name": "v", "secret": {
            "secretName": "login", "defaultMode": 0o400, "defaultUser": 1000, "items": items,
        } },
        { "name": "w", "projected": {
            "defaultUser": 1000, "sources": [{ "downwardAPI": { "items": [label] } }],
        } },
    ]);
    let all = documents(&[secret(), pod]);
    let manifest = podrun.manifest_text("all.yaml", &all);
    let output = podrun.run(["up", &manifest]);
    if mode() == Mode::Single {
        let output = output.code(3);
        for field in [
            "secret.defaultUser",
            "secret.items[1].user",
            "projected.defaultUser",
        ] {
            assert!(output.stderr.contains(field), "{field}\n{}", output.stderr);
        }
        output.says("the ids 0 to 0");
        return;
    }
    output.ok();
    for (path, expected) in [
        ("/v/own", "100400 1000 0"),
        ("/v/other", "100400 1001 0"),
        ("/w/name", "100644 1000 0"),
    ] {
        assert_eq!(
            podrun.probe("owned", "a", &["stat", path]).trim(),
            expected,
            "{path}"
        );
    }
    assert_eq!(podrun.probe("owned", "a", &["read", "/v/own"]), "s3cret");
    let denied = podrun.run(["exec", "owned", "--", "/probe", "read", "/v/other"]);
    assert_eq!(denied.code, 99, "{}", denied.stdout);
    // An update keeps them.
    let other = all.replace("s3cret", "n3w");
    podrun
        .run(["up", &podrun.manifest_text("other.yaml", &other)])
        .ok();
    until("the new secret is there", || {
        podrun.probe("owned", "a", &["read", "/v/own"]) == "n3w"
    });
    assert_eq!(
        podrun.probe("owned", "a", &["stat", "/v/own"]).trim(),
        "100400 1000 0"
    );
}
