//! `exec`: streams, codes and terminals.

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{
    Podrun, Running, container, container_with, lasting, once, pod, until, with_a_pod,
};
use crate::terminal::Terminal;

#[test]
fn exec_returns_the_commands_code() {
    let podrun = with_a_pod();
    for code in [0, 1, 42, 255] {
        let words = ["exec", "pod", "--", "/probe", "exit", &code.to_string()];
        podrun.run(words).code(code);
    }
    podrun
        .run(["exec", "pod", "--", "/probe", "kill-self", "9"])
        .code(137);
}

#[test]
fn a_command_that_is_missing_or_no_program_has_the_shells_codes() {
    let podrun = with_a_pod();
    podrun
        .run(["exec", "pod", "--", "/missing"])
        .code(127)
        .says("/missing");
    podrun
        .run(["exec", "pod", "--", "missing-from-path"])
        .code(127)
        .says("missing-from-path");
    podrun
        .run(["exec", "pod", "--", "/etc/passwd"])
        .code(126)
        .says("/etc/passwd");
    podrun
        .run(["exec", "pod", "--", "/tmp"])
        .code(126)
        .says("/tmp");
}

#[test]
fn exec_keeps_stdout_and_stderr_apart() {
    let output = with_a_pod()
        .run(["exec", "pod", "--", "/probe", "both"])
        .ok();
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("to stdout\n", "to stderr\n")
    );
}

#[test]
fn exec_passes_input_byte_by_byte_and_its_end() {
    let podrun = with_a_pod();
    let input: Vec<u8> = (0..1_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let output = podrun
        .run_with_input(["exec", "-i", "pod", "--", "/probe", "cat"], &input)
        .ok();
    assert!(
        output.bytes == input,
        "{} bytes of {}",
        output.bytes.len(),
        input.len()
    );
}

#[test]
fn exec_without_i_has_no_input() {
    let podrun = with_a_pod();
    let output = podrun
        .run_with_input(["exec", "pod", "--", "/probe", "cat"], b"secret")
        .ok();
    assert_eq!(output.stdout, "");
}

#[test]
fn exec_ends_when_its_reader_has_gone() {
    let podrun = with_a_pod();
    let script = "\"$0\" exec pod -- /probe lines 1000000 | head -c 1000";
    let mut command = podrun.environment(std::process::Command::new("sh"));
    command.args(["-c", script]).arg(crate::harness::binary());
    let output = crate::harness::finish(command, b"").ok();
    assert_eq!(output.bytes.len(), 1000);
}

#[test]
fn exec_with_a_terminal_has_the_callers_size_and_follows_it() {
    let podrun = with_a_pod();
    let mut command = podrun.command();
    command
        .args(["exec", "-it", "pod", "--", "/probe", "terminal"])
        .env("TERM", "xterm");
    let (code, shown) = Terminal::start(&command, 33, 101).end();
    assert_eq!(code, 0, "{shown}");
    assert!(
        shown.contains("isatty 1 1 1 rows 33 columns 101"),
        "{shown}"
    );
    assert!(
        shown.contains("name /dev/pts/"),
        "it is one of the container's own: {shown}"
    );
}

#[test]
fn exec_with_a_terminal_follows_a_new_size() {
    let podrun = Podrun::empty();
    let container =
        json!({ "name": "a", "image": "podrun.local/host", "command": ["sleep", "1000"] });
    podrun.up(&lasting("sized", &[container])).ok();
    let mut command = podrun.command();
    let script = "trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.05; done";
    command
        .args(["exec", "-it", "sized", "--", "sh", "-c", script])
        .env("TERM", "xterm");
    let terminal = Terminal::start(&command, 30, 100);
    terminal.wait_for("ready");
    terminal.resize(44, 122);
    let (code, shown) = terminal.end();
    assert!(shown.contains("44 122"), "{shown}");
    assert_eq!(code, 5, "{shown}");
}

#[test]
fn what_is_typed_reaches_the_command_and_control_c_its_foreground() {
    let podrun = with_a_pod();
    let mut command = podrun.command();
    command
        .args(["exec", "-it", "pod", "--", "/probe", "ready-cat"])
        .env("TERM", "xterm");
    let mut terminal = Terminal::start(&command, 24, 80);
    // From then on the caller's own terminal is raw and does not echo.
    terminal.wait_for("ready");
    terminal.type_text("typed words\r");
    // Once from the terminal's echo, once from cat.
    until("cat answers", || {
        terminal.shown().matches("typed words").count() == 2
    });
    terminal.type_text("\x03");
    let (code, shown) = terminal.end();
    assert_eq!(code, 130, "{shown}");
}

#[test]
fn exec_says_what_is_missing() {
    let podrun = with_a_pod();
    podrun
        .run(["exec", "nobody", "--", "/probe", "exit", "0"])
        .code(4)
        .says("nobody");
    podrun
        .run(["exec", "pod", "-c", "b", "--", "/probe", "exit", "0"])
        .code(4)
        .says("b");
    podrun.run(["exec", "pod"]).code(2);
}

#[test]
fn exec_into_a_container_that_has_ended_says_so() {
    let podrun = Podrun::new();
    podrun
        .up(&once("ended", &[container("a", &["exit", "0"])]))
        .ok();
    podrun.until_phase("ended", "Succeeded");
    let output = podrun.run(["exec", "ended", "--", "/probe", "exit", "0"]);
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("ended"), "{}", output.stderr);
}

