//! Layers in the store: what becomes of one that cannot be used, and what is left of it.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::forge::{self, Entry};
use crate::harness::{Output, Podrun, container, lasting, once};

/// What is being made, or was left by somebody who made it; locks are for everybody.
fn staged(podrun: &Podrun) -> Vec<PathBuf> {
    fs::read_dir(podrun.root().join("data/tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|end| end != "lock"))
        .collect()
}

/// A directory that only its owner may look into, who is none of the host's users.
const PRIVATE: &[Entry<'_>] = &[
    Entry::OwnedDir("private", 0o700, 1000),
    Entry::OwnedDir("private/deeper", 0o700, 1000),
    Entry::File("private/deeper/file", b"x"),
];

#[test]
fn a_layer_that_is_refused_leaves_nothing() {
    let podrun = Podrun::empty();
    let mut entries = PRIVATE.to_vec();
    entries.push(Entry::File("../upwards", b"x"));
    let layer = forge::tar(&entries);
    let image = forge::archive("localhost/refused:1", &json!({}), &[layer]);
    podrun.try_load(&image).code(1).says("upwards");
    assert_eq!(staged(&podrun), Vec::<PathBuf>::new());

    // It is unpacked as a whole, and is another one than the image says.
    let (layers, said) = ([forge::tar(PRIVATE)], [forge::tar(&PRIVATE[..1])]);
    let image = forge::archive_of("localhost/another:1", &json!({}), &layers, &said);
    podrun.try_load(&image).code(1).says("expected");
    assert_eq!(staged(&podrun), Vec::<PathBuf>::new());
}

#[test]
fn prune_sweeps_what_killed_processes_have_left() {
    let podrun = Podrun::empty();
    let name = "localhost/private:1";
    let image = forge::archive(name, &json!({}), &[forge::tar(PRIVATE)]);
    podrun.load(&image);
    let layers = podrun.root().join("data/layers");
    let layer = fs::read_dir(&layers).unwrap().next().unwrap().unwrap();
    let tmp = podrun.root().join("data/tmp");
    fs::rename(layer.path(), tmp.join("layer.1.0")).unwrap();
    fs::write(tmp.join("blob.1.0"), "half of it").unwrap();
    podrun.run(["prune"]).ok();
    assert_eq!(staged(&podrun), Vec::<PathBuf>::new());
}

/// A container that looks at a path, over an image of these layers.
fn read(podrun: &Podrun, image: &str, path: &str) -> Output {
    let command = ["/probe", "read", path];
    let container = json!({
        "name": "a", "image": image, "imagePullPolicy": "Never", "command": command,
    });
    podrun.run_pod(&once("read", &[container]))
}

#[test]
fn whiteouts_hide_what_is_below() {
    let podrun = Podrun::empty();
    let below = forge::tar(&[
        Entry::File("single", b"below"),
        Entry::File("kept", b"below"),
        Entry::File("dir/file", b"below"),
        Entry::File("opaque/file", b"below"),
    ]);
    let above = forge::tar(&[
        Entry::File(".wh.single", b""),
        Entry::File(".wh.dir", b""),
        Entry::File("opaque/.wh..wh..opq", b""),
        Entry::File("opaque/new", b"above"),
    ]);
    let image = "localhost/whiteouts:1";
    let layers = [forge::probe_layer(), below, above];
    podrun.load(&forge::archive(image, &json!({}), &layers));
    for gone in ["/single", "/dir/file", "/opaque/file"] {
        let output = read(&podrun, image, gone);
        assert_eq!(output.code, 99, "{gone}: {}", output.stderr);
    }
    for (path, content) in [("/kept", "below"), ("/opaque/new", "above")] {
        let said = read(&podrun, image, path).ok().stdout;
        assert!(said.trim().ends_with(content), "{path}: {said}");
    }
    podrun.nothing_left();
}

#[test]
fn zstd_of_several_frames_is_unpacked() {
    let podrun = Podrun::empty();
    let layer = forge::tar(&[Entry::File("file", b"content")]);
    let (one, two) = layer.split_at(700);
    let compressed = forge::zstd(&[one, two], b"a table of contents");
    let image = "localhost/frames:1";
    let layers = [forge::probe_layer(), compressed.clone()];
    let unpacked = [forge::probe_layer(), layer];
    podrun.load(&forge::archive_of(image, &json!({}), &layers, &unpacked));
    assert_eq!(read(&podrun, image, "/file").code, 0);

    let path = podrun.files().join("root.tar.zst");
    fs::write(&path, compressed).unwrap();
    let imported = ["image", "import", path.to_str().unwrap(), "localhost/i:1"];
    podrun.run(imported).ok();
    podrun.nothing_left();
}

#[test]
fn whiteouts_are_found_like_the_other_entries_of_their_layer() {
    let podrun = Podrun::empty();
    let below = forge::tar(&[Entry::File("dir/sub/old", b"below")]);
    // Each hides `dir/sub/old` and brings another file, which the container can read.
    let shapes: &[(&str, &[Entry<'_>], &str)] = &[
        (
            "opaque-through-link",
            &[
                Entry::Dir("dir/sub"),
                Entry::Link("link", "dir"),
                Entry::File("link/sub/.wh..wh..opq", b""),
                Entry::File("link/sub/new", b""),
            ],
            "/dir/sub/new",
        ),
        (
            "opaque-through-link-to-be-made",
            &[
                Entry::Dir("dir"),
                Entry::Link("link", "dir"),
                Entry::File("link/sub/.wh..wh..opq", b""),
                Entry::File("dir/sub/new", b""),
            ],
            "/dir/sub/new",
        ),
        (
            "hidden-through-link",
            &[
                Entry::Dir("dir"),
                Entry::Link("link", "dir"),
                Entry::File("link/.wh.sub", b""),
                Entry::Dir("dir/sub"),
                Entry::File("dir/sub/new", b""),
            ],
            "/dir/sub/new",
        ),
        (
            "made-through-link",
            &[
                Entry::Dir("dir"),
                Entry::Link("link", "dir"),
                Entry::File("dir/.wh.sub", b""),
                Entry::Dir("link/sub"),
                Entry::File("link/sub/new", b""),
            ],
            "/dir/sub/new",
        ),
        (
            "file-of-a-hidden-directory",
            &[Entry::File(".wh.dir", b""), Entry::File("dir/new", b"")],
            "/dir/new",
        ),
        (
            "deep-file-of-a-hidden-directory",
            &[
                Entry::File("dir/.wh.sub", b""),
                Entry::File("dir/sub/a/new", b""),
            ],
            "/dir/sub/a/new",
        ),
        (
            "hidden-after-its-file",
            &[Entry::File("dir/new", b""), Entry::File(".wh.dir", b"")],
            "/dir/new",
        ),
        (
            "directory-over-a-file",
            &[
                Entry::File("dir", b""),
                Entry::Dir("dir"),
                Entry::File("dir/new", b""),
            ],
            "/dir/new",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, above, there) in shapes {
        let image = format!("localhost/{name}:1");
        let layers = [forge::probe_layer(), below.clone(), forge::tar(above)];
        let loaded = podrun.try_load(&forge::archive(&image, &json!({}), &layers));
        if loaded.code != 0 {
            wrong.push(format!("{name} is refused: {}", loaded.stderr));
            continue;
        }
        if read(&podrun, &image, "/dir/sub/old").code != 99 {
            wrong.push(format!("{name} hides nothing"));
        }
        if read(&podrun, &image, there).code != 0 {
            wrong.push(format!("{name} has no {there}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    let entries = [
        Entry::File(".wh.gone", b""),
        Entry::HardLink("link", "gone"),
    ];
    let image = forge::image_over_probe("localhost/hard:1", &json!({}), &entries);
    podrun.try_load(&image).code(1).says("a link to nothing");
}

#[test]
fn what_a_tag_meant_when_a_pod_was_started_stays_as_long_as_the_pod() {
    let podrun = Podrun::empty();
    let image = "localhost/moved:1";
    let files = |name| [Entry::File(name, b"x")];
    podrun.load(&forge::image_over_probe(image, &json!({}), &files("one")));
    let mut pod = lasting("early", &[container("a", &["ready-sleep"])]);
    pod["spec"]["containers"][0]["image"] = image.into();
    podrun.up(&pod).ok();
    podrun.load(&forge::image_over_probe(image, &json!({}), &files("two")));
    podrun.run(["prune", "--images"]).ok();
    podrun.run(["restart", "early"]).ok();
    podrun.probe("early", "a", &["exists", "/one"]);
    podrun.run(["rm", "early"]).ok();
    let removed = podrun.run(["prune"]).ok().stdout;
    assert!(
        removed.contains("unused blobs and layers removed"),
        "{removed}"
    );
    podrun.nothing_left();
}
