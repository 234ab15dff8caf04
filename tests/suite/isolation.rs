//! What `securityContext` makes of a container's processes, read from inside: for the first process
//! of a container, for the one after a restart, for a command by exec, of a probe, of a hook, and of
//! a container that was added to the pod.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::forge::{self, Entry};
use crate::harness::{
    IMAGE, Mode, Podrun, container, container_with, lasting, mode, once, pod, require_mode, until,
};

const DEFAULT: &str = "00000000800405fb";
const NONE: &str = "0000000000000000";

/// Reports of every kind of process of a container with this `securityContext`, in a pod with that.
fn all_kinds(podrun: &Podrun, of_container: &Value, of_pod: &Value) -> Vec<(&'static str, Value)> {
    all_kinds_of(podrun, of_container, of_pod, |pod| podrun.start(pod))
}

/// As [`all_kinds`], of a pod that is started in this way.
pub(crate) fn all_kinds_of(
    podrun: &Podrun,
    of_container: &Value,
    of_pod: &Value,
    start: impl FnOnce(&Value),
) -> Vec<(&'static str, Value)> {
    let hooks = json!({
        "securityContext": of_container,
        "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
        "readinessProbe": { "exec": { "command": ["/probe", "report-to", "/v/probe"] } },
        "lifecycle": {
            "postStart": { "exec": { "command": ["/probe", "report-to", "/v/hook"] } },
        },
    });
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "volumes": [{ "name": "v", "emptyDir": {} }],
        "securityContext": of_pod,
    });
    // Reports are read by another container, whoever the first one runs as.
    let reader = container_with(
        "reader",
        &["ready-sleep"],
        &json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }),
    );
    let subject = container_with("a", &["report-runs", "/v"], &hooks);
    start(&pod("kinds", spec, &[subject, reader]));
    let mut found = Vec::new();
    for kind in ["init", "restart", "probe", "hook"] {
        let path = format!("/v/{kind}");
        let mut text = String::new();
        until(&format!("the report of {kind}"), || {
            let read = [
                "exec", "kinds", "-c", "reader", "--", "/probe", "read", &path,
            ];
            let output = podrun.run(read);
            text = output.stdout;
            output.code == 0
        });
        found.push((kind, serde_json::from_str(&text).unwrap()));
    }
    let exec = podrun.probe("kinds", "a", &["report"]);
    found.push(("exec", serde_json::from_str(exec.trim()).unwrap()));
    podrun.run(["rm", "kinds"]).ok();
    podrun.nothing_left();
    found
}

fn status<'a>(report: &'a Value, key: &str) -> &'a str {
    report["status"][key].as_str().unwrap_or_default().trim()
}

/// Sorted.
fn groups(report: &Value) -> Vec<u32> {
    let mut groups: Vec<u32> = status(report, "Groups")
        .split_whitespace()
        .map(|group| group.parse().unwrap())
        .collect();
    groups.sort_unstable();
    groups
}

/// What the table of calls answers in a container that asks for nothing.
const CONFINED: [(&str, i32); 14] = [
    ("keyctl", libc::EPERM),
    ("add_key", libc::EPERM),
    ("clone3", libc::ENOSYS),
    ("io_uring_setup", libc::EPERM),
    ("setns", libc::EPERM),
    ("unshare_nothing", 0),
    ("unshare_user", libc::EPERM),
    ("socket_inet", libc::EINVAL),
    ("socket_alg", libc::EPERM),
    ("socket_vsock", libc::EPERM),
    ("personality", 0),
    ("move_pages", libc::EPERM),
    ("unknown", libc::ENOSYS),
    ("x32", libc::ENOSYS),
];

fn assert_confined(who: &str, report: &Value) {
    assert_eq!(status(report, "Seccomp"), "2", "{who}");
    assert_eq!(status(report, "Seccomp_filters"), "1", "{who}");
    for (call, errno) in CONFINED {
        assert_eq!(report["calls"][call], errno, "{call} of {who}");
    }
}

fn assert_unconfined(who: &str, report: &Value) {
    assert_eq!(status(report, "Seccomp"), "0", "{who}");
    let calls = &report["calls"];
    for (call, errno) in [
        ("clone3", libc::EINVAL),
        ("unshare_user", libc::EINVAL),
        ("io_uring_setup", libc::EFAULT),
    ] {
        assert_eq!(calls[call], errno, "{call} of {who}");
    }
}

