//! `hostUsers: false`, and `procMount: Unmasked`, which needs it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::{Value, json};

use crate::census;
use crate::harness::{
    Mode, Podrun, container, container_with, documents, free_port, lasting, mode, once,
    require_mode, until,
};

fn of_own_users(mut pod: Value) -> Value {
    pod["spec"]["hostUsers"] = false.into();
    pod
}

/// First id inside, first id of the machine's, count.
fn map(report: &Value) -> (u64, u64, u64) {
    let line = report["id_map"][0].as_str().unwrap();
    let numbers: Vec<u64> = line
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    assert_eq!(report["id_map"].as_array().unwrap().len(), 1, "{line}");
    (numbers[0], numbers[1], numbers[2])
}

#[test]
fn pods_have_ids_that_nobody_else_has() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let mut blocks = Vec::new();
    for name in ["one", "other"] {
        podrun
            .up(&of_own_users(lasting(
                name,
                &[container("a", &["and", "report", "--", "sleep"])],
            )))
            .ok();
        let (init, exec) = podrun.reports(name);
        for report in [&init, &exec] {
            let (inside, first, count) = map(report);
            assert_eq!((inside, count), (0, 65536));
            assert!(first >= 0x7000_0000, "{first}");
            assert_eq!(report["ns"]["user"], init["ns"]["user"]);
            let machines = fs::read_link("/proc/self/ns/user").unwrap();
            assert_ne!(report["ns"]["user"], machines.to_str().unwrap());
            for field in ["Uid", "Gid"] {
                assert_eq!(report["status"][field], "0\t0\t0\t0", "{field}");
            }
        }
        assert_eq!(init["status"]["Groups"], exec["status"]["Groups"]);
        assert_eq!(init["status"]["CapEff"], exec["status"]["CapEff"]);
        assert_eq!(init["status"]["CapBnd"], exec["status"]["CapBnd"]);
        blocks.push(map(&init).1);
    }
    assert!(blocks[0].abs_diff(blocks[1]) >= 65536, "{blocks:?}");
    // Nothing in a pod is the machine's root.
    for process in census::processes_of(&podrun.root()) {
        let status =
            fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap_or_default();
        let is_ours = fs::read_link(format!("/proc/{}/ns/user", process.pid)).ok()
            == fs::read_link("/proc/self/ns/user").ok();
        let uid = status
            .lines()
            .find(|line| line.starts_with("Uid:"))
            .unwrap_or_default();
        assert!(is_ours || !uid.contains("\t0"), "{}: {uid}", process.pid);
    }
}

#[test]
fn files_have_the_owners_that_they_have_on_the_disk() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let host = podrun.files().join("of-the-machine");
    fs::write(&host, "root's").unwrap();
    let fields = json!({
        "securityContext": { "runAsUser": 1000, "runAsGroup": 1001 },
        "volumeMounts": [
            { "name": "disk", "mountPath": "/disk" },
            { "name": "memory", "mountPath": "/memory" },
            { "name": "words", "mountPath": "/words" },
            { "name": "host", "mountPath": "/host" },
        ],
    });
    let mut pod = of_own_users(lasting(
        "pod",
        &[container_with("a", &["ready-sleep"], &fields)],
    ));
    pod["spec"]["volumes"] = json!([
        { "name": "disk", "emptyDir": {} },
        { "name": "memory", "emptyDir": { "medium": "Memory" } },
        { "name": "words", "downwardAPI": {
            "items": [{ "path": "name", "fieldRef": { "fieldPath": "metadata.name" } }],
        } },
        { "name": "host", "hostPath": { "path": host } },
    ]);
    podrun.up(&pod).ok();
    let stat = |path: &str| podrun.probe("pod", "a", &["stat", path]).trim().to_owned();
    for (path, expected) in [
        ("/probe", "100755 0 0"),
        ("/", "40755 0 0"),
        ("/disk", "40777 0 0"),
        ("/memory", "40777 0 0"),
        ("/words/name", "100644 0 0"),
        ("/etc/hosts", "100644 0 0"),
        ("/dev/shm", "41777 0 0"),
        ("/dev/termination-log", "100666 0 0"),
        // The machine's root is nobody here.
        ("/host", "100644 65534 65534"),
    ] {
        assert_eq!(stat(path), expected, "{path}");
    }
    for directory in ["/disk", "/memory", "/dev/shm", "/tmp"] {
        let file = format!("{directory}/x");
        if directory == "/tmp" {
            let made = podrun.run(["exec", "pod", "--", "/probe", "make-dir", "/tmp/made"]);
            assert_eq!(
                made.code, 99,
                "user 1000 does not write to the image's root"
            );
            continue;
        }
        podrun.probe("pod", "a", &["write", &file, "x"]);
        assert_eq!(stat(&file), "100644 1000 1001", "{file}");
    }
    let files = census::files_below(&podrun.root());
    let written = files
        .iter()
        .find(|path| path.ends_with("volumes/disk/x"))
        .unwrap();
    let about = fs::metadata(written).unwrap();
    assert_eq!((about.uid(), about.gid()), (1000, 1001));
    podrun.run(["rm", "pod", "--force"]).ok();
    podrun.nothing_left();
}

