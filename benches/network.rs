//! The network of podrun, of podman and of pasta side by side, in one run:
//! `cargo bench --bench network`, as root or as an ordinary user.
//!
//! Every figure is a median; the contenders take turns, so that what the machine does meanwhile
//! hits all of them. The floor is a connection over loopback, without any pod. The client and the
//! server are the same program everywhere (`fixtures/flow.rs`).
//!
//! ```text
//! root                                          an ordinary user
//! ┌ namespaces of the bench's own ────────────┐ ┌ the machine ──────────────────────────┐
//! │ pod ┐                                     │ │ pod ┐                                 │
//! │ pod ┴ podrun, podman ── 198.18.0.1 ─veth─────── 198.18.0.2: "outside"               │
//! └───────────────────────────────────────────┘ │ pod ┴ podrun, podman ── its address    │
//!                                               └────────────────────────────────────────┘
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a bench that cannot go on ends"
)]

mod common;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use common::{Bench, attempt, quiet, user};

const ROUNDS: usize = 5;
/// Milliseconds of a connection whose throughput is measured, and of requests.
const STREAM: &str = "700";
const REQUESTS: &str = "300";
/// The port of the server in a pod.
const PORT: u16 = 5201;
/// Of the range for benchmarks (RFC 2544).
const INSIDE: &str = "198.18.0.1";
const OUTSIDE: &str = "198.18.0.2";
/// Set once root's bench is in namespaces of its own.
const NAMESPACES: &str = "PODRUN_BENCH_NAMESPACES";
/// Addresses that are none of the machine's, whose own pasta would take for the pod otherwise.
const PASTA: [&str; 6] = ["-a", "10.99.99.2", "-n", "24", "-g", "10.99.99.1"];

/// With the kernel's own send buffer pasta of 2023 stalls to the outside, more often than not.
const SMALL_BUFFER: &str =
    "echo 4096 16384 262144 > /proc/sys/net/ipv4/tcp_wmem; exec \"$0\" \"$@\"";

/// Where a connection leads.
#[derive(Clone, Copy)]
enum Way {
    Pods,
    Published,
    Outbound,
}

/// What one row measures, and in which unit.
struct Row {
    what: &'static str,
    way: Way,
    /// The word of `flow` and its milliseconds.
    words: [&'static str; 2],
    unit: &'static str,
    /// What one of its figures is divided by for the table.
    scale: f64,
    /// podrun's figure over that of one whose name ends so is at least so much.
    bar: Option<(f64, &'static str)>,
}

const fn row(what: &'static str, way: Way, words: [&'static str; 2]) -> Row {
    Row {
        what,
        way,
        words,
        unit: "1/s",
        scale: 1.0,
        bar: None,
    }
}

const fn throughput(what: &'static str, way: Way, bar: Option<(f64, &'static str)>) -> Row {
    Row {
        unit: "Gbit/s",
        // The program says bytes.
        scale: 1e9 / 8.0,
        bar,
        ..row(what, way, ["stream", STREAM])
    }
}

const ROWS: [Row; 7] = [
    throughput("one connection, pod to pod", Way::Pods, None),
    throughput(
        "one connection, published port",
        Way::Published,
        Some((0.5, "loopback")),
    ),
    throughput(
        "one connection, outbound",
        Way::Outbound,
        Some((2.0, "pasta")),
    ),
    row(
        "a new connection each, pod to pod",
        Way::Pods,
        ["new", REQUESTS],
    ),
    row(
        "a new connection each, published port",
        Way::Published,
        ["new", REQUESTS],
    ),
    row(
        "requests on one connection, pod to pod",
        Way::Pods,
        ["kept", REQUESTS],
    ),
    row(
        "requests on one connection, published port",
        Way::Published,
        ["kept", REQUESTS],
    ),
];

/// An address and port, or why there is none.
type Target = Result<String, String>;

/// Makes a command of words.
type Client<'a> = Box<dyn Fn(&[&str]) -> Command + 'a>;

/// One that takes part, with its pods running.
struct Contender<'a> {
    name: String,
    /// `flow` with these words in its client pod.
    client: Client<'a>,
    pods: Target,
    published: Target,
    outbound: Target,
}

impl Contender<'_> {
    /// Measures once, with what is missing or failed in the words of the one who says so.
    fn run(&self, bench: &Bench, row: &Row) -> Result<f64, String> {
        let target = match row.way {
            Way::Pods => &self.pods,
            Way::Published => &self.published,
            Way::Outbound => &self.outbound,
        };
        let words = [row.words[0], target.as_deref()?, row.words[1]];
        // A published port is used from the machine.
        let command = match row.way {
            Way::Published => flow(bench, &words),
            Way::Pods | Way::Outbound => (self.client)(&words),
        };
        let said = attempt(command)?;
        let figure = said.trim().parse::<f64>().map_err(|_| said)?;
        Ok(figure / row.scale)
    }
}

fn flow(bench: &Bench, words: &[&str]) -> Command {
    let mut command = Command::new(bench.path("rootfs/flow"));
    command.args(words);
    command
}

