//! What a mount of a volume is besides its place: recursive read-only, propagation, options.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use serde_json::{Value, json};

use crate::harness::{Mode, Podrun, container_with, mode, pod, require_mode, until};

/// A tmpfs of the machine's with another one below, mounted for as long as the test runs.
struct MachineMount(PathBuf);

impl MachineMount {
    fn new(podrun: &Podrun, propagation: MountPropagationFlags) -> Self {
        let path = podrun.files().join("machine");
        fs::create_dir(&path).unwrap();
        let mount = Self(path);
        mount.tmpfs("");
        rustix::mount::mount_change(&mount.0, propagation).unwrap();
        mount.tmpfs("below");
        fs::write(mount.0.join("below/word"), "below").unwrap();
        mount
    }

    /// Mounts one more in it.
    fn tmpfs(&self, name: &str) {
        let at = self.0.join(name);
        fs::create_dir_all(&at).unwrap();
        rustix::mount::mount("tmpfs", &at, "tmpfs", MountFlags::empty(), None).unwrap();
    }

    fn volume(&self) -> Value {
        json!({ "hostPath": { "path": self.0 } })
    }
}

impl Drop for MachineMount {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

fn spec(volume: &Value) -> Value {
    let mut volume = volume.clone();
    volume["name"] = "v".into();
    json!({ "terminationGracePeriodSeconds": 1, "volumes": [volume] })
}

fn mounting(name: &str, mount: &Value) -> Value {
    let mut mount = mount.clone();
    mount["name"] = "v".into();
    mount["mountPath"] = "/v".into();
    container_with(name, &["ready-sleep"], &json!({ "volumeMounts": [mount] }))
}

fn privileged(name: &str, mount: &Value) -> Value {
    let mut container = mounting(name, mount);
    container["securityContext"] = json!({ "privileged": true });
    container
}

/// The options and the tags of the topmost mount at a place, as a container sees them.
fn seen(podrun: &Podrun, container: &str, place: &str) -> (String, String) {
    let table = podrun.probe("pod", container, &["read", "/proc/self/mountinfo"]);
    let line = table
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some(place))
        .unwrap_or_else(|| panic!("{place} is not in\n{table}"));
    let fields: Vec<&str> = line.split(' ').collect();
    let end = fields.iter().position(|field| *field == "-").unwrap();
    (fields[5].to_owned(), fields[6..end].join(" "))
}

fn is_set(options: &str, option: &str) -> bool {
    options.split(',').any(|word| word == option)
}

fn errno(podrun: &Podrun, container: &str, path: &str) -> String {
    let said = podrun.probe("pod", container, &["write-errno", path]);
    said.trim().to_owned()
}

fn mounts_of_status(podrun: &Podrun, index: usize) -> Value {
    podrun.pod("pod")["status"]["containerStatuses"][index]["volumeMounts"][0].clone()
}

/// Container `a` mounts something in the volume, with a file in it.
fn mount_inside(podrun: &Podrun) {
    let mounted = podrun.probe("pod", "a", &["mount-tmpfs", "/v/inside"]);
    assert_eq!(mounted.trim(), "ok");
    podrun.probe("pod", "a", &["write", "/v/inside/word", "inside"]);
}

/// The container does not see what another has mounted.
fn assert_not_seen(podrun: &Podrun, container: &str) {
    let words = ["exec", "pod", "-c", container, "--", "/probe", "read"];
    let missing = podrun.run(words.into_iter().chain(["/v/inside/word"]));
    assert_eq!(missing.code, 99, "{}", missing.stdout);
}

