//! The default sandbox, read from inside: for the first process of a container and for one that
//! came by exec alike.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::forge::{self, Entry};
use crate::harness::{
    Mode, Podrun, container, container_with, lasting, mode, once, pod, require_mode,
};

const REPORT: [&str; 5] = ["and", "report", "--", "sleep", ""];

/// Reports, then lives.
fn reporter(name: &str) -> Value {
    container(name, &REPORT[..4])
}

fn check(reports: &(Value, Value), check: impl Fn(&str, &Value)) {
    check("init", &reports.0);
    check("exec", &reports.1);
}

fn status<'a>(report: &'a Value, key: &str) -> &'a str {
    report["status"][key].as_str().unwrap_or_default()
}

fn words(value: &Value) -> BTreeMap<String, String> {
    value
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

#[test]
fn the_default_sandbox_is_what_the_table_says() {
    let podrun = Podrun::new();
    podrun.up(&lasting("table", &[reporter("a")])).ok();
    let reports = podrun.reports("table");
    check(&reports, |who, report| {
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(status(report, set), "00000000800405fb", "{set} of {who}");
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(status(report, set), "0000000000000000", "{set} of {who}");
        }
        assert_eq!(status(report, "NoNewPrivs"), "0", "{who}");
        assert_eq!(status(report, "Umask"), "0022", "{who}");
        for set in ["SigBlk", "SigIgn"] {
            assert_eq!(status(report, set), "0000000000000000", "{set} of {who}");
        }
        assert_eq!(status(report, "TracerPid"), "0", "{who}");
        assert_eq!(report["cwd"], "/", "{who}");
        assert_eq!(report["nice"], 0, "{who}");
        assert_eq!(report["subreaper"], 0, "{who}");
        assert_eq!(report["parent_death_signal"], 0, "{who}");
        assert_eq!(report["dumpable"], 1, "{who}");
        assert_eq!(report["keepcaps"], 0, "{who}");
        assert_eq!(report["securebits"], 0, "{who}");
        assert_ne!(report["tty"], "opened", "{who}");
        assert_eq!(report["hostname"], "table", "{who}");
    });
    assert_eq!(
        reports.0["pid"], 1,
        "the container's process is the first of its namespace"
    );
    assert_eq!(reports.0["sid"], 1, "it leads a session of its own");
    assert_eq!(
        reports.0["ns"], reports.1["ns"],
        "exec joins every namespace"
    );
    podrun.run(["rm", "table"]).ok();
    podrun.nothing_left();
}

#[test]
fn a_container_has_three_descriptors_whatever_the_caller_leaks() {
    let podrun = Podrun::new();
    let path = podrun.manifest("pod", &lasting("fds", &[reporter("a")]));
    // A directory, a file of podrun's own and a pipe, none of them close-on-exec.
    let leak = "exec 3</ 4<$PODRUN_ROOT 5</etc/passwd 6<&0 7>&1 8>&2 9<.; exec \"$0\" \"$@\"";
    let leaky = |args: &[&str]| {
        let mut command = podrun.environment(std::process::Command::new("sh"));
        command
            .args(["-c", leak])
            .arg(crate::harness::binary())
            .args(args);
        crate::harness::finish(command, b"").ok().stdout
    };
    leaky(&["up", &path]);
    let (init, _) = podrun.reports("fds");
    let exec: Value =
        serde_json::from_str(leaky(&["exec", "fds", "--", "/probe", "report"]).trim()).unwrap();
    for (who, report) in [("init", &init), ("exec", &exec)] {
        let fds = words(&report["fds"]);
        let numbers: Vec<&str> = fds.keys().map(String::as_str).collect();
        assert_eq!(numbers, ["0", "1", "2"], "{who}: {fds:?}");
        for (number, target) in &fds {
            let fine = target.starts_with("pipe:") || target == "/dev/null";
            assert!(fine, "{who}: descriptor {number} is {target}");
        }
    }
    assert_eq!(words(&init["fds"])["0"], "/dev/null");
}

