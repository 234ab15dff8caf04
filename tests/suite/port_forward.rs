//! `podrun port-forward`.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal};
use serde_json::json;

use crate::census;
use crate::harness::{
    Mode, PATIENCE, Podrun, container, container_with, documents, ends_within, free_port,
    has_loopback6, lasting, mode, once, until,
};

/// A `port-forward` that runs beside the test.
struct Forward {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Forward {
    /// Returns when it forwards.
    #[track_caller]
    fn start(podrun: &Podrun, args: &[&str]) -> Self {
        let mut command = podrun.command();
        command.arg("port-forward").args(args);
        Self::spawn(podrun, command)
    }

    #[track_caller]
    fn spawn(podrun: &Podrun, mut command: Command) -> Self {
        let (stdout, stderr) = (podrun.files().join("stdout"), podrun.files().join("stderr"));
        let child = command
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let this = Self {
            child,
            stdout,
            stderr,
        };
        this.until_says("Forwarding from");
        this
    }

    fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap()
    }

    fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    #[track_caller]
    fn until_says(&self, words: &str) {
        until(words, || {
            let said = self.stdout() + &self.stderr();
            assert!(
                said.contains(words) || !said.contains("error: ") || words.contains("error"),
                "{said}"
            );
            said.contains(words)
        });
    }