#[test]
fn every_process_of_a_container_is_confined_alike() {
    let podrun = Podrun::new();
    for (who, report) in all_kinds(&podrun, &json!({}), &json!({})) {
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(status(&report, set), DEFAULT, "{set} of {who}");
        }
        for set in ["CapInh", "CapAmb", "SigBlk", "SigIgn"] {
            assert_eq!(status(&report, set), NONE, "{set} of {who}");
        }
        assert_eq!(status(&report, "NoNewPrivs"), "0", "{who}");
        assert_eq!(status(&report, "Umask"), "0022", "{who}");
        assert_confined(who, &report);
    }
}

#[test]
fn how_the_caller_is_reaches_no_process_of_a_container() {
    let podrun = Podrun::new();
    let unconfined = json!({ "seccompProfile": { "type": "Unconfined" } });
    let odd_caller = |pod: &Value| {
        let path = podrun.manifest("pod", pod);
        let mut command = podrun.environment(std::process::Command::new("sh"));
        command
            .env("PODRUN_BACKOFF_INITIAL", "10ms")
            .env("PODRUN_BACKOFF_MAX", "20ms")
            .args([
                "-c",
                "ulimit -c unlimited; umask 0077; trap '' PIPE INT HUP USR1; exec 9</ 8>/dev/null; \
                 exec nice -n 5 \"$0\" with-key \"$@\"",
            ])
            .arg(crate::harness::probe())
            .arg(crate::harness::binary())
            .args(["up", "--wait=none", &path]);
        crate::harness::finish(command, b"").ok();
    };
    for (who, report) in all_kinds_of(&podrun, &unconfined, &json!({}), odd_caller) {
        let limit = |name: &str| -> Vec<String> {
            let mut lines = report["limits"].as_array().unwrap().iter();
            let line = lines
                .find_map(|line| line.as_str()?.strip_prefix(name))
                .unwrap();
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(limit("Max core file size")[..2], ["0", "0"], "{who}");
        let files = limit("Max open files");
        let hard: u64 = files[1].parse().unwrap();
        assert_eq!(files[0], hard.min(65536).to_string(), "{who}");
        assert_eq!(status(&report, "Umask"), "0022", "{who}");
        for set in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
            assert_eq!(status(&report, set), NONE, "{set} of {who}");
        }
        let descriptors: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
        assert_eq!(descriptors, ["0", "1", "2"], "{who}");
        for field in [
            "subreaper",
            "parent_death_signal",
            "keepcaps",
            "securebits",
            "personality",
        ] {
            assert_eq!(report[field], 0, "{field} of {who}");
        }
        assert_eq!(report["dumpable"], 1, "{who}");
        assert_eq!(report["timer_slack"], 50_000, "{who}");
        // Only root may have a better one than its caller.
        let nice = if mode() == Mode::Root { 0 } else { 5 };
        assert_eq!(report["nice"], nice, "{who}");
        // A keyring of its own, without the caller's key.
        assert_eq!(report["calls"]["keyctl"], 0, "{who}");
        assert_eq!(report["callers_key"], libc::ENOKEY, "{who}");
    }
}

#[test]
fn nothing_of_the_callers_capabilities_is_inherited() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let path = podrun.manifest(
        "pod",
        &lasting(
            "inherit",
            &[container("a", &["and", "report", "--", "sleep"])],
        ),
    );
    let mut command = podrun.environment(std::process::Command::new("setpriv"));
    command
        .args([
            "--inh-caps",
            "+net_raw,+chown",
            "--ambient-caps",
            "+net_raw",
        ])
        .arg(crate::harness::binary())
        .args(["up", &path]);
    crate::harness::finish(command, b"").ok();
    let (init, exec) = podrun.reports("inherit");
    for (who, report) in [("init", &init), ("exec", &exec)] {
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(status(report, set), NONE, "{set} of {who}");
        }
        assert_eq!(status(report, "CapBnd"), DEFAULT, "{who}");
    }
}

#[test]
fn a_restricted_container_has_nothing_and_gets_nothing() {
    let podrun = Podrun::new();
    let security = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"], "add": ["cap_net_bind_service"] },
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    for (who, report) in all_kinds(&podrun, &security, &json!({})) {
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(status(&report, set), "0000000000000400", "{set} of {who}");
        }
        assert_eq!(status(&report, "NoNewPrivs"), "1", "{who}");
        assert_confined(who, &report);
    }
}

