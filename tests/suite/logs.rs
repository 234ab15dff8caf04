//! Logs: byte for byte, across restarts and rotation.

use std::fmt::Write;
use std::fs;

use serde_json::json;

use crate::harness::{Podrun, Running, container, lasting, once, pod, until};

fn ended(podrun: &Podrun, name: &str, words: &[&str]) {
    let manifest = once(name, &[container("a", words)]);
    let path = podrun.manifest("pod", &manifest);
    podrun.run(["up", "--wait=done", &path]).ok();
}

#[test]
fn logs_give_back_every_byte() {
    let podrun = Podrun::new();
    let bytes: Vec<u8> = (0..=255)
        .chain(*b"\n\n\r\n")
        .chain((0..=255).rev())
        .chain(*b"\n")
        .collect();
    let mut hex = String::new();
    for byte in &bytes {
        write!(hex, "{byte:02x}").unwrap();
    }
    ended(&podrun, "binary", &["bytes", &hex]);
    assert_eq!(podrun.run(["logs", "binary"]).ok().bytes, bytes);
}

#[test]
fn a_last_line_without_an_end_is_not_given_one() {
    let podrun = Podrun::new();
    ended(&podrun, "partial", &["bytes", "610a62"]);
    assert_eq!(podrun.run(["logs", "partial"]).ok().bytes, b"a\nb");
}

#[test]
fn a_line_longer_than_a_record_is_one_line_again() {
    let podrun = Podrun::new();
    for length in [16383, 16384, 16385, 32768, 100_000] {
        let name = format!("long-{length}");
        ended(&podrun, &name, &["long-line", &length.to_string()]);
        let expected: Vec<u8> = (0..length)
            .map(|i: u32| b'a' + u8::try_from(i % 26).unwrap())
            .chain(*b"\n")
            .collect();
        let got = podrun.run(["logs", &name]).ok().bytes;
        assert!(got == expected, "{length}: {} bytes", got.len());
    }
}

#[test]
fn log_files_are_cri_records_of_16_kibibytes_at_most() {
    let podrun = Podrun::new();
    ended(
        &podrun,
        "cri",
        &[
            "and",
            "both",
            "--",
            "long-line",
            "20000",
            "--",
            "bytes",
            "78",
        ],
    );
    let files: Vec<_> = crate::census::files_below(&podrun.root())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = fs::read_to_string(&files[0]).unwrap();
    let mut seen = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(4, ' ');
        let time = fields.next().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
        let (stream, tag) = (fields.next().unwrap(), fields.next().unwrap());
        assert!(["stdout", "stderr"].contains(&stream), "{line}");
        let content = fields.next().unwrap();
        assert!(content.len() <= 16384, "{} bytes", content.len());
        seen.push((stream.to_owned(), tag.to_owned(), content.len()));
    }
    let stdout: Vec<(&str, usize)> = seen
        .iter()
        .filter(|(stream, ..)| stream == "stdout")
        .map(|(_, tag, length)| (tag.as_str(), *length))
        .collect();
    assert_eq!(
        stdout,
        [("F", 9), ("P", 16384), ("F", 3616), ("P", 1)],
        "{seen:?}"
    );
}

#[test]
fn a_million_lines_come_back_in_order() {
    let podrun = Podrun::new();
    // 40 MB: four rotations, none of them lost.
    ended(&podrun, "spam", &["counted-lines", "300000"]);
    let got = podrun.run(["logs", "spam"]).ok().stdout;
    let mut lines = 0_u64;
    for line in got.lines() {
        assert_eq!(
            line.trim_start_matches('0').parse().unwrap_or(0),
            lines,
            "at {line}"
        );
        lines += 1;
    }
    assert_eq!(lines, 300_000);
}

#[test]
fn logs_are_rotated_at_ten_mebibytes_and_five_files_are_kept() {
    let podrun = Podrun::new();
    ended(&podrun, "rotated", &["counted-lines", "700000"]);
    let sizes: Vec<u64> = crate::census::files_below(&podrun.root())
        .into_iter()
        .filter(|path| path.file_name().unwrap().to_string_lossy().contains(".log"))
        .map(|path| fs::metadata(path).unwrap().len())
        .collect();
    assert!(sizes.len() <= 5, "{sizes:?}");
    // A record is at most 16 KiB and its head; rotation comes after the one that crosses the line.
    assert!(sizes.iter().all(|size| *size < 11 << 20), "{sizes:?}");
    let got = podrun.run(["logs", "rotated"]).ok().stdout;
    let last = got.lines().last().unwrap();
    assert_eq!(last.trim_start_matches('0'), "699999");
    let tail = podrun.run(["logs", "rotated", "--tail", "3"]).ok().stdout;
    assert_eq!(tail.lines().count(), 3);
    assert!(got.ends_with(&tail));
}

