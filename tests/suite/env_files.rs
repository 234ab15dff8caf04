//! `fileKeyRef`: variables from files that another container has written.

use serde_json::{Value, json};

use crate::harness::{Podrun, container_with, lasting};

fn pod(name: &str, writes: &[&str], env: &Value) -> Value {
    let mounts = json!([{ "name": "shared", "mountPath": "/shared" }]);
    let init = container_with("init", writes, &json!({ "volumeMounts": mounts }));
    // It does not mount the volume.
    let main = container_with("a", &["ready-sleep"], &json!({ "env": env }));
    let mut pod = lasting(name, &[main]);
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["initContainers"] = json!([init]);
    pod["spec"]["volumes"] = json!([{ "name": "shared", "emptyDir": {} }]);
    pod
}

fn from_file(name: &str, key: &str, optional: bool) -> Value {
    let reference = json!({
        "volumeName": "shared", "path": "env", "key": key, "optional": optional,
    });
    json!({ "name": name, "valueFrom": { "fileKeyRef": reference } })
}

#[test]
fn variables_come_from_a_file_that_an_init_container_wrote() {
    let podrun = Podrun::new();
    let env = json!([
        from_file("ONE", "one", false),
        { "name": "BEFORE", "value": "kept" },
        from_file("BEFORE", "none", true),
        from_file("NONE", "none", true),
        { "name": "ALL", "value": "<$(ONE)|$(BEFORE)|$(NONE)>" },
    ]);
    let mut pod = pod(
        "p",
        &["write", "/shared/env", "# of init\none='1 $x'\n"],
        &env,
    );
    let says = container_with("b", &["echo", "it is", "$(ONE)"], &json!({ "env": env }));
    pod["spec"]["containers"].as_array_mut().unwrap().push(says);
    podrun.up(&pod).ok();
    podrun.wait_for_log("p", "b", "it is 1 $x");
    let environment = podrun.probe("p", "a", &["environment"]);
    for line in ["ONE=1 $x", "BEFORE=kept", "ALL=<1 $x|kept|$(NONE)>"] {
        assert!(environment.lines().any(|l| l == line), "{environment}");
    }
    assert!(!environment.contains("\nNONE="), "{environment}");
    podrun.run(["rm", "p"]).ok();
    podrun.nothing_left();
}

#[test]
fn a_file_that_does_not_give_the_value_keeps_the_container_from_starting() {
    let podrun = Podrun::new();
    for (words, message) in [
        (
            &["write", "/shared/other", "one='1'"][..],
            "env `ONE`: env in volume `shared` does not exist",
        ),
        (
            &["write", "/shared/env", "two='1'"],
            "env in volume `shared` has no key `one`",
        ),
        (
            &["write", "/shared/env", "one=1"],
            "line 1: a value must be in single quotes",
        ),
        (
            &["link", "/../../../../../../etc/passwd", "/shared/env"],
            "env in volume `shared` does not exist",
        ),
        (&["make-dir", "/shared/env"], "it is not a file"),
        (
            &["fill", "/shared/env", "70000"],
            "it has more than 65536 bytes",
        ),
    ] {
        let env = json!([from_file("ONE", "one", false)]);
        podrun.up(&pod("p", words, &env)).code(1).says(message);
        podrun.nothing_left();
    }
    let mut wrong = pod(
        "p",
        &["exit", "0"],
        &json!([from_file("ONE", "one", false)]),
    );
    wrong["spec"]["volumes"] = json!([{ "name": "shared", "hostPath": { "path": "/tmp" } }]);
    podrun
        .up(&wrong)
        .code(3)
        .says("env[0].valueFrom.fileKeyRef.volumeName: must be the name of an emptyDir");
}