    /// The port that the first line names.
    fn local(&self) -> u16 {
        let stdout = self.stdout();
        let line = stdout.lines().next().unwrap();
        let (before, _) = line.split_once(" -> ").unwrap();
        before.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// Its code when it has ended by itself.
    #[track_caller]
    fn code(&mut self) -> i32 {
        assert!(ends_within(self.pid(), PATIENCE), "it goes on");
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn connect(address: impl Into<IpAddr>, port: u16) -> TcpStream {
    let stream = TcpStream::connect(SocketAddr::new(address.into(), port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// All that a server says.
fn get(address: impl Into<IpAddr>, port: u16) -> String {
    let mut text = String::new();
    connect(address, port).read_to_string(&mut text).unwrap();
    text
}

/// Whether the connection is made and reset.
fn is_reset(port: u16) -> bool {
    let read = connect(Ipv4Addr::LOCALHOST, port).read(&mut [0]);
    read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

fn with_echo() -> Podrun {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("echo", &[container("a", &["tcp-echo", "8000"])]))
        .ok();
    podrun.wait_for_log("echo", "a", "listening");
    podrun
}

#[test]
fn a_server_on_the_pods_loopback_is_reached_by_both_loopback_addresses() {
    require!(has_loopback6(), "the loopback has no IPv6 address");
    let podrun = Podrun::new();
    let words = ["tcp-serve-loopback", "8000", "from the loopback"];
    podrun.up(&lasting("web", &[container("a", &words)])).ok();
    podrun.wait_for_log("web", "a", "listening");
    let forward = Forward::start(&podrun, &["pod/web", ":8000"]);
    let port = forward.local();
    assert_eq!(get(Ipv4Addr::LOCALHOST, port), "from the loopback");
    assert_eq!(get(Ipv6Addr::LOCALHOST, port), "from the loopback");
    assert_eq!(
        forward.stdout(),
        format!(
            "Forwarding from 127.0.0.1:{port} -> 8000\nForwarding from [::1]:{port} -> 8000\n\
             Handling connection for {port}\nHandling connection for {port}\n"
        )
    );
    assert_eq!(forward.stderr(), "");
}

#[test]
fn a_server_that_listens_on_ipv6_only_is_reached() {
    require!(has_loopback6(), "the loopback has no IPv6 address");
    let podrun = Podrun::new();
    let words = ["tcp-serve-at", "[::1]:8000", "from ::1"];
    podrun.up(&lasting("six", &[container("a", &words)])).ok();
    podrun.wait_for_log("six", "a", "listening");
    let forward = Forward::start(&podrun, &["six", ":8000"]);
    assert_eq!(get(Ipv4Addr::LOCALHOST, forward.local()), "from ::1");
}

#[test]
fn many_connections_go_both_ways_at_once() {
    let podrun = with_echo();
    let forward = Forward::start(&podrun, &["echo", ":8000"]);
    let port = forward.local();
    let mut streams: Vec<TcpStream> = (0..300)
        .map(|_| connect(Ipv4Addr::LOCALHOST, port))
        .collect();
    // All are open until all have answered, the last one first.
    for (i, stream) in streams.iter_mut().enumerate().rev() {
        stream
            .write_all(format!("message {i:03}").as_bytes())
            .unwrap();
        let mut answer = [0; 11];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, format!("message {i:03}").as_bytes());
    }
    assert_eq!(forward.stdout().matches("Handling").count(), 300);
}

#[test]
fn what_one_side_has_said_ends_while_the_other_still_speaks() {
    let podrun = with_echo();
    let forward = Forward::start(&podrun, &["echo", ":8000"]);
    let mut stream = connect(Ipv4Addr::LOCALHOST, forward.local());
    let sent: Vec<u8> = (0..8_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut writer = stream.try_clone().unwrap();
    let mut received = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        stream.read_to_end(&mut received).unwrap();
    });
    assert!(received == sent, "{} bytes", received.len());
}

#[test]
fn a_connection_that_the_pod_refuses_is_reset_and_told_and_the_others_go_on() {
    let podrun = with_echo();
    let forward = Forward::start(&podrun, &["echo", ":8000", ":8001"]);
    let port = forward.local();
    let stdout = forward.stdout();
    let refused = stdout.lines().find(|line| line.ends_with("-> 8001"));
    let (before, _) = refused.unwrap().split_once(" -> ").unwrap();
    let refused: u16 = before.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut stream = connect(Ipv4Addr::LOCALHOST, port);
    for _ in 0..2 {
        assert!(is_reset(refused));
    }
    forward.until_says(&format!(
        "error: an error occurred forwarding {refused} -> 8001: connection refused"
    ));
    stream.write_all(b"still there").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "still there");
}

#[test]
fn a_client_that_leaves_without_reading_breaks_its_own_connection_only() {
    let podrun = with_echo();
    let forward = Forward::start(&podrun, &["echo", ":8000"]);
    let port = forward.local();
    for _ in 0..20 {
        let mut stream = connect(Ipv4Addr::LOCALHOST, port);
        stream.set_nonblocking(true).unwrap();
        while stream.write(&[7; 4096]).is_ok() {}
    }
    let mut stream = connect(Ipv4Addr::LOCALHOST, port);
    stream.write_all(b"x").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
}

#[test]
fn nobody_needs_to_read_what_it_says() {
    let podrun = with_echo();
    let mut command = podrun.command();
    let port = free_port().to_string();
    let mut child = command
        .args(["port-forward", "echo", &format!("{port}:8000")])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    // As small as a pipe can be: it holds less than is said below.
    rustix::pipe::fcntl_setpipe_size(&stdout, 4096).unwrap();
    let port = port.parse().unwrap();
    for _ in 0..300 {
        let mut stream = connect(Ipv4Addr::LOCALHOST, port);
        stream.write_all(b"x").unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    }
    drop(stdout);
    let mut stream = connect(Ipv4Addr::LOCALHOST, port);
    stream.write_all(b"x").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn ports_have_names_and_local_ports_of_their_own() {
    let podrun = Podrun::new();
    let ports = json!({ "ports": [
        { "name": "dns", "containerPort": 53, "protocol": "UDP" },
        { "name": "http", "containerPort": 8000 },
    ] });
    let web = container_with("a", &["tcp-serve", "8000", "named"], &ports);
    podrun.up(&lasting("web", &[web])).ok();
    podrun.wait_for_log("web", "a", "listening");
    let (one, two) = (free_port(), free_port());
    let wanted = [&format!("{one}:http"), &format!("{two}:8000")];
    let forward = Forward::start(&podrun, &["web", wanted[0], wanted[1]]);
    assert_eq!(get(Ipv4Addr::LOCALHOST, one), "named");
    assert_eq!(get(Ipv4Addr::LOCALHOST, two), "named");
    drop(forward);
    // The local port is the remote one where it is not said.
    let forward = Forward::start(&podrun, &["web", "http"]);
    assert_eq!(forward.local(), 8000);
    drop(forward);

    podrun
        .run(["port-forward", "web", "https"])
        .code(4)
        .says("pod/web has no port `https`")
        .says("it has dns, http");
    for udp in [":dns", ":53"] {
        podrun
            .run(["port-forward", "web", udp])
            .code(1)
            .says("of pod/web is UDP: only TCP is forwarded");
    }
}

#[test]
fn a_service_leads_to_the_target_port_of_a_ready_pod() {
    let podrun = Podrun::new();
    let ports = json!({ "ports": [{ "name": "http", "containerPort": 8000 }] });
    let web = container_with("a", &["tcp-serve", "8000", "behind"], &ports);
    let mut web = lasting("web", &[web]);
    web["metadata"]["labels"] = json!({ "app": "web" });
    let service = |name: &str, spec: serde_json::Value| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name }, "spec": spec,
        })
    };
    let all = documents(&[
        service(
            "front",
            json!({
                "selector": { "app": "web" },
                "ports": [
                    { "name": "main", "port": 7000, "targetPort": "http" },
                    { "name": "dns", "port": 53, "protocol": "UDP" },
                ],
            }),
        ),
        service(
            "nobody",
            json!({ "selector": { "app": "other" }, "ports": [{ "port": 80 }] }),
        ),
        web,
    ]);
    let path = podrun.manifest_text("all", &all);
    podrun.run(["up", &path]).ok();
    podrun.wait_for_log("web", "a", "listening");
    for (wanted, local) in [(":7000", None), ("main", Some(7000))] {
        let forward = Forward::start(&podrun, &["service/front", wanted]);
        assert!(local.is_none_or(|local| local == forward.local()));
        assert!(forward.stdout().contains("-> 8000"), "{}", forward.stdout());
        assert_eq!(get(Ipv4Addr::LOCALHOST, forward.local()), "behind");
    }
    for (service, port, code, words) in [
        ("svc/front", ":8000", 4, "service/front has no port 8000"),
        ("svc/front", ":53", 1, "only TCP is forwarded"),
        (
            "svc/nobody",
            ":80",
            1,
            "service/nobody leads to no pod that is ready",
        ),
        ("svc/missing", ":80", 4, "service/missing not found"),
        (
            "configmap/front",
            ":80",
            2,
            "is neither a pod nor a service",
        ),
        ("deployment/front", ":80", 2, "`deployment` is not a kind"),
    ] {
        podrun
            .run(["port-forward", service, port])
            .code(code)
            .says(words);
    }
}

