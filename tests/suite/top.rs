//! `podrun top`: what the kernel counts, in kubectl's layout.

use serde_json::{Value, json};

use crate::harness::{Podrun, container, container_with, lasting, once, pod};

/// The lines of a table, in words.
fn words(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

fn number(text: &str, unit: &str) -> u64 {
    text.strip_suffix(unit).unwrap().parse().unwrap()
}

/// A container that computes, one that holds memory, and one that does nothing.
fn three(fields: &Value) -> [Value; 3] {
    [
        container_with("busy", &["spin"], fields),
        container_with("large", &["hold-memory", "32"], fields),
        container_with("idle", &["ready-sleep"], fields),
    ]
}

#[test]
fn what_each_container_uses_is_shown() {
    let podrun = Podrun::new();
    let limits = json!({ "resources": { "limits": { "memory": "128Mi" } } });
    let shared = json!({ "terminationGracePeriodSeconds": 1, "shareProcessNamespace": true });
    // Counted by cgroups, where there are any, and process by process.
    podrun.up(&lasting("limited", &three(&limits))).ok();
    podrun.up(&pod("shared", shared, &three(&json!({})))).ok();
    for name in ["limited", "shared"] {
        podrun.wait_for_log(name, "busy", "ready");
        podrun.wait_for_log(name, "large", "ready");
    }
    let output = podrun.run(["top", "--containers"]).ok().stdout;
    let rows = words(&output);
    assert_eq!(rows[0], ["POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]);
    let names: Vec<String> = rows[1..].iter().map(|row| row[..2].join("/")).collect();
    assert_eq!(
        names,
        [
            "limited/busy",
            "limited/large",
            "limited/idle",
            "shared/busy",
            "shared/large",
            "shared/idle",
        ]
    );
    for row in &rows[1..] {
        let (cpu, memory) = (number(&row[2], "m"), number(&row[3], "Mi"));
        // Other tests compute at the same time.
        assert_eq!(cpu >= 100, row[1] == "busy", "{output}");
        assert_eq!((32..64).contains(&memory), row[1] == "large", "{output}");
    }

    // A pod is all of its containers, a command in one of them included.
    let output = podrun.run(["top", "limited", "--no-headers"]).ok().stdout;
    let rows = words(&output);
    assert_eq!(rows.len(), 1, "{output}");
    assert_eq!(rows[0][0], "limited");
    assert!(number(&rows[0][1], "m") >= 100, "{output}");
    assert!(number(&rows[0][2], "Mi") >= 32, "{output}");
}

#[test]
fn who_does_not_run_uses_nothing() {
    let podrun = Podrun::new();
    let output = podrun.run(["top"]).ok();
    assert_eq!(output.stdout, "");
    assert_eq!(output.stderr, "No resources found in default namespace.\n");
    podrun
        .up(&once("over", &[container("a", &["exit", "0"])]))
        .ok();
    podrun.until_phase("over", "Succeeded");
    podrun
        .run(["top", "over"])
        .code(1)
        .says("error: pod/over has ended");
    podrun
        .run(["top", "nobody"])
        .code(4)
        .says("error: pod/nobody not found");
    let output = podrun.run(["top"]).ok();
    assert_eq!(output.stdout, "");
}