/// A server outside of pods, which ends with this value.
struct Server {
    child: Child,
    port: String,
}

impl Server {
    /// The words of a command that ends with `flow guest`.
    fn start(mut command: Command) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        if port.is_empty() {
            let said = child.wait_with_output().unwrap().stderr;
            return Err(String::from_utf8_lossy(&said).trim().to_owned());
        }
        let port = port.trim().to_owned();
        Ok(Self { child, port })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    socket.local_addr().unwrap().port()
}

fn main() {
    if !std::env::args().any(|word| word == "--bench") {
        // `cargo test --benches` only wants to know that it builds.
        return;
    }
    if user().is_none() && std::env::var_os(NAMESPACES).is_none() {
        // What podman keeps in the firewall, in /run and in /dev/shm goes with the namespaces.
        let script = "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/shm && \
                      ip link set lo up && exec \"$0\" --bench";
        let error = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .env(NAMESPACES, "1")
            .exec();
        panic!("unshare: {error}");
    }
    let bench = Bench::prepare(
        &[("benches/fixtures/flow.rs", "rootfs/flow")],
        "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
         [network]\nnetwork_backend = \"netavark\"\n",
    );
    bench.import();
    let loopback = Server::start(flow(&bench, &["guest", "0"])).unwrap();
    let (outbound, _outside) = outside(&bench, &loopback);
    let local = Ok(format!("127.0.0.1:{}", loopback.port));
    let mut contenders = vec![
        Contender {
            name: "loopback".to_owned(),
            client: Box::new(|words| flow(&bench, words)),
            pods: local.clone(),
            published: local.clone(),
            outbound: local,
        },
        podrun(&bench, &outbound),
    ];
    let networks: &[&str] = match user() {
        None => &["bridge"],
        Some(_) => &["bridge", "slirp4netns", "pasta"],
    };
    if bench.podman {
        contenders.extend(networks.iter().map(|name| podman(&bench, name, &outbound)));
    }
    let (pasta, _server) = pasta(&bench, &outbound);
    contenders.push(pasta);
    compare(&bench, &contenders);
}

/// Where the outside is, and the server there when it is one of its own.
fn outside(bench: &Bench, loopback: &Server) -> (Target, Option<Server>) {
    if user().is_some() {
        let address = attempt(flow(bench, &["address"]));
        let target = address.map(|address| format!("{}:{}", address.trim(), loopback.port));
        return (target, None);
    }
    let mut command = Command::new("unshare");
    command.arg("--net").arg(bench.path("rootfs/flow"));
    command.args(["guest", "0"]);
    let server = Server::start(command).unwrap();
    let id = server.child.id().to_string();
    let ip = |words: &str| {
        let mut command = Command::new("ip");
        command.args(words.split(' '));
        quiet(command);
    };
    let outside = |words: &str| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &id, "--net", "ip"]);
        command.args(words.split(' '));
        quiet(command);
    };
    ip(&format!(
        "link add outside0 type veth peer name eth0 netns {id}"
    ));
    ip(&format!("address add {INSIDE}/30 dev outside0"));
    outside(&format!("address add {OUTSIDE}/30 dev eth0"));
    ip("link set outside0 up");
    outside("link set eth0 up");
    ip(&format!("route add default via {OUTSIDE}"));
    (Ok(format!("{OUTSIDE}:{}", server.port)), Some(server))
}

/// The manifest of a server and a client, whose names begin so, and the port of the machine that
/// leads to the server.
fn manifest(bench: &Bench, prefix: &str) -> (String, u16) {
    let published = free_port();
    let pod = |name: &str, words: &[&str], ports: serde_json::Value| {
        let mut command = vec!["/flow"];
        command.extend(words);
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("{prefix}-{name}") },
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "c0", "image": "localhost/bench:1", "command": command,
                    "imagePullPolicy": "Never", "ports": ports,
                }],
            },
        })
    };
    let ports = json!([{ "containerPort": PORT, "hostPort": published }]);
    let server = pod("server", &["serve", &PORT.to_string()], ports);
    let client = pod("client", &["wait"], json!([]));
    let path = bench.path(&format!("{prefix}.yaml"));
    std::fs::write(&path, format!("{server}\n---\n{client}\n")).unwrap();
    (path.to_str().unwrap().to_owned(), published)
}

/// The server's address as its pod says it, unless the client has the same.
fn server_pod(server: Command, client: Command) -> Target {
    let (server, client) = (attempt(server)?, attempt(client)?);
    if server == client {
        return Err("every pod has the same address: none reaches another".to_owned());
    }
    Ok(format!("{}:{PORT}", server.trim()))
}

fn podrun<'a>(bench: &'a Bench, outbound: &Target) -> Contender<'a> {
    let (path, published) = manifest(bench, "podrun");
    quiet(bench.podrun(&["up", &path]));
    let flow = |pod: &str, words: &[&str]| {
        let mut command = bench.podrun(&["exec", pod, "--", "/flow"]);
        command.args(words);
        command
    };
    Contender {
        name: "podrun".to_owned(),
        pods: server_pod(
            flow("podrun-server", &["address"]),
            flow("podrun-client", &["address"]),
        ),
        client: Box::new(move |words| flow("podrun-client", words)),
        published: Ok(format!("127.0.0.1:{published}")),
        outbound: outbound.clone(),
    }
}

