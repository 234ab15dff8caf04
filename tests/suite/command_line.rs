//! Exit codes and messages of the command line itself.

use serde_json::json;

use crate::harness::{IMAGE, Podrun, container, lasting, once, pod};

#[test]
fn usage_errors_are_2_and_name_the_word() {
    let podrun = Podrun::empty();
    podrun.run(["frobnicate"]).code(2).says("frobnicate");
    podrun
        .run(["ps", "--frobnicate"])
        .code(2)
        .says("--frobnicate");
    podrun.run(["up"]).code(2);
}

#[test]
fn version_and_help_are_answers() {
    let podrun = Podrun::empty();
    let version = podrun.run(["--version"]).ok().stdout;
    assert_eq!(version, format!("podrun {}\n", env!("CARGO_PKG_VERSION")));
    assert!(
        podrun
            .run(["version"])
            .ok()
            .stdout
            .contains(env!("CARGO_PKG_VERSION"))
    );
    assert!(podrun.run(["--help"]).ok().stdout.contains("Usage"));
}

#[test]
fn a_manifest_with_mistakes_is_3_and_shows_every_one_with_its_place() {
    let podrun = Podrun::new();
    let text = "\
apiVersion: v1
kind: Pod
metadata:
  name: Bad_Name
spec:
  contianers: []
  containers:
  - name: a
    image: localhost/probe:1
    comand: [x]
";
    let path = podrun.manifest_text("bad.yaml", text);
    for verb in ["up", "run", "validate"] {
        let output = podrun.run([verb, &path]).code(3);
        for words in [
            "bad.yaml:4:",
            "Bad_Name",
            "bad.yaml:6:",
            "contianers",
            "bad.yaml:10:",
            "command",
        ] {
            assert!(
                output.stderr.contains(words),
                "{verb}: `{words}` is not in\n{}",
                output.stderr
            );
        }
    }
    podrun.nothing_left();
}

#[test]
fn a_kind_or_field_that_cannot_be_is_refused_by_name() {
    let podrun = Podrun::new();
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" }, "spec": {} });
    podrun.up(&deployment).code(3).says("Deployment");
    let mut with_field = lasting("field", &[container("a", &["sleep"])]);
    with_field["spec"]["affinity"] = json!({ "nodeAffinity": {} });
    let output = podrun.up(&with_field);
    assert!(output.stderr.contains("affinity"), "{}", output.stderr);
    podrun.run(["rm", "--all", "--ignore-not-found"]).ok();
    let mut with_class = lasting("class", &[container("a", &["sleep"])]);
    with_class["spec"]["runtimeClassName"] = json!("kata");
    podrun.up(&with_class).code(3).says("runtimeClassName");
    let ports = json!({ "ports": [{ "port": 1, "protocol": "SCTP" }] });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": ports,
    });
    podrun.up(&service).code(3).says("SCTP is not supported");
    podrun.nothing_left();
}

#[test]
fn mistakes_in_how_a_container_lives_are_told_with_their_places() {
    let podrun = Podrun::new();
    let text = "\
apiVersion: v1
kind: Pod
metadata:
  name: life
spec:
  initContainers:
  - name: a
    image: localhost/probe:1
    livenessProbe: {exec: {command: [x]}}
  containers:
  - name: a
    image: localhost/probe:1
    ports: [{name: web, containerPort: 80}]
    readinessProbe:
      httpGet:
        port: wep
    lifecycle:
      preStop:
        sleep: {seconds: 31}
      stopSignal: SIGQUIT
";
    let path = podrun.manifest_text("life.yaml", text);
    let output = podrun.run(["validate", &path, "-o", "json"]).code(3);
    let answer: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let told: Vec<String> = answer["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| {
            let text = |field: &str| problem[field].as_str().unwrap_or_default().to_owned();
            let place = format!("{}:{}", problem["line"], problem["column"]);
            [place, text("path"), text("message"), text("hint")].join("|")
        })
        .collect();
    assert_eq!(
        told,
        [
            "7:11|spec.initContainers[0].name|another container is named `a`|",
            "9:20|spec.initContainers[0].livenessProbe|may not be set for init containers without \
             restartPolicy=Always|`restartPolicy: Always` makes it a sidecar, which runs beside the \
             containers",
            "16:15|spec.containers[0].readinessProbe.httpGet.port|the container has no port named \
             `wep`|did you mean `web`?",
            "19:26|spec.containers[0].lifecycle.preStop.sleep.seconds|must be between 0 and \
             terminationGracePeriodSeconds (30)|",
            "20:19|spec.containers[0].lifecycle.stopSignal|may not be set without spec.os.name|set \
             `spec.os.name: linux`",
        ]
    );
    podrun.nothing_left();
}

#[test]
fn what_is_not_there_is_4() {
    let podrun = Podrun::new();
    podrun.run(["rm", "nobody"]).code(4).says("nobody");
    podrun.run(["rm", "nobody", "--ignore-not-found"]).ok();
    podrun.run(["get", "pod/nobody"]).code(4).says("nobody");
    podrun.run(["logs", "nobody"]).code(4).says("nobody");
    podrun
        .run(["wait", "nobody", "--for=condition=Ready"])
        .code(4)
        .says("nobody");
    podrun
        .run(["image", "rm", "localhost/nobody:1"])
        .code(4)
        .says("localhost/nobody:1");
}