#[test]
fn read_only_holds_for_what_is_mounted_below_if_asked_for() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let machine = MachineMount::new(&podrun, MountPropagationFlags::PRIVATE);
    let containers = [
        mounting("a", &json!({ "readOnly": true })),
        mounting(
            "b",
            &json!({ "readOnly": true, "recursiveReadOnly": "Enabled" }),
        ),
        mounting(
            "c",
            &json!({ "readOnly": true, "recursiveReadOnly": "IfPossible" }),
        ),
        mounting("d", &json!({})),
    ];
    podrun
        .up(&pod("pod", spec(&machine.volume()), &containers))
        .ok();
    for (index, (container, recursive, below)) in [
        ("a", json!("Disabled"), "ok"),
        ("b", json!("Enabled"), "errno 30"),
        ("c", json!("Enabled"), "errno 30"),
        ("d", Value::Null, "ok"),
    ]
    .into_iter()
    .enumerate()
    {
        let here = if container == "d" { "ok" } else { "errno 30" };
        assert_eq!(errno(&podrun, container, "/v/x"), here, "{container}");
        assert_eq!(
            errno(&podrun, container, "/v/below/x"),
            below,
            "{container}"
        );
        let status = mounts_of_status(&podrun, index);
        assert_eq!(status["recursiveReadOnly"], recursive, "{status}");
        assert_eq!(
            status["readOnly"],
            if container == "d" {
                Value::Null
            } else {
                true.into()
            }
        );
    }
}

#[test]
fn a_recursively_read_only_volume_is_read_only_for_every_user() {
    let podrun = Podrun::new();
    let read_only = json!({ "readOnly": true, "recursiveReadOnly": "Enabled" });
    let containers = [mounting("a", &read_only), mounting("b", &json!({}))];
    podrun
        .up(&pod("pod", spec(&json!({ "emptyDir": {} })), &containers))
        .ok();
    assert_eq!(errno(&podrun, "a", "/v/x"), "errno 30");
    assert_eq!(errno(&podrun, "b", "/v/x"), "ok");
    assert_eq!(mounts_of_status(&podrun, 0)["recursiveReadOnly"], "Enabled");
}

#[test]
fn bind_mount_options_are_the_mounts_own() {
    let podrun = Podrun::new();
    let all = json!({ "bindMountOptions": ["noexec", "nodev", "nosuid"] });
    let containers = [mounting("a", &all), mounting("b", &json!({}))];
    podrun
        .up(&pod("pod", spec(&json!({ "emptyDir": {} })), &containers))
        .ok();
    for (container, is_restricted) in [("a", true), ("b", false)] {
        let (options, _) = seen(&podrun, container, "/v");
        for option in ["noexec", "nosuid"] {
            assert_eq!(
                is_set(&options, option),
                is_restricted,
                "{container}: {options}"
            );
        }
        assert!(is_set(&options, "nodev"), "{container}: {options}");
        podrun.probe("pod", container, &["copy-self", "/v/probe"]);
        let ran = podrun.run([
            "exec", "pod", "-c", container, "--", "/v/probe", "echo", "ran",
        ]);
        assert_eq!(
            ran.code,
            if is_restricted { 126 } else { 0 },
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn no_mount_of_a_container_propagates_unless_asked_for() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let machine = MachineMount::new(&podrun, MountPropagationFlags::SHARED);
    let containers = [mounting("a", &json!({})), privileged("b", &json!({}))];
    podrun
        .up(&pod("pod", spec(&machine.volume()), &containers))
        .ok();
    for container in ["a", "b"] {
        let table = podrun.probe("pod", container, &["read", "/proc/self/mountinfo"]);
        for line in table.lines() {
            let tags = line.split(" - ").next().unwrap();
            assert!(
                !tags.contains("master:") && !tags.contains("shared:"),
                "{container}: {line}"
            );
        }
    }
    machine.tmpfs("later");
    fs::write(machine.0.join("later/word"), "later").unwrap();
    assert_eq!(
        podrun
            .probe("pod", "b", &["mount-tmpfs", "/v/inside"])
            .trim(),
        "ok"
    );
    podrun.probe("pod", "b", &["write", "/v/inside/word", "inside"]);
    let missing = podrun.run([
        "exec",
        "pod",
        "-c",
        "a",
        "--",
        "/probe",
        "read",
        "/v/later/word",
    ]);
    assert_eq!(missing.code, 99, "{}", missing.stdout);
    assert!(!machine.0.join("inside/word").exists());
    // What was there before is.
    assert_eq!(
        podrun.probe("pod", "a", &["read", "/v/below/word"]),
        "below"
    );
}

#[test]
fn what_the_machine_mounts_later_reaches_those_that_ask() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let machine = MachineMount::new(&podrun, MountPropagationFlags::SHARED);
    let receiving = json!({ "mountPropagation": "HostToContainer" });
    podrun
        .up(&pod(
            "pod",
            spec(&machine.volume()),
            &[privileged("a", &receiving)],
        ))
        .ok();
    machine.tmpfs("later");
    fs::write(machine.0.join("later/word"), "later").unwrap();
    assert_eq!(
        podrun.probe("pod", "a", &["read", "/v/later/word"]),
        "later"
    );
    let (_, tags) = seen(&podrun, "a", "/v");
    assert!(
        tags.starts_with("master:") && !tags.contains("shared:"),
        "{tags}"
    );
    mount_inside(&podrun);
    assert!(!machine.0.join("inside/word").exists(), "it is one way");
}

#[test]
fn bidirectional_mounts_are_the_machines_too_and_outlive_the_pod() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let machine = MachineMount::new(&podrun, MountPropagationFlags::SHARED);
    let both = json!({ "mountPropagation": "Bidirectional" });
    let receiving = json!({ "mountPropagation": "HostToContainer" });
    let containers = [
        privileged("a", &both),
        mounting("b", &receiving),
        mounting("c", &json!({})),
    ];
    podrun
        .up(&pod("pod", spec(&machine.volume()), &containers))
        .ok();
    let (_, tags) = seen(&podrun, "a", "/v");
    assert!(tags.contains("shared:"), "{tags}");
    mount_inside(&podrun);
    assert_eq!(
        fs::read_to_string(machine.0.join("inside/word")).unwrap(),
        "inside"
    );
    assert_eq!(
        podrun.probe("pod", "b", &["read", "/v/inside/word"]),
        "inside"
    );
    assert_not_seen(&podrun, "c");
    // Neither a restart nor the end of the pod takes away what the machine has.
    podrun.run(["restart", "pod"]).ok();
    until("the pod runs again", || {
        podrun
            .run([
                "exec",
                "pod",
                "-c",
                "a",
                "--",
                "/probe",
                "exists",
                "/v/inside/word",
            ])
            .code
            == 0
    });
    podrun.run(["rm", "pod", "--force"]).ok();
    podrun.nothing_left();
    assert_eq!(
        fs::read_to_string(machine.0.join("below/word")).unwrap(),
        "below"
    );
    assert_eq!(
        fs::read_to_string(machine.0.join("inside/word")).unwrap(),
        "inside"
    );
}

