//! What is refused by name or passed over on purpose, and never half done.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::census::Canary;
use crate::forge::{self, Entry};
use crate::harness::{Podrun, container, container_with, documents, lasting, once};

/// A pod with one volume of this source.
fn with_volume(source: &Value) -> Value {
    let mut pod = lasting("pod", &[container("a", &["ready-sleep"])]);
    pod["spec"]["volumes"] = json!([source]);
    pod["spec"]["volumes"][0]["name"] = "v".into();
    pod
}

/// V23 (CVE-2024-10220, CVE-2025-1767): a type of volume that podrun does not make is an error that
/// names its field, in a Pod and in a persistent volume, and no pod comes into being.
#[test]
fn each_type_of_volume_that_is_not_made_is_refused_by_its_name() {
    let podrun = Podrun::new();
    let sources = [
        ("awsElasticBlockStore", json!({ "volumeID": "x" })),
        ("azureDisk", json!({ "diskName": "x", "diskURI": "x" })),
        ("azureFile", json!({ "secretName": "x", "shareName": "x" })),
        ("cephfs", json!({ "monitors": ["x"] })),
        ("cinder", json!({ "volumeID": "x" })),
        ("csi", json!({ "driver": "x" })),
        ("fc", json!({ "wwids": ["x"] })),
        ("flexVolume", json!({ "driver": "x/y" })),
        ("flocker", json!({ "datasetName": "x" })),
        ("gcePersistentDisk", json!({ "pdName": "x" })),
        (
            "gitRepo",
            json!({ "repository": "/srv/x", "directory": "." }),
        ),
        ("glusterfs", json!({ "endpoints": "x", "path": "x" })),
        (
            "iscsi",
            json!({ "targetPortal": "x", "iqn": "x", "lun": 0 }),
        ),
        ("nfs", json!({ "server": "x", "path": "/" })),
        ("photonPersistentDisk", json!({ "pdID": "x" })),
        ("portworxVolume", json!({ "volumeID": "x" })),
        ("quobyte", json!({ "registry": "x", "volume": "x" })),
        ("rbd", json!({ "monitors": ["x"], "image": "x" })),
        (
            "scaleIO",
            json!({ "gateway": "x", "system": "x", "secretRef": { "name": "x" } }),
        ),
        ("storageos", json!({ "volumeName": "x" })),
        ("vsphereVolume", json!({ "volumePath": "x" })),
        // Nobody knows it.
        ("warehouse", json!({ "shelf": "x" })),
    ];
    for (name, source) in &sources {
        let pod = with_volume(&json!({ *name: source }));
        let mut volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "pv" },
            "spec": { "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Mi" } },
        });
        volume["spec"][name] = source.clone();
        for (manifest, place) in [(pod, "spec.volumes[0]"), (volume, "spec")] {
            let path = podrun.manifest("refused", &manifest);
            for verb in ["validate", "up", "run"] {
                let said = format!("{place}.{name}");
                podrun.run([verb, &path]).code(3).says(&said);
            }
        }
    }
    // Nor is one of them passed over beside a type that is made.
    for (name, source) in &sources {
        let pod = with_volume(&json!({ "emptyDir": {}, *name: source }));
        podrun
            .up(&pod)
            .code(3)
            .says(&format!("spec.volumes[0].{name}"));
    }
    podrun.nothing_left();
}

