//! Who a container runs as, by what a hostile image or manifest says of its users.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode as Bits, makedev, mknodat};
use serde_json::{Value, json};

use crate::census::Canary;
use crate::forge::{self, Entry};
use crate::harness::{
    IMAGE, Mode, Output, Podrun, binary, container_with, finish, is_in_machine, mode, once, pod,
    probe, require_mode,
};

/// The most memory that the processes which read a user database may have, in KiB: the bar of V15.
const MOST: u64 = 64 * 1024;

/// `run` of a pod, with all of podrun's processes under that bar.
fn run_bounded(podrun: &Podrun, manifest: &Value) -> Output {
    let path = podrun.manifest("bounded", manifest);
    let mut command = podrun.environment(Command::new("sh"));
    command
        .args([
            "-c",
            &format!("ulimit -d {MOST}; exec \"$0\" run \"$1\""),
            binary().to_str().unwrap(),
            &path,
        ])
        .env("PODRUN_BACKOFF_INITIAL", "10ms");
    finish(command, b"")
}

/// Uid, gid and the number of supplementary groups, or words of the error.
type Answer = Result<(u64, u64, usize), &'static str>;

/// Uid, gid and the number of supplementary groups of what a report says.
fn ids_of(output: &Output) -> (u64, u64, usize) {
    let text = &output.stdout[output.stdout.find('{').unwrap()..];
    let report: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let words = |name: &str| -> Vec<u64> {
        let line = report["status"][name].as_str().unwrap();
        line.split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect()
    };
    (words("Uid")[0], words("Gid")[0], words("Groups").len())
}

