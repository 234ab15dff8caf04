//! Resources as the kernel knows them, seen from the machine.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::census;
use crate::harness::{
    Mode, Podrun, Running, container, container_with, finish, has_control, lasting, mode, once,
    pod, require_control, require_mode, until,
};

/// Whether cgroups are of version 2 alone.
fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The pod's cgroup in a controller's hierarchy.
pub(crate) fn cgroup(controller: &str, uid: &str) -> PathBuf {
    let place = match mode() {
        Mode::User | Mode::Single => {
            let user = rustix::process::getuid();
            format!("user.slice/user-{user}.slice/user@{user}.service")
        }
        Mode::Root if is_unified() => String::new(),
        Mode::Root => controller.to_owned(),
    };
    Path::new("/sys/fs/cgroup")
        .join(place)
        .join("podrun")
        .join(format!("pod{uid}"))
}

pub(crate) fn read(directory: &Path, file: &str) -> String {
    let path = directory.join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}

pub(crate) fn uid(podrun: &Podrun, name: &str) -> String {
    podrun.pod(name)["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned()
}

pub(crate) fn limited(name: &str, words: &[&str], resources: &Value) -> Value {
    container_with(name, words, &json!({ "resources": resources }))
}

#[track_caller]
pub(crate) fn assert_no_cgroups(uid: &str) {
    for controller in ["cpu", "memory", "pids"] {
        let left = cgroup(controller, uid);
        assert!(!left.exists(), "{} is left", left.display());
    }
}

#[test]
fn limits_are_what_the_kernel_enforces_on_all_in_the_container() {
    require_control!();
    let podrun = Podrun::new();
    let resources = json!({
        "limits": { "cpu": "500m", "memory": "64Mi" },
        "requests": { "cpu": "250m" },
    });
    let containers = [
        limited("a", &["ready-sleep"], &resources),
        // The kernel has a file of this name.
        container("tasks", &["ready-sleep"]),
    ];
    podrun.up(&lasting("limited", &containers)).ok();
    let mut command = podrun.command();
    command.args(["exec", "limited", "-c", "a", "--", "/probe", "fork-sleep"]);
    let exec = Running::start(command, b"");
    until("the exec'd processes run", || {
        let processes = podrun.processes();
        processes.iter().filter(|one| one.name == "probe").count() == 4
    });

    let uid = uid(&podrun, "limited");
    let of =
        |controller: &str, name: &str, file: &str| read(&cgroup(controller, &uid).join(name), file);
    if is_unified() {
        assert_eq!(of("cpu", "container-a", "cpu.weight"), "35");
        assert_eq!(of("cpu", "container-a", "cpu.max"), "50000 100000");
        assert_eq!(of("memory", "container-a", "memory.max"), "67108864");
        assert_eq!(of("memory", "container-a", "memory.oom.group"), "1");
        assert_eq!(of("memory", "container-tasks", "memory.max"), "max");
        assert_eq!(of("memory", "", "memory.max"), "max");
    } else {
        assert_eq!(of("cpu", "container-a", "cpu.shares"), "256");
        assert_eq!(of("cpu", "container-a", "cpu.cfs_quota_us"), "50000");
        let file = "memory.limit_in_bytes";
        assert_eq!(of("memory", "container-a", file), "67108864");
        let file = "memory.memsw.limit_in_bytes";
        assert_eq!(of("memory", "container-a", file), "67108864");
        assert_eq!(of("cpu", "container-tasks", "cpu.shares"), "2");
        assert_eq!(of("cpu", "", "cpu.shares"), "256");
        assert_eq!(of("cpu", "", "cpu.cfs_quota_us"), "-1");
    }
    assert_eq!(of("pids", "", "pids.max"), "4096");
    for controller in ["cpu", "memory", "pids"] {
        let processes = |name: &str| of(controller, name, "cgroup.procs").lines().count();
        // Its first process, and the exec'd ones; who has started them may not be gone yet.
        until("no other is left", || processes("container-a") == 3);
        assert_eq!(processes("container-tasks"), 1, "{controller}");
        assert_eq!(processes(""), 0, "{controller}");
    }
    assert_eq!(podrun.pod("limited")["status"]["qosClass"], "Burstable");

    podrun.run(["rm", "limited"]).ok();
    exec.end();
    assert_no_cgroups(&uid);
    podrun.nothing_left();
}

#[test]
fn what_is_written_for_the_pod_limits_all_of_it_and_containers_without_limits() {
    require_control!();
    let podrun = Podrun::new();
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "resources": { "limits": { "cpu": "500m", "memory": "64Mi" } },
    });
    let own = json!({ "limits": { "cpu": "250m", "memory": "16Mi" } });
    let refer = json!({ "env": [{ "name": "MOST", "valueFrom": { "resourceFieldRef": {
        "resource": "limits.memory", "divisor": "1Mi",
    } } }] });
    podrun
        .up(&pod(
            "shared",
            spec,
            &[
                limited("a", &["ready-sleep"], &own),
                container_with(
                    "b",
                    &["and", "echo", "$(MOST)", "--", "ready-sleep"],
                    &refer,
                ),
            ],
        ))
        .ok();
    let uid = uid(&podrun, "shared");
    let of =
        |controller: &str, name: &str, file: &str| read(&cgroup(controller, &uid).join(name), file);
    for (name, quota, memory) in [
        ("", "50000", "67108864"),
        ("container-a", "25000", "16777216"),
        ("container-b", "50000", "67108864"),
    ] {
        if is_unified() {
            assert_eq!(of("cpu", name, "cpu.max"), format!("{quota} 100000"));
            assert_eq!(of("memory", name, "memory.max"), memory, "{name}");
        } else {
            assert_eq!(of("cpu", name, "cpu.cfs_quota_us"), quota, "{name}");
            assert_eq!(
                of("memory", name, "memory.limit_in_bytes"),
                memory,
                "{name}"
            );
        }
    }
    let shown = podrun.pod("shared");
    assert_eq!(shown["status"]["qosClass"], "Burstable", "{shown}");
    let requests = json!({ "cpu": "250m", "memory": "16Mi" });
    assert_eq!(shown["spec"]["resources"]["requests"], requests, "{shown}");
    podrun.wait_for_log("shared", "b", "64\n");
}