/// V26 (CVE-2026-53489): no volume is a directory of podrun's own, by whatever path; one around them is
/// a volume like any other.
#[test]
fn what_podrun_keeps_is_no_volume_of_a_pod() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("other", &[container("a", &["ready-sleep"])]))
        .ok();
    let root = podrun.root();
    let link = podrun.files().join("link");
    symlink(root.join("state/pods"), &link).unwrap();
    let up = root.join("state/../state/pods");
    for path in [
        root.join("state"),
        root.join("state/pods"),
        root.join("state/new/deep"),
        root.join("state/lock"),
        root.join("data"),
        root.join("data/"),
        root.join("runtime"),
        link.clone(),
        link.join("new"),
    ] {
        for kind in ["", "DirectoryOrCreate", "FileOrCreate"] {
            let host = json!({ "hostPath": { "path": path, "type": kind } });
            let manifest = podrun.manifest("own", &with_volume(&host));
            for words in [&["up", &manifest][..], &["up", "--dry-run", &manifest]] {
                let output = podrun.run(words).code(3);
                let output = output.says("spec.volumes[0].hostPath.path");
                output
                    .says("where podrun keeps its own")
                    .says("persistentVolumeClaim");
            }
        }
        let rest = json!({ "accessModes": ["ReadWriteOnce"], "storageClassName": "own" });
        for source in ["hostPath", "local"] {
            let mut volume = json!({
                "apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": { "name": "own" }, "spec": rest,
            });
            volume["spec"]["capacity"] = json!({ "storage": "1Mi" });
            volume["spec"][source] = json!({ "path": path });
            let mut claim = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": { "name": "own" }, "spec": rest,
            });
            claim["spec"]["resources"] = json!({ "requests": { "storage": "1Mi" } });
            let claimed = json!({ "persistentVolumeClaim": { "claimName": "own" } });
            let all = documents(&[volume, claim, with_volume(&claimed)]);
            let manifest = podrun.manifest_text("own.yaml", &all);
            let output = podrun.run(["up", &manifest]).code(3);
            output.says("where podrun keeps its own");
        }
    }
    let host = json!({ "hostPath": { "path": up } });
    podrun.up(&with_volume(&host)).code(3);
    assert!(!root.join("state/new").exists());
    // A volume around them is in everyday use, and a name that only begins alike is another one.
    fs::create_dir(podrun.scratch().join("root-2")).unwrap();
    for path in [podrun.scratch(), &podrun.scratch().join("root-2")] {
        let host = json!({ "hostPath": { "path": path } });
        podrun.up(&with_volume(&host)).ok();
        podrun.run(["rm", "pod"]).ok();
    }
    podrun.run(["rm", "other"]).ok();
    podrun.nothing_left();
}

/// V17 (CVE-2022-23648, CVE-2020-1726): the volumes that an image declares are not made, whatever they
/// are called: nothing is mounted for them and nothing is copied.
#[test]
fn volumes_that_an_image_declares_are_passed_over() {
    let podrun = Podrun::empty();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let target = canary.path().to_str().unwrap();
    let up = format!("/v/{}{target}", "../".repeat(30));
    let many: Value = (0..5000)
        .map(|i| (format!("/many/{i}"), json!({})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let shapes = [
        json!({}),
        json!({ "/": {} }),
        json!({ "/proc": {}, "/sys": {}, "/dev": {} }),
        json!({ "../../x": {}, "x": {}, "": {} }),
        json!({ "/v": {}, "/v/secret": {}, up: {} }),
        json!({ "/etc/../../x": {}, "/etc/passwd": {} }),
        json!({ "/a\nb": {}, "/\u{1b}[2J": {} }),
        many,
        Value::Null,
    ];
    let mut mounts = None;
    for (i, volumes) in shapes.iter().enumerate() {
        let image = format!("localhost/volumes{i}:1");
        podrun.load(&forge::image_over_probe(
            &image,
            &json!({ "Volumes": volumes }),
            &[
                Entry::Link("v", target),
                Entry::Dir("full"),
                Entry::File("full/word", b"of the image"),
            ],
        ));
        let run = |words: &[&str]| {
            let mut one = container_with("a", words, &json!({ "imagePullPolicy": "Never" }));
            one["image"] = image.as_str().into();
            podrun.run_pod(&once("volumes", &[one]))
        };
        let report = run(&["report"]).ok().stdout;
        let report: Value = serde_json::from_str(&report[report.find('{').unwrap()..]).unwrap();
        let points: Vec<String> = report["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap().split(' ').nth(4).unwrap().to_owned())
            .collect();
        // As without any.
        assert_eq!(mounts.get_or_insert_with(|| points.clone()), &points, "{i}");
        let output = run(&["read", "/v/secret"]).code(99);
        assert!(!output.stdout.contains(Canary::TOKEN));
        run(&["exists", "/x"]).code(1);
        assert!(
            run(&["read", "/full/word"])
                .ok()
                .stdout
                .contains("of the image")
        );
    }
    canary.assert_untouched();
    podrun.nothing_left();
}
