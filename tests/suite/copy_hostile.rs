//! `cp` out of a container whose tree is made to get at the host.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode as Bits, makedev, mknodat};
use serde_json::json;

use crate::census::{self, Canary};
use crate::harness::{Mode, Podrun, container_with, mode, pod};

/// A pod that shares `files/shared` of the host with this test, without the right to read what its root
/// may not.
fn sharing() -> Podrun {
    let podrun = Podrun::new();
    let shared = podrun.files().join("shared");
    fs::create_dir(&shared).unwrap();
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "volumes": [
            { "name": "v", "hostPath": { "path": shared } },
            { "name": "own", "emptyDir": {} },
        ],
    });
    let fields = json!({
        "volumeMounts": [
            { "name": "v", "mountPath": "/v" },
            { "name": "own", "mountPath": "/own" },
        ],
        "securityContext": { "capabilities": { "drop": ["ALL"] } },
    });
    let one = container_with("a", &["ready-sleep"], &fields);
    podrun.up(&pod("pod", spec, &[one])).ok();
    podrun
}

/// Fails when the canary's token, or a link that could lead to it, is below this path.
#[track_caller]
fn assert_holds_nothing_of_the_host(copy: &Path) {
    for path in census::files_below(copy) {
        let about = fs::symlink_metadata(&path).unwrap();
        let shown = path.display();
        if about.is_symlink() {
            let target = fs::canonicalize(&path);
            let target = target.unwrap_or_else(|_| copy.to_owned());
            assert!(
                target.starts_with(copy),
                "{shown} leads to {}",
                target.display()
            );
        } else if about.is_file() {
            let content = fs::read(&path).unwrap_or_default();
            let token = Canary::TOKEN.as_bytes();
            let has_it = content.windows(token.len()).any(|part| part == token);
            assert!(!has_it, "{shown} has the token");
        }
    }
}

/// V24 (CVE-2018-1002100, CVE-2019-1002101, CVE-2019-11246 and those after them): of a tree with all that a
/// tree can have, files, directories and links that stay inside arrive, and the rest is said.
#[test]
fn a_hostile_tree_arrives_without_anything_of_the_host() {
    let podrun = sharing();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let target = canary.path();
    let tree = podrun.files().join("shared/tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    let at = |name: &str| tree.join(name);
    let up = format!(
        "{}{}",
        "../".repeat(30),
        target.strip_prefix("/").unwrap().display()
    );
    symlink(target, at("absolute")).unwrap();
    symlink(&up, at("relative")).unwrap();
    symlink("../../../canary", at("sub/relative")).unwrap();
    symlink("absolute", at("chain0")).unwrap();
    symlink("chain0/secret", at("chain1")).unwrap();
    symlink("/", at("root")).unwrap();
    symlink("sub/word", at("inside")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Bits::RWXU, makedev(0, 0)).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    if mode() == Mode::Root {
        let kind = FileType::CharacterDevice;
        mknodat(CWD, at("device"), kind, Bits::RWXU, makedev(1, 5)).unwrap();
        let kind = FileType::BlockDevice;
        mknodat(CWD, at("disk"), kind, Bits::RWXU, makedev(7, 0)).unwrap();
    }
    let escapes = "\u{1b}[2J\u{1b}]0;title\u{7}\nname\r\u{202e}";
    mknodat(CWD, at(escapes), FileType::Fifo, Bits::RWXU, makedev(0, 0)).unwrap();
    for name in ["-rf", "--help", "sub/word", "\u{1b}[31mred"] {
        fs::write(at(name), "word").unwrap();
    }
    fs::File::create(at("sparse"))
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    fs::write(at("setuid"), "word").unwrap();
    fs::set_permissions(at("setuid"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::write(at("unreadable"), "word").unwrap();
    fs::set_permissions(at("unreadable"), fs::Permissions::from_mode(0o0)).unwrap();
    fs::create_dir(at("closed")).unwrap();
    fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o0)).unwrap();

    let output = podrun.run(["cp", "pod:/v/tree", "copy"]).code(1);
    canary.assert_untouched();
    let copy = podrun.files().join("copy");
    assert_holds_nothing_of_the_host(&copy);
    for name in ["-rf", "--help", "sub/word", "inside", "\u{1b}[31mred"] {
        assert_eq!(fs::read_to_string(copy.join(name)).unwrap(), "word");
    }
    assert_eq!(fs::metadata(copy.join("sparse")).unwrap().len(), 64 << 20);
    let mode_of = |name: &str| fs::metadata(copy.join(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode_of("setuid"), 0o755);
    let is_harmless = |c: char| (!c.is_control() || c == '\n') && c != '\u{202e}';
    assert!(output.stderr.chars().all(is_harmless), "{output:?}");
    let mut left_out = vec![
        "absolute",
        "relative",
        "sub/relative",
        "root",
        "fifo",
        "socket",
        "unreadable",
        "closed",
    ];
    if mode() == Mode::Root {
        left_out.extend(["device", "disk"]);
    }
    for name in left_out {
        let words = format!("tree/{name}");
        assert!(output.stderr.contains(&words), "{words}: {}", output.stderr);
        let is_there = fs::symlink_metadata(copy.join(name)).is_ok();
        // A directory that may not be read is there, and empty.
        assert!(!is_there || name == "closed", "{name}");
    }
    assert!(output.stderr.contains("name\\r"), "{}", output.stderr);
    // A link that leads nowhere in the copy leads nowhere at all.
    assert!(fs::read_to_string(copy.join("chain1")).is_err());
    // Alone, each is an error.
    for name in ["absolute/secret", "chain1", "fifo", "socket", "unreadable"] {
        let from = format!("pod:/v/tree/{name}");
        podrun.run(["cp", from.as_str(), "alone"]).code(1);
        assert!(!podrun.files().join("alone").exists(), "{name}");
    }
    for name in ["unreadable", "closed"] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o700)).unwrap();
    }
    canary.assert_untouched();
}

