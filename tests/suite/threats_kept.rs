//! What others of the machine must not get of podrun, and podrun not take for its own: what is kept,
//! and what somebody has planted there.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType};
use serde_json::{Value, json};

use crate::census::{self, Canary};
use crate::forge;
use crate::harness::{
    IMAGE, Mode, Podrun, container, container_with, finish, lasting, mode, require_mode,
};
use crate::threats::{directory, end_supervisor};

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

/// V26 (CVE-2026-53489 and others): a link in the place of a record or a log is not read, and nobody
/// waits for a pipe.
#[test]
fn what_is_planted_in_the_place_of_a_pods_files_is_neither_read_nor_waited_for() {
    let podrun = Podrun::new();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let secret = podrun.files().join("secret");
    let token = Canary::TOKEN;
    podrun
        .up(&lasting("pod", &[container("a", &["ready-sleep"])]))
        .ok();
    let directory = directory(&podrun, "pod");
    let logs = census::files_below(&directory)
        .into_iter()
        .find(|path| path.ends_with("0.log"))
        .unwrap();
    let status = directory.join("status.json");
    let json = |name: &str, change: &dyn Fn(&mut Value)| {
        let text = fs::read_to_string(directory.join(name)).unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        change(&mut value);
        (directory.join(name), value.to_string())
    };
    let planted = [
        (logs, format!("2026-01-01T00:00:00Z stdout F {token}\n")),
        json("status.json", &|status| status["message"] = token.into()),
        json("pod.json", &|pod| {
            pod["metadata"]["annotations"] = json!({ "a": token });
        }),
        json("events.json", &|log| {
            log["events"][0]["message"] = token.into();
        }),
        json("record.json", &|record| record["name"] = token.into()),
        json("identity.json", &|_| ()),
    ];
    end_supervisor(&podrun, "pod");
    assert!(status.exists());
    for (path, content) in planted {
        let kept = path.with_extension("kept");
        for is_pipe in [false, true] {
            fs::rename(&path, &kept).unwrap();
            if is_pipe {
                rustix::fs::mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0).unwrap();
            } else {
                fs::write(&secret, &content).unwrap();
                symlink(&secret, &path).unwrap();
            }
            for words in [
                &["logs", "pod"][..],
                &["logs", "--tail=1", "pod"],
                &["ps", "-A"],
                &["get", "pod", "-A", "-o", "yaml"],
                &["describe", "pod/pod"],
                &["events", "pod"],
            ] {
                let begin = Instant::now();
                let output = podrun.run(words);
                let shown = format!("{}{}", output.stdout, output.stderr);
                assert!(!shown.contains(token), "{words:?} of {path:?}: {shown}");
                assert!(
                    begin.elapsed() < Duration::from_secs(5),
                    "{words:?} of {path:?}"
                );
            }
            fs::rename(&kept, &path).unwrap();
        }
    }
    symlink(canary.path(), directory.join("logs/link")).unwrap();
    podrun.run(["rm", "pod"]).ok();
    canary.assert_untouched();
    podrun.nothing_left();
}

