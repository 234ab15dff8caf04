//! What a hostile container, or what somebody has planted, must not get of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::census::{self, Canary};
use crate::harness::{
    Mode, Podrun, container, container_with, documents, lasting, mode, pod, require_mode, until,
};

/// The directory of a pod's records, logs and volumes.
fn directory(podrun: &Podrun, name: &str) -> PathBuf {
    let pod = podrun.pod(name);
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    podrun
        .root()
        .join(format!("state/pods/default_{name}_{uid}"))
}

/// No mount of the machine's own leads to or from this path.
#[track_caller]
fn assert_no_mount_names(path: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(path.to_str().unwrap()), "{table}");
}

/// V12 and V13 (CVE-2021-30465, CVE-2024-45310): one container exchanges a directory of a shared
/// volume for a link to the host while another one, that has mounts below the directory, is started
/// again and again. What the mounts need is made in the container or not at all.
#[test]
fn a_mount_point_that_is_exchanged_for_a_link_meanwhile_is_made_nowhere_else() {
    let podrun = Podrun::new();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let whole = json!({ "volumeMounts": [
        { "name": "v", "mountPath": "/v" },
        { "name": "story", "mountPath": "/story" },
    ] });
    let target = canary.path().to_str().unwrap();
    let prepare = [
        "and",
        "make-dir",
        "/v/sub",
        "--",
        "link",
        target,
        "/v/link",
        "--",
        "write",
        "/story/file",
        "",
    ];
    let victim = json!({
        "terminationMessagePath": "/m/sub/last-words",
        "volumeMounts": [
            { "name": "v", "mountPath": "/m" },
            { "name": "other", "mountPath": "/m/sub/directory/deep" },
            { "name": "story", "mountPath": "/m/sub/file", "subPath": "file" },
            { "name": "story", "mountPath": "/story" },
        ],
    });
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "volumes": [
            { "name": "v", "emptyDir": {} },
            { "name": "other", "emptyDir": {} },
            { "name": "story", "emptyDir": {} },
        ],
        "initContainers": [container_with("prepare", &prepare, &whole)],
    });
    podrun.start(&pod(
        "race",
        spec,
        &[
            container_with("racer", &["swap", "/v/sub", "/v/link"], &whole),
            container_with("victim", &["tell", "started"], &victim),
            container_with("watcher", &["ready-sleep"], &whole),
        ],
    ));
    let told = ["exec", "race", "-c", "watcher", "--", "/probe", "read"];
    until("the victim was started often", || {
        let output = podrun.run(told.iter().chain(&["/story/told"]));
        output.stdout.lines().count() >= 50
    });
    let output = podrun.run(["rm", "race"]);
    canary.assert_untouched();
    output.ok();
    assert_no_mount_names(canary.path());
    podrun.nothing_left();
}

/// V20 (CVE-2025-9566): what podrun writes for a `ConfigMap` does not go through a link that an earlier
/// pod has left where the files belong, be it in the volume itself or in a claim around it.
#[test]
fn a_link_left_in_a_claim_is_not_what_a_config_map_is_written_through() {
    let podrun = Podrun::new();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let target = canary.path().join("planted");
    let target = target.to_str().unwrap();
    let data = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "data" }, "data": { "foo": "word" },
    });
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "claim" },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "1Mi" } },
        },
    });
    let volumes = json!([
        { "name": "claim", "persistentVolumeClaim": { "claimName": "claim" } },
        { "name": "data", "configMap": { "name": "data" } },
    ]);
    let with = |name: &str, mounts: &Value| {
        let mounts = json!({ "volumeMounts": mounts });
        let mut one = lasting(name, &[container_with("a", &["ready-sleep"], &mounts)]);
        one["spec"]["volumes"] = volumes.clone();
        one
    };
    let plants = json!([{ "name": "claim", "mountPath": "/v" },
                        { "name": "data", "mountPath": "/w" }]);
    let through = json!([{ "name": "claim", "mountPath": "/v" },
                         { "name": "data", "mountPath": "/v/foo", "subPath": "foo" },
                         { "name": "data", "mountPath": "/v/whole" }]);
    let all = documents(&[data, claim, with("plants", &plants)]);
    let manifest = podrun.manifest_text("all.yaml", &all);
    for is_first in [true, false] {
        podrun.run(["up", &manifest]).ok();
        let link = |path| podrun.run(["exec", "plants", "--", "/probe", "link", target, path]);
        // The claim takes the link, once; the files do not.
        assert_eq!(link("/v/foo").code == 0, is_first);
        link("/w/foo").code(99).says("exists");
        link("/w/new").code(99).says("Read-only file system");
        podrun.run(["rm", "plants"]).ok();
    }
    let mut reader = with("through", &through);
    reader["spec"]["restartPolicy"] = "Never".into();
    reader["spec"]["containers"][0]["command"] = json!(["/probe", "read", "/v/foo"]);
    let output = podrun.run_pod(&reader);
    assert!(output.code != 0 || output.stdout.contains("word"));
    canary.assert_untouched();
    podrun.run(["rm", "pvc/claim"]).ok();
    canary.assert_untouched();
    podrun.nothing_left();
}