fn podman<'a>(bench: &'a Bench, network: &str, outbound: &Target) -> Contender<'a> {
    let (path, published) = manifest(bench, network);
    let option = match network {
        "pasta" => format!("pasta:{}", PASTA.join(",")),
        other => other.to_owned(),
    };
    let played = attempt(bench.podman(&["play", "kube", "--network", &option, &path]));
    let flow = |pod: &str, words: &[&str]| {
        let mut command = bench.podman(&["exec", pod, "/flow"]);
        command.args(words);
        command
    };
    let (server, client) = (
        format!("{network}-server-c0"),
        format!("{network}-client-c0"),
    );
    Contender {
        name: format!("podman, {network}"),
        pods: played
            .clone()
            .and_then(|_| server_pod(flow(&server, &["address"]), flow(&client, &["address"]))),
        published: played.clone().map(|_| format!("127.0.0.1:{published}")),
        outbound: played.and(outbound.clone()),
        client: Box::new(move |words| flow(&client, words)),
    }
}

/// pasta without podman: one namespace of its own for the server, one for each client.
fn pasta<'a>(bench: &'a Bench, outbound: &Target) -> (Contender<'a>, Result<Server, String>) {
    let flow = |options: &[&str], words: &[&str]| {
        let mut command = Command::new("pasta");
        command.args(["--quiet", "--config-net"]).args(PASTA);
        if user().is_none() {
            // It would become nobody.
            command.args(["--runas", "0"]);
        }
        command.args(options).args(["--", "sh", "-c", SMALL_BUFFER]);
        command.arg(bench.path("rootfs/flow")).args(words);
        command
    };
    let port = free_port().to_string();
    let server = Server::start(flow(&["-t", &port], &["guest", &port]));
    let contender = Contender {
        name: "pasta".to_owned(),
        client: Box::new(move |words| flow(&["-t", "none"], words)),
        pods: Err("its namespaces do not reach one another".to_owned()),
        published: match &server {
            Ok(_) => Ok(format!("127.0.0.1:{port}")),
            Err(said) => Err(said.clone()),
        },
        outbound: outbound.clone(),
    };
    (contender, server)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}

fn shown(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}

fn compare(bench: &Bench, contenders: &[Contender<'_>]) {
    let names: Vec<&str> = contenders.iter().map(|one| one.name.as_str()).collect();
    println!("| what | {} | unit | bar |", names.join(" | "));
    println!("|---|{}---|---|", "---|".repeat(names.len()));
    let mut notes = Vec::new();
    for row in &ROWS {
        let mut all = vec![Ok(Vec::new()); contenders.len()];
        for round in 0..ROUNDS {
            for turn in 0..contenders.len() {
                // Each comes first, and last, in one round or another.
                let number = (turn + round) % contenders.len();
                let Ok(figures) = &mut all[number] else {
                    continue;
                };
                match contenders[number].run(bench, row) {
                    Ok(figure) => figures.push(figure),
                    Err(said) => all[number] = Err(said),
                }
            }
        }
        let mut figures = Vec::new();
        for (name, one) in names.iter().zip(all) {
            if let Err(said) = &one {
                let said = said.replace('\n', "; ");
                let of = format!("{name}: {said}");
                if !notes.contains(&of) {
                    notes.push(of);
                }
            }
            figures.push(one.ok().map(median));
        }
        let podrun = names
            .iter()
            .position(|name| *name == "podrun")
            .and_then(|at| figures[at]);
        let cells = names.iter().zip(&figures).map(|(name, figure)| {
            let Some(figure) = figure else {
                return "–".to_owned();
            };
            match podrun {
                Some(podrun) if *name != "podrun" => {
                    format!("{} ({:.2} ×)", shown(*figure), podrun / figure)
                }
                _ => shown(*figure),
            }
        });
        let cells: Vec<String> = cells.collect();
        let bar = row.bar.map_or_else(
            || "–".to_owned(),
            |(least, of)| {
                let met = names
                    .iter()
                    .zip(&figures)
                    .filter(|(name, _)| name.ends_with(of))
                    .filter_map(|(_, other)| Some(podrun? >= least * (*other)?));
                let met: Vec<bool> = met.collect();
                let verdict = match (met.is_empty(), met.iter().all(|met| *met)) {
                    (true, _) => "not measured",
                    (false, true) => "met",
                    (false, false) => "missed",
                };
                format!("≥ {least} {of}: {verdict}")
            },
        );
        println!(
            "| {} | {} | {} | {bar} |",
            row.what,
            cells.join(" | "),
            row.unit
        );
    }
    if !notes.is_empty() {
        println!("\nWhat – stands for:");
    }
    for note in notes {
        println!("- {note}");
    }
}
