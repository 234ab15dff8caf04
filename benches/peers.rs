//! podrun, the floor and podman side by side, in one run: `cargo bench --bench peers`, as root.
//!
//! Every figure is a median; the contenders take turns, so that what the machine does meanwhile
//! hits all of them. The floor does the same namespaces, mounts, exec and log copying with bare
//! system calls (`fixtures/floor.rs`); podman is the machine's own, with runc.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a bench that cannot go on ends; its figures need no more digits than f64 has"
)]

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use common::{Bench, quiet};

const ROUNDS: usize = 20;
/// Before each start: the kernel is still taking down the namespaces of the one before, and how long
/// that takes says nothing about the one that is measured.
const SETTLE: Duration = Duration::from_millis(200);
/// 64 MiB in lines of 100 bytes.
const LINES: &str = "671089";

fn timed(command: Command) -> Duration {
    let start = Instant::now();
    quiet(command);
    start.elapsed()
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

impl Bench {
    /// A pod whose containers each run these words of the probe.
    fn manifest(&self, name: &str, containers: usize, words: &[&str]) -> String {
        let mut command = vec!["/probe"];
        command.extend(words);
        let containers: Vec<_> = (0..containers)
            .map(|i| {
                json!({
                    "name": format!("c{i}"), "image": "localhost/bench:1", "command": command,
                    "imagePullPolicy": "Never",
                    "volumeMounts": [{ "name": "bench", "mountPath": "/bench" }],
                })
            })
            .collect();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 10,
                "volumes": [{ "name": "bench", "hostPath": { "path": self.path("bind") } }],
                "containers": containers,
            },
        });
        let path = self.path(&format!("{name}.yaml"));
        fs::write(&path, pod.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A FIFO that containers write into; it is held open, so that no writer waits.
    fn fifo(&self, name: &str) -> File {
        let path = self.path("bind").join(name);
        fs::remove_file(&path).ok();
        let mut command = Command::new("mkfifo");
        command.arg(&path);
        quiet(command);
        File::options().read(true).write(true).open(path).unwrap()
    }

    fn play(&self, path: &str) -> Command {
        self.podman(&["play", "kube", "--network", "none", path])
    }

    fn podman_rm(&self, name: &str) -> Command {
        self.podman(&["pod", "rm", "--force", "--time", "10", name])
    }

    /// From the start of the command until every container has written a byte.
    fn first_byte(fifo: &mut File, containers: usize, mut command: Command) -> (Duration, Child) {
        let start = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        for _ in 0..containers {
            let patience = Timespec {
                tv_sec: 60,
                tv_nsec: 0,
            };
            let ready = poll(&mut [PollFd::new(fifo, PollFlags::IN)], Some(&patience));
            assert_eq!(ready, Ok(1), "no container of {command:?} writes");
            fifo.read_exact(&mut [0]).unwrap();
        }
        (start.elapsed(), child)
    }
}

fn show(name: &str, podrun: f64, floor: Option<f64>, podman: Option<f64>, unit: &str, bar: &str) {
    let figure = |value: f64| {
        if value < 10.0 {
            format!("{value:.2}")
        } else {
            format!("{value:.1}")
        }
    };
    let other = |value: Option<f64>| match value {
        Some(value) => format!("{} ({:.3} ×)", figure(value), podrun / value),
        None => "–".to_owned(),
    };
    println!(
        "| {name} | {} | {} | {} | {unit} | {bar} |",
        figure(podrun),
        other(floor),
        other(podman)
    );
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn main() {
    if !std::env::args().any(|word| word == "--bench") {
        // `cargo test --benches` only wants to know that it builds.
        return;
    }
    let bench = Bench::prepare(
        &[
            ("benches/fixtures/floor.rs", "floor.bin"),
            ("tests/fixtures/probe.rs", "rootfs/probe"),
        ],
        "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n",
    );
    for name in ["rootfs/bench", "floor", "bind"] {
        fs::create_dir_all(bench.path(name)).unwrap();
    }
    bench.import();
    println!("| what | podrun | floor | podman | unit | bar |");
    println!("|---|---|---|---|---|---|");
    starts(&bench);
    execs_and_removals(&bench);
    memory(&bench);
    logs(&bench);
    small_commands(&bench);
    probes(&bench);
}

/// What a start is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Floor,
    Podman,
}