#[test]
fn a_caller_without_stdio_gets_a_pod_all_the_same() {
    let podrun = Podrun::new();
    let path = podrun.manifest("pod", &lasting("closed", &[reporter("a")]));
    let mut command = podrun.environment(std::process::Command::new("sh"));
    command
        .args(["-c", "exec <&- >&- 2>&-; exec \"$0\" \"$@\""])
        .arg(crate::harness::binary())
        .args(["up", &path]);
    crate::harness::finish(command, b"").ok();
    let (init, _) = podrun.reports("closed");
    assert_eq!(words(&init["fds"]).len(), 3, "{}", init["fds"]);
}

#[test]
fn dev_holds_the_standard_nodes_and_nothing_else() {
    let podrun = Podrun::new();
    podrun.up(&lasting("dev", &[reporter("a")])).ok();
    let expected: BTreeMap<String, String> = [
        ("fd", "link /proc/self/fd"),
        ("full", "char 1:7 666"),
        ("mqueue", "directory"),
        ("null", "char 1:3 666"),
        ("ptmx", "link pts/ptmx"),
        ("pts", "directory"),
        ("random", "char 1:8 666"),
        ("shm", "directory"),
        ("stderr", "link /proc/self/fd/2"),
        ("stdin", "link /proc/self/fd/0"),
        ("stdout", "link /proc/self/fd/1"),
        ("termination-log", "other"),
        ("tty", "char 5:0 666"),
        ("urandom", "char 1:9 666"),
        ("zero", "char 1:5 666"),
    ]
    .map(|(name, what)| (name.to_owned(), what.to_owned()))
    .into();
    check(&podrun.reports("dev"), |who, report| {
        assert_eq!(words(&report["dev"]), expected, "{who}");
    });
}

#[test]
fn what_must_be_hidden_is_masked_and_what_must_not_change_is_read_only() {
    let podrun = Podrun::new();
    podrun.up(&lasting("masks", &[reporter("a")])).ok();
    check(&podrun.reports("masks"), |who, report| {
        for (path, what) in words(&report["masked"]) {
            assert!(
                what == "masked" || what == "absent",
                "{who}: {path} is {what}"
            );
        }
        for (path, options) in words(&report["read_only"]) {
            if options == "absent" {
                continue;
            }
            for option in ["ro", "nosuid", "nodev", "noexec"] {
                let has = options.split(',').any(|word| word == option);
                assert!(has, "{who}: {path} has `{options}`, not {option}");
            }
        }
        assert_ne!(report["umount_mask"], "ok", "{who} takes a mask off");
    });
}

/// Mount point → (type, options of the mount).
fn mounts(report: &Value) -> BTreeMap<String, (String, String)> {
    report["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let line = line.as_str().unwrap();
            let (front, back) = line.split_once(" - ").unwrap();
            let front: Vec<&str> = front.split(' ').collect();
            let back: Vec<&str> = back.split(' ').collect();
            (
                front[4].to_owned(),
                (back[0].to_owned(), format!("{},{}", front[5], back[2])),
            )
        })
        .collect()
}

