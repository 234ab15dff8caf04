//! The node agent: pods outlive it, it comes back, and it ends with the last of them.

use std::collections::BTreeSet;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::census::{self, Process};
use crate::harness::{PATIENCE, Podrun, Running, container, documents, lasting, once, until};
use crate::network::{addresses, ask, backend, client, service, until_heard, up_all};

/// The agent of this test's pods, if there is one.
fn agent(podrun: &Podrun) -> Option<Process> {
    census::agents(&podrun.root()).into_iter().next()
}

/// Kills the agent and waits for the next one.
#[track_caller]
fn kill_agent(podrun: &Podrun) {
    let old = agent(podrun).expect("there is an agent");
    old.kill();
    until("another agent", || {
        agent(podrun).is_some_and(|new| new != old)
    });
}

/// Starts `up` with these objects and does not wait.
fn begin_up(podrun: &Podrun, name: &str, all: &[Value]) -> Running {
    let manifest = podrun.manifest_text(&format!("{name}.yaml"), &documents(all));
    let mut command = podrun.command();
    command.args(["up", &manifest]);
    Running::start(command, b"")
}

/// Every pod has an address of its own.
#[track_caller]
fn assert_addresses_differ(podrun: &Podrun, count: usize) {
    let pods = podrun.pods();
    let found: BTreeSet<&str> = pods
        .iter()
        .map(|pod| pod["status"]["podIP"].as_str().unwrap())
        .collect();
    assert_eq!((pods.len(), found.len()), (count, count), "{found:?}");
}

#[test]
fn connections_outlive_the_agent_and_names_come_back() {
    let podrun = Podrun::new();
    let echo = lasting("echo", &[container("a", &["tcp-echo", "7000"])]);
    let web = service("web", &json!({}));
    up_all(&podrun, &[web, echo, backend("b", &json!({})), client()]);
    let expected = format!("b {}", addresses(&podrun, "client")[0]);
    podrun.wait_for_log("echo", "a", "listening");
    let address = format!("{}:7000", addresses(&podrun, "echo")[0]);
    let mut command = podrun.command();
    command.args(["exec", "client", "--", "/probe", "and", "talk"]);
    command.args([&address, "/go", "--", "write", "/done", ""]);
    let talk = Running::start(command, b"");
    until_heard(&podrun, "tcp", "web:80", &expected);
    // And once more: the second agent is nobody's child but a pod's.
    for _ in 0..2 {
        kill_agent(&podrun);
        until_heard(&podrun, "tcp", "web:80", &expected);
    }
    podrun.probe("client", "a", &["write", "/go", ""]);
    assert_eq!(talk.end().ok().stdout, "first\nsecond\n");
    // It is a full one: what comes later is seen.
    podrun.up(&service("later", &json!({}))).ok();
    until_heard(&podrun, "tcp", "later:80", &expected);
    podrun.run(["rm", "--all", "--force"]).ok();
    podrun.nothing_left();
}

#[test]
fn no_two_pods_have_one_address_when_the_agent_is_killed_while_they_start() {
    let podrun = Podrun::new();
    let count = 6;
    let names: Vec<String> = (0..count).map(|i| format!("b{i}")).collect();
    let starts: Vec<Running> = names
        .iter()
        .map(|name| begin_up(&podrun, name, &[backend(name, &json!({}))]))
        .collect();
    let mut killed = BTreeSet::new();
    until("two agents were killed", || {
        if let Some(agent) = agent(&podrun) {
            agent.kill();
            killed.insert(agent);
        }
        killed.len() >= 2
    });
    for start in starts {
        start.end().ok();
    }
    assert_addresses_differ(&podrun, count);
    // They are in one network, too.
    for (name, next) in names.iter().zip(names.iter().cycle().skip(1)) {
        let address = format!("{}:8080", addresses(&podrun, next)[0]);
        let heard = ask(&podrun, name, "tcp", &address);
        assert_eq!(heard, format!("{next} {}", addresses(&podrun, name)[0]));
    }
}