#[test]
fn capabilities_are_added_and_dropped_as_by_containerd() {
    let podrun = Podrun::new();
    for (lists, set) in [
        (json!({ "drop": ["chown"] }), "00000000800405fa"),
        (json!({ "add": ["CAP_NET_RAW"] }), "00000000800425fb"),
        (
            json!({ "add": ["NET_RAW"], "drop": ["ALL"] }),
            "0000000000002000",
        ),
        (
            json!({ "add": ["KILL"], "drop": ["KILL"] }),
            "00000000800405db",
        ),
        (json!({ "drop": ["ALL"] }), NONE),
    ] {
        let fields = json!({ "securityContext": { "capabilities": lists } });
        let report = one_report(
            &podrun,
            &container_with("a", &["report"], &fields),
            &json!({}),
        );
        for name in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(status(&report, name), set, "{name} with {lists}");
        }
    }
    let fields = json!({ "securityContext": { "capabilities": { "add": ["NET_ADMN"] } } });
    let path = podrun.manifest(
        "pod",
        &once("typo", &[container_with("a", &["report"], &fields)]),
    );
    podrun
        .run(["up", &path])
        .code(3)
        .says("`NET_ADMN` is not a capability")
        .says("did you mean `NET_ADMIN`?");
    podrun.nothing_left();
}

/// The report of a pod's only process.
fn one_report(podrun: &Podrun, container: &Value, of_pod: &Value) -> Value {
    let spec = json!({ "restartPolicy": "Never", "securityContext": of_pod });
    let path = podrun.manifest("one", &pod("one", spec, std::slice::from_ref(container)));
    let output = podrun.run(["run", &path]).ok();
    let line = output
        .stdout
        .lines()
        .find(|line| line.contains('{'))
        .unwrap();
    serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap()
}

#[test]
fn everything_is_given_to_who_asks_for_all() {
    let podrun = Podrun::new();
    let fields = json!({ "securityContext": { "capabilities": { "add": ["ALL"] } } });
    let report = one_report(
        &podrun,
        &container_with("a", &["report"], &fields),
        &json!({}),
    );
    let held = u64::from_str_radix(status(&report, "CapEff"), 16).unwrap();
    assert_eq!(held & 0x8004_05fb, 0x8004_05fb);
    assert_ne!(held & 1 << 21, 0, "SYS_ADMIN is among {held:x}");
    // It has a filter all the same, which lets through what the capabilities are for.
    assert_eq!(status(&report, "Seccomp"), "2");
    assert_eq!(report["calls"]["unshare_user"], libc::EINVAL);
    assert_eq!(report["calls"]["setns"], libc::EBADF);
    assert_eq!(report["calls"]["keyctl"], libc::EPERM);
}

#[test]
fn a_capability_that_podrun_lacks_cannot_be_given() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let fields = json!({ "securityContext": { "capabilities": { "add": ["SYS_TIME"] } } });
    let path = podrun.manifest(
        "pod",
        &once("lack", &[container_with("a", &["report"], &fields)]),
    );
    let mut command = podrun.environment(std::process::Command::new("setpriv"));
    command
        .args(["--bounding-set", "-sys_time"])
        .arg(crate::harness::binary())
        .args(["up", &path]);
    crate::harness::finish(command, b"")
        .code(3)
        .says("podrun itself does not have `SYS_TIME` here");
    podrun.nothing_left();
}

#[test]
fn a_container_without_a_profile_is_one_that_asked_for_none() {
    let podrun = Podrun::new();
    let unconfined = json!({ "seccompProfile": { "type": "Unconfined" } });
    let default = json!({ "seccompProfile": { "type": "RuntimeDefault" } });
    for (who, report) in all_kinds(&podrun, &unconfined, &default) {
        assert_unconfined(who, &report);
        // A session keyring of its own, as every process has.
        assert_eq!(report["calls"]["keyctl"], 0, "{who}");
    }
    let plain = container("a", &["report"]);
    assert_unconfined("by the pod", &one_report(&podrun, &plain, &unconfined));
    let own = container_with("a", &["report"], &json!({ "securityContext": default }));
    assert_confined("by the container", &one_report(&podrun, &own, &unconfined));
}

#[test]
fn calls_of_another_architecture_end_the_process() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let podrun = Podrun::new();
    let output = podrun.run_pod(&once("old", &[container("a", &["old-call"])]));
    assert_eq!(output.code, 128 + libc::SIGSYS, "{}", output.stdout);
}