#[test]
fn a_pod_in_the_hosts_network_is_forwarded_to_as_well() {
    let podrun = Podrun::new();
    let port = free_port();
    let words = ["tcp-serve-loopback", &port.to_string(), "on the host"];
    let mut pod = lasting("host", &[container("a", &words)]);
    pod["spec"]["hostNetwork"] = true.into();
    podrun.up(&pod).ok();
    podrun.wait_for_log("host", "a", "listening");
    let forward = Forward::start(&podrun, &["host", &format!(":{port}")]);
    assert_eq!(get(Ipv4Addr::LOCALHOST, forward.local()), "on the host");
}

#[test]
fn it_ends_with_the_pod() {
    let podrun = with_echo();
    let mut forward = Forward::start(&podrun, &["echo", ":8000"]);
    let mut stream = connect(Ipv4Addr::LOCALHOST, forward.local());
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    podrun.run(["rm", "echo"]).ok();
    assert_eq!(forward.code(), 1);
    assert_eq!(forward.stderr(), "error: lost connection to pod/echo\n");
    drop(forward);
    assert!(!matches!(stream.read(&mut [0]), Ok(1)), "somebody answered");
    podrun.nothing_left();
}

#[test]
fn it_goes_on_while_a_container_is_started_again() {
    let podrun = with_echo();
    let forward = Forward::start(&podrun, &["echo", ":8000"]);
    podrun.run(["restart", "echo"]).ok();
    podrun.wait_for_log("echo", "a", "listening");
    until("the container listens again", || {
        let mut stream = connect(Ipv4Addr::LOCALHOST, forward.local());
        let said = stream.write_all(b"x");
        said.is_ok() && matches!(stream.read(&mut [0]), Ok(1))
    });
}

