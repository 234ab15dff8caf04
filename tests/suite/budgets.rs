//! What podrun's own processes may keep while a pod is idle: the memory that is theirs alone, since
//! the pages of the binary are shared by all pods and come and go with the page cache.

use std::fs;

use crate::census::Process;
use crate::harness::{Podrun, container, lasting, until};

/// KiB of a process' memory that stands for no file and is its own. A private page of the binary is
/// one of its relocations, which a static release build has none of and a build for tests many.
fn own_memory(process: &Process) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/smaps", process.pid)).ok()?;
    let mut is_of_file = false;
    let mut sum = 0;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("Pss:") if !is_of_file => sum += words.next()?.parse::<u64>().ok()?,
            // A mapping: addresses, permissions, offset, device, inode and path.
            Some(first) if !first.ends_with(':') => is_of_file = words.nth(3)? != "0",
            _ => {}
        }
    }
    Some(sum)
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
    let look = || -> u64 { own_processes(podrun).iter().filter_map(own_memory).sum() };
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
    // The bar for a further pod, of all its memory, is 600 KiB.
    assert!(narrow <= 400, "a pod keeps {narrow} KiB, not 400");
    let wide = pod_of(&podrun, 21);
    let each = wide.saturating_sub(narrow) / 20;
    assert!(
        each <= 30,
        "each further container keeps {each} KiB, not 30: {narrow} and {wide}"
    );
}