/// V24: a tree deeper than any path is copied as far as it goes, and that it was cut is a failure.
#[test]
fn a_tree_without_a_bottom_is_cut_and_said() {
    let podrun = sharing();
    podrun.probe("pod", "a", &["make-deep", "/own", "5000"]);
    podrun.probe("pod", "a", &["write", "/own/word", "word"]);
    let output = podrun.run(["cp", "pod:/own", "copy"]).code(1);
    output.says("is too deep: what is in it was left out");
    let copied = fs::read_to_string(podrun.files().join("copy/word"));
    assert_eq!(copied.unwrap(), "word");
}

/// V24: a container that exchanges a directory for a link to the root of all, while it is copied again and
/// again, gives nothing away that is not its own.
#[test]
fn a_directory_exchanged_for_the_root_meanwhile_is_not_copied() {
    let podrun = Podrun::new();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let target = canary.path().to_str().unwrap();
    let prepare = [
        "and",
        "make-dir",
        "/v/tree/d",
        "--",
        "write",
        "/v/tree/d/f",
        "word",
        "--",
        "link",
        "/",
        "/v/root",
        "--",
        "link",
        target,
        "/v/canary",
    ];
    let mount = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let mut spec = json!({
        "terminationGracePeriodSeconds": 1,
        "volumes": [{ "name": "v", "emptyDir": {} }],
    });
    spec["initContainers"] = json!([container_with("prepare", &prepare, &mount)]);
    podrun
        .up(&pod(
            "race",
            spec,
            &[
                container_with("root", &["swap", "/v/tree/d", "/v/root"], &mount),
                container_with("canary", &["swap", "/v/tree/d", "/v/canary"], &mount),
                container_with("watcher", &["ready-sleep"], &mount),
            ],
        ))
        .ok();
    let mut arrived = 0;
    let mut left_out = 0;
    for i in 0..60 {
        let to = format!("copy{i}");
        let output = podrun.run(["cp", "race:/v/tree", &to, "-c", "watcher"]);
        let copy = podrun.files().join(&to);
        assert_holds_nothing_of_the_host(&copy);
        // What is in the container's own root is not in the tree either.
        assert!(!copy.join("d/probe").exists(), "{i}");
        let is_whole = copy.join("d/f").exists();
        assert!(is_whole || output.code != 0, "{i}: {}", output.stderr);
        if is_whole {
            arrived += 1;
        } else {
            left_out += 1;
        }
    }
    assert!(arrived > 0 && left_out > 0, "{arrived} and {left_out}");
    canary.assert_untouched();
}
