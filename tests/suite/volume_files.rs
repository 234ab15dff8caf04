//! Volumes of files that come from objects and from the pod itself.

use serde_json::{Value, json};

use crate::harness::{Podrun, container_with, lasting};

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

fn documents(all: &[Value]) -> String {
    let texts: Vec<String> = all.iter().map(Value::to_string).collect();
    texts.join("\n---\n")
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
