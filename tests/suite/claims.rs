//! Claims, persistent volumes, ephemeral claims, image volumes, and `podrun volume`.

use std::fs;

use serde_json::{Value, json};

use crate::forge;
use crate::harness::{Podrun, container_with, documents, lasting, once};

fn claim(name: &str, more: &Value) -> Value {
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": "1Gi" } },
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": name }, "spec": spec,
    })
}

fn volume(name: &str, more: &Value) -> Value {
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "capacity": { "storage": "5Gi" },
        "storageClassName": "manual",
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": { "name": name }, "spec": spec,
    })
}

/// A pod with the claim `data` at `/v`.
fn using(pod: Value, source: &Value) -> Value {
    let mut pod = pod;
    pod["spec"]["volumes"] = json!([{ "name": "v", "persistentVolumeClaim": source }]);
    pod
}

fn mounted(words: &[&str]) -> Value {
    container_with(
        "a",
        words,
        &json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }),
    )
}

fn waiting(name: &str) -> Value {
    using(
        lasting(name, &[mounted(&["ready-sleep"])]),
        &json!({ "claimName": "data" }),
    )
}

fn up(podrun: &Podrun, all: &[Value]) -> crate::harness::Output {
    let manifest = podrun.manifest_text("all.yaml", &documents(all));
    podrun.run(["up", &manifest])
}

fn phase(podrun: &Podrun, what: &str) -> String {
    let output = podrun.run(["get", what, "-o", "jsonpath={.status.phase}"]);
    output.ok().stdout.trim().to_owned()
}

#[test]
fn a_claims_data_outlives_its_pods() {
    let podrun = Podrun::new();
    up(&podrun, &[claim("data", &json!({})), waiting("one")])
        .ok()
        .says("storage: is not enforced");
    podrun.probe("one", "a", &["write", "/v/word", "kept"]);
    assert_eq!(
        podrun.probe("one", "a", &["stat", "/v"]).trim(),
        "40777 0 0"
    );
    assert_eq!(phase(&podrun, "pvc/data"), "Bound");
    let described = podrun.run(["describe", "pvc/data"]).ok().stdout;
    for line in [
        "Status:        Bound",
        "Access Modes:  RWO",
        "Used By:       one",
    ] {
        assert!(described.contains(line), "{described}");
    }
    let described = podrun.run(["describe", "one"]).ok().stdout;
    let volume = "  v:\n    Type:          PersistentVolumeClaim\n    ClaimName:     data\n";
    assert!(described.contains(volume), "{described}");
    podrun
        .run(["rm", "pvc/data"])
        .code(1)
        .says("persistentvolumeclaim/data is used by pod/one");
    podrun.run(["rm", "one"]).ok();
    // The claim is in the store: its file is not needed again.
    up(&podrun, &[waiting("two")]).ok();
    assert_eq!(podrun.probe("two", "a", &["read", "/v/word"]), "kept");
    let output = podrun.run([
        "down",
        &podrun.manifest_text(
            "two.yaml",
            &documents(&[claim("data", &json!({})), waiting("two")]),
        ),
    ]);
    // What `up` says of a claim is no news when it is only named.
    assert_eq!(output.ok().stderr, "");
    let table = podrun.run(["volume", "ls", "--no-headers"]).ok().stdout;
    let cells: Vec<&str> = table.split_whitespace().collect();
    assert_eq!(cells[0], "data");
    assert_eq!(cells[1], "Bound");
    assert_eq!(cells[3], "1Gi");
    assert_eq!(cells[4], "RWO");
    podrun.run(["volume", "rm", "data"]).ok();
    podrun.run(["volume", "rm", "data"]).code(4);
    up(&podrun, &[claim("data", &json!({})), waiting("three")]).ok();
    podrun
        .run(["exec", "three", "--", "/probe", "exists", "/v/word"])
        .code(1);
    podrun.run(["rm", "three", "--volumes"]).ok();
    for kind in ["pvc", "pv"] {
        podrun.run(["get", kind]).ok().says("No resources found");
    }
    podrun.nothing_left();
}

#[test]
fn files_of_other_ids_go_with_their_claim() {
    let podrun = Podrun::new();
    let mut pod = waiting("p");
    if crate::harness::mode() != crate::harness::Mode::Single {
        pod["spec"]["securityContext"] = json!({ "runAsUser": 1000, "runAsGroup": 1000 });
    }
    up(&podrun, &[claim("data", &json!({})), pod]).ok();
    podrun.probe("p", "a", &["make-dir", "/v/deep/er"]);
    podrun.probe("p", "a", &["write", "/v/deep/er/file", "x"]);
    podrun.run(["rm", "p"]).ok();
    podrun.run(["volume", "rm", "data"]).ok();
    let claims = podrun.root().join("state/claims/default");
    assert_eq!(fs::read_dir(&claims).unwrap().count(), 0);
    // What a removal that was killed has left.
    fs::create_dir_all(claims.join(".discarded-x/deep")).unwrap();
    podrun.run(["prune"]).ok();
    assert_eq!(fs::read_dir(claims).unwrap().count(), 0);
}

