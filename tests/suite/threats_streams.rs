//! What a container writes and what it does with its terminal: neither fills podrun's memory nor gets
//! into a terminal of the caller.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::census;
use crate::harness::{
    Mode, Podrun, binary, container, container_with, lasting, mode, once, probe, until,
};
use crate::terminal::Terminal;

/// The most memory of its own that a supervisor may have, in KiB: many times what it needs, and soon
/// too little for one that keeps what nobody reads.
const MOST: u64 = 8 * 1024;

/// The memory of the only pod's supervisor that stands for no file, in KiB.
fn own_memory(podrun: &Podrun) -> u64 {
    let [pid] = census::supervisors(&podrun.root())[..] else {
        panic!("one supervisor")
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.unwrap().split_whitespace().next();
    number.unwrap().parse().unwrap()
}

/// Commands that a pod's supervisor has to answer, and its memory meanwhile.
#[track_caller]
fn assert_all_goes_on(podrun: &Podrun, name: &str) {
    for _ in 0..30 {
        let words = ["exec", name, "-c", "still", "--", "/probe", "echo", "here"];
        assert_eq!(podrun.run(words).ok().stdout, "here\n");
        let kept = own_memory(podrun);
        assert!(kept < MOST, "the supervisor has {kept} KiB");
    }
    podrun.run(["logs", name, "-c", "still", "--tail=1"]).ok();
}

/// A command whose output nobody reads.
fn start_unread(podrun: &Podrun, words: &[&str]) -> Child {
    let mut command = podrun.command();
    command
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let out = child.stdout.as_ref().unwrap();
    until(&format!("{words:?} writes"), || {
        rustix::io::ioctl_fionread(out).unwrap() >= 16 * 1024
    });
    child
}

/// V28 (CVE-2022-1708, CVE-2022-31030): a command whose output nobody reads waits, with a terminal and
/// without, and so does a container that somebody has attached to.
#[test]
fn output_that_nobody_reads_waits_outside_of_the_supervisor() {
    let podrun = Podrun::new();
    let writes = container("writes", &["and", "wait-for", "/go", "--", "flood"]);
    let still = container("still", &["ready-sleep"]);
    podrun.up(&lasting("pod", &[writes, still])).ok();
    let flood = ["-c", "still", "--", "/probe", "flood"];
    let exec: Vec<&str> = ["exec", "pod"].into_iter().chain(flood).collect();
    let typed: Vec<&str> = ["exec", "-t", "pod"].into_iter().chain(flood).collect();
    for (words, count, in_containers) in [
        (&exec[..], 3, 2),
        (&typed, 3, 2),
        // The container waits for the one that does not read, and no other gets anything. It is four
        // processes that write.
        (&["attach", "pod", "-c", "writes"], 1, 5),
    ] {
        let only_containers = || {
            let all = podrun.processes();
            let probes = all.iter().filter(|process| process.name == "probe");
            probes.count() == in_containers
        };
        if in_containers == 5 {
            podrun.probe("pod", "writes", &["write", "/go", ""]);
        }
        until("the containers run", only_containers);
        let mut unread: Vec<Child> = (0..count).map(|_| start_unread(&podrun, words)).collect();
        assert_all_goes_on(&podrun, "pod");
        for child in &mut unread {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        drop(unread);
        until("the commands end with their clients", only_containers);
        assert_all_goes_on(&podrun, "pod");
    }
}

/// V28: of what probes and hooks write a little is kept and the rest is dropped, as it comes.
#[test]
fn probes_and_hooks_that_write_without_end_keep_nobody_else_waiting() {
    let podrun = Podrun::new();
    let flood = json!({ "exec": { "command": ["/probe", "flood"] } });
    let mut checked = flood.clone();
    checked["periodSeconds"] = 1.into();
    checked["failureThreshold"] = 1000.into();
    let ready = container_with(
        "ready",
        &["ready-sleep"],
        &json!({ "readinessProbe": checked }),
    );
    let hooked = container_with(
        "hooked",
        &["ready-sleep"],
        &json!({ "lifecycle": { "postStart": flood, "preStop": flood } }),
    );
    let still = container("still", &["ready-sleep"]);
    podrun.start(&lasting("pod", &[ready, still, hooked]));
    podrun.wait_for_log("pod", "still", "ready");
    podrun.until_event("pod", "Unhealthy Readiness probe");
    assert_all_goes_on(&podrun, "pod");
    // A hook that writes for ever has no end of its own, and the pod has.
    podrun.run(["rm", "pod"]).ok();
    podrun.nothing_left();
}

/// A command under a shell of a terminal, which then reads a line: what was pushed into the terminal is
/// in it. Returns that line and all that was shown.
fn line_after(
    podrun: &Podrun,
    words: &[&str],
    meanwhile: impl FnOnce(&Terminal),
) -> (String, String) {
    let script = "\"$@\"; echo \"over $?\"; IFS= read -r line; echo \"read <$line>\"";
    let mut command = podrun.environment(Command::new("sh"));
    command.args(["-c", script, "sh"]).args(words);
    command.env("TERM", "xterm");
    let mut terminal = Terminal::start(&command, 24, 80);
    meanwhile(&terminal);
    terminal.wait_for("over ");
    terminal.type_text("end\r");
    let (_, shown) = terminal.end();
    let read = shown.rsplit_once("read <").map(|(_, rest)| rest);
    let read = read.and_then(|rest| rest.split_once('>'));
    (read.unwrap().0.to_owned(), shown)
}

/// V06 (CVE-2017-5226, CVE-2019-10063): whatever a container does to its terminal, with every right over
/// it, its caller's gets nothing of it.
#[test]
fn a_container_pushes_nothing_into_the_callers_terminal() {
    let podrun = Podrun::new();
    let program = probe().to_str().unwrap();
    // So it would look.
    let (line, shown) = line_after(&podrun, &[program, "push-input"], |_| ());
    if mode() == Mode::Root {
        assert_eq!(line, "xxxend", "{shown}");
    }
    let plain = container("plain", &["ready-sleep"]);
    let privileged = json!({ "securityContext": { "privileged": true } });
    let privileged = container_with("privileged", &["ready-sleep"], &privileged);
    podrun.up(&lasting("pod", &[plain, privileged])).ok();
    let podrun_program = binary();
    let run = |words: &[&str], meanwhile: &dyn Fn(&Terminal)| {
        let mut all = vec![podrun_program.to_str().unwrap()];
        all.extend(words);
        let (line, shown) = line_after(&podrun, &all, meanwhile);
        assert_eq!(line, "end", "{words:?}:\n{shown}");
        assert!(shown.contains("over 0"), "{words:?}:\n{shown}");
        shown
    };
    let push = ["--", "/probe", "push-terminal", "x\n"];
    for name in ["plain", "privileged"] {
        let exec = |options: &[&str]| {
            let mut words = vec!["exec", "pod", "-c", name];
            words.extend(options);
            words.extend(push);
            run(&words, &|_| ())
        };
        let shown = exec(&["-it"]);
        // It has a terminal to push into, which is its own.
        assert!(shown.contains("/dev/tty TIOCSTI"), "{shown}");
        // Without one it has none at all, be its caller's a terminal or not.
        for options in [&["-i"][..], &[]] {
            let shown = exec(options);
            for stream in ["0", "1", "2"] {
                let said = format!("{stream} TIOCSTI errno 25");
                assert!(shown.contains(&said), "{options:?}: {shown}");
            }
            assert!(
                shown.contains("/dev/tty errno 6"),
                "ENXIO, {options:?}: {shown}"
            );
        }
    }
    podrun.run(["rm", "pod"]).ok();
    // The same of a container's own terminal, with a client attached.
    let fields = json!({ "stdin": true, "tty": true, "securityContext": { "privileged": true } });
    let words = [
        "and",
        "wait-for",
        "/go",
        "--",
        "push-terminal",
        "x\n",
        "--",
        "echo",
        "pushed",
    ];
    podrun.start(&once("own", &[container_with("a", &words, &fields)]));
    podrun.until_phase("own", "Running");
    let shown = run(&["attach", "-it", "own"], &|terminal| {
        terminal.wait_for("try pressing enter");
        podrun.probe("own", "a", &["write", "/go", ""]);
    });
    assert!(shown.contains("pushed"), "{shown}");
    let manifest = podrun.manifest(
        "run",
        &once(
            "run",
            &[container_with(
                "a",
                &["push-terminal", "x\n"],
                &json!({ "stdin": true, "tty": true }),
            )],
        ),
    );
    let shown = run(&["run", &manifest], &|_| ());
    assert!(shown.contains("/dev/tty"), "{shown}");
}

/// V06: a container without a terminal has none to open, and leads its own session.
#[test]
fn without_a_terminal_there_is_none_to_open() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting(
            "pod",
            &[container("a", &["and", "report", "--", "ready-sleep"])],
        ))
        .ok();
    let (init, exec) = podrun.reports("pod");
    for report in [&init, &exec] {
        assert_eq!(report["tty"], "errno 6", "ENXIO");
        assert_eq!(report["sid"], report["pid"]);
    }
}
