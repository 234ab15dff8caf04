//! Images made to get at the host: each is refused or stays inside, and the canary is untouched.

use serde_json::{Value, json};

use crate::census::Canary;
use crate::forge::{self, Entry};
use crate::harness::{self, Podrun, container, lasting, once};

/// Runs an image of these entries over nothing but the probe; what it did is for the canary.
fn run_image(
    podrun: &Podrun,
    name: &str,
    config: &Value,
    entries: &[Entry<'_>],
) -> harness::Output {
    let image = format!("localhost/{name}:1");
    let probe = std::fs::read(harness::probe()).unwrap();
    let mut all = vec![Entry::Program("probe", probe.as_slice())];
    all.extend(entries.iter().cloned());
    let loaded = podrun.try_load(&forge::archive(&image, config, &[forge::tar(&all)]));
    if loaded.code != 0 {
        assert!(
            !loaded.stderr.trim().is_empty(),
            "{name} is refused without a word"
        );
        return loaded;
    }
    let container = json!({
        "name": "a", "image": image, "imagePullPolicy": "Never", "command": ["/probe", "report"],
    });
    let output = podrun.run_pod(&once(name, &[container]));
    assert!(
        !output.stdout.contains(Canary::TOKEN),
        "{name} read the canary"
    );
    podrun.nothing_left();
    output
}

/// How many `..` lead from a container's directories to the host's root, generously.
fn up_to(path: &std::path::Path) -> String {
    format!(
        "{}{}",
        "../".repeat(30),
        path.strip_prefix("/").unwrap().display()
    )
}

#[test]
fn mount_points_that_are_not_directories_are_refused_by_name() {
    let podrun = Podrun::empty();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let absolute = canary.path().to_str().unwrap().to_owned();
    let relative = up_to(canary.path());
    for point in ["proc", "sys", "dev"] {
        let shapes = [
            ("etc", Entry::Link(point, "/etc")),
            ("absolute", Entry::Link(point, &absolute)),
            ("relative", Entry::Link(point, &relative)),
            ("dangling", Entry::Link(point, "/nowhere")),
            ("file", Entry::File(point, b"")),
            ("fifo", Entry::Fifo(point)),
        ];
        for (shape, entry) in shapes {
            let name = format!("{point}-{shape}");
            let output = run_image(&podrun, &name, &json!({}), &[entry, Entry::Dir("etc")]);
            assert_ne!(output.code, 0, "{name} runs:\n{}", output.stdout);
            let word = format!("/{point}");
            assert!(
                output.stderr.contains(&word),
                "{name} is not explained: {}",
                output.stderr
            );
            canary.assert_untouched();
        }
    }
}

#[test]
fn what_podrun_writes_below_the_root_stays_below_it() {
    let podrun = Podrun::empty();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let absolute = canary.path().to_str().unwrap().to_owned();
    let relative = up_to(canary.path());
    let file = format!("{absolute}/f");
    let shapes: Vec<(&str, Value, Vec<Entry<'_>>)> = vec![
        (
            "etc-absolute",
            json!({}),
            vec![Entry::Link("etc", &absolute)],
        ),
        (
            "etc-relative",
            json!({}),
            vec![Entry::Link("etc", &relative)],
        ),
        (
            "hosts-link",
            json!({}),
            vec![Entry::Dir("etc"), Entry::Link("etc/hosts", &file)],
        ),
        (
            "hosts-fifo",
            json!({}),
            vec![Entry::Dir("etc"), Entry::Fifo("etc/hosts")],
        ),
        (
            "hosts-dir",
            json!({}),
            vec![Entry::Dir("etc"), Entry::Dir("etc/hosts")],
        ),
        (
            "resolv-chain",
            json!({}),
            vec![
                Entry::Dir("etc"),
                Entry::Link("etc/resolv.conf", "/run/x"),
                Entry::Dir("run"),
                Entry::Link("run/x", &file),
            ],
        ),
        (
            "cwd-link",
            json!({ "WorkingDir": "/w/a/b" }),
            vec![Entry::Link("w", &relative)],
        ),
        (
            "cwd-absolute",
            json!({ "WorkingDir": "/w/a/b" }),
            vec![Entry::Link("w", &absolute)],
        ),
        (
            "cwd-dots",
            json!({ "WorkingDir": format!("/{relative}/made") }),
            vec![],
        ),
        (
            "dev-null",
            json!({}),
            vec![Entry::Dir("dev"), Entry::File("dev/null", b"x")],
        ),
        (
            "dev-null-link",
            json!({}),
            vec![
                Entry::Dir("dev"),
                Entry::Link("dev/null", "/proc/sys/kernel/core_pattern"),
            ],
        ),
        (
            "pts-link",
            json!({}),
            vec![Entry::Dir("dev"), Entry::Link("dev/pts", &absolute)],
        ),
        (
            "shm-link",
            json!({}),
            vec![Entry::Dir("dev"), Entry::Link("dev/shm", &absolute)],
        ),
        (
            "ptmx",
            json!({}),
            vec![Entry::Dir("dev"), Entry::File("dev/ptmx", b"marker")],
        ),
    ];
    let core_pattern = std::fs::read("/proc/sys/kernel/core_pattern").unwrap();
    for (name, config, entries) in shapes {
        let output = run_image(&podrun, name, &config, &entries);
        if output.code == 0 {
            assert!(
                output.stdout.contains(r#""null":"char 1:3 666""#),
                "{name}: {}",
                output.stdout
            );
        }
        canary.assert_untouched();
        assert_eq!(
            std::fs::read("/proc/sys/kernel/core_pattern").unwrap(),
            core_pattern,
            "{name}"
        );
    }
}

#[test]
fn a_volume_mounted_through_a_link_of_the_image_stays_inside() {
    let podrun = Podrun::empty();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let relative = up_to(canary.path());
    for (name, path, target) in [
        ("to-proc", "/x", "/proc/sys".to_owned()),
        ("to-canary", "/x/m", relative),
        (
            "to-canary-deep",
            "/x/empty/new",
            canary.path().to_str().unwrap().to_owned(),
        ),
    ] {
        let image = format!("localhost/{name}:1");
        podrun.load(&forge::image_over_probe(
            &image,
            &json!({}),
            &[Entry::Link("x", &target)],
        ));
        let container = json!({
            "name": "a", "image": image, "command": ["/probe", "write", &format!("{path}/file"), "x"],
            "volumeMounts": [{ "name": "v", "mountPath": path }],
        });
        let mut manifest = once(name, &[container]);
        manifest["spec"]["volumes"] = json!([{ "name": "v", "emptyDir": {} }]);
        podrun.run_pod(&manifest);
        canary.assert_untouched();
        podrun.nothing_left();
    }
}

#[test]
fn a_layer_that_leaves_its_directory_is_refused_or_contained() {
    let podrun = Podrun::empty();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let absolute = canary.path().to_str().unwrap().to_owned();
    let relative = up_to(canary.path());
    let over = format!("{relative}/planted");
    let planted = format!("{absolute}/planted");
    let secret = format!("{absolute}/secret");
    let shapes: Vec<(&str, Vec<Entry<'_>>)> = vec![
        ("dots", vec![Entry::File(&over, b"x")]),
        ("absolute", vec![Entry::File(&planted, b"x")]),
        (
            "through-link",
            vec![Entry::Link("d", &absolute), Entry::File("d/planted", b"x")],
        ),
        (
            "through-dots",
            vec![Entry::Link("d", &relative), Entry::File("d/planted", b"x")],
        ),
        ("hard-link", vec![Entry::HardLink("h", &secret)]),
        ("hard-link-dots", vec![Entry::HardLink("h", &over)]),
        (
            "hard-link-link",
            vec![
                Entry::Link("l", &secret),
                Entry::HardLink("h", "l"),
                Entry::File("h", b"x"),
            ],
        ),
        ("whiteout-dots", vec![Entry::File("d/.wh...", b"")]),
        ("whiteout-dot", vec![Entry::File("d/.wh..", b"")]),
        (
            "whiteout-link",
            vec![
                Entry::Link("d", &absolute),
                Entry::File("d/.wh.secret", b""),
            ],
        ),
        (
            "opaque-link",
            vec![
                Entry::Link("d", &absolute),
                Entry::File("d/.wh..wh..opq", b""),
            ],
        ),
        ("root-link", vec![Entry::Link(".", &absolute)]),
        ("device", vec![Entry::CharDevice("mem", 1, 1)]),
    ];
    for (name, entries) in shapes {
        run_image(&podrun, name, &json!({}), &entries);
        canary.assert_untouched();
    }
}

#[test]
fn a_link_upwards_ends_at_the_top_of_its_layer() {
    let podrun = Podrun::empty();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let relative = up_to(canary.path());
    // Longer than a header's field.
    assert!(relative.len() > 100, "{relative}");
    // The layer has a directory where the host has the canary.
    let inside = canary.path().strip_prefix("/").unwrap();
    let entries = [
        Entry::Dir(inside.to_str().unwrap()),
        Entry::Link("d", &relative),
        Entry::File("d/planted", b"x"),
    ];
    run_image(&podrun, "upwards", &json!({}), &entries).ok();
    canary.assert_untouched();
    let planted = canary.path().join("planted");
    let command = ["/probe", "read", planted.to_str().unwrap()];
    let image = "localhost/upwards:1";
    let container =
        json!({ "name": "a", "image": image, "imagePullPolicy": "Never", "command": command });
    podrun.run_pod(&once("planted", &[container])).ok();
}

#[test]
fn an_archive_that_links_out_of_its_folder_is_refused() {
    let podrun = Podrun::empty();
    let canary = Canary::new(podrun.scratch().join("canary"));
    let absolute = canary.path().to_str().unwrap().to_owned();
    let planted = format!("{absolute}/planted");
    let shapes = [
        vec![
            Entry::Link("blobs", &absolute),
            Entry::File("blobs/planted", b"x"),
        ],
        vec![
            Entry::Link("blobs", &absolute),
            Entry::File("blobs/new/planted", b"x"),
        ],
        vec![
            Entry::Link("blobs", &absolute),
            Entry::Link("blobs/planted", "x"),
        ],
        vec![
            Entry::Link("planted", &planted),
            Entry::File("planted", b"x"),
        ],
    ];
    for (number, entries) in shapes.iter().enumerate() {
        let bytes = forge::tar(entries);
        let name = format!("localhost/links{number}:1");
        let output = podrun.try_load(&forge::Archive { name, bytes });
        assert_ne!(output.code, 0, "{number}");
        canary.assert_untouched();
    }
}

#[test]
fn an_archive_with_a_name_without_end_is_refused() {
    let podrun = Podrun::empty();
    let long = "x/".repeat(40 * 1024);
    for entries in [[Entry::File(&long, b"")], [Entry::Link("a", &long)]] {
        let bytes = forge::tar(&entries);
        let name = "localhost/long:1".to_owned();
        podrun
            .try_load(&forge::Archive { name, bytes })
            .code(1)
            .says("the headers of an entry are larger than 64 KiB");
    }
}

#[test]
fn an_archive_with_long_names_is_loaded() {
    let podrun = Podrun::empty();
    let mut archive = forge::probe_image("localhost/long-names:1");
    // What nobody asks for is passed over, whatever it is called.
    let long = "x".repeat(200);
    let more = forge::tar(&[Entry::File(&long, b"x"), Entry::Link("to", &long)]);
    archive
        .bytes
        .splice(..0, more[..more.len() - 1024].iter().copied());
    podrun.load(&archive);
}

#[test]
fn a_device_of_a_layer_is_no_device() {
    let podrun = Podrun::empty();
    let image = "localhost/kmem:1";
    podrun.try_load(&forge::image_over_probe(
        image,
        &json!({}),
        &[Entry::CharDevice("kmem", 1, 7)],
    ));
    let container = json!({ "name": "a", "image": image, "imagePullPolicy": "Never", "command": ["/probe", "read", "/kmem"] });
    let output = podrun.run_pod(&once("kmem", &[container]));
    // It may be there as a name, or not at all, when this user may not make one.
    assert_eq!(output.code, 99, "the device could be read");
}

#[test]
fn a_working_directory_outside_the_container_is_refused() {
    let podrun = Podrun::new();
    let mut paths: Vec<String> = (3..24).map(|n| format!("/proc/self/fd/{n}")).collect();
    paths.extend((3..10).map(|n| format!("/proc/1/fd/{n}")));
    paths.extend([
        "/proc/1/root".to_owned(),
        "/proc/thread-self/fd/5".to_owned(),
    ]);
    for (i, path) in paths.iter().enumerate() {
        let mut one = container("a", &["report"]);
        one["workingDir"] = path.as_str().into();
        let output = podrun.run_pod(&once("cwd", &[one]));
        assert_ne!(output.code, 0, "{path} by the pod:\n{}", output.stdout);
        if i % 8 == 0 {
            let image = format!("localhost/cwd{i}:1");
            podrun.load(&forge::image_over_probe(
                &image,
                &json!({ "WorkingDir": path }),
                &[],
            ));
            let by_image = json!({ "name": "a", "image": image, "command": ["/probe", "report"] });
            let output = podrun.run_pod(&once("cwd", &[by_image]));
            assert_ne!(output.code, 0, "{path} by the image:\n{}", output.stdout);
        }
    }
    podrun.nothing_left();
}

#[test]
fn nothing_of_the_image_runs_on_the_host() {
    let podrun = Podrun::empty();
    let marker = podrun.files().join("pwned");
    let script = format!(
        "#!/bin/sh\necho x >>/pwned\necho x >>{}\n",
        marker.display()
    );
    let names = [
        "bin/sh",
        "bin/tar",
        "bin/ps",
        "bin/nsenter",
        "bin/cat",
        "bin/ls",
        "sbin/modprobe",
    ];
    let mut entries = vec![Entry::Dir("bin"), Entry::Dir("sbin")];
    entries.extend(
        names
            .iter()
            .map(|name| Entry::Program(name, script.as_bytes())),
    );
    entries.push(Entry::File("etc/ld.so.preload", b"/lib/evil.so\n"));
    podrun.load(&forge::image_over_probe(
        "localhost/evil:1",
        &json!({}),
        &entries,
    ));
    let container =
        json!({ "name": "a", "image": "localhost/evil:1", "command": ["/probe", "ready-sleep"] });
    podrun.up(&lasting("evil", &[container])).ok();
    podrun.run(["ps"]).ok();
    podrun.run(["logs", "evil"]).ok();
    podrun.run(["get", "pod/evil", "-o", "yaml"]).ok();
    assert_eq!(
        podrun
            .run(["exec", "evil", "--", "/probe", "read", "/pwned"])
            .code,
        99
    );
    podrun.run(["rm", "evil"]).ok();
    assert!(!marker.exists());
}

#[test]
fn control_characters_of_an_image_do_not_reach_the_terminal() {
    let podrun = Podrun::new();
    let evil = "/x\u{1b}]0;title\u{7}\u{1b}[31m";
    let container = json!({ "name": "a", "image": harness::IMAGE, "command": [evil] });
    let output = podrun.run_pod(&once("control", &[container]));
    assert_ne!(output.code, 0);
    assert!(
        !output.stderr.contains('\u{1b}') && !output.stderr.contains('\u{7}'),
        "{:?}",
        output.stderr
    );
}
