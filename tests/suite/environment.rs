//! The environment of a container, as its processes have it.

use serde_json::{Value, json};

use crate::harness::{Podrun, documents, lasting};
use crate::story::{Story, does_with, exec};

fn objects() -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" },
            "data": { "LEVEL": "info", "greeting.text": "hello $(LEVEL)" },
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "login" },
            "stringData": { "password": "s3cret" },
        }),
    ]
}

fn env() -> Value {
    json!({
        "envFrom": [{ "configMapRef": { "name": "settings" } }],
        "env": [
            { "name": "LEVEL", "value": "debug" },
            { "name": "LINE", "value": "$(LEVEL) of $(greeting.text)" },
            { "name": "PASSWORD",
              "valueFrom": { "secretKeyRef": { "name": "login", "key": "password" } } },
            { "name": "ADDRESS", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
            { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            { "name": "UID", "valueFrom": { "fieldRef": { "fieldPath": "metadata.uid" } } },
            { "name": "CPUS",
              "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu", "divisor": "1m" } } },
            { "name": "NONE", "valueFrom": { "configMapKeyRef": {
                "name": "missing", "key": "x", "optional": true } } },
        ],
    })
}

#[test]
fn every_process_of_a_container_has_its_environment_from_all_sources() {
    let podrun = Podrun::new();
    let story = Story::new(&podrun);
    let mut fields = env();
    fields["lifecycle"] = json!({ "postStart": exec("and tell hook -- tell-env") });
    fields["readinessProbe"] = exec("tell-env");
    let words =
        "and tell-env -- once /empty/once then echo again ++ leave 1 -- tell ready -- sleep";
    let spec = json!({ "terminationGracePeriodSeconds": 1 });
    let pod = story.pod("env", &spec, &[], &[does_with("a", words, &fields)]);
    let mut all = objects();
    all.push(pod);
    let manifest = podrun.manifest_text("all.yaml", &documents(&all));
    podrun.run(["up", "--wait=ready", &manifest]).ok();
    let shown = podrun.probe("env", "a", &["tell-env"]);
    assert_eq!(shown, "");
    let pod = podrun.pod("env");
    let address = pod["status"]["podIP"].as_str().unwrap().to_owned();
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
    let told = story.told();
    // Two runs, at least one hook and one probe, and the command: all the same.
    let environments: Vec<&String> = told
        .iter()
        .filter(|line| line.contains("PASSWORD"))
        .collect();
    assert!(environments.len() >= 5, "{told:#?}");
    for one in environments {
        for expected in [
            "LEVEL=debug",
            "LINE=debug of hello $(LEVEL)",
            "greeting.text=hello $(LEVEL)",
            "PASSWORD=s3cret",
            "POD=env",
            &format!("ADDRESS={address}"),
            &format!("UID={uid}"),
        ] {
            assert!(
                one.split('|').any(|word| word == expected),
                "{expected}: {one}"
            );
        }
        assert!(!one.contains("NONE="), "{one}");
    }
}

#[test]
fn a_source_that_is_not_there_starts_nothing_and_is_named_with_its_place() {
    let podrun = Podrun::new();
    let text = "\
apiVersion: v1
kind: Pod
metadata: {name: lost}
spec:
  containers:
  - name: a
    image: podrun.local/host
    env:
    - name: V
      valueFrom:
        configMapKeyRef: {name: nowhere, key: k}
";
    let manifest = podrun.manifest_text("lost.yaml", text);
    podrun
        .run(["up", &manifest])
        .code(3)
        .says("lost.yaml:11:")
        .says("configmap/nowhere is not in namespace default");
    podrun.nothing_left();
}

#[test]
fn stored_objects_are_found_and_running_environments_stay() {
    let podrun = Podrun::new();
    let manifest = podrun.manifest_text("objects.yaml", &documents(&objects()));
    podrun.run(["up", &manifest]).ok();
    let container = crate::harness::container_with("a", &["ready-sleep"], &env());
    let pod = lasting("later", &[container]);
    podrun.up(&pod).ok();
    let report = || podrun.probe("later", "a", &["report"]);
    assert!(report().contains("s3cret"));
    let mut changed = objects();
    changed[1]["stringData"]["password"] = "changed".into();
    let manifest = podrun.manifest_text("objects.yaml", &documents(&changed));
    podrun.run(["up", &manifest]).ok();
    podrun.up(&pod).ok();
    assert!(report().contains("s3cret"), "as in a cluster");
}
