//! What a hostile image or container must not get of the machine through mounts and volumes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::census::{self, Canary};
use crate::forge::{self, Entry};
use crate::harness::{
    IMAGE, Mode, Podrun, container_with, documents, finish, lasting, mode, once, pod, require_mode,
    until,
};

/// The directory of a pod's records, logs and volumes.
pub(crate) fn directory(podrun: &Podrun, name: &str) -> PathBuf {
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
pub(crate) fn end_supervisor(podrun: &Podrun, name: &str) {
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

/// V14 and V10: neither the file for the last words nor a terminal is made through what the image has
/// in their place.
#[test]
fn links_of_the_image_are_not_what_last_words_and_terminals_are_made_through() {
    let podrun = Podrun::empty();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let target = canary.path().to_str().unwrap();
    let relative = format!("{}{target}", "../".repeat(30));
    let file = format!("{target}/planted");
    let secret = format!("{target}/secret");
    let shapes: [(&str, Vec<Entry<'_>>); 4] = [
        ("words-directory", vec![Entry::Link("t", target)]),
        ("words-relative", vec![Entry::Link("t", &relative)]),
        (
            "words-file",
            vec![Entry::Dir("t"), Entry::Link("t/x", &secret)],
        ),
        (
            "console",
            vec![
                Entry::Dir("dev"),
                Entry::Link("dev/console", &file),
                Entry::File("dev/ptmx", b"marker"),
                Entry::Link("dev/tty", &file),
            ],
        ),
    ];
    for (name, entries) in shapes {
        let image = format!("localhost/{name}:1");
        podrun.load(&forge::image_over_probe(&image, &json!({}), &entries));
        let container = json!({
            "name": "a", "image": image, "imagePullPolicy": "Never", "tty": true, "stdin": true,
            "command": ["/probe", "and", "write", "/t/x", "spoken", "--", "terminal"],
            "terminationMessagePath": "/t/x",
        });
        let output = podrun.run_pod(&once(name, &[container]));
        canary.assert_untouched();
        assert!(
            output.code != 0 || output.stdout.contains("name /dev/pts/0"),
            "{name}: {}",
            output.stdout
        );
        podrun.nothing_left();
    }
}

/// V16: characters that separate the options of a mount are part of a name like all others.
#[test]
fn names_are_never_read_as_mount_options() {
    let podrun = Podrun::empty();
    let odd = "a,b:c\\d \"e\" %s,rw,suid,upperdir=x \u{e9}";
    let root = podrun.root().join(format!("{odd}\n"));
    let shared = podrun.files().join(odd).join("shared");
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(shared.join(odd)).unwrap();
    fs::write(shared.join(odd).join("file"), "inside").unwrap();
    let run = |words: &[&str]| {
        let mut command = podrun.command();
        command.env("PODRUN_ROOT", &root).args(words);
        finish(command, b"").ok().stdout
    };
    let archive = podrun.files().join("image.tar");
    fs::write(&archive, forge::probe_image(IMAGE).bytes).unwrap();
    run(&["image", "load", archive.to_str().unwrap(), "--tag", IMAGE]);
    let mount = |at: &str, read_only: bool| json!({ "name": "v", "mountPath": at, "subPath": odd, "readOnly": read_only });
    let fields = json!({ "volumeMounts": [mount("/v", false), mount("/v,suid r o", true)] });
    let mut manifest = lasting("odd", &[container_with("a", &["ready-sleep"], &fields)]);
    manifest["spec"]["volumes"] = json!([{ "name": "v", "hostPath": { "path": shared } }]);
    run(&["up", &podrun.manifest("odd", &manifest)]);
    let probe = |words: &[&str]| {
        let mut all = vec!["exec", "odd", "--", "/probe"];
        all.extend(words);
        run(&all)
    };
    for (path, errno) in [("/v", "ok"), ("/v,suid r o", "errno 30")] {
        assert_eq!(probe(&["read", &format!("{path}/file")]), "inside");
        let new = format!("{path}/new");
        assert_eq!(probe(&["write-errno", &new]).trim(), errno, "{path}");
    }
    let report: Value = serde_json::from_str(&probe(&["report"])).unwrap();
    let lines = report["mounts"].as_array().unwrap();
    let options = |point: &str| {
        let point = point.replace(' ', "\\040");
        let mut lines = lines.iter().map(|line| line.as_str().unwrap().split(' '));
        let line = lines.find(|line| line.clone().nth(4) == Some(&point));
        line.unwrap().nth(5).unwrap().to_owned()
    };
    assert!(options("/").contains("nodev"), "{}", options("/"));
    assert!(options("/v").starts_with("rw,") && options("/v").contains("nodev"));
    assert!(options("/v,suid r o").starts_with("ro,"));
    run(&["rm", "odd"]);
    census::assert_no_processes(&root);
}

/// V18: a part of a volume is what is in the volume, or there is no such part.
#[test]
fn a_part_of_a_volume_that_is_a_link_out_of_it_is_none() {
    let podrun = Podrun::new();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let volume = podrun.files().join("volume");
    fs::create_dir_all(volume.join("inner")).unwrap();
    fs::write(volume.join("inner/secret"), "inside").unwrap();
    let link = |target: &Path, name: &str| symlink(target, volume.join(name)).unwrap();
    link(canary.path(), "absolute");
    link(Path::new("/"), "host");
    link(Path::new("../../canary"), "relative");
    link(Path::new("../.."), "up");
    link(Path::new("/proc/self/root"), "magic");
    link(Path::new("inner"), "chain0");
    for i in 1..42 {
        link(Path::new(&format!("chain{}", i - 1)), &format!("chain{i}"));
    }
    let deep = canary.path().strip_prefix("/").unwrap();
    let deep = |name: &str| format!("{name}/{}", deep.display());
    for (part, is_inside) in [
        ("absolute".to_owned(), false),
        (deep("host"), false),
        ("relative".to_owned(), false),
        ("relative/new".to_owned(), false),
        ("up/canary".to_owned(), false),
        (deep("magic"), false),
        ("chain41".to_owned(), false),
        ("chain5".to_owned(), true),
    ] {
        let fields =
            json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v", "subPath": part }] });
        let mut manifest = once(
            "part",
            &[container_with("a", &["read", "/v/secret"], &fields)],
        );
        manifest["spec"]["volumes"] = json!([{ "name": "v", "hostPath": { "path": volume } }]);
        let output = podrun.run_pod(&manifest);
        assert_eq!(output.code == 0, is_inside, "{part}: {}", output.stderr);
        assert_eq!(output.stdout.contains("inside"), is_inside, "{part}");
        canary.assert_untouched();
        podrun.nothing_left();
    }
}