#[test]
fn a_container_that_uses_up_its_memory_is_told_of_as_such() {
    require_control!();
    let podrun = Podrun::new();
    let fields = json!({
        "resources": { "limits": { "memory": "16Mi" } },
        "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
    });
    let words = ["and", "once", "/v/f", "hog", "64", "--", "ready-sleep"];
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "restartPolicy": "OnFailure",
        "volumes": [{ "name": "v", "emptyDir": {} }],
    });
    podrun.start(&pod("hog", spec, &[container_with("a", &words, &fields)]));
    podrun.wait_for_log("hog", "a", "ready");
    let status = &podrun.pod("hog")["status"]["containerStatuses"][0];
    let ended = &status["lastState"]["terminated"];
    assert_eq!(ended["reason"], "OOMKilled", "{status}");
    assert_eq!(ended["exitCode"], 137, "{status}");

    // What ends a later run is not what has ended the first.
    for supervised in podrun.processes() {
        if supervised.name == "probe" {
            supervised.kill();
        }
    }
    let pod = podrun.until_status("hog", "it has restarted again", |status| {
        status["containerStatuses"][0]["restartCount"] == 2
    });
    let ended = &pod["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(ended["reason"], "Error", "{ended}");
    assert_eq!(ended["exitCode"], 137, "{ended}");
}

#[test]
fn a_pod_with_limits_has_an_end_of_its_processes() {
    require_control!();
    let podrun = Podrun::new();
    let resources = json!({ "requests": { "cpu": "100m" } });
    let bomb = limited("bomb", &["fork-all"], &resources);
    podrun.up(&lasting("bomb", &[bomb])).ok();
    podrun.wait_for_log("bomb", "bomb", "forked 4095");
    let uid = uid(&podrun, "bomb");
    assert_eq!(read(&cgroup("pids", &uid), "pids.current"), "4096");
    podrun.run(["rm", "--force", "bomb"]).ok();
    assert_no_cgroups(&uid);
    podrun.nothing_left();
}

#[test]
fn the_next_command_removes_what_a_killed_supervisor_has_left() {
    require_control!();
    let podrun = Podrun::new();
    let resources = json!({ "limits": { "memory": "64Mi" } });
    let sleeper = limited("a", &["ready-sleep"], &resources);
    podrun.up(&lasting("victim", &[sleeper])).ok();
    let uid = uid(&podrun, "victim");
    let processes = podrun.processes();
    let pid = census::supervisors(&podrun.root())[0];
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    for process in &processes {
        assert!(process.ends_within(crate::harness::PATIENCE), "{process:?}");
    }
    assert!(cgroup("memory", &uid).exists());
    // What has not quite ended is left for the next command.
    until("they are swept", || {
        podrun.run(["ps"]).ok();
        !cgroup("memory", &uid).exists()
    });
    assert_no_cgroups(&uid);
}

