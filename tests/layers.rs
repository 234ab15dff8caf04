//! The architecture as a test: imports point downwards, the pure modules touch nothing outside,
//! and `unsafe` stays where it is wrapped.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and the modules it may import.
const LAYERS: &[(&str, &[&str])] = &[
    ("names", &[]),
    ("sys", &[]),
    ("resolve", &[]),
    ("copy", &[]),
    ("manifest", &["names"]),
    ("plan", &["names", "manifest"]),
    ("seccomp", &["manifest", "plan"]),
    ("lifecycle", &["names", "plan"]),
    ("controller", &["names", "plan"]),
    ("wire", &["names", "plan", "lifecycle"]),
    (
        "stage",
        &["names", "sys", "copy", "resolve", "wire", "plan"],
    ),
    ("store", &["names", "sys", "plan", "lifecycle"]),
    (
        "image",
        &["names", "sys", "resolve", "plan", "stage", "store"],
    ),
    ("volume", &["names", "sys", "plan", "wire", "stage"]),
    ("cgroup", &["names", "plan"]),
    ("net", &["names", "sys", "plan", "stage"]),
    (
        "runtime",
        &[
            "names",
            "sys",
            "manifest",
            "plan",
            "lifecycle",
            "wire",
            "stage",
            "store",
            "image",
            "volume",
            "cgroup",
            "net",
        ],
    ),
    (
        "supervisor",
        &[
            "names",
            "sys",
            "manifest",
            "plan",
            "lifecycle",
            "wire",
            "stage",
            "store",
            "image",
            "volume",
            "cgroup",
            "net",
            "runtime",
        ],
    ),
    (
        "node",
        &[
            "names",
            "sys",
            "plan",
            "lifecycle",
            "wire",
            "stage",
            "store",
            "net",
            "controller",
            "runtime",
        ],
    ),
    (
        "cli",
        &[
            "names",
            "sys",
            "copy",
            "manifest",
            "plan",
            "lifecycle",
            "controller",
            "wire",
            "store",
            "image",
            "volume",
            "cgroup",
            "net",
            "seccomp",
            "runtime",
            "supervisor",
        ],
    ),
    (
        "main",
        &["supervisor", "node", "runtime", "image", "stage", "cli"],
    ),
];

const PURE: &[&str] = &[
    "names",
    "manifest",
    "plan",
    "lifecycle",
    "controller",
    "wire",
];

/// What a pure module contains nowhere, its tests aside.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "std::os",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "libc::",
    "nix::",
    "rustix::",
    "println!",
    "eprintln!",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
];

/// A file's code: comments, the contents of literals and `#[cfg(test)]` modules are blanked out,
/// lines stay where they are.
fn code_of(text: &str) -> String {
    let text = without_comments_and_literals(text);
    let mut lines: Vec<String> = Vec::new();
    let mut test_module: Option<i64> = None;
    let mut after_attribute = false;
    for line in text.lines() {
        let depth = |line: &str| {
            line.chars().fold(0_i64, |sum, c| match c {
                '{' => sum + 1,
                '}' => sum - 1,
                _ => sum,
            })
        };
        if let Some(open) = &mut test_module {
            *open += depth(line);
            if *open <= 0 {
                test_module = None;
            }
            lines.push(String::new());
        } else if line.trim() == "#[cfg(test)]" {
            after_attribute = true;
            lines.push(String::new());
        } else if after_attribute && line.trim_start().starts_with("#[") {
            lines.push(String::new());
        } else if after_attribute {
            after_attribute = false;
            let open = depth(line);
            if open > 0 {
                test_module = Some(open);
            }
            lines.push(String::new());
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n")
}

fn without_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::new();
    let mut i = 0;
    while i < chars.len() {
        let rest = &chars[i..];
        if rest.starts_with(&['/', '/']) {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if rest.starts_with(&['/', '*']) {
            while i < chars.len() && !chars[i..].starts_with(&['*', '/']) {
                if chars[i] == '\n' {
                    out.push('\n');
                }
                i += 1;
            }
            i += 2;
        } else if let Some(hashes) = raw_string(&chars, i) {
            let end: Vec<char> = std::iter::once('"')
                .chain(std::iter::repeat_n('#', hashes))
                .collect();
            i += hashes + 2;
            while i < chars.len() && !chars[i..].starts_with(&end) {
                if chars[i] == '\n' {
                    out.push('\n');
                }
                i += 1;
            }
            i += end.len();
            out.push_str("\"\"");
        } else if chars[i] == '"' {
            i += 1;
            while i < chars.len() && chars[i] != '"' {
                if chars[i] == '\n' {
                    out.push('\n');
                }
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
            out.push_str("\"\"");
        } else if chars[i] == '\'' && is_character(&chars, i) {
            i += if chars[i + 1] == '\\' { 3 } else { 2 };
            while i < chars.len() && chars[i] != '\'' {
                i += 1;
            }
            i += 1;
        } else {
            out.push(chars[i]);
            i += 1;
        }
    }
    out
}

/// The number of `#` of a raw string that starts here.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let inside_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if chars[at] != 'r' || (inside_word && chars[at - 1] != 'b') {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// Whether a quote starts a character and not a lifetime.
fn is_character(chars: &[char], at: usize) -> bool {
    chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'')
}

/// The top modules that a file's code names after `crate::` (or `podrun::`).
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate::", "podrun::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            let rest = &code[at + root.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let mut depth = 0_i32;
                let mut word = String::new();
                let mut fresh = true;
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => fresh = true,
                        c if depth == 0 && fresh && (c.is_alphanumeric() || c == '_') => {
                            word.push(c);
                        }
                        c if c.is_whitespace() => {}
                        _ => fresh = false,
                    }
                    if (!fresh || c == ',') && !word.is_empty() {
                        found.push((line, std::mem::take(&mut word)));
                    }
                }
                if !word.is_empty() {
                    found.push((line, word));
                }
            } else {
                let word: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                found.push((line, word));
            }
        }
    }
    found
}

fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let below = path.strip_prefix(&root).unwrap();
                let module = below
                    .components()
                    .next()
                    .unwrap()
                    .as_os_str()
                    .to_string_lossy();
                let module = module.trim_end_matches(".rs").to_owned();
                // A file that is a test module as a whole.
                if module != "lib" && below.file_stem().is_some_and(|stem| stem != "tests") {
                    let code = code_of(&fs::read_to_string(&path).unwrap());
                    found.push((module, below.to_path_buf(), code));
                }
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_table_itself_points_one_way() {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for (module, below) in LAYERS {
        // `image` may use `store`, which stands above it in the table.
        for one in *below {
            let above = known.contains(one) || (*module == "main" && *one == "cli");
            assert!(above, "{module} may use {one}, which is not below it");
        }
        known.insert(module);
    }
}

#[test]
fn every_import_points_down_the_table() {
    let table: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (module, path, code) in sources() {
        let Some(allowed) = table.get(module.as_str()) else {
            panic!("src/{module} is not in the table of tests/layers.rs");
        };
        for (line, import) in imports(&code) {
            if import != module
                && table.contains_key(import.as_str())
                && !allowed.contains(&import.as_str())
            {
                wrong.push(format!(
                    "src/{}:{line}: {module} uses {import}",
                    path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_modules_touch_nothing_outside() {
    let mut wrong = Vec::new();
    for (module, path, code) in sources() {
        if !PURE.contains(&module.as_str()) {
            continue;
        }
        for (number, line) in code.lines().enumerate() {
            for word in IMPURE {
                if line.contains(word) {
                    wrong.push(format!("src/{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_in_sys_only() {
    let is_word = |line: &str| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "unsafe")
    };
    let mut wrong = Vec::new();
    for (module, path, code) in sources() {
        for (number, line) in code.lines().enumerate() {
            if module != "sys" && is_word(line) {
                wrong.push(format!("src/{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_command_line_prints() {
    let mut wrong = Vec::new();
    for (module, path, code) in sources() {
        for (number, line) in code.lines().enumerate() {
            if module != "cli" && (line.contains("println!") || line.contains("print!(")) {
                wrong.push(format!("src/{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_too_long_to_read() {
    /// Tables may be as long as what they list.
    const TABLES: &[&str] = &["manifest/fields.rs"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (_, path, _) in sources() {
        let text = fs::read_to_string(root.join(&path)).unwrap();
        // The tests of a file may be as many as they need be.
        let length = text
            .split("\n#[cfg(test)]\nmod tests")
            .next()
            .unwrap()
            .lines()
            .count();
        if length > 500 && !TABLES.contains(&path.to_str().unwrap()) {
            wrong.push(format!("src/{}: {length} lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_scan_sees_what_it_must_and_skips_what_it_may() {
    let code = code_of(
        "use crate::{cli::Failure, names, sys::{fd, mount}};\n\
         // crate::runtime in a comment\n\
         fn f<'a>(x: &'a str) -> char { let _ = \"crate::store\"; '\"' }\n\
         let y = r#\"crate::image\"#; crate::wire::encode();\n\
         #[cfg(test)]\nmod tests { use crate::supervisor; }\n\
         fn g() { podrun::net::go() }\n",
    );
    let mut found: Vec<String> = imports(&code).into_iter().map(|(_, name)| name).collect();
    found.sort();
    assert_eq!(found, ["cli", "names", "net", "sys", "wire"]);
}