#[test]
fn containers_of_a_pod_exchange_mounts_in_a_volume_of_its_own() {
    for volume in [
        json!({ "emptyDir": {} }),
        json!({ "emptyDir": { "medium": "Memory" } }),
    ] {
        let podrun = Podrun::new();
        let containers = [
            privileged("a", &json!({ "mountPropagation": "Bidirectional" })),
            mounting("b", &json!({ "mountPropagation": "HostToContainer" })),
            mounting("c", &json!({})),
        ];
        podrun.up(&pod("pod", spec(&volume), &containers)).ok();
        mount_inside(&podrun);
        assert_eq!(
            podrun.probe("pod", "b", &["read", "/v/inside/word"]),
            "inside"
        );
        assert_not_seen(&podrun, "c");
        podrun.run(["rm", "pod", "--force"]).ok();
        podrun.nothing_left();
    }
}

/// The mount of the machine that a path lies in is private, in most containers and on this test's
/// own tmpfs.
#[test]
fn a_propagation_that_cannot_be_is_refused_with_its_mend() {
    let podrun = Podrun::new();
    let machine =
        (mode() == Mode::Root).then(|| MachineMount::new(&podrun, MountPropagationFlags::PRIVATE));
    let path = machine
        .as_ref()
        .map_or(Path::new("/proc"), |machine| &machine.0);
    let volume = json!({ "hostPath": { "path": path } });
    let both = privileged("a", &json!({ "mountPropagation": "Bidirectional" }));
    let output = podrun.up(&pod("pod", spec(&volume), &[both])).code(3);
    if mode() == Mode::Root {
        let receiving = mounting("a", &json!({ "mountPropagation": "HostToContainer" }));
        let mend = format!("mount --make-rshared {}", path.display());
        output.says(&mend);
        podrun
            .up(&pod("pod", spec(&volume), &[receiving]))
            .code(3)
            .says(&mend);
    } else {
        output.says("needs root");
    }
    podrun.nothing_left();
}