#[test]
fn a_state_directory_that_cannot_be_made_is_125() {
    let podrun = Podrun::empty();
    let file = podrun.files().join("file");
    std::fs::write(&file, "").unwrap();
    let mut command = podrun.command();
    command.env("PODRUN_ROOT", file.join("below")).args(["ps"]);
    let output = crate::harness::finish(command, b"");
    if output.code != 0 {
        assert_eq!(output.code, 125, "{}", output.stderr);
    }
    let path = podrun.manifest("pod", &once("x", &[container("a", &["exit", "0"])]));
    let mut command = podrun.command();
    command
        .env("PODRUN_ROOT", file.join("below"))
        .args(["up", &path]);
    let output = crate::harness::finish(command, b"").code(125);
    assert!(output.stderr.contains("file"), "{}", output.stderr);
}

#[test]
fn yaml_json_lists_directories_and_standard_input_are_read() {
    let podrun = Podrun::new();
    let one = once("one", &[container("a", &["exit", "0"])]);
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        once("two", &[container("a", &["exit", "0"])]),
        { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" }, "data": { "k": "v" } },
    ] });
    let dir = podrun.files().join("dir");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("one.json"), one.to_string()).unwrap();
    std::fs::write(dir.join("two.yaml"), list.to_string()).unwrap();
    std::fs::write(dir.join("notes.txt"), "not a manifest").unwrap();
    podrun.run(["up", "--wait=done", "dir"]).ok();
    let yaml = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: three\nspec:\n  restartPolicy: Never\n  \
         containers:\n  - {{name: a, image: \"{IMAGE}\", command: [/probe, exit, \"0\"]}}\n"
    );
    podrun
        .run_with_input(["up", "--wait=done", "-"], yaml.as_bytes())
        .ok();
    let names = podrun.run(["ps", "-o", "name"]).ok().stdout;
    assert_eq!(names, "pod/one\npod/three\npod/two\n");
    assert!(
        podrun
            .run(["get", "configmaps", "-o", "name"])
            .ok()
            .stdout
            .contains("configmap/c")
    );
    let got = podrun
        .run(["get", "configmap/c", "-o", "jsonpath={.data.k}"])
        .ok()
        .stdout;
    assert_eq!(got.trim_end(), "v");
    // Completed pods are nothing but their record.
    crate::census::assert_no_processes(&podrun.root());
    podrun.run(["rm", "--all"]).ok();
    podrun.nothing_left();
}

#[test]
fn what_get_prints_can_be_applied_again() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("again", &[container("a", &["on-term", "0"])]))
        .ok();
    let printed = podrun.run(["get", "pod/again", "-o", "yaml"]).ok().stdout;
    podrun.run(["rm", "again"]).ok();
    let path = podrun.manifest_text("again.yaml", &printed);
    podrun.run(["up", &path]).ok();
    assert_eq!(podrun.pod("again")["status"]["phase"], "Running");
}

#[test]
fn namespaces_keep_pods_of_one_name_apart() {
    let podrun = Podrun::new();
    let path = podrun.manifest(
        "pod",
        &lasting("twin", &[container("a", &["on-term", "0"])]),
    );
    podrun.run(["up", &path]).ok();
    podrun.run(["up", "-n", "other", &path]).ok();
    assert_eq!(podrun.pods().len(), 2);
    podrun.run(["rm", "-n", "other", "twin"]).ok();
    assert_eq!(podrun.pods().len(), 1);
    assert_eq!(podrun.pod("twin")["metadata"]["namespace"], "default");
}

#[test]
fn a_bomb_is_refused_in_bounded_time() {
    let podrun = Podrun::empty();
    let mut text = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (name, before) in ('b'..='j').zip('a'..='i') {
        use std::fmt::Write;
        let references = vec![format!("*{before}"); 9].join(", ");
        writeln!(text, "{name}: &{name} [{references}]").unwrap();
    }
    let path = podrun.manifest_text("bomb.yaml", &text);
    podrun.run(["validate", &path]).code(3);
    let deep = format!("a: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let path = podrun.manifest_text("deep.yaml", &deep);
    podrun.run(["validate", &path]).code(3);
}

#[test]
fn everything_kept_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let podrun = Podrun::new();
    podrun
        .up(&lasting("private", &[container("a", &["ready-sleep"])]))
        .ok();
    for entry in std::fs::read_dir(podrun.root()).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", entry.path().display());
    }
}

#[test]
fn selectors_choose_and_labels_are_kept() {
    let podrun = Podrun::new();
    let mut red = pod(
        "red",
        json!({ "terminationGracePeriodSeconds": 1 }),
        &[container("a", &["on-term", "0"])],
    );
    red["metadata"]["labels"] = json!({ "colour": "red" });
    podrun.up(&red).ok();
    podrun
        .up(&lasting("plain", &[container("a", &["on-term", "0"])]))
        .ok();
    assert_eq!(
        podrun.run(["ps", "-q", "-l", "colour=red"]).ok().stdout,
        "red\n"
    );
    podrun.run(["rm", "-l", "colour=red"]).ok();
    assert_eq!(podrun.run(["ps", "-q"]).ok().stdout, "plain\n");
}

#[test]
fn a_long_state_path_is_no_obstacle() {
    let podrun = Podrun::empty();
    let deep = podrun.files().join("x".repeat(100)).join("y".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let container = json!({
        "name": "a", "image": "podrun.local/host", "command": ["sleep", "1000"],
    });
    let path = podrun.manifest("pod", &lasting("long", &[container]));
    let run = |args: &[&str]| {
        let mut command = podrun.command();
        command.env("PODRUN_ROOT", &deep).args(args);
        crate::harness::finish(command, b"").ok()
    };
    run(&["up", &path]);
    run(&["exec", "long", "--", "true"]);
    run(&["rm", "long"]);
    crate::census::assert_no_processes(&deep);
}