#[test]
fn a_pod_without_its_claim_is_refused_with_the_place() {
    let podrun = Podrun::new();
    up(&podrun, &[waiting("p")])
        .code(3)
        .says("spec.volumes[0].persistentVolumeClaim.claimName")
        .says("persistentvolumeclaim `data` not found");
    let waits = claim("data", &json!({ "storageClassName": "" }));
    up(&podrun, &[waits, waiting("p")])
        .code(3)
        .says("persistentvolumeclaim `data` is not bound: no persistentvolume fits");
    podrun.run(["get", "pvc"]).ok().says("No resources found");
    // Alone it may wait, as in a cluster, and is bound when there is a volume for it.
    let waits = claim("data", &json!({ "storageClassName": "" }));
    up(&podrun, &[waits]).ok();
    assert_eq!(phase(&podrun, "pvc/data"), "Pending");
    let path = podrun.files().join("late");
    fs::create_dir(&path).unwrap();
    let late = json!({ "storageClassName": "", "local": { "path": path } });
    up(&podrun, &[volume("late", &late)]).ok();
    assert_eq!(phase(&podrun, "pvc/data"), "Bound");
    podrun.nothing_left();
}

#[test]
fn a_volume_of_the_users_is_bound_released_and_never_removed() {
    let podrun = Podrun::new();
    let path = podrun.files().join("mine");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("word"), "mine").unwrap();
    let manual = claim("data", &json!({ "storageClassName": "manual" }));
    let host = volume("mine", &json!({ "hostPath": { "path": path } }));
    let mut all = vec![host, manual];
    up(&podrun, &all).ok();
    all.push(waiting("p"));
    up(&podrun, &all).ok().says("");
    assert_eq!(podrun.probe("p", "a", &["read", "/v/word"]), "mine");
    assert_eq!(phase(&podrun, "pv/mine"), "Bound");
    podrun
        .run(["rm", "pv/mine"])
        .code(1)
        .says("is bound to persistentvolumeclaim/data");
    // Unchanged files change nothing.
    let again = up(&podrun, &all).ok().stdout;
    assert_eq!(again.matches("unchanged").count(), 3, "{again}");
    podrun.run(["rm", "p", "--volumes"]).ok();
    assert_eq!(phase(&podrun, "pv/mine"), "Released");
    let described = podrun.run(["describe", "pv/mine"]).ok().stdout;
    let source = format!(
        "Source:\n    Type:      HostPath\n    Path:      {}",
        path.display()
    );
    assert!(described.contains(&source), "{described}");
    assert_eq!(fs::read_to_string(path.join("word")).unwrap(), "mine");
    // What was another's is not given away.
    let bound = up(&podrun, &[all[1].clone()]);
    bound.ok();
    let name = podrun.run(["get", "pvc/data", "-o", "jsonpath={.spec.volumeName}"]);
    assert!(name.ok().stdout.starts_with("pvc-"));
    podrun.run(["rm", "pv/mine", "pvc/data"]).ok();
    assert!(path.join("word").exists());
    podrun.nothing_left();
}

#[test]
fn a_failed_up_takes_back_what_it_has_made_and_nothing_else() {
    let podrun = Podrun::new();
    let path = podrun.files().join("mine");
    fs::create_dir(&path).unwrap();
    let host = volume("mine", &json!({ "local": { "path": path } }));
    up(&podrun, &[host]).ok();
    let fails = |claim: &str| {
        using(
            once("fails", &[mounted(&["exit", "3"])]),
            &json!({ "claimName": claim }),
        )
    };
    let manual = claim("data", &json!({ "storageClassName": "manual" }));
    let fails_with = |all: &[Value]| {
        let manifest = podrun.manifest_text("all.yaml", &documents(all));
        podrun.run(["up", "--wait=done", &manifest]).code(1)
    };
    fails_with(&[manual, fails("data")]);
    podrun.run(["get", "pvc"]).ok().says("No resources found");
    assert_eq!(phase(&podrun, "pv/mine"), "Available");
    up(&podrun, &[claim("old", &json!({}))]).ok();
    fails_with(&[
        claim("old", &json!({})),
        claim("new", &json!({})),
        fails("old"),
    ]);
    assert_eq!(phase(&podrun, "pvc/old"), "Bound");
    podrun.run(["get", "pvc/new"]).code(4);
    // So does `run`.
    let writes = using(
        once("writes", &[mounted(&["write", "/v/x", "y"])]),
        &json!({ "claimName": "own" }),
    );
    let manifest =
        podrun.manifest_text("run.yaml", &documents(&[claim("own", &json!({})), writes]));
    podrun.run(["run", &manifest]).ok();
    podrun.run(["get", "pvc/own"]).code(4);
    podrun.nothing_left();
}

