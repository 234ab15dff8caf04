//! subPath and subPathExpr.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::{Value, json};

use crate::harness::{Podrun, container_with, finish, pod, until};

fn spec(volumes: &Value) -> Value {
    json!({ "terminationGracePeriodSeconds": 1, "volumes": volumes })
}

#[test]
fn a_container_has_the_part_of_the_volume_that_it_names() {
    let podrun = Podrun::new();
    let host = podrun.files().join("shared");
    fs::create_dir(&host).unwrap();
    fs::set_permissions(&host, fs::Permissions::from_mode(0o750)).unwrap();
    fs::write(host.join("file"), "a file").unwrap();
    let part = |name: &str, key: &str, path: &str, at: &str| json!({ "name": name, "mountPath": at, key: path });
    let mounts = json!({
        "env": [{ "name": "WHO", "value": "web" }],
        "volumeMounts": [
            { "name": "v", "mountPath": "/v" },
            part("v", "subPath", "deep/a..b", "/part"),
            part("v", "subPathExpr", "of/$(WHO)", "/mine"),
            part("host", "subPath", "file", "/etc/one-file"),
            part("host", "subPath", "new/dir", "/new"),
        ],
    });
    podrun
        .up(&pod(
            "parts",
            spec(&json!([
                { "name": "v", "emptyDir": {} },
                { "name": "host", "hostPath": { "path": host } },
            ])),
            &[container_with("a", &["ready-sleep"], &mounts)],
        ))
        .ok();
    podrun.probe("parts", "a", &["write", "/part/x", "part"]);
    podrun.probe("parts", "a", &["write", "/mine/x", "mine"]);
    podrun.probe("parts", "a", &["write", "/new/x", "new"]);
    for (path, content) in [
        ("/v/deep/a..b/x", "part"),
        ("/v/of/web/x", "mine"),
        ("/etc/one-file", "a file"),
    ] {
        assert_eq!(podrun.probe("parts", "a", &["read", path]), content);
    }
    for path in ["/v/deep", "/part", "/mine"] {
        let about = podrun.probe("parts", "a", &["stat", path]);
        assert_eq!(about.trim(), "40777 0 0", "{path}");
    }
    for path in ["new", "new/dir"] {
        let about = fs::metadata(host.join(path)).unwrap();
        assert_eq!(about.mode() & 0o7777, 0o750, "{path}");
    }
    assert_eq!(fs::read_to_string(host.join("new/dir/x")).unwrap(), "new");
}

#[test]
fn a_part_that_cannot_be_one_is_refused() {
    let podrun = Podrun::new();
    for (key, path, words) in [
        ("subPath", "../x", "must not contain '..'"),
        ("subPath", "a/../../x", "must not contain '..'"),
        ("subPath", "/etc", "must be a relative path"),
        ("subPathExpr", "$(NONE)", "no variable `NONE` in its env"),
        ("subPathExpr", "$(UP)", "comes to `../..`"),
        ("subPathExpr", "$(ROOT)", "comes to `/etc`"),
    ] {
        let fields = json!({
            "env": [{ "name": "UP", "value": "../.." }, { "name": "ROOT", "value": "/etc" }],
            "volumeMounts": [{ "name": "v", "mountPath": "/v", key: path }],
        });
        let container = container_with("a", &["ready-sleep"], &fields);
        let output = podrun.up(&pod(
            "wrong",
            spec(&json!([{ "name": "v", "emptyDir": {} }])),
            &[container],
        ));
        assert_ne!(output.code, 0, "{path}");
        assert!(output.stderr.contains(words), "{path}: {}", output.stderr);
        podrun.nothing_left();
    }
}

/// CVE-2017-1002101 and CVE-2021-25741: one container exchanges a directory for a link to the
/// host while another one, that has a part of it, is started again and again.
#[test]
fn a_link_that_a_container_puts_there_in_time_leads_nowhere() {
    for (swapped, sub_path) in [("part", "part"), ("outer", "outer/part")] {
        let podrun = Podrun::new();
        let secret = podrun.files().join("secret");
        fs::create_dir_all(secret.join("part")).unwrap();
        fs::write(secret.join("who"), "outside").unwrap();
        fs::write(secret.join("part/who"), "outside").unwrap();
        let part = format!("/v/{sub_path}");
        let who = format!("{part}/who");
        let swapped = format!("/v/{swapped}");
        let story = json!({ "name": "story", "mountPath": "/story" });
        let whole = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }, story] });
        let secret_text = secret.to_str().unwrap();
        let prepare = [
            "and",
            "make-dir",
            &part,
            "--",
            "write",
            &who,
            "inside",
            "--",
            "link",
            secret_text,
            "/v/link",
        ];
        let reader = json!({ "volumeMounts": [
            { "name": "v", "mountPath": "/s", "subPath": sub_path },
            story,
        ] });
        let mut spec = spec(&json!([
            { "name": "v", "emptyDir": {} },
            { "name": "story", "emptyDir": {} },
        ]));
        spec["restartPolicy"] = "Always".into();
        spec["initContainers"] = json!([container_with("prepare", &prepare, &whole)]);
        let manifest = pod(
            "race",
            spec,
            &[
                container_with("racer", &["swap", &swapped, "/v/link"], &whole),
                container_with("reader", &["tell-file", "/s/who"], &reader),
                container_with("watcher", &["ready-sleep"], &whole),
            ],
        );
        let path = podrun.manifest("race", &manifest);
        let mut command = podrun.command();
        command
            .env("PODRUN_BACKOFF_INITIAL", "1ms")
            .env("PODRUN_BACKOFF_MAX", "1ms")
            .args(["up", "--wait=none", &path]);
        finish(command, b"");
        let mut told = String::new();
        until("the reader was started often", || {
            let output = podrun.run([
                "exec",
                "race",
                "-c",
                "watcher",
                "--",
                "/probe",
                "read",
                "/story/told",
            ]);
            told = output.stdout;
            told.lines().filter(|line| !line.is_empty()).count() >= 60
        });
        assert!(!told.contains("outside"), "{told}");
        assert!(told.contains("inside"), "{told}");
        podrun.run(["rm", "--all"]).ok();
        podrun.nothing_left();
    }
}