#[test]
fn an_interrupt_ends_it_and_nothing_is_left() {
    let podrun = with_echo();
    let before = podrun.processes().len();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut forward = Forward::start(&podrun, &["echo", ":8000"]);
        let port = forward.local();
        let mut stream = connect(Ipv4Addr::LOCALHOST, port);
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        rustix::process::kill_process(forward.pid(), signal).unwrap();
        assert_eq!(forward.code(), code);
        assert_eq!(forward.stderr(), "");
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
        until("the process in the pod's namespace ends", || {
            podrun.processes().len() == before
        });
    }
    // A kill leaves no more behind.
    let forward = Forward::start(&podrun, &["echo", ":8000"]);
    assert!(podrun.processes().len() > before);
    drop(forward);
    until("the process in the pod's namespace ends", || {
        podrun.processes().len() == before
    });
    podrun.run(["rm", "echo"]).ok();
    podrun.nothing_left();
    census::assert_no_processes(&podrun.root());
}

#[test]
fn it_listens_where_it_is_told_and_nowhere_else() {
    require!(has_loopback6(), "the loopback has no IPv6 address");
    let podrun = with_echo();
    let local = ["--address", "127.0.0.2,::1", "echo", ":8000"];
    let forward = Forward::start(&podrun, &local);
    let port = forward.local();
    assert_eq!(
        forward.stdout(),
        format!("Forwarding from 127.0.0.2:{port} -> 8000\nForwarding from [::1]:{port} -> 8000\n")
    );
    drop(connect(Ipv4Addr::new(127, 0, 0, 2), port));
    drop(connect(Ipv6Addr::LOCALHOST, port));
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    drop(forward);
    // Both take all of their own family.
    let all = ["--address=0.0.0.0", "--address=::", "echo", ":8000"];
    let forward = Forward::start(&podrun, &all);
    drop(connect(Ipv4Addr::LOCALHOST, forward.local()));
    drop(connect(Ipv6Addr::LOCALHOST, forward.local()));
}

#[test]
fn what_cannot_be_forwarded_is_refused_with_the_right_code() {
    let podrun = with_echo();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = taken.local_addr().map(|at| (at.port(), taken)).unwrap();
    let port = taken.0;
    podrun
        .run(["port-forward", "echo", &format!("{port}:8000")])
        .code(1)
        .says(&format!("port 127.0.0.1:{port} of the host is in use"))
        .says("hint: choose another one, `:REMOTE` for any that is free");
    for (args, code, words) in [
        (
            &["port-forward", "other", "80"][..],
            4,
            "pod/other not found",
        ),
        (&["port-forward", "echo"], 2, "[LOCAL:]REMOTE"),
        (&["port-forward", "echo", "80:"], 2, "`80:` is not a port"),
        (&["port-forward", "echo", "0"], 2, "`0` is not a port"),
        (
            &["port-forward", "--address=here", "echo", ":80"],
            2,
            "--address: `here` is not an address",
        ),
        (
            &["port-forward", "--address=192.0.2.1", "echo", ":80"],
            1,
            "the host has no such address",
        ),
    ] {
        podrun.run(args).code(code).says(words);
    }
    if mode() != Mode::Root {
        podrun
            .run(["port-forward", "echo", "80:8000"])
            .code(1)
            .says("port 127.0.0.1:80 of the host may not be opened by this user")
            .says("ip_unprivileged_port_start");
    }
    podrun.run(["rm", "echo"]).ok();
    let done = once("done", &[container("a", &["exit", "0"])]);
    let path = podrun.manifest("done", &done);
    podrun.run(["up", "--wait=done", &path]).ok();
    podrun
        .run(["port-forward", "done", "80"])
        .code(1)
        .says("pod/done has ended");
}