#[test]
fn many_execs_at_once_are_all_answered() {
    let podrun = with_a_pod();
    let running: Vec<_> = (0..20)
        .map(|i| {
            let mut command = podrun.command();
            command.args(["exec", "pod", "--", "/probe", "exit", &i.to_string()]);
            Running::start(command, b"")
        })
        .collect();
    for (i, one) in running.into_iter().enumerate() {
        one.end().code(i32::try_from(i).unwrap());
    }
}

#[test]
fn a_command_whose_client_is_gone_before_its_birth_is_ended() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("gone", &[container("a", &["ready-sleep"])]))
        .ok();
    podrun.wait_for_log("gone", "a", "ready");
    let supervisors = crate::census::supervisors(&podrun.root());
    let supervisor = rustix::process::Pid::from_raw(supervisors[0]).unwrap();
    // It hears of the client and of its end at once.
    rustix::process::kill_process(supervisor, Signal::STOP).unwrap();
    let mut command = podrun.command();
    command.args(["exec", "gone", "--", "/probe", "sleep"]);
    let client = Running::start(command, b"");
    let proc = format!("/proc/{}", client.pid().as_raw_nonzero());
    until("the client waits for an answer", || {
        let stat = std::fs::read_to_string(format!("{proc}/stat")).unwrap();
        let links = std::fs::read_dir(format!("{proc}/fd")).unwrap().flatten();
        let mut targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
        stat.contains(") S ") && targets.any(|to| to.to_string_lossy().starts_with("socket:"))
    });
    client.signal(Signal::KILL);
    client.end().code(137);
    rustix::process::kill_process(supervisor, Signal::CONT).unwrap();
    assert_eq!(
        podrun.probe("gone", "a", &["echo", "after it"]),
        "after it\n"
    );
    until("only the container is left", || {
        let processes = podrun.processes();
        processes.iter().filter(|one| one.name == "probe").count() == 1
    });
}

/// Its end is the supervisor's work alone: `rm` would end a supervisor that takes too long.
fn patient() -> serde_json::Value {
    json!({ "terminationGracePeriodSeconds": 600 })
}

#[test]
fn a_container_that_kills_what_enters_it_ends_all_the_same() {
    let podrun = Podrun::new();
    podrun
        .up(&pod(
            "hunter",
            patient(),
            &[container("a", &["hunt-makers"])],
        ))
        .ok();
    podrun.wait_for_log("hunter", "a", "ready");
    let mut unheard_of = 0;
    until("a command was made that nobody has heard of", || {
        let words = ["exec", "hunter", "--", "/probe", "exit", "0"];
        unheard_of += u32::from(podrun.run(words).code == 125);
        unheard_of == 3
    });
    podrun.run(["rm", "hunter"]).ok();
    podrun.nothing_left();
}

#[test]
fn a_container_that_stops_what_enters_it_ends_all_the_same() {
    let podrun = Podrun::new();
    podrun
        .up(&pod(
            "hunter",
            patient(),
            &[container("a", &["hunt", "19"])],
        ))
        .ok();
    podrun.wait_for_log("hunter", "a", "ready");
    let commands: Vec<Running> = (0..10)
        .map(|_| {
            let mut command = podrun.command();
            command.args(["exec", "hunter", "--", "/probe", "sleep"]);
            Running::start(command, b"")
        })
        .collect();
    until("they are in the container", || {
        let inside = |process: &&crate::census::Process| process.name != "podrun-pause";
        podrun.processes().iter().filter(inside).count() >= 12
    });
    podrun.run(["rm", "hunter"]).ok();
    for command in commands {
        assert_ne!(command.end().code, 0);
    }
    podrun.nothing_left();
}

#[test]
fn an_execd_command_is_all_that_the_containers_own_process_is() {
    let podrun = Podrun::new();
    let limited = json!({
        "workingDir": "/tmp",
        "env": [{ "name": "A", "value": "b=c" }],
        "securityContext": { "capabilities": { "drop": ["ALL"], "add": ["CHOWN"] } },
    });
    podrun
        .up(&lasting(
            "same",
            &[container_with(
                "a",
                &["and", "report", "--", "sleep"],
                &limited,
            )],
        ))
        .ok();
    let (init, exec) = podrun.reports("same");
    for part in ["cwd", "env", "ns", "limits", "mounts", "nice", "securebits"] {
        assert!(!init[part].is_null(), "{part}");
        assert_eq!(init[part], exec[part], "{part}");
    }
    for line in [
        "Uid",
        "Gid",
        "Groups",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "SigBlk",
        "SigIgn",
        "Umask",
    ] {
        assert!(!init["status"][line].is_null(), "{line}");
        assert_eq!(init["status"][line], exec["status"][line], "{line}");
    }
    assert_eq!(exec["cwd"], "/tmp");
}