/// An image with nothing but the probe and what these entries are.
fn load(podrun: &Podrun, image: &str, user: &str, entries: &[Entry<'_>]) {
    let program = fs::read(probe()).unwrap();
    let layers = [
        forge::tar(&[Entry::Dir("etc"), Entry::Program("probe", &program)]),
        forge::tar(entries),
    ];
    podrun.load(&forge::archive(image, &json!({ "User": user }), &layers));
}

/// V15 (CVE-2024-9676, CVE-2026-47262): whatever an image has in the place of its user database, there is
/// an answer or an error that says which file it is about, and none of the machine's is read.
#[test]
fn a_user_database_of_any_shape_is_an_answer_or_an_error() {
    require_mode!(Mode::Root, Mode::User);
    let podrun = Podrun::empty();
    let canary = Canary::new(podrun.scratch().join("canary"));
    // The machine's own, that a link must not lead to: with a user that nobody else has.
    let machine = podrun.files().join("machine");
    fs::write(&machine, "app:x:77:77::/:\napp:x:77:app\n").unwrap();
    let machine = machine.to_str().unwrap();
    let fifo = podrun.files().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Bits::RWXU, makedev(0, 0)).unwrap();
    let fifo = fifo.to_str().unwrap();
    let long = vec![b'x'; 4 << 20];
    let large = vec![0; 11 << 20];
    let passwd = b"app:x:10:20::/:/\n".as_slice();
    let lines = |line: &str, count: usize| line.repeat(count).into_bytes();
    let with_last = |mut text: Vec<u8>, last: &str| {
        text.extend_from_slice(last.as_bytes());
        text
    };
    let many_users = with_last(lines("u:x:5:5::/:\n", 700_000), "app:x:10:20::/:\n");
    let million = with_last(lines("u:x:5::\n", 1_000_000), "app:x:10:20::/:\n");
    let many_groups = with_last(lines("g:x:5:\n", 1_000_000), "g:x:30:app\n");
    let members = format!("g:x:30:{}app\n", "somebody,".repeat(100_000)).into_bytes();
    let its_groups: Vec<u8> = (0..500_000_u32)
        .flat_map(|gid| format!("g:x:{gid}:app\n").into_bytes())
        .collect();
    let long_then = with_last(long.clone(), "\napp:x:10:20::/:\n");
    let (password, group) = ("etc/passwd", "etc/group");
    // What is in the place of the two files, and who that makes the user, or the words of the error.
    let file = |path, content| Entry::File(path, content);
    let ok = |gid, groups| -> Answer { Ok((10, gid, groups)) };
    let mut cases: Vec<(&str, Vec<Entry<'_>>, Answer)> = vec![
        ("no-group", vec![file(password, passwd)], ok(20, 1)),
        ("none", vec![], Err("is not in the image's /etc/passwd")),
        ("many-users", vec![file(password, &many_users)], ok(20, 1)),
        ("million", vec![file(password, &million)], ok(20, 1)),
        ("long-line", vec![file(password, &long_then)], ok(20, 1)),
        (
            "crlf",
            vec![file(password, b"app:x:10:20::/:\r\nother:x:1:1::/:\r\n")],
            ok(20, 1),
        ),
        (
            "crlf-id",
            vec![file(password, b"app:x:10:20\r\n")],
            Err("app"),
        ),
        (
            "duplicate",
            vec![file(password, b"app:x:10:20::/:\napp:x:0:0::/:\n")],
            ok(20, 1),
        ),
        (
            "negative-gid",
            vec![file(password, b"app:x:10:-1::/:\n")],
            Err("app"),
        ),
        (
            "last-id",
            vec![file(password, b"app:x:4294967295:0::/:\n")],
            Err("app"),
        ),
        (
            "groups-many",
            vec![file(password, passwd), file(group, &many_groups)],
            ok(20, 2),
        ),
        (
            "groups-members",
            vec![file(password, passwd), file(group, &members)],
            ok(20, 2),
        ),
        (
            "groups-all-its",
            vec![file(password, passwd), file(group, &its_groups)],
            Err("more than 8192 groups"),
        ),
        (
            "groups-numbers",
            vec![
                file(password, passwd),
                file(
                    group,
                    b"a:x:-1:app\nb:x:4294967295:app\nc:x:4294967296:app\n:x:9:app\nd:x::app\ne:x:31:app\r\nf:x:32:app\n",
                ),
            ],
            // The carriage return belongs to a member's name.
            ok(20, 2),
        ),
        (
            "groups-zeros",
            vec![file(password, passwd), file(group, b"a\0:x:30:app\n\0\0\0\nb:x:31:app\n")],
            ok(20, 2),
        ),
        (
            "groups-duplicate",
            vec![file(password, passwd), file(group, b"g:x:30:app\ng:x:30:app\ng:x:31:app,app\n")],
            ok(20, 3),
        ),
        (
            "groups-long-line",
            vec![file(password, passwd), file(group, &long)],
            ok(20, 1),
        ),
    ];
    for (path, words) in [(password, "/etc/passwd"), (group, "/etc/group")] {
        let shapes = [
            // Links lead to what the image has, which is nothing.
            ("shadow", Entry::Link(path, "/etc/shadow"), false),
            ("machine", Entry::Link(path, machine), false),
            ("fifo-of-machine", Entry::Link(path, fifo), false),
            ("magic", Entry::Link(path, "/proc/1/environ"), false),
            ("loop", Entry::Link(path, words), true),
            ("fifo", Entry::Fifo(path), true),
            ("directory", Entry::Dir(path), true),
            ("large", file(path, &large), true),
        ];
        for (name, entry, is_error) in shapes {
            let mut entries = vec![entry];
            if path == group {
                entries.push(file(password, passwd));
            }
            let answer = match (is_error, path == group) {
                (false, true) => ok(20, 1),
                (true, _) | (false, false) => Err(words),
            };
            cases.push((name, entries, answer));
        }
    }
    for (i, (name, entries, answer)) in cases.iter().enumerate() {
        let image = format!("localhost/database{i}:1");
        load(&podrun, &image, "app", entries);
        let mut one = container_with("a", &["report"], &json!({ "imagePullPolicy": "Never" }));
        one["image"] = image.as_str().into();
        let output = run_bounded(&podrun, &once("database", &[one]));
        match answer {
            Ok(ids) => assert_eq!(ids_of(&output.ok()), *ids, "{name} {i}"),
            Err(words) => {
                assert_ne!(output.code, 0, "{name} {i}: {}", output.stdout);
                assert!(
                    output.stderr.contains(words),
                    "{name} {i}: {}",
                    output.stderr
                );
            }
        }
    }
    canary.assert_untouched();
    podrun.nothing_left();
}

