//! `cp`: trees both ways, and containers that change them meanwhile.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags};
use serde_json::json;

use crate::harness::{Podrun, container_with, lasting, pod, with_a_pod};

/// A pod that shares `files/shared` of the host with this test.
fn sharing() -> Podrun {
    let podrun = Podrun::new();
    let shared = podrun.files().join("shared");
    fs::create_dir(&shared).unwrap();
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "volumes": [{ "name": "v", "hostPath": { "path": shared } }],
    });
    let mounts = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let one = container_with("a", &["ready-sleep"], &mounts);
    podrun.up(&pod("pod", spec, &[one])).ok();
    podrun
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_file_goes_both_ways_byte_by_byte() {
    let podrun = with_a_pod();
    let content: Vec<u8> = (0..3_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    fs::write(podrun.files().join("f"), &content).unwrap();
    podrun.run(["cp", "f", "pod:/tmp/g"]).ok();
    podrun.run(["cp", "default/pod:/tmp/g", "back"]).ok();
    assert!(fs::read(podrun.files().join("back")).unwrap() == content);
    // Into directories that exist, under its own name.
    podrun.run(["cp", "f", "pod:/tmp", "-c", "a"]).ok();
    assert_eq!(
        podrun.probe("pod", "a", &["stat", "/tmp/f"]).trim(),
        "100644 0 0"
    );
    fs::create_dir(podrun.files().join("here")).unwrap();
    podrun.run(["cp", "pod:/tmp/g", "here"]).ok();
    assert!(fs::read(podrun.files().join("here/g")).unwrap() == content);
    // Over a file that exists.
    fs::write(podrun.files().join("f"), "short").unwrap();
    podrun.run(["cp", "f", "pod:/tmp/g"]).ok();
    assert_eq!(podrun.probe("pod", "a", &["read", "/tmp/g"]), "short");
}

#[test]
fn a_directory_goes_as_with_kubectl() {
    let podrun = with_a_pod();
    let tree = podrun.files().join("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("sub/f"), "word").unwrap();
    fs::set_permissions(tree.join("sub/f"), fs::Permissions::from_mode(0o711)).unwrap();
    symlink("sub/f", tree.join("l")).unwrap();
    // A name that is new is the directory's; one that is there gets it as a child.
    podrun.run(["cp", "tree", "pod:/tmp/new"]).ok();
    podrun.run(["cp", "tree/", "pod:/tmp/new"]).ok();
    for path in ["/tmp/new/l", "/tmp/new/tree/sub/f"] {
        assert_eq!(podrun.probe("pod", "a", &["read", path]), "word");
    }
    assert_eq!(
        podrun.probe("pod", "a", &["stat", "/tmp/new/sub/f"]).trim(),
        "100711 0 0"
    );
    // The other way its content is merged into a directory that is there.
    for name in ["new", "new"] {
        podrun.run(["cp", "pod:/tmp/new/tree", name]).ok();
        assert_eq!(read(podrun.files().join("new/sub/f")), "word");
        let link = fs::read_link(podrun.files().join("new/l")).unwrap();
        assert_eq!(link, Path::new("sub/f"));
    }
}

#[test]
fn a_dash_is_an_archive() {
    let podrun = with_a_pod();
    fs::write(podrun.files().join("f"), "word").unwrap();
    podrun.run(["cp", "f", "pod:/tmp/f"]).ok();
    let archive = podrun.run(["cp", "pod:/tmp", "-"]).ok().bytes;
    podrun.run_with_input(["cp", "-", "pod:/"], &archive).ok();
    podrun
        .run_with_input(["cp", "-", "pod:/tmp"], &archive)
        .ok();
    assert_eq!(podrun.probe("pod", "a", &["read", "/tmp/tmp/f"]), "word");
    let refused = podrun.run_with_input(["cp", "-", "pod:/missing"], &archive);
    refused.code(1).says("/missing");
}

#[test]
fn what_is_wrong_is_said() {
    let podrun = with_a_pod();
    fs::write(podrun.files().join("f"), "word").unwrap();
    for (from, to, code, words) in [
        ("f", "g", 2, "neither side names a pod"),
        ("pod:/a", "pod:/b", 2, "both sides name a pod"),
        ("f", "pod:", 2, "path in the pod is missing"),
        ("f", "nobody:/tmp", 4, "nobody"),
        ("missing", "pod:/tmp", 1, "missing"),
        ("f", "pod:/missing/f", 1, "/missing"),
        ("f", "pod:/tmp/missing/", 1, "/tmp/missing"),
        ("f", "pod:/proc/1/new", 1, "new"),
        ("pod:/missing", "g", 1, "/missing"),
        ("pod:/probe", "missing/g", 1, "missing"),
        ("pod:/probe", "f/", 1, "f/"),
        ("pod:/dev/null", "g", 1, "neither a file nor a directory"),
    ] {
        podrun.run(["cp", from, to]).code(code).says(words);
    }
    podrun
        .run(["cp", "f", "pod:/tmp", "-c", "b"])
        .code(4)
        .says("`b`");
    assert!(!podrun.files().join("g").exists());
}

#[test]
fn a_copy_has_the_users_rights_in_the_container() {
    let podrun = Podrun::new();
    let read_only = json!({ "securityContext": { "readOnlyRootFilesystem": true } });
    let one = container_with("a", &["ready-sleep"], &read_only);
    podrun.up(&lasting("pod", &[one])).ok();
    fs::write(podrun.files().join("f"), "word").unwrap();
    podrun
        .run(["cp", "f", "pod:/f"])
        .code(1)
        .says("Read-only file system");
}

#[test]
fn links_in_the_container_lead_nowhere_else() {
    let podrun = sharing();
    let shared = podrun.files().join("shared");
    let canary = podrun.files().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("secret"), "token").unwrap();
    symlink(&canary, shared.join("absolute")).unwrap();
    symlink("../canary", shared.join("relative")).unwrap();
    symlink("/tmp", shared.join("inside")).unwrap();
    for path in ["absolute/secret", "relative/secret", "../../secret"] {
        let from = format!("pod:/v/{path}");
        podrun.run(["cp", from.as_str(), "got"]).code(1);
        assert!(!podrun.files().join("got").exists());
    }
    fs::write(podrun.files().join("f"), "word").unwrap();
    podrun.run(["cp", "f", "pod:/v/absolute/new"]).code(1);
    podrun.run(["cp", "f", "pod:/v/inside/new"]).ok();
    assert_eq!(podrun.probe("pod", "a", &["read", "/tmp/new"]), "word");
    // As a tree: links that lead out of it are left out, which is a failure.
    podrun
        .run(["cp", "pod:/v", "tree"])
        .code(1)
        .says("its link leads to");
    assert_eq!(
        fs::read_dir(podrun.files().join("tree")).unwrap().count(),
        0
    );
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
}

/// Exchanges two names until the work is done.
fn while_exchanged(one: &Path, other: &Path, work: impl FnOnce()) {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        // The racer ends even when the work fails.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_done.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

/// `files/shared/tree/d`, a directory, to be exchanged with `files/shared/l`, a link to the canary.
fn racing() -> (Podrun, std::path::PathBuf) {
    let podrun = sharing();
    let shared = podrun.files().join("shared");
    let canary = podrun.files().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("f"), "token").unwrap();
    fs::create_dir_all(shared.join("tree/d")).unwrap();
    fs::write(shared.join("tree/d/f"), "word").unwrap();
    symlink(&canary, shared.join("l")).unwrap();
    (podrun, canary)
}

#[test]
fn a_tree_that_is_exchanged_for_a_link_meanwhile_gives_nothing_else_away() {
    let (podrun, _canary) = racing();
    let shared = podrun.files().join("shared");
    while_exchanged(&shared.join("tree/d"), &shared.join("l"), || {
        for i in 0..100 {
            // Upwards the tree is read here, downwards in the container.
            let up = format!("pod:/tmp/{i}");
            podrun.run(["cp", "shared/tree", &up]);
            let copied = format!("/tmp/{i}/d/f");
            let words = ["exec", "pod", "--", "/probe", "read", &copied];
            assert!(!podrun.run(words).stdout.contains("token"));
            let down = format!("down{i}");
            podrun.run(["cp", "pod:/v/tree", &down]);
            let copied = podrun.files().join(down).join("d/f");
            let copied = fs::read_to_string(copied).unwrap_or_default();
            assert_ne!(copied, "token");
        }
    });
}

#[test]
fn a_destination_that_is_exchanged_for_a_link_meanwhile_is_all_that_is_written() {
    let (podrun, canary) = racing();
    let shared = podrun.files().join("shared");
    let tree = podrun.files().join("new");
    fs::create_dir_all(tree.join("d")).unwrap();
    for i in 0..50 {
        fs::write(tree.join(format!("d/{i}")), "overwritten").unwrap();
    }
    fs::write(tree.join("d/f"), "overwritten").unwrap();
    podrun.run(["cp", "new", "pod:/tmp/from"]).ok();
    while_exchanged(&shared.join("tree/d"), &shared.join("l"), || {
        for _ in 0..100 {
            podrun.run(["cp", "pod:/tmp/from", "shared/tree"]);
            podrun.run(["cp", "new/d", "pod:/v/tree"]);
        }
    });
    assert_eq!(read(canary.join("f")), "token");
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
}