#[test]
fn the_mount_table_is_the_specified_one() {
    let podrun = Podrun::new();
    podrun.up(&lasting("mounts", &[reporter("a")])).ok();
    let table = [
        ("/", "overlay", &["rw"][..]),
        ("/proc", "proc", &["nosuid", "nodev", "noexec"]),
        ("/dev", "tmpfs", &["nosuid", "noexec"]),
        (
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "ptmxmode=666", "mode=620"],
        ),
        (
            "/dev/shm",
            "tmpfs",
            &["nosuid", "nodev", "noexec", "size=65536k"],
        ),
        ("/dev/mqueue", "mqueue", &["nosuid", "nodev", "noexec"]),
        ("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]),
        ("/etc/hosts", "", &["nosuid", "nodev", "noexec"]),
        ("/etc/hostname", "", &["nosuid", "nodev", "noexec"]),
        ("/etc/resolv.conf", "", &["nosuid", "nodev", "noexec"]),
    ];
    check(&podrun.reports("mounts"), |who, report| {
        let mounts = mounts(report);
        for (path, kind, options) in table {
            let (is, has) = mounts
                .get(path)
                .unwrap_or_else(|| panic!("{who}: no mount at {path}"));
            assert!(kind.is_empty() || is == kind, "{who}: {path} is {is}");
            for option in options {
                let there = has.split(',').any(|word| word == *option);
                assert!(there, "{who}: {path} has `{has}`, not {option}");
            }
        }
        // Nothing of the host's is mounted beside them.
        for line in report["mounts"].as_array().unwrap() {
            let line = line.as_str().unwrap();
            assert!(
                !line.contains(" shared:"),
                "{who}: propagates to the host: {line}"
            );
            let point = line.split(' ').nth(4).unwrap();
            let known = ["/proc", "/dev", "/sys", "/etc/"]
                .iter()
                .any(|dir| point.starts_with(dir));
            assert!(known || point == "/", "{who}: an unexpected mount: {line}");
        }
    });
}

#[test]
fn limits_are_the_defaults_whatever_the_caller_has() {
    let podrun = Podrun::new();
    let path = podrun.manifest("pod", &lasting("limits", &[reporter("a")]));
    let mut command = podrun.environment(std::process::Command::new("sh"));
    command
        .args([
            "-c",
            "ulimit -c unlimited; umask 0077; trap '' PIPE INT HUP; exec nice \"$0\" \"$@\"",
        ])
        .arg(crate::harness::binary())
        .args(["up", &path]);
    crate::harness::finish(command, b"").ok();
    check(&podrun.reports("limits"), |who, report| {
        let limit = |name: &str| {
            report["limits"]
                .as_array()
                .unwrap()
                .iter()
                .find_map(|line| line.as_str()?.strip_prefix(name))
                .map(|rest| {
                    rest.split_whitespace()
                        .map(str::to_owned)
                        .collect::<Vec<_>>()
                })
                .unwrap()
        };
        let core = limit("Max core file size");
        assert_eq!(core[0], "0", "{who}: core {core:?}");
        let files = limit("Max open files");
        let hard: u64 = files[1].parse().unwrap();
        assert_eq!(
            files[0],
            hard.min(65536).to_string(),
            "{who}: open files {files:?}"
        );
        assert_eq!(status(report, "Umask"), "0022", "{who}");
        assert_eq!(status(report, "SigIgn"), "0000000000000000", "{who}");
    });
}

#[test]
fn ping_and_low_ports_work_without_capabilities() {
    let podrun = Podrun::new();
    podrun.up(&lasting("sysctls", &[reporter("a")])).ok();
    check(&podrun.reports("sysctls"), |who, report| {
        assert_eq!(report["ip_unprivileged_port_start"], "0", "{who}");
        let range = report["ping_group_range"].as_str().unwrap();
        assert!(range.starts_with('0'), "{who}: {range}");
    });
}

#[test]
fn another_user_has_no_capability_in_effect() {
    require_mode!(Mode::Root, Mode::User);
    let podrun = Podrun::new();
    let user = json!({ "securityContext": { "runAsUser": 1000, "runAsGroup": 1000 } });
    let container = container_with("a", &REPORT[..4], &user);
    podrun.up(&lasting("other", &[container])).ok();
    check(&podrun.reports("other"), |who, report| {
        assert_eq!(status(report, "Uid"), "1000\t1000\t1000\t1000", "{who}");
        assert_eq!(status(report, "Gid"), "1000\t1000\t1000\t1000", "{who}");
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            assert_eq!(status(report, set), "0000000000000000", "{set} of {who}");
        }
        assert_eq!(status(report, "CapBnd"), "00000000800405fb", "{who}");
    });
}