/// V52 (CVE-2021-41103, CVE-2024-25621): what is kept is the user's alone, whatever the umask is.
#[test]
fn everything_kept_is_the_users_alone_whatever_the_umask_is() {
    for umask in ["000", "777"] {
        let podrun = Podrun::empty();
        // Nothing but podrun's own modes keep others out.
        for path in [podrun.scratch(), &podrun.root(), &podrun.files()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let run = |words: &[&str]| {
            let mut command = podrun.environment(Command::new("sh"));
            command
                .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
                .arg(crate::harness::binary())
                .args(words);
            finish(command, b"").ok()
        };
        let archive = podrun.files().join("image.tar");
        fs::write(&archive, forge::probe_image(IMAGE).bytes).unwrap();
        run(&["image", "load", archive.to_str().unwrap(), "--tag", IMAGE]);
        let fields = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
        let mut manifest = lasting("pod", &[container_with("a", &["ready-sleep"], &fields)]);
        manifest["spec"]["volumes"] = json!([{ "name": "v", "emptyDir": {} }]);
        run(&["up", &podrun.manifest("pod", &manifest)]);
        run(&["exec", "pod", "--", "/probe", "write", "/v/x", "word"]);
        assert_eq!(
            run(&["exec", "pod", "--", "/probe", "read", "/v/x"]).stdout,
            "word"
        );
        run(&["logs", "pod"]);
        for top in ["state", "runtime", "data"] {
            let about = fs::metadata(podrun.root().join(top)).unwrap();
            assert_eq!(about.mode() & 0o077, 0, "{top} under umask {umask}");
        }
        for path in census::files_below(&podrun.root()) {
            let about = fs::symlink_metadata(&path).unwrap();
            let is_containers = ["volumes", "containers", "layers"]
                .iter()
                .any(|part| path.iter().any(|name| name == *part));
            if !about.file_type().is_symlink() && !is_containers {
                assert_eq!(
                    about.mode() & 0o022,
                    0,
                    "{} under umask {umask}",
                    path.display()
                );
            }
        }
        if mode() == Mode::Root {
            others_see_nothing(&podrun.root());
        }
        run(&["rm", "pod"]);
        podrun.nothing_left();
    }
}

/// Another user gets nowhere from the directory that everybody may search.
fn others_see_nothing(root: &Path) {
    let supervisor = census::supervisors(root)[0];
    let script = format!(
        "for path in {0}/*/* {0}/*/*/* /proc/{supervisor}/fd/* /proc/{supervisor}/environ; do \
         cat \"$path\" >&2 && exit 7; done; for top in {0}/*; do ls \"$top\" && exit 8; done; true",
        root.display()
    );
    let status = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "sh",
            "-c",
            &script,
        ])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(
        status.success(),
        "another user reads what is kept: {status}"
    );
    for path in census::files_below(root) {
        let readable = Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "test",
                "-e",
            ])
            .arg(&path)
            .status()
            .unwrap();
        let is_top = path.parent() == Some(root);
        assert_eq!(readable.success(), is_top, "{}", path.display());
    }
}

/// V53: directories that somebody else could have prepared are not used.
#[test]
fn a_planted_runtime_directory_is_not_used() {
    require_mode!(Mode::User, Mode::Single);
    let podrun = Podrun::empty();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let runtime = podrun.files().join("runtime");
    let ps = |runtime: &Path| {
        let mut command = podrun.command();
        command
            .env_remove("PODRUN_ROOT")
            .env("XDG_RUNTIME_DIR", runtime)
            .args(["ps", "-A"]);
        finish(command, b"")
    };
    fs::DirBuilder::new().mode(0o700).create(&runtime).unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o777)).unwrap();
    ps(&runtime).ok();
    assert_eq!(
        fs::read_dir(&runtime).unwrap().count(),
        0,
        "all may write there"
    );
    ps(Path::new("/run")).ok();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
    let own = runtime.join("podrun");
    symlink(canary.path(), &own).unwrap();
    ps(&runtime).code(125).says(own.to_str().unwrap());
    fs::remove_file(&own).unwrap();
    fs::create_dir(&own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
    ps(&runtime).code(125).says(own.to_str().unwrap());
    canary.assert_untouched();
}

/// V55: who does not let go of the store's lock is named, and holds nobody up for ever.
#[test]
fn a_lock_that_is_not_let_go_of_is_an_error_that_names_the_holder() {
    let podrun = crate::harness::with_a_pod();
    let mut holder = Command::new("flock")
        .arg("--no-fork")
        .arg(podrun.root().join("state/lock"))
        .args(["sh", "-c", "echo held; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    // Who only looks needs no lock.
    podrun.run(["ps"]).ok();
    podrun.run(["logs", "pod"]).ok();
    let manifest = lasting("second", &[container("a", &["ready-sleep"])]);
    let begin = Instant::now();
    let said = format!("stays locked by process {}", holder.id());
    podrun.up(&manifest).code(125).says(&said);
    assert!(begin.elapsed() < Duration::from_secs(10));
    holder.kill().unwrap();
    holder.wait().unwrap();
    podrun.up(&manifest).ok();
}

/// Of another version of podrun, say: whether the pod runs does not depend on what can be read of it.
#[test]
fn a_pod_whose_record_is_not_understood_is_not_swept_away() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("pod", &[container("a", &["ready-sleep"])]))
        .ok();
    let path = directory(&podrun, "pod").join("record.json");
    let record = fs::read(&path).unwrap();
    fs::write(&path, "{\"version\": 77}").unwrap();
    podrun.run(["prune"]).ok();
    fs::write(&path, record).unwrap();
    podrun.probe("pod", "a", &["exists", "/probe"]);
    podrun.run(["rm", "pod"]).ok();
    podrun.nothing_left();
}
