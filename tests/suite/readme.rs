//! The README's tour is what really happens.
//!
//! Every line after `$ ` in a `console` block is run by a shell beside a copy of `examples/`; what
//! follows it is what it must print. `…` stands for any text within a line.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{self, Podrun};

/// Commands with their expected output.
fn tour(readme: &str) -> Vec<(String, Vec<String>)> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            line => match line.strip_prefix("$ ") {
                Some(command) => steps.push((command.to_owned(), Vec::new())),
                None => steps.last_mut().unwrap().1.push(line.to_owned()),
            },
        }
    }
    steps
}

fn matches(expected: &str, line: &str) -> bool {
    let mut rest = line;
    let mut parts = expected.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(after) = rest.strip_prefix(first) else {
        return false;
    };
    rest = after;
    let parts: Vec<&str> = parts.collect();
    for (i, part) in parts.iter().enumerate() {
        if i + 1 == parts.len() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn the_tour_prints_what_the_readme_says() {
    let python_or_busybox =
        harness::program("python3").is_some() || harness::program("busybox").is_some();
    require!(
        python_or_busybox,
        "examples/web.yaml needs `python3` or `busybox`"
    );
    require!(harness::program("curl").is_some(), "the tour uses `curl`");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let steps = tour(include_str!("../../README.md"));
    assert!(steps.len() >= 8, "the tour is gone: {steps:?}");
    let podrun = Podrun::empty();
    fs::create_dir(podrun.files().join("examples")).unwrap();
    for name in ["hello.yaml", "web.yaml", "life.yaml"] {
        let example = fs::read_to_string(root.join("examples").join(name)).unwrap();
        fs::write(podrun.files().join("examples").join(name), example).unwrap();
    }
    let bin = podrun.files().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(harness::binary(), bin.join("podrun")).unwrap();
    for (line, expected) in steps {
        let mut command = podrun.environment(Command::new("sh"));
        command.args(["-c", &format!("PATH={}:$PATH; {line} 2>&1", bin.display())]);
        let output = harness::finish(command, b"");
        // What a machine lacks is warned of on lines of its own.
        let printed: Vec<&str> = output
            .stdout
            .lines()
            .filter(|line| !line.starts_with("warning:") && !line.starts_with("hint:"))
            .collect();
        let same = printed.len() == expected.len()
            && expected
                .iter()
                .zip(&printed)
                .all(|(expected, line)| matches(expected, line));
        assert!(
            same,
            "$ {line}\nexpected:\n{}\nprinted:\n{}",
            expected.join("\n"),
            output.stdout
        );
    }
    podrun.nothing_left();
}

#[test]
fn a_line_of_the_tour_matches_itself_and_what_its_gaps_allow() {
    assert!(matches("a b", "a b"));
    assert!(!matches("a b", "a b c"));
    assert!(matches("a … c", "a anything c"));
    assert!(matches("…s", "12s"));
    assert!(!matches("a … c", "a anything d"));
    assert!(matches("web … 2/2 … 0", "web  2/2  Running 0"));
}
