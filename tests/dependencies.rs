//! What may be in the dependency tree: licences, sources, no crate twice without a reason, and
//! nothing declared that is not used.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A crate's licence expression must be satisfied by these alone.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "0BSD",
    "MIT-0",
    "Unlicense",
    "CC0-1.0",
    "BSL-1.0",
    // `dirs` brings option-ext.
    "MPL-2.0",
    // The root certificates of the platform.
    "CDLA-Permissive-2.0",
];

/// Crates that would bring an async runtime, OpenSSL or an unmaintained parser.
const BANNED: &[&str] = &[
    "tokio",
    "async-std",
    "openssl-sys",
    "native-tls",
    "serde_yaml",
    "serde_yml",
    "chrono",
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .args([
            "--filter-platform",
            &format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether an SPDX expression (or the old `A/B`) can be met; `AND` binds tighter than `OR`.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let alternatives = split(&expression, " OR ");
    if alternatives.len() > 1 {
        return alternatives.into_iter().any(allowed);
    }
    let all = split(&expression, " AND ");
    if all.len() > 1 {
        return all.into_iter().all(allowed);
    }
    let one = expression.trim();
    match one
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    {
        Some(inner) => allowed(inner),
        None => LICENCES.contains(&one.split(" WITH ").next().unwrap().trim()),
    }
}

/// The parts between a word, where it is not inside parentheses.
fn split<'a>(expression: &'a str, word: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in expression.match_indices(word) {
        let before = &expression[..at];
        if before.matches('(').count() == before.matches(')').count() {
            parts.push(&expression[start..at]);
            start = at + word.len();
        }
    }
    parts.push(&expression[start..]);
    parts
}

#[test]
fn every_licence_is_one_we_accept() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let licence = package["license"].as_str().unwrap_or("none");
        if !allowed(licence) {
            wrong.push(format!("{}: {licence}", package["name"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_crate_comes_from_a_registry() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let source = package["source"].as_str();
        let ours = source.is_none() && package["name"] == "podrun";
        let registry = source
            .is_some_and(|source| source.starts_with("registry+") || source.starts_with("sparse+"));
        assert!(
            ours || registry,
            "{} comes from {source:?}",
            package["name"]
        );
    }
}

/// Small crates of which two of podrun's dependencies want different versions.
const TWICE: &[&str] = &["base64"];

#[test]
fn no_banned_crate_and_no_dependency_twice() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        assert!(!BANNED.contains(&name), "{name} is in the tree");
        versions
            .entry(name)
            .or_default()
            .push(package["version"].as_str().unwrap());
    }
    let declared = manifest_dependencies(&metadata, "normal");
    for name in declared
        .iter()
        .filter(|name| !TWICE.contains(&name.as_str()))
    {
        let versions = &versions[name.as_str()];
        assert_eq!(versions.len(), 1, "{name} is in the tree as {versions:?}");
    }
}

fn manifest_dependencies(metadata: &Value, kind: &str) -> Vec<String> {
    let ours = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|package| package["name"] == "podrun" && package["source"].is_null())
        .unwrap();
    ours["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["kind"].as_str().unwrap_or("normal") == kind)
        .map(|one| {
            one["rename"]
                .as_str()
                .or(one["name"].as_str())
                .unwrap()
                .to_owned()
        })
        .collect()
}

fn text_below(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text.push_str(&text_below(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    text
}

#[test]
fn every_declared_dependency_is_used() {
    let metadata = metadata();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = text_below(&root.join("src"));
    let tests = format!(
        "{source}{}{}",
        text_below(&root.join("tests")),
        text_below(&root.join("benches"))
    );
    let unused = |kind: &str, text: &str| -> Vec<String> {
        manifest_dependencies(&metadata, kind)
            .into_iter()
            .filter(|name| {
                let name = name.replace('-', "_");
                !text.contains(&format!("{name}::")) && !text.contains(&format!("use {name};"))
            })
            .collect()
    };
    assert_eq!(unused("normal", &source), Vec::<String>::new());
    assert_eq!(unused("dev", &tests), Vec::<String>::new());
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    assert!(allowed("MIT OR Apache-2.0"));
    assert!(allowed("MIT/Apache-2.0"));
    assert!(allowed("Apache-2.0 WITH LLVM-exception OR GPL-3.0"));
    assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!allowed("GPL-3.0"));
    assert!(!allowed("MIT AND GPL-3.0"));
    assert!(!allowed("(MIT OR Apache-2.0) AND GPL-3.0"));
    assert!(!allowed("none"));
}