#[test]
fn what_works_for_other_pods_works_with_own_users() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let port = free_port();
    let fields = json!({
        "ports": [{ "containerPort": 80, "hostPort": port }],
        "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
        "lifecycle": { "postStart": { "exec": { "command": ["/probe", "write", "/v/hook", "x"] } } },
        "readinessProbe": { "exec": { "command": ["/probe", "write", "/v/probe", "x"] } },
    });
    let words = [
        "and",
        "write",
        "/dev/stdout",
        "said",
        "--",
        "tcp-serve",
        "80",
        "answer",
    ];
    let mut pod = of_own_users(lasting("pod", &[container_with("a", &words, &fields)]));
    pod["spec"]["volumes"] = json!([{ "name": "v", "emptyDir": {} }]);
    pod["spec"]["securityContext"] =
        json!({ "sysctls": [{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "55" }] });
    podrun.up(&pod).ok();
    podrun.wait_for_log("pod", "a", "said");
    for file in ["/v/hook", "/v/probe"] {
        assert_eq!(
            podrun.probe("pod", "a", &["stat", file]).trim(),
            "100644 0 0"
        );
    }
    let start = podrun.probe(
        "pod",
        "a",
        &["read", "/proc/sys/net/ipv4/ip_unprivileged_port_start"],
    );
    assert_eq!(start.trim(), "55");
    podrun.probe("pod", "a", &["write", "/dev/stdout", "heard"]);
    let mut answer = String::new();
    until("the port answers", || {
        let stream = std::net::TcpStream::connect(("127.0.0.1", port));
        stream.is_ok_and(|mut stream| {
            std::io::Read::read_to_string(&mut stream, &mut answer).is_ok() && answer == "answer"
        })
    });
    podrun.run(["restart", "pod"]).ok();
    until("the pod runs again", || {
        podrun
            .run(["exec", "pod", "--", "/probe", "exists", "/v/hook"])
            .code
            == 0
    });
}

#[test]
fn no_capability_inside_unlocks_what_a_mount_is() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let host = podrun.files().join("host");
    fs::create_dir(&host).unwrap();
    fs::set_permissions(&host, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let fields = json!({
        "securityContext": { "privileged": true },
        "volumeMounts": [
            { "name": "host", "mountPath": "/host", "readOnly": true },
            { "name": "own", "mountPath": "/own", "readOnly": true },
        ],
    });
    let mut pod = of_own_users(lasting(
        "pod",
        &[container_with("a", &["ready-sleep"], &fields)],
    ));
    pod["spec"]["volumes"] = json!([{ "name": "host", "hostPath": { "path": host } }, { "name": "own", "emptyDir": {} }]);
    podrun.up(&pod).ok();
    for path in ["/host", "/own", "/"] {
        let said = podrun.probe("pod", "a", &["remount", path]);
        assert_eq!(said.trim(), "errno 1", "{path}");
    }
    for path in ["/host/x", "/own/x"] {
        assert_eq!(
            podrun.probe("pod", "a", &["write-errno", path]).trim(),
            "errno 30",
            "{path}"
        );
    }
    // It may mount what is its own.
    assert_eq!(
        podrun.probe("pod", "a", &["mount-tmpfs", "/mine"]).trim(),
        "ok"
    );
}