#[test]
fn profiles_of_the_machine_are_obeyed_or_refused() {
    let podrun = Podrun::new();
    let folder = podrun.root().join("data/seccomp");
    std::fs::create_dir_all(folder.join("team")).unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    put(
        "team/audit.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
             "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}"#,
    );
    let security =
        |file: &str| json!({ "seccompProfile": { "type": "Localhost", "localhostProfile": file } });
    for (who, report) in all_kinds(&podrun, &security("team/audit.json"), &json!({})) {
        assert_eq!(status(&report, "Seccomp"), "2", "{who}");
        assert_eq!(report["calls"]["personality"], 95, "{who}");
        assert_eq!(report["calls"]["socket_inet"], 13, "{who}");
        assert_eq!(report["calls"]["clone3"], libc::EINVAL, "{who}");
    }
    put(
        "broken.json",
        "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\",\n  \"deny\": []\n}",
    );
    put("large.json", &" ".repeat(1024 * 1024 + 1));
    // One that would do, and is not in the folder.
    let outside = podrun.files().join("outside.json");
    std::fs::write(&outside, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
    std::os::unix::fs::symlink(outside, folder.join("link.json")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("pipe.json"), 0o600.into()).unwrap();
    for (file, words) in [
        ("missing.json", "seccomp/missing.json: No such file"),
        (
            "broken.json",
            "seccomp/broken.json: is not a seccomp profile: unknown field `deny`",
        ),
        ("broken.json", "line 3 column"),
        ("large.json", "is larger than 1 MiB"),
        ("link.json", "seccomp/link.json:"),
        ("pipe.json", "is not a regular file"),
        ("team", "is not a regular file"),
        ("../x", "must not contain '..'"),
        ("", "must be set when seccomp type is Localhost"),
    ] {
        let fields = json!({ "securityContext": security(file) });
        let manifest = once("refused", &[container_with("a", &["report"], &fields)]);
        let path = podrun.manifest("refused", &manifest);
        let output = podrun.run(["up", &path]).code(3).says(words);
        assert!(
            output.stderr.contains("localhostProfile"),
            "{file}: {}",
            output.stderr
        );
    }
    podrun.nothing_left();
}

#[test]
fn an_added_container_is_confined_by_the_pods_rules() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("looked-at", &[container("a", &["ready-sleep"])]))
        .ok();
    let debug = [
        "debug",
        "looked-at",
        "--image",
        IMAGE,
        "-c",
        "d",
        "--",
        "/probe",
    ];
    podrun
        .run(debug.iter().chain(&["and", "report", "--", "sleep"]))
        .ok();
    podrun.wait_for_log("looked-at", "d", "}");
    let log = podrun.run(["logs", "looked-at", "-c", "d"]).ok().stdout;
    let report: Value = serde_json::from_str(log.trim()).unwrap();
    assert_eq!(status(&report, "CapBnd"), DEFAULT);
    assert_confined("the added container", &report);
}

#[test]
fn groups_are_merged_or_strict() {
    require_mode!(Mode::Root, Mode::User);
    let podrun = Podrun::new();
    podrun.load(&forge::image_over_probe(
        "localhost/alice:1",
        &json!({ "User": "alice" }),
        &[],
    ));
    let alice =
        json!({ "name": "a", "image": "localhost/alice:1", "command": ["/probe", "report"] });
    for (of_pod, expected) in [
        (
            json!({ "supplementalGroups": [40, 41] }),
            &[40, 41, 1000, 2000, 2001][..],
        ),
        (
            json!({ "supplementalGroups": [2000], "supplementalGroupsPolicy": "Merge" }),
            &[1000, 2000, 2001],
        ),
        (
            json!({ "supplementalGroups": [40], "supplementalGroupsPolicy": "Strict" }),
            &[40, 1000],
        ),
        (
            json!({ "supplementalGroupsPolicy": "Strict", "runAsGroup": 7 }),
            &[7],
        ),
        (
            json!({ "runAsUser": 1000, "runAsGroup": 7 }),
            &[7, 2000, 2001],
        ),
    ] {
        let report = one_report(&podrun, &alice, &of_pod);
        assert_eq!(groups(&report), expected, "{of_pod}");
        assert_eq!(status(&report, "CapEff"), NONE, "{of_pod}");
        assert_confined("alice", &report);
    }
    let who = json!({ "runAsUser": 1000, "runAsGroup": 1000 });
    let pods =
        json!({ "runAsUser": 5, "supplementalGroups": [40], "supplementalGroupsPolicy": "Strict" });
    for (kind, report) in all_kinds(&podrun, &who, &pods) {
        assert_eq!(status(&report, "Uid"), "1000\t1000\t1000\t1000", "{kind}");
        assert_eq!(groups(&report), [40, 1000], "{kind}");
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            assert_eq!(status(&report, set), NONE, "{set} of {kind}");
        }
        assert_confined(kind, &report);
    }
}