#[test]
fn a_claim_may_be_read_only_or_of_one_pod() {
    let podrun = Podrun::new();
    let once = claim("data", &json!({ "accessModes": ["ReadWriteOncePod"] }));
    let mut reads = waiting("reads");
    reads["spec"]["volumes"][0]["persistentVolumeClaim"]["readOnly"] = true.into();
    up(&podrun, &[once.clone(), reads]).ok();
    assert_eq!(
        podrun.probe("reads", "a", &["write-errno", "/v/x"]).trim(),
        "errno 30"
    );
    up(&podrun, &[waiting("second")])
        .code(3)
        .says("persistentvolumeclaim/data is ReadWriteOncePod, and pod/reads uses it");
    podrun.run(["rm", "reads"]).ok();
    up(&podrun, &[waiting("second"), waiting("third")]).code(3);
    up(&podrun, &[waiting("second")]).ok();
    let changed = claim("data", &json!({}));
    up(&podrun, &[changed])
        .code(3)
        .says("spec is immutable after creation except resources.requests");
    let larger = claim(
        "data",
        &json!({
            "accessModes": ["ReadWriteOncePod"],
            "resources": { "requests": { "storage": "2Gi" } },
        }),
    );
    up(&podrun, &[larger]).ok();
    podrun.run(["rm", "--all", "--volumes"]).ok();
    podrun.nothing_left();
}

#[test]
fn an_ephemeral_claim_lives_as_long_as_its_pod() {
    let podrun = Podrun::new();
    let ephemeral = |name: &str| {
        let mut pod = lasting(name, &[mounted(&["ready-sleep"])]);
        pod["spec"]["volumes"] = json!([{
            "name": "v",
            "ephemeral": { "volumeClaimTemplate": { "spec": claim("x", &json!({}))["spec"] } },
        }]);
        pod
    };
    for _ in 0..2 {
        up(&podrun, &[ephemeral("p")]).ok();
        podrun
            .run(["exec", "p", "--", "/probe", "exists", "/v/word"])
            .code(1);
        podrun.probe("p", "a", &["write", "/v/word", "x"]);
        podrun.run(["rm", "p"]).ok();
    }
    up(&podrun, &[claim("p-v", &json!({})), ephemeral("p")])
        .code(3)
        .says("persistentvolumeclaim `p-v` was not made for this pod");
    podrun.nothing_left();
}

#[test]
fn an_image_is_a_volume_that_cannot_be_written_or_executed() {
    let podrun = Podrun::new();
    let mut pod = lasting("p", &[mounted(&["ready-sleep"])]);
    // Of no container.
    let image = "localhost/files:1";
    podrun.load(&forge::image_over_probe(image, &json!({}), &[]));
    pod["spec"]["volumes"] = json!([{ "name": "v", "image": { "reference": image } }]);
    up(&podrun, &[pod.clone()]).ok();
    podrun.probe("p", "a", &["exists", "/v/probe"]);
    assert_eq!(
        podrun.probe("p", "a", &["write-errno", "/v/x"]).trim(),
        "errno 30"
    );
    podrun
        .run(["exec", "p", "--", "/v/probe", "exit", "0"])
        .code(126);
    // Its layers stay as long as they are mounted.
    podrun
        .run(["image", "rm", image])
        .code(1)
        .says("is used by pod/p");
    podrun.run(["prune", "--images"]).ok();
    podrun.probe("p", "a", &["exists", "/v/probe"]);
    podrun.run(["rm", "p"]).ok();
    pod["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = "probe".into();
    up(&podrun, &[pod.clone()]).ok();
    assert!(podrun.probe("p", "a", &["stat", "/v"]).starts_with("100"));
    podrun.run(["rm", "p"]).ok();
    pod["spec"]["volumes"][0]["image"] =
        json!({ "reference": "localhost/missing:1", "pullPolicy": "Never" });
    up(&podrun, &[pod]).code(1).says("ErrImageNeverPull");
    podrun.nothing_left();
}