/// V15: the same of a volume over `/etc`, which has what no image can have.
#[test]
fn a_user_database_of_a_volume_is_read_no_further_than_an_images() {
    let podrun = Podrun::new();
    let etc = podrun.files().join("etc");
    for name in ["passwd", "group"] {
        for shape in ["sparse", "device", "link"] {
            fs::create_dir(&etc).unwrap();
            let path = etc.join(name);
            match shape {
                "sparse" => File::create(&path).unwrap().set_len(2 << 30).unwrap(),
                // Never ending, where it may be made.
                "device" if mode() == Mode::Root => mknodat(
                    CWD,
                    &path,
                    FileType::CharacterDevice,
                    Bits::from_raw_mode(0o666),
                    makedev(1, 5),
                )
                .unwrap(),
                _ => symlink(Path::new("/dev/zero"), &path).unwrap(),
            }
            let mount = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/etc" }] });
            let mut manifest = once("volume", &[container_with("a", &["report"], &mount)]);
            manifest["spec"]["volumes"] = json!([{ "name": "v", "hostPath": { "path": etc } }]);
            let output = run_bounded(&podrun, &manifest);
            assert_ne!(output.code, 0, "{shape}: {}", output.stdout);
            // Not what a reader of all of it would come to: there is no memory for that.
            let words = match shape {
                "sparse" => "file too large",
                _ => "",
            };
            output.says(&format!("/etc/{name}")).says(words);
            fs::remove_dir_all(&etc).unwrap();
        }
    }
    podrun.nothing_left();
}

const PASSWD: &[u8] =
    b"root:x:0:0:root:/root:/\n1000:x:0:0:trap:/:/\n:x:0:0::/:\napp:x:10:20::/:\nzero:x:0:20::/:\n";
const GROUP: &[u8] = b"root:x:0:\ngrp:x:30:\n";

/// V27 (CVE-2026-30892, CVE-2016-3697, CVE-2024-40635): a user is a number or a name, in every form that
/// an image can give it, or nothing starts; what is root is none with `runAsNonRoot`.
#[test]
fn the_users_of_images_are_numbers_or_names_and_root_is_never_hidden() {
    require_mode!(Mode::Root, Mode::User);
    let podrun = Podrun::empty();
    let digits = "9".repeat(30);
    let rows = [
        ("1", Some((1, 0))),
        ("1:2", Some((1, 2))),
        ("0", Some((0, 0))),
        ("00", Some((0, 0))),
        ("0:0", Some((0, 0))),
        ("0:5", Some((0, 5))),
        ("", Some((0, 0))),
        ("app", Some((10, 20))),
        ("app:grp", Some((10, 30))),
        ("zero", Some((0, 20))),
        ("root", Some((0, 0))),
        ("01", Some((1, 0))),
        // A number, although a user is called so.
        ("1000", Some((1000, 0))),
        ("2147483648", Some((2_147_483_648, 0))),
        ("4294967294", Some((4_294_967_294, 0))),
        ("4294967295", None),
        ("4294967296", None),
        ("18446744073709551616", None),
        (digits.as_str(), None),
        (":5", None),
        (":", None),
        ("1:", None),
        ("1:2:3", None),
        ("-1", None),
        ("+1", None),
        ("0x0", None),
        (" 1", None),
        ("1 ", None),
        ("root\n", None),
        ("nobody", None),
        ("app:none", None),
    ];
    for (i, (user, ids)) in rows.iter().enumerate() {
        // An ordinary user has not all ids.
        let ids = ids.filter(|(uid, _)| mode() == Mode::Root || *uid < 65536);
        let image = format!("localhost/user{i}:1");
        load(
            &podrun,
            &image,
            user,
            &[
                Entry::File("etc/passwd", PASSWD),
                Entry::File("etc/group", GROUP),
            ],
        );
        let run = |security: &Value| {
            let fields = json!({ "imagePullPolicy": "Never", "securityContext": security });
            let mut one = container_with("a", &["report"], &fields);
            one["image"] = image.as_str().into();
            podrun.run_pod(&once("user", &[one]))
        };
        let output = run(&json!({}));
        match ids {
            Some((uid, gid)) => {
                let found = ids_of(&output.ok());
                assert_eq!((found.0, found.1), (uid, gid), "{user:?}");
            }
            None => assert_ne!(output.code, 0, "{user:?}: {}", output.stdout),
        }
        let output = run(&json!({ "runAsNonRoot": true }));
        let is_number = user.starts_with(|c: char| c.is_ascii_digit());
        match ids {
            // A name is not believed, whoever it is (`verifyRunAsNonRoot`).
            Some((uid, gid)) if uid != 0 && is_number => {
                let found = ids_of(&output.ok());
                assert_eq!((found.0, found.1), (uid, gid), "{user:?}");
            }
            _ => assert_ne!(output.code, 0, "{user:?}: {}", output.stdout),
        }
    }
    podrun.nothing_left();
}