#[test]
fn who_is_ended_first_follows_from_the_class() {
    let podrun = Podrun::new();
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let own: i32 = own.trim().parse().unwrap();
    let guaranteed = json!({ "limits": { "cpu": "1", "memory": "64Mi" } });
    for (name, resources, class, range) in [
        ("best", json!({}), "BestEffort", 1000..=1000),
        (
            "burst",
            json!({ "requests": { "cpu": "1" } }),
            "Burstable",
            999..=999,
        ),
        // The supervisor's, at least, which needs a right to be lowered.
        ("sure", guaranteed, "Guaranteed", -997..=own.max(-997)),
    ] {
        podrun
            .up(&lasting(
                name,
                &[limited(
                    "a",
                    &["and", "oom-score", "--", "sleep"],
                    &resources,
                )],
            ))
            .ok();
        assert_eq!(podrun.pod(name)["status"]["qosClass"], class);
        podrun.wait_for_log(name, "a", "\n");
        let line = podrun.run(["logs", name]).ok().stdout;
        let exec = podrun.probe(name, "a", &["oom-score"]);
        for score in [line, exec] {
            let score: i32 = score.trim().parse().unwrap();
            assert!(range.contains(&score), "{name}: {score}");
        }
    }
}

#[test]
fn without_control_one_warning_says_so_and_strict_limits_refuse() {
    require_mode!(Mode::User, Mode::Single);
    let podrun = Podrun::new();
    // Where systemd could be asked it is not found.
    let run = |args: &[&str]| {
        let mut command = podrun.command();
        command.args(args).env("XDG_RUNTIME_DIR", podrun.scratch());
        finish(command, b"")
    };
    let resources = json!({ "limits": { "cpu": "1", "memory": "64Mi" } });
    let manifest = once("p", &[limited("a", &["exit", "0"], &resources)]);
    let path = podrun.manifest("pod", &manifest);
    let spec = json!({ "restartPolicy": "Never", "resources": resources });
    let of_pod = pod("p", spec, &[container("a", &["exit", "0"])]);
    let of_pod = podrun.manifest("of-pod", &of_pod);
    for (verb, path) in [("up", &path), ("run", &path), ("up", &of_pod)] {
        run(&[verb, "--strict-limits", path.as_str()])
            .code(3)
            .says("error: limits.cpu, limits.memory are not in force: podrun may not make cgroups")
            .says("hint: ");
        podrun.nothing_left();
    }
    let output = run(&["up", "--wait=done", &path]).ok();
    let warnings = output.stderr.matches("not in force").count();
    assert_eq!(warnings, 1, "{}", output.stderr);
    // What is not asked for is not told of.
    let plain = once("q", &[container("a", &["exit", "0"])]);
    let output = podrun.run_pod(&plain).ok();
    assert!(!output.stderr.contains("in force"), "{}", output.stderr);
}

#[test]
fn with_control_nothing_is_said() {
    require_control!();
    let podrun = Podrun::new();
    let resources = json!({ "limits": { "cpu": "1", "memory": "64Mi" } });
    let manifest = once("p", &[limited("a", &["exit", "0"], &resources)]);
    let path = podrun.manifest("pod", &manifest);
    let output = podrun.run(["run", "--strict-limits", &path]).ok();
    assert_eq!(output.stderr, "");
}

