//! Who a container runs as.

use serde_json::{Value, json};

use crate::forge::{self, Entry};
use crate::harness::{Mode, Podrun, container_with, mode, once, require_mode};

fn ids(podrun: &Podrun, image: &str, security: &Value) -> (String, String, String) {
    let container = json!({
        "name": "a", "image": image, "command": ["/probe", "report"], "securityContext": security,
    });
    let output = podrun.run_pod(&once("ids", &[container])).ok();
    let line = output
        .stdout
        .lines()
        .find(|line| line.contains('{'))
        .unwrap();
    let report: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    let field = |name: &str| {
        let text = report["status"][name].as_str().unwrap();
        text.split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let groups = report["status"]["Groups"]
        .as_str()
        .unwrap()
        .trim()
        .to_owned();
    (field("Uid"), field("Gid"), groups)
}

#[test]
fn the_images_user_is_looked_up_in_the_image() {
    require_mode!(Mode::Root, Mode::User);
    let podrun = Podrun::new();
    let cases = [
        ("", json!({}), ("0", "0", "0 2001")),
        ("alice", json!({}), ("1000", "1000", "1000 2000 2001")),
        ("1000", json!({}), ("1000", "1000", "1000 2000 2001")),
        // The group is the primary one; `/etc/group` still says what else alice is in (`Merge`).
        ("alice:extra", json!({}), ("1000", "2000", "2000 2001")),
        ("4242", json!({}), ("4242", "0", "0")),
        ("4242:4343", json!({}), ("4242", "4343", "4343")),
        ("alice", json!({ "runAsUser": 7 }), ("7", "0", "0")),
        (
            "",
            json!({ "runAsUser": 1000, "runAsGroup": 3000 }),
            ("1000", "3000", "3000 2000 2001"),
        ),
    ];
    for (i, (user, security, (uid, gid, groups))) in cases.into_iter().enumerate() {
        let image = format!("localhost/user{i}:1");
        podrun.load(&forge::image_over_probe(
            &image,
            &json!({ "User": user }),
            &[],
        ));
        let (is_uid, is_gid, is_groups) = ids(&podrun, &image, &security);
        assert_eq!(
            (is_uid.as_str(), is_gid.as_str()),
            (uid, gid),
            "{user:?} {security}"
        );
        let sorted = |text: &str| {
            let mut all: Vec<u32> = text
                .split_whitespace()
                .map(|word| word.parse().unwrap())
                .collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        // Whether the primary group is in the list as well makes no difference.
        let with_primary = format!("{groups} {gid}");
        let is_groups = format!("{is_groups} {is_gid}");
        assert_eq!(
            sorted(&is_groups),
            sorted(&with_primary),
            "{user:?} {security}"
        );
    }
}

#[test]
fn a_user_the_image_does_not_know_is_an_error_that_names_it() {
    let podrun = Podrun::new();
    podrun.load(&forge::image_over_probe(
        "localhost/nobody:1",
        &json!({ "User": "nobody-here" }),
        &[],
    ));
    let container =
        json!({ "name": "a", "image": "localhost/nobody:1", "command": ["/probe", "report"] });
    let output = podrun.run_pod(&once("unknown", &[container]));
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("nobody-here"), "{}", output.stderr);
    podrun.nothing_left();
}

#[test]
fn a_user_database_made_to_hang_or_to_lie_is_survived() {
    require_mode!(Mode::Root, Mode::User);
    let podrun = Podrun::new();
    let long = vec![b'x'; 4 << 20];
    let many = "u:x:5:5::/:/\n".repeat(100_000).into_bytes();
    let cases: [(&str, Vec<Entry<'_>>); 8] = [
        ("fifo", vec![Entry::Fifo("etc/passwd")]),
        ("shadow", vec![Entry::Link("etc/passwd", "/etc/shadow")]),
        ("loop", vec![Entry::Link("etc/passwd", "/etc/passwd")]),
        ("directory", vec![Entry::Dir("etc/passwd")]),
        ("line", vec![Entry::File("etc/passwd", &long)]),
        ("many", vec![Entry::File("etc/passwd", &many)]),
        (
            "zeros",
            vec![Entry::File("etc/passwd", b"alice\0:x:0:0::/:/\n\0\0\0")],
        ),
        (
            "numbers",
            vec![Entry::File("etc/passwd", b"alice:x:4294967296:-1::/:/\r\n")],
        ),
    ];
    for (name, entries) in cases {
        let image = format!("localhost/{name}:1");
        let layers = [
            forge::tar(&[Entry::Dir("etc")]),
            forge::tar(&entries),
            forge::tar(&[Entry::Program(
                "probe",
                &std::fs::read(crate::harness::probe()).unwrap(),
            )]),
        ];
        podrun.load(&forge::archive(
            &image,
            &json!({ "User": "alice" }),
            &layers,
        ));
        let container = json!({ "name": "a", "image": image, "command": ["/probe", "report"] });
        let output = podrun.run_pod(&once("database", &[container]));
        assert_ne!(output.code, 0, "{name}: {}", output.stdout);
        assert!(
            output.stderr.contains("alice") || output.stderr.contains("passwd"),
            "{name}: {}",
            output.stderr
        );
    }
    podrun.nothing_left();
}

#[test]
fn a_single_id_is_what_there_is_and_other_ids_are_refused_by_name() {
    require_mode!(Mode::Single);
    let podrun = Podrun::new();
    let user = json!({ "securityContext": { "runAsUser": 1000 } });
    let output = podrun.run_pod(&once("other", &[container_with("a", &["report"], &user)]));
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("1000"), "{}", output.stderr);
    let output = podrun
        .run_pod(&once(
            "own",
            &[container_with("a", &["exit", "0"], &json!({}))],
        ))
        .ok();
    let said = output.stderr.to_lowercase();
    assert!(
        said.contains("subuid") || said.contains("newuidmap"),
        "one warning: {said}"
    );
}