#[test]
fn proc_is_unmasked_where_a_container_asks() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let unmasked = json!({ "securityContext": { "procMount": "Unmasked" } });
    let containers = [
        container("a", &["ready-sleep"]),
        container_with("b", &["ready-sleep"], &unmasked),
    ];
    podrun.up(&of_own_users(lasting("pod", &containers))).ok();
    let below_proc = |container: &str| {
        let table = podrun.probe("pod", container, &["read", "/proc/self/mountinfo"]);
        let places = table.lines().filter_map(|line| line.split(' ').nth(4));
        places.filter(|place| place.starts_with("/proc/")).count()
    };
    assert!(below_proc("a") > 5);
    assert_eq!(below_proc("b"), 0);
    let sys = podrun.probe("pod", "b", &["read", "/proc/self/mountinfo"]);
    assert!(sys.contains(" /sys/firmware "), "/sys is not /proc\n{sys}");
}

#[test]
fn own_users_that_cannot_be_are_refused() {
    let podrun = Podrun::new();
    let pod = of_own_users(once("pod", &[container("a", &["exit", "0"])]));
    if mode() != Mode::Root {
        podrun
            .up(&pod)
            .code(3)
            .says("spec.hostUsers")
            .says("needs root");
        return;
    }
    let mut host_network = pod.clone();
    host_network["spec"]["hostNetwork"] = true.into();
    podrun
        .up(&host_network)
        .code(3)
        .says("cannot be true when `hostUsers` is false");
    let mut user = pod.clone();
    user["spec"]["securityContext"] = json!({ "runAsUser": 65536 });
    podrun.up(&user).code(3).says("the ids 0 to 65535");
    podrun.nothing_left();
}

/// ramfs has no idmapped mounts.
#[test]
fn a_file_system_that_cannot_show_other_ids_is_named() {
    require_mode!(Mode::Root);
    let podrun = Podrun::empty();
    rustix::mount::mount("ramfs", podrun.root(), "ramfs", MountFlags::empty(), None).unwrap();
    podrun.load(&crate::forge::probe_image(crate::harness::IMAGE));
    let pod = of_own_users(once("pod", &[container("a", &["exit", "0"])]));
    let output = podrun.up(&pod);
    let left = podrun.pods();
    rustix::mount::unmount(podrun.root(), UnmountFlags::DETACH).unwrap();
    output
        .code(125)
        .says("container `a`")
        .says("idmapped mounts of its file system");
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn claims_and_images_have_their_own_owners_too() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "kept" },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Mi" } },
        },
    });
    let fields = json!({
        "securityContext": { "runAsUser": 1000 },
        "volumeMounts": [
            { "name": "kept", "mountPath": "/kept" },
            { "name": "image", "mountPath": "/image" },
        ],
    });
    let mut pod = of_own_users(lasting(
        "pod",
        &[container_with("a", &["ready-sleep"], &fields)],
    ));
    pod["spec"]["securityContext"] = json!({ "fsGroup": 2000 });
    pod["spec"]["volumes"] = json!([
        { "name": "kept", "persistentVolumeClaim": { "claimName": "kept" } },
        { "name": "image", "image": { "reference": crate::harness::IMAGE } },
    ]);
    let path = podrun.manifest_text("pod.yaml", &documents(&[claim, pod]));
    podrun.run(["up", &path]).ok();
    podrun.probe("pod", "a", &["write", "/kept/x", "x"]);
    for (path, expected) in [
        ("/kept/x", "100644 1000 2000"),
        ("/image/probe", "100755 0 0"),
    ] {
        assert_eq!(
            podrun.probe("pod", "a", &["stat", path]).trim(),
            expected,
            "{path}"
        );
    }
    let files = census::files_below(&podrun.root());
    let written = files.iter().find(|path| path.ends_with("x")).unwrap();
    let about = fs::metadata(written).unwrap();
    assert_eq!((about.uid(), about.gid()), (1000, 2000));
}