#[test]
fn groups_that_cannot_be_set_are_refused() {
    require_mode!(Mode::Single);
    let podrun = Podrun::new();
    for (field, value) in [
        ("supplementalGroups", json!([0])),
        ("supplementalGroupsPolicy", json!("Strict")),
    ] {
        let spec = json!({ "securityContext": { field: value } });
        let path = podrun.manifest("pod", &pod("groups", spec, &[container("a", &["report"])]));
        podrun
            .run(["up", &path])
            .code(3)
            .says(field)
            .says("groups cannot be set");
    }
    podrun.nothing_left();
}

#[test]
fn a_group_that_is_denied_stays_denied() {
    require_mode!(Mode::Root, Mode::User);
    // CVE-2022-36109: the primary group is among the supplementary ones.
    let podrun = Podrun::new();
    let security = json!({ "securityContext": { "runAsUser": 1234, "runAsGroup": 1234 } });
    let report = one_report(
        &podrun,
        &container_with("a", &["report"], &security),
        &json!({}),
    );
    assert_eq!(groups(&report), [1234]);
}

#[test]
fn root_is_refused_where_the_manifest_says_so() {
    let podrun = Podrun::new();
    for (image, user) in [("named", "alice"), ("root", ""), ("zero", "0")] {
        let image = format!("localhost/{image}:1");
        podrun.load(&forge::image_over_probe(
            &image,
            &json!({ "User": user }),
            &[],
        ));
    }
    for (image, own, pods, words) in [
        (
            "named",
            json!({}),
            json!({ "runAsNonRoot": true }),
            "container has runAsNonRoot and image has non-numeric user (alice), cannot verify user is non-root",
        ),
        (
            "root",
            json!({ "runAsNonRoot": true }),
            json!({}),
            "container has runAsNonRoot and image will run as root",
        ),
        (
            "zero",
            json!({ "runAsNonRoot": true }),
            json!({ "runAsNonRoot": false }),
            "container has runAsNonRoot and image will run as root",
        ),
        (
            "root",
            json!({ "runAsUser": 0 }),
            json!({ "runAsNonRoot": true }),
            "container's runAsUser breaks non-root policy",
        ),
    ] {
        let container = json!({
            "name": "a", "image": format!("localhost/{image}:1"),
            "command": ["/probe", "sleep"], "securityContext": own,
        });
        let spec = json!({ "securityContext": pods, "restartPolicy": "Never" });
        let path = podrun.manifest("pod", &pod("nonroot", spec, &[container]));
        let sentence = format!("{words} (pod: \"nonroot_default(");
        podrun
            .run(["up", &path])
            .code(1)
            .says(&sentence)
            .says(")\", container: a)");
        podrun.nothing_left();
    }
    if mode() != Mode::Single {
        let fields = json!({ "securityContext": { "runAsNonRoot": true, "runAsUser": 7 } });
        let report = one_report(
            &podrun,
            &container_with("a", &["report"], &fields),
            &json!({}),
        );
        assert_eq!(status(&report, "Uid"), "7\t7\t7\t7");
    }
}

#[test]
fn a_setuid_program_gives_nothing_where_it_may_not() {
    require_mode!(Mode::Root, Mode::User);
    let podrun = Podrun::new();
    let program = std::fs::read(crate::harness::probe()).unwrap();
    podrun.load(&forge::image_over_probe(
        "localhost/setuid:1",
        &json!({}),
        &[Entry::Setuid("up", &program)],
    ));
    for (allowed, euid) in [
        (json!(false), "1000"),
        (json!(true), "0"),
        (Value::Null, "0"),
    ] {
        let container = json!({
            "name": "a", "image": "localhost/setuid:1", "command": ["/up", "report"],
            "securityContext": { "runAsUser": 1000, "allowPrivilegeEscalation": allowed },
        });
        let report = one_report(&podrun, &container, &json!({}));
        let uids: Vec<&str> = status(&report, "Uid").split_whitespace().collect();
        assert_eq!(uids[1], euid, "{allowed}");
    }
}

