//! What podrun's own processes may keep while a pod is idle: the memory that is theirs alone, since
//! the pages of the binary are shared by all pods and come and go with the page cache.

use std::fs;

use crate::census::Process;
use crate::harness::{Podrun, container, lasting, until};

/// KiB of one line of `/proc/PID/smaps_rollup`.
fn rollup(process: &Process, line: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid)).ok()?;
    let value = text.lines().find_map(|found| found.strip_prefix(line))?;
    value.trim().trim_end_matches(" kB").parse().ok()
}

/// The supervisor and pause of a test's only pod.
fn own_processes(podrun: &Podrun) -> Vec<Process> {
    let mut all = podrun.processes();
    all.retain(|process| ["podrun-pod", "podrun-pause"].contains(&process.name.as_str()));
    all
}

/// Anonymous memory of all of them, in KiB, once it stays as it is: a command that has returned
/// may still be heard by the supervisor.
fn anonymous(podrun: &Podrun) -> u64 {
    let look = || -> u64 {
        own_processes(podrun)
            .iter()
            .filter_map(|process| rollup(process, "Pss_Anon:"))
            .sum()
    };
    let mut before = look();
    until("the memory stays as it is", || {
        let now = look();
        std::mem::replace(&mut before, now) == now && now > 0
    });
    before
}

fn pod_of(podrun: &Podrun, count: usize) -> u64 {
    let containers: Vec<_> = (0..count)
        .map(|index| container(&format!("c{index}"), &["on-term", "0"]))
        .collect();
    podrun.up(&lasting("idle", &containers)).ok();
    assert_eq!(own_processes(podrun).len(), 2, "a supervisor and pause");
    let kept = anonymous(podrun);
    podrun.run(["rm", "idle"]).ok();
    kept
}

#[test]
fn an_idle_pod_keeps_little_and_each_further_container_next_to_nothing() {
    let podrun = Podrun::new();
    let narrow = pod_of(&podrun, 1);
    // The bar for a further pod is 600 KiB of a static release build; the relocations of a build for
    // tests come on top.
    assert!(narrow <= 1024, "a pod keeps {narrow} KiB, not 1024");
    let wide = pod_of(&podrun, 21);
    let each = wide.saturating_sub(narrow) / 20;
    assert!(
        each <= 30,
        "each further container keeps {each} KiB, not 30: {narrow} and {wide}"
    );
}