fn starts(bench: &Bench) {
    // The first pod of a user waits for the node agent; all others find it there.
    let bar = "≤ 30 ms more than the next";
    start(
        bench,
        1,
        "first byte after `up`, the first pod",
        Peer::Floor,
        bar,
    );
    let other = bench.manifest("other", 1, &["on-term", "0"]);
    quiet(bench.podrun(&["up", &other]));
    for containers in [1, 2] {
        let name = format!("first byte after `up`, {containers} container(s)");
        start(bench, containers, &name, Peer::Floor, "≤ 2.5 floor");
        if bench.podman {
            let name = format!("{name}, in turns with podman");
            start(bench, containers, &name, Peer::Podman, "≤ 0.05 podman");
        }
    }
    quiet(bench.podrun(&["rm", "other"]));
}

/// podrun and one peer take turns, and each comes first as often as the other. One peer at a time:
/// what a third would leave in the processors' caches, a few megabytes, is then in neither.
fn start(bench: &Bench, containers: usize, name: &str, peer: Peer, bar: &str) {
    let words = ["and", "write", "/bench/first", "x", "--", "on-term", "0"];
    let path = bench.manifest("start", containers, &words);
    let mut fifo = bench.fifo("first");
    let mut first = |command| {
        let (time, mut child) = Bench::first_byte(&mut fifo, containers, command);
        assert!(child.wait().unwrap().success());
        time
    };
    let (mut own, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for turn in 0..2 {
            std::thread::sleep(SETTLE);
            if (round + turn) % 2 == 0 {
                own.push(first(bench.podrun(&["up", &path])));
                quiet(bench.podrun(&["rm", "start"]));
                continue;
            }
            match peer {
                Peer::Floor => {
                    fs::remove_dir_all(bench.path("floor")).unwrap();
                    fs::create_dir(bench.path("floor")).unwrap();
                    let mut command = Command::new(bench.path("floor.bin"));
                    command
                        .arg(bench.path("rootfs"))
                        .arg(bench.path("floor"))
                        .arg(bench.path("bind"))
                        .arg(containers.to_string())
                        .args(["/probe", "write", "/bench/first", "x"]);
                    theirs.push(first(command));
                }
                Peer::Podman => {
                    theirs.push(first(bench.play(&path)));
                    quiet(bench.podman_rm("start"));
                }
            }
        }
    }
    let theirs = ms(median(theirs));
    let (floor, podman) = match peer {
        Peer::Floor => (Some(theirs), None),
        Peer::Podman => (None, Some(theirs)),
    };
    show(name, ms(median(own)), floor, podman, "ms", bar);
}

fn execs_and_removals(bench: &Bench) {
    let path = bench.manifest("pod", 1, &["on-term", "0"]);
    let (mut exec, mut peer_exec) = (Vec::new(), Vec::new());
    quiet(bench.podrun(&["up", &path]));
    if bench.podman {
        quiet(bench.play(&path));
    }
    for _ in 0..ROUNDS {
        exec.push(timed(
            bench.podrun(&["exec", "pod", "--", "/probe", "exit", "0"]),
        ));
        if bench.podman {
            peer_exec.push(timed(
                bench.podman(&["exec", "pod-c0", "/probe", "exit", "0"]),
            ));
        }
    }
    let (mut rm, mut peer_rm) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        if round > 0 {
            quiet(bench.podrun(&["up", &path]));
        }
        rm.push(timed(bench.podrun(&["rm", "pod"])));
        // One of podman's takes seconds.
        if bench.podman && round < 3 {
            if round > 0 {
                quiet(bench.play(&path));
            }
            peer_rm.push(timed(bench.podman_rm("pod")));
        }
    }
    let peer = |all: Vec<Duration>| bench.podman.then(|| ms(median(all)));
    show(
        "`exec` of `true`",
        ms(median(exec)),
        None,
        peer(peer_exec),
        "ms",
        "≤ 0.025 podman",
    );
    show(
        "`rm`, ends on TERM",
        ms(median(rm)),
        None,
        peer(peer_rm),
        "ms",
        "≤ 0.05 podman",
    );
}