#[test]
fn a_privileged_container_has_what_there_is() {
    let podrun = Podrun::new();
    let privileged = json!({ "privileged": true });
    let mut held = None;
    for (who, report) in all_kinds(&podrun, &privileged, &json!({})) {
        assert_unconfined(who, &report);
        assert_eq!(
            status(&report, "CapEff"),
            status(&report, "CapBnd"),
            "{who}"
        );
        let set = u64::from_str_radix(status(&report, "CapEff"), 16).unwrap();
        assert_ne!(set & 1 << 21, 0, "SYS_ADMIN of {who}: {set:x}");
        assert_eq!(*held.get_or_insert(set), set, "{who}");
        let masked = report["masked"].as_object().unwrap();
        assert!(
            !masked.values().any(|what| what == "masked"),
            "{who}: {masked:?}"
        );
        for (path, options) in report["read_only"].as_object().unwrap() {
            let options = options.as_str().unwrap();
            let is_read_only = options.split(',').any(|word| word == "ro");
            assert!(!is_read_only, "{who}: {path} has {options}");
        }
        let dev = report["dev"].as_object().unwrap();
        for entry in std::fs::read_dir("/dev").unwrap() {
            use std::os::unix::fs::FileTypeExt;
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            let name = entry.file_name().into_string().unwrap();
            let is_device = kind.is_char_device() || kind.is_block_device();
            if is_device && name != "console" {
                assert!(dev.contains_key(&name), "{who} has no /dev/{name}");
            }
        }
    }
    let fields =
        json!({ "securityContext": { "privileged": true, "allowPrivilegeEscalation": false } });
    let path = podrun.manifest(
        "pod",
        &once("both", &[container_with("a", &["report"], &fields)]),
    );
    podrun
        .run(["up", &path])
        .code(3)
        .says("cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
}

#[test]
fn sysctls_are_the_pods_own() {
    let podrun = Podrun::new();
    let before = std::fs::read_to_string("/proc/sys/kernel/shm_rmid_forced").unwrap();
    let spec = json!({
        "restartPolicy": "Never",
        "securityContext": { "sysctls": [
            { "name": "net.ipv4.ip_unprivileged_port_start", "value": "77" },
            { "name": "net/ipv4/ip_local_port_range", "value": "30000 30100" },
            { "name": "kernel.shm_rmid_forced", "value": "1" },
        ] },
    });
    let read = |path: &str| {
        container(
            &path.replace(['/', '_'], "-"),
            &["read", &format!("/proc/sys/{path}")],
        )
    };
    let path = podrun.manifest(
        "pod",
        &pod(
            "own",
            spec,
            &[
                read("net/ipv4/ip_unprivileged_port_start"),
                read("net/ipv4/ip_local_port_range"),
                read("kernel/shm_rmid_forced"),
            ],
        ),
    );
    let output = podrun.run(["run", &path]).ok();
    for value in ["77", "30000\t30100", "1"] {
        let is_there = output
            .stdout
            .lines()
            .any(|line| line.ends_with(&format!(" {value}")));
        assert!(is_there, "{value}: {}", output.stdout);
    }
    let after = std::fs::read_to_string("/proc/sys/kernel/shm_rmid_forced").unwrap();
    assert_eq!(before, after, "the machine's own");

    for (name, code, words) in [
        ("kernel.core_pattern", 3, "SysctlForbidden"),
        (
            "net.core.no_such_thing",
            1,
            "no pod has a sysctl `net.core.no_such_thing` of its own",
        ),
    ] {
        let spec = json!({ "securityContext": { "sysctls": [{ "name": name, "value": "1" }] } });
        let path = podrun.manifest("pod", &pod("not", spec, &[container("a", &["sleep"])]));
        let output = podrun.run(["up", &path]).says(words);
        assert_ne!(output.code, 0, "{name} {code}");
    }
    podrun.nothing_left();
}

#[test]
fn a_path_of_procfs_that_a_pod_made_is_not_written() {
    // CVE-2025-52881: the links that an earlier container left are not what a sysctl goes through.
    let podrun = Podrun::new();
    let spec = json!({
        "restartPolicy": "Never",
        "volumes": [{ "name": "v", "emptyDir": {} }],
        "securityContext": { "sysctls": [
            { "name": "net.ipv4.ip_unprivileged_port_start", "value": "55" },
        ] },
    });
    for path in [
        "/proc",
        "/proc/sys",
        "/proc/sys/net",
        "//proc//sys",
        "/proc/../proc/sys",
        "/sys/fs/cgroup",
        "/dev",
    ] {
        let mut container = container("a", &["report"]);
        container["volumeMounts"] = json!([{ "name": "v", "mountPath": path }]);
        let path = podrun.manifest("pod", &pod("over", spec.clone(), &[container]));
        podrun.run(["up", &path]).code(3).says("mountPath");
    }
    podrun.nothing_left();
}

#[test]
fn what_has_no_effect_or_no_support_is_said() {
    let podrun = Podrun::new();
    for (own, code, words) in [
        (
            json!({ "appArmorProfile": { "type": "RuntimeDefault" } }),
            0,
            "no AppArmor profile",
        ),
        (
            json!({ "seLinuxOptions": { "level": "s0" } }),
            0,
            "podrun sets no SELinux labels",
        ),
        (json!({ "procMount": "Default" }), 0, ""),
        (
            json!({ "procMount": "Unmasked" }),
            3,
            "`hostUsers` must be false to use `Unmasked`",
        ),
    ] {
        let fields = json!({ "securityContext": own });
        let manifest = once("said", &[container_with("a", &["exit", "0"], &fields)]);
        podrun.run_pod(&manifest).code(code).says(words);
    }
}

#[test]
fn a_profile_of_apparmor_that_cannot_be_in_force_is_refused() {
    let podrun = Podrun::new();
    let profile = json!({ "type": "Localhost", "localhostProfile": "podrun-test-none" });
    let fields = json!({ "securityContext": { "appArmorProfile": profile } });
    let manifest = once("confined", &[container_with("a", &["exit", "0"], &fields)]);
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let output = podrun.up(&manifest);
    match (enabled.is_ok_and(|word| word.trim() == "Y"), mode()) {
        (false, _) => output.code(3).says("this kernel has no AppArmor"),
        (true, Mode::Root) => output.code(3).says("is not loaded"),
        // The list is root's; the kernel says it at the start.
        (true, Mode::User | Mode::Single) => output.code(1).says("cannot be set"),
    };
    podrun.nothing_left();
}

#[test]
fn processes_on_their_way_into_a_container_show_nothing_of_the_machine() {
    let podrun = Podrun::new();
    let fields = json!({ "securityContext": { "capabilities": { "add": ["SYS_PTRACE"] } } });
    let path = podrun.manifest(
        "pod",
        &lasting(
            "watched",
            &[container_with(
                "a",
                &["and", "snoop", "--", "sleep"],
                &fields,
            )],
        ),
    );
    podrun.run(["up", "--wait=running", &path]).ok();
    for _ in 0..50 {
        podrun.probe("watched", "a", &["exit", "0"]);
    }
    podrun.probe("watched", "a", &["write", "/enough", ""]);
    podrun.wait_for_log("watched", "a", "looked ");
    let log = podrun.run(["logs", "watched"]).ok().stdout;
    assert!(!log.contains("leak"), "{log}");
}

#[test]
fn podruns_own_processes_in_a_pod_can_do_next_to_nothing() {
    let podrun = Podrun::new();
    let fields = json!({
        "ports": [{ "containerPort": 8080, "hostPort": crate::harness::free_port() }],
        "readinessProbe": { "tcpSocket": { "port": 8080 }, "periodSeconds": 1 },
    });
    podrun
        .up(&lasting(
            "own",
            &[container_with("a", &["tcp-echo", "8080"], &fields)],
        ))
        .ok();
    let mut seen = Vec::new();
    for process in podrun.processes() {
        let text = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
        let field = |name: &str| -> String {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        match process.name.as_str() {
            "podrun-pause" | "podrun-prober" => {
                for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
                    assert_eq!(field(set), NONE, "{set} of {process:?}");
                }
                assert_eq!(field("NoNewPrivs:"), "1", "{process:?}");
                assert_eq!(field("Seccomp:"), "2", "{process:?}");
                seen.push(process.name);
            }
            // The forwarder has its name of it.
            "podrun-pod" if field("Seccomp:") == "2" => {
                assert_eq!(field("CapPrm:"), NONE, "{process:?}");
                assert_eq!(field("NoNewPrivs:"), "1", "{process:?}");
                seen.push("forwarder".to_owned());
            }
            "podrun-pod" => {
                let held = u64::from_str_radix(&field("CapPrm:"), 16).unwrap();
                for number in [16, 17, 22, 25, 33, 39] {
                    assert_eq!(held & 1 << number, 0, "{number} of {process:?}");
                }
                assert_eq!(field("CapBnd:"), field("CapPrm:"), "{process:?}");
                seen.push(process.name);
            }
            _ => {}
        }
    }
    seen.sort();
    assert_eq!(
        seen,
        ["forwarder", "podrun-pause", "podrun-pod", "podrun-prober"]
    );
}

#[test]
fn how_the_caller_is_scheduled_is_not_inherited() {
    let podrun = Podrun::new();
    let plain = container("a", &["and", "report", "--", "sleep"]);
    podrun
        .up(&lasting("plain", std::slice::from_ref(&plain)))
        .ok();
    let expected = podrun.reports("plain");
    let path = podrun.manifest("pod", &lasting("odd", &[plain]));
    let mut command = podrun.environment(std::process::Command::new("setarch"));
    command
        .args([
            "-R", "taskset", "-c", "0", "ionice", "-c", "3", "chrt", "-b", "0", "nice", "-n", "5",
        ])
        .arg(crate::harness::binary())
        .args(["up", &path]);
    crate::harness::finish(command, b"").ok();
    let odd = podrun.reports("odd");
    for (who, plain, odd) in [("init", expected.0, odd.0), ("exec", expected.1, odd.1)] {
        for field in ["personality", "io_priority", "timer_slack"] {
            assert_eq!(odd[field], plain[field], "{field} of {who}");
        }
        assert_eq!(odd["personality"], 0, "{who}");
        assert_eq!(odd["timer_slack"], 50_000, "{who}");
        assert_eq!(
            status(&odd, "Cpus_allowed_list"),
            status(&plain, "Cpus_allowed_list"),
            "{who}"
        );
        // Only root may have a better one than its caller.
        if mode() == Mode::Root {
            assert_eq!(odd["nice"], 0, "{who}");
        }
    }
}

#[test]
fn podrun_does_not_run_with_rights_that_its_caller_lacks() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let copy = podrun.scratch().join("podrun");
    std::fs::copy(crate::harness::binary(), &copy).unwrap();
    let open = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(podrun.scratch(), 0o755);
    for (mode, code) in [(0o4755, 125), (0o2755, 125), (0o755, 0)] {
        open(&copy, mode);
        let mut command = podrun.environment(std::process::Command::new("setpriv"));
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&copy)
            .arg("version")
            .current_dir("/");
        let output = crate::harness::finish(command, b"").code(code);
        assert_eq!(output.stderr.contains("set-user-id"), code != 0, "{mode:o}");
    }
}