#[test]
fn a_pod_that_takes_up_too_much_of_the_disk_is_evicted() {
    let podrun = Podrun::new();
    let storage = |amount: &str| json!({ "limits": { "ephemeral-storage": amount } });
    let fill = |path: &'static str| ["and", "fill", path, "4194304", "--", "ignore-term"];
    let volume = json!({
        "terminationGracePeriodSeconds": 1, "volumes": [{ "name": "v", "emptyDir": {} }],
    });
    let mounted = json!({
        "resources": storage("1Mi"), "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
    });
    let lines = ["and", "counted-lines", "20000", "--", "ignore-term"];
    let idle = container("b", &["ready-sleep"]);
    for one in [
        lasting(
            "layer",
            &[limited("a", &fill("/big"), &storage("1Mi")), idle.clone()],
        ),
        pod(
            "volume",
            volume,
            &[container_with("a", &fill("/v/big"), &mounted)],
        ),
        lasting(
            "logs",
            &[
                limited("a", &lines, &storage("1Mi")),
                limited("b", &["ready-sleep"], &storage("16Mi")),
            ],
        ),
        lasting("slim", &[limited("a", &fill("/big"), &storage("8Mi"))]),
    ] {
        podrun.start(&one);
    }
    let of_pod = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
    let of_container = "Container a exceeded its local ephemeral storage limit \"1Mi\". ";
    for (name, message) in [
        ("layer", of_pod),
        ("volume", of_pod),
        ("logs", of_container),
    ] {
        let status = podrun.until_phase(name, "Failed");
        assert_eq!(status["reason"], "Evicted", "{name}");
        assert_eq!(status["message"], message, "{name}");
        let ended = &status["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(ended["exitCode"], 137, "{name}: {status}");
        let conditions = status["conditions"].as_array().unwrap();
        let target = conditions
            .iter()
            .find(|one| one["type"] == "DisruptionTarget")
            .unwrap();
        assert_eq!(target["reason"], "TerminationByKubelet", "{name}");
    }
    let status = &podrun.pod("slim")["status"];
    assert_eq!(status["phase"], "Running", "{status}");
}

#[test]
fn what_is_written_over_the_machines_own_root_ends_at_the_limit() {
    let podrun = Podrun::new();
    let script = "head -c 4194304 /dev/zero >/etc/big || echo full";
    let container = json!({
        "name": "a", "image": "podrun.local/host", "command": ["sh", "-c", script],
        "resources": { "limits": { "ephemeral-storage": "1Mi" } },
    });
    let output = podrun.run_pod(&once("host", &[container])).ok();
    assert!(output.stdout.contains("full"), "{output:?}");
}

#[test]
fn the_status_says_what_is_in_force_and_describe_what_is_written() {
    let podrun = Podrun::new();
    let resources = json!({
        "limits": { "cpu": "500m", "memory": "64Mi", "ephemeral-storage": "1G" },
        "requests": { "cpu": "250m" },
    });
    let spec = json!({
        "terminationGracePeriodSeconds": 1, "resources": { "limits": { "cpu": "1" } },
    });
    podrun
        .up(&pod(
            "p",
            spec,
            &[
                limited("a", &["ready-sleep"], &resources),
                container("b", &["ready-sleep"]),
            ],
        ))
        .ok();
    let is_enforced = has_control();
    let status = &podrun.pod("p")["status"];
    let (mut expected, mut allocated) = (resources.clone(), Value::Null);
    let (mut of_pod, mut allocated_of_pod) = (Value::Null, Value::Null);
    if is_enforced {
        // What is not requested is requested up to its limit, and of storage nothing is kept.
        expected["requests"]["memory"] = "64Mi".into();
        allocated = json!({ "cpu": "250m", "memory": "64Mi" });
        of_pod = json!({
            "limits": { "cpu": "1" }, "requests": { "cpu": "250m", "memory": "64Mi" },
        });
        allocated_of_pod = of_pod["requests"].clone();
    } else {
        expected = json!({ "limits": { "ephemeral-storage": "1G" } });
    }
    let containers = &status["containerStatuses"];
    assert_eq!(containers[0]["resources"], expected, "{status}");
    assert_eq!(containers[0]["allocatedResources"], allocated, "{status}");
    assert_eq!(containers[1]["resources"], Value::Null, "{status}");
    assert_eq!(status["resources"], of_pod, "{status}");
    assert_eq!(status["allocatedResources"], allocated_of_pod, "{status}");

    let note = if is_enforced { "" } else { " (not in force)" };
    let described = podrun.run(["describe", "p"]).ok().stdout;
    for lines in [
        format!(
            "    Limits:\n      cpu:                500m{note}\n      ephemeral-storage:  1G\n"
        ),
        format!("      memory:             64Mi{note}\n    Requests:\n"),
        format!("      cpu:                250m{note}\n      ephemeral-storage:  1G\n"),
        format!("Resources:\n  Limits:\n    cpu:  1{note}\n  Requests:\n"),
    ] {
        assert!(described.contains(&lines), "{lines}\n{described}");
    }
}

#[test]
fn an_empty_dir_has_the_mode_that_is_written() {
    let podrun = Podrun::new();
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "volumes": [
            { "name": "disk", "emptyDir": { "mode": 0o1770 } },
            { "name": "memory", "emptyDir": { "mode": 0o705, "medium": "Memory" } },
            { "name": "plain", "emptyDir": {} },
        ],
    });
    let mounts = json!({ "volumeMounts": [
        { "name": "disk", "mountPath": "/disk" },
        { "name": "memory", "mountPath": "/memory" },
        { "name": "plain", "mountPath": "/plain" },
    ] });
    podrun
        .up(&pod(
            "p",
            spec,
            &[container_with("a", &["ready-sleep"], &mounts)],
        ))
        .ok();
    for (path, mode) in [
        ("/disk", "41770 "),
        ("/memory", "40705 "),
        ("/plain", "40777 "),
    ] {
        let found = podrun.probe("p", "a", &["stat", path]);
        assert!(found.starts_with(mode), "{path}: {found}");
    }
}