/// V19 (CVE-2017-1002102): what a volume holds is removed as what it is, and no link is followed.
#[test]
fn links_of_a_volume_are_removed_and_what_they_lead_to_stays() {
    let podrun = Podrun::new();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let target = canary.path().to_str().unwrap();
    let relative = format!("{}{target}", "../".repeat(30));
    let words = [
        "and",
        "make-dir",
        "/v/d/e",
        "--",
        "link",
        target,
        "/v/absolute",
        "--",
        "link",
        &relative,
        "/v/d/e/relative",
        "--",
        "link",
        target,
        "/v/d/\u{1b}[2J\nname",
        "--",
        "make-deep",
        "/v/d/e",
        "5000",
        "--",
        "ready-sleep",
    ];
    let volumes = json!({ "terminationGracePeriodSeconds": 1,
                          "volumes": [{ "name": "v", "emptyDir": {} }] });
    let mount = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    for is_killed in [false, true] {
        let manifest = pod(
            "links",
            volumes.clone(),
            &[container_with("a", &words, &mount)],
        );
        podrun.up(&manifest).ok();
        podrun.wait_for_log("links", "a", "ready");
        if is_killed {
            // Then `rm` does what its supervisor would have done.
            end_supervisor(&podrun, "links");
        }
        let output = podrun.run(["rm", "--force", "links"]);
        canary.assert_untouched();
        output.ok();
        podrun.nothing_left();
    }
}

/// Kills the supervisor of the only pod.
fn end_supervisor(podrun: &Podrun, name: &str) {
    let found = census::supervisors(&podrun.root());
    let [pid] = found[..] else {
        panic!("one supervisor of {name}: {found:?}")
    };
    let process = census::all_processes().remove(&pid).unwrap();
    process.kill();
    census::assert_all_end(&[process]);
}

/// V19: a mount that somebody has made inside of a volume is not emptied with it.
#[test]
fn a_mount_inside_of_a_volume_is_not_emptied() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let spec = json!({ "terminationGracePeriodSeconds": 1,
                       "volumes": [{ "name": "v", "emptyDir": {} }] });
    let fields = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    for is_killed in [false, true] {
        let words = ["and", "make-dir", "/v/inner", "--", "ready-sleep"];
        podrun
            .up(&pod(
                "inner",
                spec.clone(),
                &[container_with("a", &words, &fields)],
            ))
            .ok();
        podrun.wait_for_log("inner", "a", "ready");
        let inner = directory(&podrun, "inner").join("volumes/v/inner");
        rustix::mount::mount_bind(canary.path(), &inner).unwrap();
        if is_killed {
            end_supervisor(&podrun, "inner");
        }
        let output = podrun.run(["rm", "--force", "inner"]);
        canary.assert_untouched();
        // Whose mount namespace does not show the mount may remove what it is on.
        if rustix::mount::unmount(&inner, rustix::mount::UnmountFlags::DETACH).is_ok() {
            assert_ne!(output.code, 0, "what is left is said");
            output.says("inner");
            podrun
                .run(["rm", "--force", "--ignore-not-found", "inner"])
                .ok();
        }
        canary.assert_untouched();
        podrun.nothing_left();
    }
}

/// V54: a record that names a process which is not the pod's supervisor is nobody's death sentence.
#[test]
fn a_record_that_names_an_innocent_process_does_not_end_it() {
    let podrun = Podrun::new();
    let mut innocent = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    for is_killed in [false, true] {
        podrun
            .up(&lasting("pod", &[container("a", &["ready-sleep"])]))
            .ok();
        let directory = directory(&podrun, "pod");
        let path = directory.join("identity.json");
        let own = fs::read_to_string(&path).unwrap();
        let mut planted: Value = serde_json::from_str(&own).unwrap();
        planted["pid"] = innocent.id().into();
        fs::write(&path, planted.to_string()).unwrap();
        if is_killed {
            end_supervisor(&podrun, "pod");
        }
        // Nobody answers, so that only a signal is left.
        let uid = podrun.pod("pod")["metadata"]["uid"].clone();
        for socket in census::files_below(&podrun.root().join("runtime")) {
            if socket.to_string_lossy().contains(uid.as_str().unwrap()) {
                fs::remove_file(socket).unwrap();
            }
        }
        let output = podrun.run(["rm", "--force", "pod"]);
        assert!(
            innocent.try_wait().unwrap().is_none(),
            "somebody else's process was ended"
        );
        if is_killed {
            output.ok();
        } else {
            // A pod that lives on is not forgotten.
            output.code(125).says("is another one's");
            fs::write(&path, own).unwrap();
            podrun.run(["rm", "--force", "pod"]).ok();
        }
        podrun.nothing_left();
    }
    innocent.kill().unwrap();
    innocent.wait().unwrap();
}