/// PSS in KiB of all processes that run the podrun binary, and their CPU time, once both stay as
/// they are: a command that has returned may still be heard by the supervisors, and the node agent
/// rests only after a while.
fn podruns_memory(bench: &Bench) -> (f64, u64) {
    let mut before = look_at_podrun(bench);
    let mut same = 0;
    while same < 5 {
        std::thread::sleep(Duration::from_millis(100));
        let now = look_at_podrun(bench);
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
    before
}

fn look_at_podrun(bench: &Bench) -> (f64, u64) {
    let binary = fs::metadata(&bench.podrun).unwrap();
    let mut total = 0_u64;
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let exe = fs::metadata(entry.path().join("exe"));
        let is_ours = exe.is_ok_and(|exe| exe.ino() == binary.ino() && exe.size() == binary.size());
        if !is_ours {
            continue;
        }
        let rollup = fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
        total += rollup
            .lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .unwrap_or(0);
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .split(' ')
            .collect();
        ticks += fields[11].parse::<u64>().unwrap_or(0) + fields[12].parse::<u64>().unwrap_or(0);
    }
    (total as f64, ticks)
}

fn memory(bench: &Bench) {
    let up = |name: &str, containers: usize| {
        let path = bench.manifest(name, containers, &["on-term", "0"]);
        quiet(bench.podrun(&["up", &path]));
    };
    up("first", 1);
    let (first, _) = podruns_memory(bench);
    for i in 0..10 {
        up(&format!("more{i}"), 1);
    }
    let (eleven, ticks) = podruns_memory(bench);
    let idle = Instant::now();
    std::thread::sleep(Duration::from_secs(3));
    let (_, later) = podruns_memory(bench);
    let idle = idle.elapsed();
    quiet(bench.podrun(&["rm", "--all"]));
    up("wide1", 1);
    let (narrow, _) = podruns_memory(bench);
    quiet(bench.podrun(&["rm", "--all"]));
    // Many, because the binary's pages, which come and go, are in the difference as well.
    up("wide41", 41);
    let (wide, _) = podruns_memory(bench);
    quiet(bench.podrun(&["rm", "--all"]));
    show(
        "idle memory, first pod",
        first,
        None,
        None,
        "KiB PSS",
        "≤ 2048",
    );
    show(
        "idle memory, each further pod",
        (eleven - first) / 10.0,
        None,
        None,
        "KiB PSS",
        "≤ 600",
    );
    show(
        "idle memory, each further container",
        (wide - narrow) / 40.0,
        None,
        None,
        "KiB PSS",
        "≤ 30",
    );
    let used = (later - ticks) as f64;
    show(
        &format!("CPU of eleven idle pods in {:.0} s", idle.as_secs_f64()),
        used,
        None,
        None,
        "ticks",
        "0",
    );
}

fn logs(bench: &Bench) {
    let words = [
        "and",
        "write",
        "/bench/first",
        "x",
        "--",
        "lines",
        LINES,
        "--",
        "write",
        "/bench/last",
        "x",
    ];
    let path = bench.manifest("spam", 1, &words);
    let (mut first, mut last) = (bench.fifo("first"), bench.fifo("last"));
    let (mut own, mut file) = (Vec::new(), Vec::new());
    let (mut read, mut cat) = (Vec::new(), Vec::new());
    let plain = bench.path("plain.log");
    for _ in 0..5 {
        let (_, mut child) =
            Bench::first_byte(&mut first, 1, bench.podrun(&["up", "--wait=done", &path]));
        let start = Instant::now();
        last.read_exact(&mut [0]).unwrap();
        own.push(start.elapsed());
        assert!(child.wait().unwrap().success());

        let start = Instant::now();
        let mut command = Command::new(bench.path("rootfs/probe"));
        command
            .args(["lines", LINES])
            .stdout(File::create(&plain).unwrap());
        assert!(command.status().unwrap().success());
        file.push(start.elapsed());

        let mut logs = bench.podrun(&["logs", "spam"]);
        let (length, time) = drained(&mut logs);
        read.push(time.div_f64(length as f64 / f64::from(64 << 20)));
        let (length, time) = drained(Command::new("cat").arg(&plain));
        cat.push(time.div_f64(length as f64 / f64::from(64 << 20)));
        quiet(bench.podrun(&["rm", "spam"]));
    }
    let (own, file) = (ms(median(own)), ms(median(file)));
    println!(
        "| 64 MiB of 100-byte lines | {own:.0} | into a file: {file:.0} ({:.2} ×) | – | ms | ≤ 3 × |",
        own / file
    );
    let (read, cat) = (ms(median(read)), ms(median(cat)));
    println!(
        "| `logs`, 64 MiB | {read:.0} | `cat`: {cat:.0} ({:.2} ×) | – | ms | ≤ 3 × |",
        read / cat
    );
}