/// Sets pages aside as long as it lives.
struct HugePages(String);

impl HugePages {
    const FILE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

    /// Nothing on a machine that does not give any.
    fn set_aside(count: u32) -> Option<Self> {
        let before = std::fs::read_to_string(Self::FILE).ok()?;
        let this = Self(before);
        write_in_place(Self::FILE, &count.to_string())?;
        let now = std::fs::read_to_string(Self::FILE).ok()?;
        (now.trim() == count.to_string()).then_some(this)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        write_in_place(Self::FILE, self.0.trim());
    }
}

fn write_in_place(path: &str, text: &str) -> Option<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).open(path).ok()?;
    file.write_all(text.as_bytes()).ok()
}

#[test]
fn huge_pages_are_a_resource_and_a_medium() {
    let podrun = Podrun::new();
    let resources = json!({ "limits": { "memory": "64Mi", "hugepages-2Mi": "4Mi" } });
    let spec = |medium: &str| {
        json!({
            "terminationGracePeriodSeconds": 1,
            "volumes": [{ "name": "v", "emptyDir": { "medium": medium, "mode": 0o700 } }],
        })
    };
    let fields = json!({
        "resources": resources, "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
    });
    let huge = |medium| {
        let container = container_with("a", &["ready-sleep"], &fields);
        podrun.manifest("pod", &pod("huge", spec(medium), &[container]))
    };
    let mut refused = json!({ "limits": { "memory": "64Mi", "hugepages-3Mi": "3Mi" } });
    let none = podrun.manifest(
        "none",
        &once("none", &[limited("a", &["exit", "0"], &refused)]),
    );
    podrun
        .run(["up", &none])
        .code(3)
        .says("the machine has no pages of this size");
    refused["limits"] = json!({ "memory": "64Mi", "hugepages-2Mi": "64Gi" });
    let many = podrun.manifest(
        "many",
        &once("many", &[limited("a", &["exit", "0"], &refused)]),
    );
    podrun
        .run(["up", &many])
        .code(3)
        .says("for such pages")
        .says("nr_hugepages");
    podrun.nothing_left();
    if mode() != Mode::Root {
        podrun
            .run(["up", &huge("HugePages")])
            .code(3)
            .says("huge pages cannot be mounted in a user namespace");
        return;
    }
    let Some(_pages) = HugePages::set_aside(4) else {
        eprintln!("not about this machine, which sets no huge pages aside");
        return;
    };
    let output = podrun.run(["up", &huge("HugePages")]).ok();
    let mounts = podrun.probe("huge", "a", &["read", "/proc/self/mountinfo"]);
    let mount = mounts.lines().find(|line| line.contains(" /v ")).unwrap();
    assert!(mount.contains(" hugetlbfs "), "{mount}");
    assert!(mount.contains("pagesize=2M"), "{mount}");
    let found = podrun.probe("huge", "a", &["stat", "/v"]);
    assert!(found.starts_with("40700 "), "{found}");
    let status = &podrun.pod("huge")["status"]["containerStatuses"][0];
    let is_told = output.stderr.contains("limits.hugepages is not in force");
    let shown = &status["resources"]["limits"]["hugepages-2Mi"];
    assert_eq!(*shown == "4Mi", !is_told, "{status}\n{}", output.stderr);
    if !is_told {
        let pod = format!("podrun/pod{}", uid(&podrun, "huge"));
        let limit = |place: &str, group: &str, file: &str| {
            let path = Path::new("/sys/fs/cgroup")
                .join(place)
                .join(&pod)
                .join(group);
            std::fs::read_to_string(path.join(file)).ok()
        };
        for group in ["", "container-a"] {
            let found = limit("hugetlb", group, "hugetlb.2MB.limit_in_bytes")
                .or_else(|| limit("unified", group, "hugetlb.2MB.max"))
                .or_else(|| limit("", group, "hugetlb.2MB.max"));
            assert_eq!(found.as_deref(), Some("4194304\n"), "{group}");
            // Of other sizes there are none.
            let found = limit("hugetlb", group, "hugetlb.1GB.limit_in_bytes")
                .or_else(|| limit("unified", group, "hugetlb.1GB.max"))
                .or_else(|| limit("", group, "hugetlb.1GB.max"));
            assert!(found.is_none_or(|it| it == "0\n"), "{group}");
        }
    }
    podrun.run(["rm", "huge"]).ok();
    podrun.nothing_left();
}
