//! `fsGroup`: volumes belong to a group that every process of the pod is in.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::{Value, json};

use crate::harness::{Mode, Podrun, container_with, documents, lasting, mode, require_mode};

const GROUP: u32 = 1234;

fn pod(name: &str, volumes: &Value) -> Value {
    let names: Vec<Value> = volumes
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| {
            let name = volume["name"].as_str().unwrap();
            json!({ "name": name, "mountPath": format!("/{name}") })
        })
        .collect();
    let container = container_with("a", &["ready-sleep"], &json!({ "volumeMounts": names }));
    let mut pod = lasting(name, &[container]);
    pod["spec"]["volumes"] = volumes.clone();
    pod["spec"]["securityContext"] =
        json!({ "fsGroup": GROUP, "runAsUser": 1000, "runAsGroup": 1000 });
    pod
}

fn up(podrun: &Podrun, all: &[Value]) {
    let manifest = podrun.manifest_text("all.yaml", &documents(all));
    podrun.run(["up", &manifest]).ok();
}

fn secret(password: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "login" },
        "stringData": { "password": password },
    })
}

#[test]
fn every_volume_that_podrun_makes_is_the_groups() {
    require_mode!(Mode::Root, Mode::User);
    let podrun = Podrun::new();
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "1Gi" } },
        },
    });
    let volumes = json!([
        { "name": "disk", "emptyDir": {} },
        { "name": "memory", "emptyDir": { "medium": "Memory" } },
        { "name": "claim", "persistentVolumeClaim": { "claimName": "data" } },
        { "name": "login", "secret": { "secretName": "login", "defaultMode": 0o400 } },
    ]);
    up(&podrun, &[claim, secret("one"), pod("p", &volumes)]);
    for volume in ["/disk", "/memory", "/claim"] {
        let stat = podrun.probe("p", "a", &["stat", volume]);
        assert_eq!(stat.trim(), "42777 0 1234", "{volume}");
        let file = format!("{volume}/file");
        podrun.probe("p", "a", &["write", &file, "x"]);
        let stat = podrun.probe("p", "a", &["stat", &file]);
        assert!(stat.trim().ends_with(" 1000 1234"), "{volume}: {stat}");
    }
    let is_the_groups = || {
        let stat = podrun.probe("p", "a", &["stat", "/login/password"]);
        assert_eq!(stat.trim(), "100440 0 1234");
        podrun.probe("p", "a", &["read", "/login/password"])
    };
    assert_eq!(is_the_groups(), "one");
    // The files of an update as well.
    up(&podrun, &[secret("two")]);
    assert_eq!(is_the_groups(), "two");
    let status = podrun.probe("p", "a", &["read", "/proc/self/status"]);
    let groups = status.lines().find(|line| line.starts_with("Groups:"));
    let groups: Vec<&str> = groups.unwrap().split_whitespace().skip(1).collect();
    assert!(groups.contains(&"1234"), "{groups:?}");
    podrun.run(["rm", "--all", "--volumes"]).ok();
    podrun.nothing_left();
}

#[test]
fn what_is_in_a_claim_becomes_the_groups_as_the_policy_says() {
    // Files of the machine's that an ordinary user's pods have no right to change the group of
    // are root's matter.
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let folder = podrun.files().join("data");
    fs::create_dir(&folder).unwrap();
    let outside = podrun.files().join("outside");
    fs::write(&outside, "").unwrap();
    std::os::unix::fs::symlink(&outside, folder.join("link")).unwrap();
    let file = folder.join("file");
    let reset = || {
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::chown(&file, None, Some(0)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let found = || {
        let stat = fs::symlink_metadata(&file).unwrap();
        (stat.mode() & 0o7777, stat.gid())
    };
    let objects = |kind: &str| {
        let spec = json!({
            "accessModes": ["ReadWriteOnce"],
            "capacity": { "storage": "1Gi" },
            "storageClassName": kind.to_ascii_lowercase(),
            kind: { "path": folder },
        });
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": kind.to_ascii_lowercase() },
            "spec": spec,
        });
        let spec = json!({
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": kind.to_ascii_lowercase(),
            "resources": { "requests": { "storage": "1Gi" } },
        });
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": kind.to_ascii_lowercase() }, "spec": spec,
        });
        [volume, claim]
    };
    for (kind, policy, read_only, expected) in [
        ("hostPath", "Always", false, (0o600, 0)),
        ("local", "Always", true, (0o640, GROUP)),
        ("local", "Always", false, (0o660, GROUP)),
        ("local", "OnRootMismatch", false, (0o600, 0)),
        ("local", "Always", false, (0o660, GROUP)),
    ] {
        reset();
        let source = json!({ "claimName": kind.to_ascii_lowercase(), "readOnly": read_only });
        let mut pod = pod(
            "p",
            &json!([{ "name": "v", "persistentVolumeClaim": source }]),
        );
        pod["spec"]["securityContext"]["fsGroupChangePolicy"] = policy.into();
        let [volume, claim] = objects(kind);
        up(&podrun, &[volume, claim, pod]);
        assert_eq!(found(), expected, "{kind} {policy} {read_only}");
        assert_eq!(fs::metadata(&outside).unwrap().gid(), 0);
        podrun.run(["rm", "p"]).ok();
    }
    podrun.nothing_left();
}

#[test]
fn a_group_that_pods_cannot_have_is_refused() {
    let podrun = Podrun::new();
    let volumes = json!([{ "name": "v", "emptyDir": {} }]);
    let mut pod = pod("p", &volumes);
    let (group, words) = match mode() {
        Mode::Root => (-1, "must be between 0 and 2147483647"),
        Mode::User => (100_000_000, "does not exist for this user"),
        Mode::Single => (0, "groups cannot be set"),
    };
    pod["spec"]["securityContext"] = json!({ "fsGroup": group });
    podrun
        .up(&pod)
        .code(3)
        .says("spec.securityContext.fsGroup")
        .says(words);
    podrun.nothing_left();
}