/// Reads all that a command prints.
fn drained(command: &mut Command) -> (u64, Duration) {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let length = out.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        total += length as u64;
    }
    assert!(child.wait().unwrap().success());
    (total, start.elapsed())
}

fn small_commands(bench: &Bench) {
    let version: Vec<Duration> = (0..ROUNDS * 5)
        .map(|_| timed(bench.podrun(&["--version"])))
        .collect();
    show("`--version`", ms(median(version)), None, None, "ms", "≤ 3");
    let pods: Vec<String> = (0..100)
        .map(|i| {
            fs::read_to_string(bench.manifest(&format!("p{i}"), 1, &["on-term", "0"])).unwrap()
        })
        .collect();
    let path = bench.path("hundred.yaml");
    fs::write(&path, pods.join("\n---\n")).unwrap();
    let start = timed(bench.podrun(&["up", path.to_str().unwrap()]));
    let listed: Vec<Duration> = (0..ROUNDS * 2)
        .map(|_| timed(bench.podrun(&["ps"])))
        .collect();
    show(
        "`ps` with 100 pods",
        ms(median(listed)),
        None,
        None,
        "ms",
        "≤ 20",
    );
    show("`up` of 100 pods at once", ms(start), None, None, "ms", "–");
    quiet(bench.podrun(&["rm", "--all"]));
}

/// CPU time of podrun's processes, those that have ended and were reaped included: the prober's
/// threads, the clones that go into containers.
fn used_ticks(bench: &Bench) -> u64 {
    let binary = fs::metadata(&bench.podrun).unwrap();
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let exe = fs::metadata(entry.path().join("exe"));
        if exe.is_ok_and(|exe| exe.ino() == binary.ino() && exe.size() == binary.size()) {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let fields = stat.rsplit(") ").next().unwrap_or_default();
            // utime, stime, cutime, cstime
            let spent = fields.split(' ').skip(11).take(4);
            ticks += spent
                .filter_map(|field| field.parse::<u64>().ok())
                .sum::<u64>();
        }
    }
    ticks
}

/// Twenty pods with three HTTP probes a second each, for twenty seconds.
fn probes(bench: &Bench) {
    const PODS: usize = 20;
    const SECONDS: u64 = 20;
    let probe = json!({ "httpGet": { "port": 8000 }, "periodSeconds": 1 });
    let mut documents = Vec::new();
    for number in 0..PODS {
        let server = |port: u16| {
            json!({
                "name": format!("c{port}"), "image": "localhost/bench:1", "imagePullPolicy": "Never",
                "command": ["/probe", "http-serve", format!("0.0.0.0:{port}"), "/none", "/log"],
                "readinessProbe": probe, "livenessProbe": probe,
            })
        };
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("probed{number}") },
            "spec": { "terminationGracePeriodSeconds": 1, "containers": [server(8000)] },
        });
        documents.push(pod.to_string());
    }
    let path = bench.path("probed.yaml");
    fs::write(&path, documents.join("\n---\n")).unwrap();
    quiet(bench.podrun(&["up", path.to_str().unwrap()]));
    let before = used_ticks(bench);
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs(SECONDS));
    let used = used_ticks(bench) - before;
    // 100 ticks a second (USER_HZ).
    let share = used as f64 / start.elapsed().as_secs_f64();
    quiet(bench.podrun(&["rm", "--all", "--force"]));
    let rate = PODS * 2;
    show(
        &format!("{PODS} pods, {rate} HTTP probes a second"),
        share * 100.0 / rate as f64,
        None,
        None,
        "% of a core per 100 probes a second",
        "≤ 5",
    );
}