#[test]
fn devices_that_a_container_makes_are_names_and_no_more() {
    let podrun = Podrun::new();
    let fields = json!({
        "securityContext": { "capabilities": { "add": ["MKNOD"] } },
        "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
    });
    let spec =
        json!({ "terminationGracePeriodSeconds": 1, "volumes": [{ "name": "v", "emptyDir": {} }] });
    let maker = container_with("a", &["and", "report", "--", "sleep"], &fields);
    let plain = container("b", &["and", "report", "--", "sleep"]);
    podrun.up(&pod("maker", spec, &[maker, plain])).ok();
    for path in ["/dev/disk", "/v/disk", "/dev/shm/disk", "/disk"] {
        let said = podrun.probe("maker", "a", &["device", path]);
        // In a user namespace none can be made.
        let expected = if mode() == Mode::Root {
            "ok, open errno 13"
        } else {
            "errno 1, open errno 2"
        };
        assert_eq!(said.trim(), expected, "{path}");
    }
    // The standard ones are as in any container.
    let devices = |container: &str| -> Value {
        let said = podrun.probe("maker", container, &["report"]);
        let report: Value = serde_json::from_str(said.trim()).unwrap();
        report["dev"].clone()
    };
    podrun
        .run([
            "exec",
            "maker",
            "-c",
            "a",
            "--",
            "/probe",
            "write",
            "/dev/null",
            "x",
        ])
        .ok();
    let mut made = devices("a");
    made.as_object_mut().unwrap().remove("disk");
    assert_eq!(made, devices("b"));
}