#[test]
fn containers_cannot_write_to_what_podrun_runs_from() {
    let podrun = Podrun::new();
    let before = forge::sha256(&std::fs::read(crate::harness::binary()).unwrap());
    let spec = json!({ "shareProcessNamespace": true, "terminationGracePeriodSeconds": 1 });
    podrun
        .up(&pod("exe", spec, &[container("a", &["ready-sleep"])]))
        .ok();
    for _ in 0..20 {
        assert_eq!(podrun.probe("exe", "a", &["exe-write"]).trim(), "opened 0");
    }
    // As the program itself: `#!/proc/self/exe` must not lead to podrun.
    let image = "localhost/self:1";
    podrun.load(&forge::image_over_probe(
        image,
        &json!({}),
        &[
            Entry::Program("self", b"#!/proc/self/exe\n"),
            Entry::Link("link", "/proc/self/exe"),
        ],
    ));
    for path in ["/self", "/link"] {
        let attack = json!([{ "name": "a", "image": image, "command": [path] }]);
        let output = podrun.run_pod(&once("attack", attack.as_array().unwrap()));
        assert_ne!(output.code, 0, "{path}: {}", output.stdout);
        assert!(
            !output.stdout.contains("podrun"),
            "{path} runs podrun: {}",
            output.stdout
        );
    }
    let after = forge::sha256(&std::fs::read(crate::harness::binary()).unwrap());
    assert_eq!(before, after, "the binary was changed");
}

#[test]
fn a_container_cannot_push_input_into_a_terminal_of_the_caller() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("push", &[container("a", &["ready-sleep"])]))
        .ok();
    let results = podrun.probe("push", "a", &["push-input"]);
    assert_eq!(results.trim(), "[-1, -1, -1]");
}

#[test]
fn no_control_channel_is_in_the_abstract_namespace() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("abstract", &[container("a", &["ready-sleep"])]))
        .ok();
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let ours: Vec<&str> = table
        .lines()
        .filter(|line| line.contains('@') && line.contains("podrun"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn a_read_only_root_refuses_writes_and_leaves_volumes_writable() {
    let podrun = Podrun::new();
    let fields = json!({
        "securityContext": { "readOnlyRootFilesystem": true },
        "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
    });
    let spec =
        json!({ "terminationGracePeriodSeconds": 1, "volumes": [{ "name": "v", "emptyDir": {} }] });
    podrun
        .up(&pod(
            "ro",
            spec,
            &[container_with("a", &["ready-sleep"], &fields)],
        ))
        .ok();
    assert_eq!(
        podrun.probe("ro", "a", &["write-errno", "/x"]).trim(),
        "errno 30"
    );
    assert_eq!(
        podrun.probe("ro", "a", &["write-errno", "/v/x"]).trim(),
        "ok"
    );
    assert_eq!(
        podrun
            .probe("ro", "a", &["write-errno", "/dev/shm/x"])
            .trim(),
        "ok"
    );
}

#[test]
fn the_environment_is_the_manifests_and_none_of_the_callers() {
    let podrun = Podrun::new();
    let fields = json!({ "env": [
        { "name": "A", "value": "one" },
        { "name": "B", "value": "$(A) two $(MISSING) $$(A)" },
    ] });
    podrun
        .up(&lasting(
            "env",
            &[container_with("a", &REPORT[..4], &fields)],
        ))
        .ok();
    check(&podrun.reports("env"), |who, report| {
        let env = words(&report["env"]);
        assert_eq!(env["A"], "one", "{who}");
        assert_eq!(env["B"], "one two $(MISSING) $(A)", "{who}");
        assert_eq!(env["HOSTNAME"], "env", "{who}");
        assert_eq!(env["HOME"], "/root", "{who}");
        let mut names: Vec<&str> = env.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["A", "B", "HOME", "HOSTNAME", "PATH"], "{who}");
    });
}