/// V27 (CVE-2019-11245): who a container is stays as it is over restarts, for hooks, for commands and for
/// the next pod of the image.
#[test]
fn a_container_has_the_same_ids_whenever_it_starts() {
    require_mode!(Mode::Root, Mode::User);
    let podrun = Podrun::new();
    podrun.load(&forge::image_over_probe(
        "localhost/alice:1",
        &json!({ "User": "alice" }),
        &[],
    ));
    let story = json!([{ "name": "story", "mountPath": "/story" }]);
    let hook = json!({ "postStart": { "exec": { "command": ["/probe", "tell-ids"] } } });
    for _ in 0..2 {
        let mut one = container_with(
            "a",
            &["and", "tell-ids", "--", "exit", "1"],
            &json!({ "volumeMounts": story }),
        );
        one["image"] = "localhost/alice:1".into();
        let mut lives = container_with(
            "lives",
            &["and", "tell-ids", "--", "ready-sleep"],
            &json!({ "volumeMounts": story, "lifecycle": hook }),
        );
        lives["image"] = "localhost/alice:1".into();
        let root = container_with("root", &["ready-sleep"], &json!({ "volumeMounts": story }));
        assert_eq!(root["image"], IMAGE);
        podrun.start(&pod(
            "pod",
            json!({
                "restartPolicy": "OnFailure",
                "terminationGracePeriodSeconds": 1,
                "volumes": [{ "name": "story", "emptyDir": {} }],
            }),
            &[one, lives, root],
        ));
        podrun.until_status("pod", "has restarted five times", |status| {
            let all = status["containerStatuses"].as_array();
            all.is_some_and(|all| {
                all.iter()
                    .any(|one| one["restartCount"].as_u64() >= Some(5))
            })
        });
        podrun.wait_for_log("pod", "lives", "ready");
        podrun.probe("pod", "lives", &["tell-ids"]);
        let told = podrun.probe("pod", "root", &["read", "/story/told"]);
        assert!(told.lines().count() >= 8, "{told}");
        for line in told.lines() {
            let alice = "1000,1000,1000,1000 1000,1000,1000,1000 1000,2000,2001";
            assert_eq!(line, alice, "{told}");
        }
        podrun.run(["rm", "pod"]).ok();
    }
    podrun.nothing_left();
}

/// V32 (CVE-2014-8989, CVE-2018-7169): a pod has none of its user's groups, where the kernel lets them be
/// dropped; where it does not, they are what they are, and others cannot be asked for.
#[test]
fn a_pod_reads_nothing_as_a_member_of_its_users_groups() {
    require_mode!(Mode::User, Mode::Single);
    if is_in_machine() {
        // Its user is in no other group.
        return;
    }
    let secret = std::env::var("PODRUN_TEST_SECRET");
    require!(
        secret.is_ok(),
        "PODRUN_TEST_SECRET names no file that this user reads as a member of a group"
    );
    let secret = secret.unwrap();
    assert_eq!(fs::read_to_string(&secret).unwrap(), "of-the-group\n");
    let podrun = Podrun::new();
    let run = |words: &[&str], security: &Value| {
        let fields = json!({
            "securityContext": security,
            "volumeMounts": [{ "name": "v", "mountPath": "/secret" }],
        });
        let mut manifest = once("groups", &[container_with("a", words, &fields)]);
        manifest["spec"]["volumes"] = json!([{ "name": "v", "hostPath": { "path": secret } }]);
        podrun.run_pod(&manifest)
    };
    let read = |security: &Value| run(&["read", "/secret"], security);
    if mode() == Mode::User {
        for security in [
            json!({}),
            json!({ "runAsUser": 1000 }),
            json!({ "runAsUser": 65534, "runAsGroup": 65534 }),
            json!({ "privileged": true }),
        ] {
            read(&security).code(99).says("Permission denied");
            let report = run(&["report"], &security).ok().stdout;
            let report = report[report.find('{').unwrap()..].lines().next().unwrap();
            let report: Value = serde_json::from_str(report).unwrap();
            let groups = report["status"]["Groups"].as_str().unwrap();
            // Nor one that is only not shown (`/proc/sys/kernel/overflowgid`).
            let own = security["runAsGroup"].as_u64() == Some(65534);
            assert!(own || !groups.contains("65534"), "{security}: {groups}");
        }
    } else {
        // As the README says.
        assert!(read(&json!({})).ok().stdout.contains("of-the-group"));
        for (field, value) in [("fsGroup", json!(0)), ("supplementalGroups", json!([0]))] {
            let mut manifest = once("groups", &[container_with("a", &["report"], &json!({}))]);
            manifest["spec"]["securityContext"] = json!({ field: value });
            let output = podrun.run_pod(&manifest).code(3);
            output.says(field).says("groups cannot be set");
        }
    }
    podrun.nothing_left();
}