#[test]
fn tail_timestamps_and_prefix_do_what_kubectl_does() {
    let podrun = Podrun::new();
    ended(
        &podrun,
        "flags",
        &["and", "echo", "1", "--", "echo", "2", "--", "echo", "3"],
    );
    let said = |flags: &[&str]| {
        let mut args = vec!["logs", "flags"];
        args.extend(flags);
        podrun.run(args).ok().stdout
    };
    assert_eq!(said(&["--tail", "2"]), "2\n3\n");
    assert_eq!(said(&["--tail=0"]), "");
    let stamped = said(&["--timestamps", "--tail=1"]);
    let (time, line) = stamped.trim_end().split_once(' ').unwrap();
    assert_eq!(line, "3");
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(said(&["--prefix", "--tail=1"]), "[pod/flags/a] 3\n");
    assert_eq!(said(&["--since", "1h"]), "1\n2\n3\n");
}

#[test]
fn following_shows_what_comes_and_ends_with_the_container() {
    let podrun = Podrun::new();
    let volume = json!({ "restartPolicy": "Never", "volumes": [{ "name": "v", "emptyDir": {} }] });
    let mount = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let words = [
        "and", "echo", "before", "--", "wait-for", "/v/go", "--", "echo", "after",
    ];
    let container = crate::harness::container_with("a", &words, &mount);
    let path = podrun.manifest("pod", &pod("follow", volume, &[container]));
    podrun.run(["up", "--wait=running", &path]).ok();
    let mut command = podrun.command();
    command.args(["logs", "-f", "follow"]);
    let following = Running::start(command, b"");
    podrun.wait_for_log("follow", "a", "before");
    // The container ends with that, and the command perhaps with it.
    podrun.run(["exec", "follow", "--", "/probe", "write", "/v/go", "x"]);
    assert_eq!(following.end().ok().stdout, "before\nafter\n");
}

#[test]
fn previous_is_the_log_of_the_start_before() {
    let podrun = Podrun::new();
    let spec = json!({
        "restartPolicy": "OnFailure",
        "volumes": [{ "name": "v", "emptyDir": {} }],
    });
    let mount = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let container = crate::harness::container_with("a", &["count-starts", "/v/n"], &mount);
    let path = podrun.manifest("pod", &pod("previous", spec, &[container]));
    let mut command = podrun.command();
    command
        .env("PODRUN_BACKOFF_INITIAL", "10ms")
        .args(["up", "--wait=done", &path]);
    crate::harness::finish(command, b"").ok();
    assert_eq!(podrun.run(["logs", "previous"]).ok().stdout, "start 3\n");
    assert_eq!(
        podrun.run(["logs", "--previous", "previous"]).ok().stdout,
        "start 2\n"
    );
}

#[test]
fn a_pod_of_several_containers_wants_to_know_which() {
    let podrun = Podrun::new();
    let two = [
        container("a", &["echo", "from a"]),
        container("b", &["echo", "from b"]),
    ];
    let path = podrun.manifest("pod", &once("several", &two));
    podrun.run(["up", "--wait=done", &path]).ok();
    assert_eq!(
        podrun.run(["logs", "several", "-c", "b"]).ok().stdout,
        "from b\n"
    );
    let all = podrun
        .run(["logs", "several", "--all-containers", "--prefix"])
        .ok()
        .stdout;
    assert!(all.contains("[pod/several/a] from a\n"), "{all}");
    assert!(all.contains("[pod/several/b] from b\n"), "{all}");
    podrun.run(["logs", "several", "-c", "c"]).code(4).says("c");
    podrun.run(["logs", "nobody"]).code(4).says("nobody");
}

#[test]
fn a_writer_goes_on_while_nobody_reads() {
    let podrun = Podrun::new();
    let mark = json!({
        "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
    });
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "volumes": [{ "name": "v", "emptyDir": {} }],
    });
    let words = [
        "and", "lines", "200000", "--", "write", "/v/done", "x", "--", "sleep",
    ];
    let container = crate::harness::container_with("a", &words, &mark);
    podrun.up(&pod("writer", spec, &[container])).ok();
    until("the writer has written it all", || {
        podrun
            .run(["exec", "writer", "--", "/probe", "stat", "/v/done"])
            .stdout
            .starts_with("100")
    });
    podrun.run(["rm", "writer"]).ok();
    podrun.nothing_left();
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting(
            "pipe",
            &[container("a", &["and", "lines", "100000", "--", "sleep"])],
        ))
        .ok();
    let script = "\"$0\" logs -f pipe | head -n 1; exit ${PIPESTATUS:-0}";
    let mut command = podrun.environment(std::process::Command::new("bash"));
    command.args(["-c", script]).arg(crate::harness::binary());
    let output = crate::harness::finish(command, b"");
    assert_eq!(output.stdout.len(), 100, "{}", output.stderr);
    assert!(!output.stderr.contains("panic"), "{}", output.stderr);
}