#[test]
fn many_pods_start_at_once_and_reach_one_another() {
    let podrun = Podrun::new();
    let names: Vec<String> = (0..20).map(|i| format!("b{i}")).collect();
    let starts: Vec<Running> = names
        .chunks(5)
        .map(|some| {
            let pods: Vec<Value> = some.iter().map(|name| backend(name, &json!({}))).collect();
            begin_up(&podrun, &some[0], &pods)
        })
        .collect();
    for start in starts {
        start.end().ok();
    }
    assert_addresses_differ(&podrun, 20);
    let agents = census::agents(&podrun.root());
    assert_eq!(agents.len(), 1, "one agent for all of them: {agents:?}");
    for name in &names {
        let table = podrun.probe(name, "a", &["read", "/proc/net/dev"]);
        let names = table.lines().filter_map(|line| line.split_once(':'));
        let found: BTreeSet<&str> = names.map(|(name, _)| name.trim()).collect();
        assert_eq!(found, BTreeSet::from(["eth0", "lo"]), "{name}");
    }
    for (name, next) in names.iter().zip(names.iter().cycle().skip(7)) {
        for address in addresses(&podrun, next) {
            let address = std::net::SocketAddr::new(address, 8080).to_string();
            let heard = ask(&podrun, name, "tcp", &address);
            assert!(heard.starts_with(&format!("{next} ")), "{address}: {heard}");
        }
    }
}

#[test]
fn the_agent_ends_with_the_last_pod() {
    let podrun = Podrun::new();
    for name in ["one", "two"] {
        podrun
            .up(&lasting(name, &[container("a", &["ready-sleep"])]))
            .ok();
    }
    let first = agent(&podrun).expect("there is an agent");
    podrun.run(["rm", "one"]).ok();
    podrun
        .run(["exec", "two", "--", "/probe", "exit", "0"])
        .ok();
    assert!(first.lives(), "the second pod needs it");
    podrun.run(["rm", "two"]).ok();
    assert!(first.ends_within(PATIENCE), "nobody needs it");
    podrun.nothing_left();
}

#[test]
fn the_agent_ends_when_a_start_fails() {
    let podrun = Podrun::new();
    let mut broken = once("broken", &[container("a", &["ready-sleep"])]);
    broken["spec"]["containers"][0]["command"] = json!(["/not-there"]);
    let said = podrun.up(&broken);
    assert_ne!(said.code, 0, "{}", said.stdout);
    podrun
        .run(["rm", "--all", "--force", "--ignore-not-found"])
        .ok();
    until("the agent ends", || agent(&podrun).is_none());
    let mut absent = once("absent", &[container("a", &["ready-sleep"])]);
    absent["spec"]["containers"][0]["image"] = "localhost/absent:1".into();
    absent["spec"]["containers"][0]["imagePullPolicy"] = "Never".into();
    let said = podrun.up(&absent);
    assert_ne!(said.code, 0, "{}", said.stdout);
    podrun
        .run(["rm", "--all", "--force", "--ignore-not-found"])
        .ok();
    until("the agent ends", || agent(&podrun).is_none());
    podrun.nothing_left();
}

#[test]
fn a_pod_of_the_hosts_network_needs_no_agent() {
    let podrun = Podrun::new();
    let mut pod = lasting("pod", &[container("a", &["ready-sleep"])]);
    pod["spec"]["hostNetwork"] = true.into();
    podrun.up(&pod).ok();
    assert_eq!(agent(&podrun), None);
}

#[test]
fn nothing_waits_for_a_stopped_agent() {
    let podrun = Podrun::new();
    for name in ["one", "two"] {
        podrun
            .up(&lasting(name, &[container("a", &["ready-sleep"])]))
            .ok();
    }
    podrun.wait_for_log("one", "a", "ready");
    let agent = agent(&podrun).expect("there is an agent");
    kill_process(agent.id(), Signal::STOP).unwrap();
    // The harness calls it a hang when one of them does not end.
    let said = podrun.run(["ps"]).ok().stdout;
    assert!(said.contains("one") && said.contains("two"), "{said}");
    assert_eq!(podrun.run(["logs", "one"]).ok().stdout, "ready\n");
    assert_eq!(podrun.probe("one", "a", &["echo", "here"]), "here\n");
    podrun.run(["rm", "one"]).ok();
    podrun.run(["rm", "two"]).ok();
    kill_process(agent.id(), Signal::CONT).unwrap();
    assert!(agent.ends_within(PATIENCE), "nobody needs it");
    podrun.nothing_left();
}
