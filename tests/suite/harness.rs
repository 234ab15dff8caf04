//! One test's podrun: a state directory, a scrubbed environment, and nothing left at the end.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::census;
use crate::forge;

/// How long anything may take before the test calls it a hang.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The image of most tests: one static program.
pub(crate) const IMAGE: &str = "localhost/probe:1";

/// Who the suite runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Root,
    /// An ordinary user with subuid ranges and newuidmap.
    User,
    /// An ordinary user with one id only.
    Single,
}

pub(crate) fn mode() -> Mode {
    static MODE: OnceLock<Mode> = OnceLock::new();
    *MODE.get_or_init(|| {
        let found = if rustix::process::geteuid().is_root() {
            Mode::Root
        } else if has_ranges() && program("newuidmap").is_some() {
            Mode::User
        } else {
            Mode::Single
        };
        let name = match found {
            Mode::Root => "root",
            Mode::User => "user",
            Mode::Single => "single",
        };
        if let Ok(wanted) = std::env::var("PODRUN_TEST_AS") {
            assert_eq!(
                wanted, name,
                "PODRUN_TEST_AS says another user than this is"
            );
        }
        found
    })
}

/// Whether this is the machine of `tests/machine/run`, where systemd gives every user who has logged
/// in cgroups of version 2.
pub(crate) fn is_in_machine() -> bool {
    std::env::var_os("PODRUN_TEST_MACHINE").is_some_and(|value| !value.is_empty())
}

/// Whether limits must be in force.
pub(crate) fn has_control() -> bool {
    mode() == Mode::Root || is_in_machine()
}

fn has_ranges() -> bool {
    let uid = rustix::process::getuid().as_raw().to_string();
    let name = fs::read_to_string("/etc/passwd")
        .unwrap_or_default()
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&uid))
        .and_then(|line| line.split(':').next().map(str::to_owned))
        .unwrap_or_default();
    fs::read_to_string("/etc/subuid")
        .unwrap_or_default()
        .lines()
        .any(|line| {
            let owner = line.split(':').next().unwrap_or_default();
            owner == name || owner == uid
        })
}

/// A program on the usual paths.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]
    .iter()
    .map(|dir| Path::new(dir).join(name))
    .find(|path| path.is_file())
}

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("PODRUN_TEST_BINARY").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_podrun")),
        PathBuf::from,
    )
}

/// Where fixtures that take time to build are kept between runs.
pub(crate) fn fixtures() -> PathBuf {
    std::env::var_os("PODRUN_TEST_FIXTURES")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from)
}

/// The static probe program, built once for its source.
pub(crate) fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let source = include_bytes!("../fixtures/probe.rs");
        let path = fixtures().join(format!("probe-{}", &forge::sha256(source)[..16]));
        if !path.exists() {
            let building = fixtures().join(format!("probe-{}.new", std::process::id()));
            let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
                .args([
                    "--edition",
                    "2024",
                    "-O",
                    "-C",
                    "panic=abort",
                    "-C",
                    "strip=symbols",
                ])
                .args(["-C", "target-feature=+crt-static"])
                .args([
                    "--target",
                    &format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
                ])
                .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/probe.rs"))
                .arg("-o")
                .arg(&building)
                .output()
                .expect("rustc builds the probe");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "the probe does not build: {said}");
            fs::set_permissions(&building, fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(&building, &path).unwrap();
        }
        path
    })
}

/// What a command has said.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// It must have ended with this code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "exit code\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    /// Its message must contain these words.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(
            self.stderr.contains(words),
            "`{words}` is not in:\n{}",
            self.stderr
        );
        self
    }
}

/// One test's podrun.
#[derive(Debug)]
pub(crate) struct Podrun {
    scratch: TempDir,
}

impl Podrun {
    /// With an empty store.
    pub(crate) fn empty() -> Self {
        let scratch = tempfile::Builder::new().prefix("pt-").tempdir().unwrap();
        for name in ["root", "home", "files"] {
            fs::create_dir(scratch.path().join(name)).unwrap();
        }
        Self { scratch }
    }

    /// With the probe's image.
    pub(crate) fn new() -> Self {
        let this = Self::empty();
        this.load(&forge::probe_image(IMAGE));
        this
    }

    /// Everything podrun keeps for this test.
    pub(crate) fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    /// A scratch directory of the test's own.
    pub(crate) fn files(&self) -> PathBuf {
        self.scratch.path().join("files")
    }

    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Loads an image archive.
    #[track_caller]
    pub(crate) fn load(&self, archive: &forge::Archive) {
        self.try_load(archive).ok();
    }

    /// Loads an image archive that may be refused.
    pub(crate) fn try_load(&self, archive: &forge::Archive) -> Output {
        let path = self.files().join("image.tar");
        fs::write(&path, &archive.bytes).unwrap();
        let output = self.run([
            "image",
            "load",
            path.to_str().unwrap(),
            "--tag",
            &archive.name,
        ]);
        fs::remove_file(path).unwrap();
        output
    }

    /// The command with a scrubbed environment.
    pub(crate) fn command(&self) -> Command {
        self.environment(Command::new(binary()))
    }

    /// Makes any command one whose environment is this test's only.
    pub(crate) fn environment(&self, mut command: Command) -> Command {
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", self.scratch.path().join("home"))
            .env("PODRUN_ROOT", self.root())
            .env("LC_ALL", "C")
            .current_dir(self.files())
            .stdin(Stdio::null());
        if let Some(backtrace) = std::env::var_os("RUST_BACKTRACE") {
            command.env("RUST_BACKTRACE", backtrace);
        }
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        let mut command = self.command();
        command.args(args);
        finish(command, b"")
    }

    pub(crate) fn run_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Output {
        let mut command = self.command();
        command.args(args).stdin(Stdio::piped());
        finish(command, input)
    }

    /// Writes a manifest and returns its path.
    pub(crate) fn manifest(&self, name: &str, content: &Value) -> String {
        self.manifest_text(&format!("{name}.json"), &content.to_string())
    }

    pub(crate) fn manifest_text(&self, name: &str, content: &str) -> String {
        let path = self.files().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn up(&self, content: &Value) -> Output {
        let path = self.manifest("pod", content);
        self.run(["up", &path])
    }

    /// `run`, the verb of CI.
    pub(crate) fn run_pod(&self, content: &Value) -> Output {
        let path = self.manifest("pod", content);
        self.run(["run", &path])
    }

    /// The v1.Pod of a name.
    #[track_caller]
    pub(crate) fn pod(&self, name: &str) -> Value {
        let output = self.run(["get", &format!("pod/{name}"), "-o", "json"]).ok();
        serde_json::from_str(&output.stdout).expect("`get -o json` prints JSON")
    }

    /// `up` that waits for nothing, with a back-off that a test need not wait for.
    #[track_caller]
    pub(crate) fn start(&self, content: &Value) {
        let path = self.manifest("pod", content);
        let mut command = self.command();
        command
            .env("PODRUN_BACKOFF_INITIAL", "10ms")
            .env("PODRUN_BACKOFF_MAX", "20ms")
            .args(["up", "--wait=none", &path]);
        finish(command, b"").ok();
    }

    /// Waits until a pod's status is so, and returns it.
    #[track_caller]
    pub(crate) fn until_status(
        &self,
        name: &str,
        what: &str,
        mut condition: impl FnMut(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.pod(name)["status"].clone();
            if condition(&status) {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain: {name} {what}\n{last:#}\n{:#?}",
                self.events(name)
            );
            last = status;
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a pod is in this phase, and returns its status.
    #[track_caller]
    pub(crate) fn until_phase(&self, name: &str, phase: &str) -> Value {
        self.until_status(name, &format!("is {phase}"), |status| {
            status["phase"] == phase
        })
    }

    /// A pod's events: `REASON MESSAGE`, as often as each came.
    #[track_caller]
    pub(crate) fn events(&self, name: &str) -> Vec<String> {
        let pod = self.pod(name);
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let files = census::files_below(&self.root());
        let path = files
            .iter()
            .find(|path| path.ends_with("events.json") && path.to_string_lossy().contains(uid));
        // None yet.
        let Some(path) = path else { return Vec::new() };
        let text = fs::read_to_string(path).unwrap();
        let log: Value = serde_json::from_str(&text).expect("events.json is JSON");
        let word = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
        log["events"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|event| {
                let line = format!("{} {}", word(event, "reason"), word(event, "message"));
                let count = usize::try_from(event["count"].as_u64().unwrap()).unwrap();
                std::iter::repeat_n(line, count)
            })
            .collect()
    }

    /// Waits until a pod has an event that begins so.
    #[track_caller]
    pub(crate) fn until_event(&self, name: &str, begin: &str) {
        let mut events = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while !events.iter().any(|event: &String| event.starts_with(begin)) {
            assert!(
                Instant::now() < deadline,
                "`{begin}` is not among the events of {name}: {events:#?}"
            );
            std::thread::sleep(Duration::from_millis(10));
            events = self.events(name);
        }
    }

    /// The pods of `ps -A`.
    #[track_caller]
    pub(crate) fn pods(&self) -> Vec<Value> {
        let output = self.run(["ps", "-A", "-o", "json"]).ok();
        let list: Value = serde_json::from_str(&output.stdout).expect("`ps -o json` prints JSON");
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// A command in a container, as exec's standard output.
    #[track_caller]
    pub(crate) fn probe(&self, pod: &str, container: &str, words: &[&str]) -> String {
        let mut args = vec!["exec", pod, "-c", container, "--", "/probe"];
        args.extend(words);
        self.run(args).ok().stdout
    }

    /// What the probe reports as the first process of a pod's only container, and as an exec'd one.
    #[track_caller]
    pub(crate) fn reports(&self, name: &str) -> (Value, Value) {
        let mut init = None;
        until("the probe reports", || {
            let log = self.run(["logs", name]).ok().stdout;
            let line = log.lines().find(|line| line.starts_with('{'));
            init = line.map(|line| serde_json::from_str(line).expect("the report is JSON"));
            init.is_some()
        });
        let init = init.unwrap();
        let said = self
            .run(["exec", name, "--", "/probe", "report"])
            .ok()
            .stdout;
        let exec = serde_json::from_str(said.trim()).expect("the report is JSON");
        (init, exec)
    }

    /// All processes of this test's pods.
    pub(crate) fn processes(&self) -> Vec<census::Process> {
        census::processes_of(&self.root())
    }

    /// Waits until a log contains the words.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, pod: &str, container: &str, words: &str) {
        until(
            &format!("`{words}` in the log of {pod}/{container}"),
            || {
                self.run(["logs", pod, "-c", container])
                    .stdout
                    .contains(words)
            },
        );
    }

    /// Fails when anything of a pod is left.
    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        assert_eq!(self.pods(), Vec::<Value>::new(), "pods are recorded");
        census::assert_no_processes(&self.root());
        census::assert_no_mounts(&self.root());
        assert_eq!(
            census::pod_files(&self.root()),
            Vec::<PathBuf>::new(),
            "files are left"
        );
    }
}

impl Drop for Podrun {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        // A second panic while the first unwinds would take all other tests with it.
        let removals = ["default", "other"].map(|namespace| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.run([
                    "rm",
                    "-n",
                    namespace,
                    "--all",
                    "--force",
                    "--ignore-not-found",
                ])
            }))
        });
        if failed {
            for process in &census::processes_of(&self.root()) {
                process.kill();
            }
        }
        if let Err(error) = fs::remove_dir_all(self.scratch.path()) {
            // Files of other ids of the user's range.
            let mut inside = Command::new("unshare");
            inside
                .args(["--map-root-user", "--map-auto", "rm", "-rf"])
                .arg(self.scratch.path());
            let done = inside.status().is_ok_and(|status| status.success());
            if !done {
                eprintln!("{}: {error}", self.scratch.path().display());
            }
        }
        if !failed {
            for removal in removals {
                let removal = removal.expect("rm --all ends");
                assert_eq!(
                    removal.code, 0,
                    "rm --all: {}{}",
                    removal.stdout, removal.stderr
                );
            }
            assert!(
                !self.scratch.path().exists(),
                "{} is left",
                self.scratch.path().display()
            );
            census::assert_no_processes(&self.root());
        }
    }
}

/// Runs a command to its end, with its input, and calls it a hang after [`PATIENCE`].
pub(crate) fn finish(command: Command, input: &[u8]) -> Output {
    Running::start(command, input).end()
}

/// A command that runs beside the test.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    what: String,
    stdout: std::thread::JoinHandle<Vec<u8>>,
    stderr: std::thread::JoinHandle<Vec<u8>>,
}

impl Running {
    pub(crate) fn start(mut command: Command, input: &[u8]) -> Self {
        let what = format!("{command:?}");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            std::thread::spawn(move || stdin.write_all(&input).ok());
        }
        let stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        let read = |mut from: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                from.read_to_end(&mut bytes).ok();
                bytes
            })
        };
        Self {
            child,
            what,
            stdout: read(Box::new(stdout)),
            stderr: read(Box::new(stderr)),
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    #[track_caller]
    pub(crate) fn end(mut self) -> Output {
        let in_time = ends_within(self.pid(), PATIENCE);
        if !in_time {
            self.child.kill().ok();
        }
        let status = self.child.wait().unwrap();
        let code = status.code().unwrap_or_else(|| {
            128 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0)
        });
        let Self {
            what,
            stdout,
            stderr,
            ..
        } = self;
        let bytes = stdout.join().unwrap();
        let stderr = String::from_utf8_lossy(&stderr.join().unwrap()).into_owned();
        let stdout = String::from_utf8_lossy(&bytes).into_owned();
        let shown: String = stdout.chars().take(4000).collect();
        assert!(
            in_time,
            "{what} does not end\n--- stdout\n{shown}\n--- stderr\n{stderr}"
        );
        Output {
            code,
            bytes,
            stdout,
            stderr,
        }
    }
}

/// Whether a process ends in this time.
pub(crate) fn ends_within(pid: Pid, time: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap(),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(_) => {}
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether this machine's loopback has an IPv6 address.
pub(crate) fn has_loopback6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

/// A TCP port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A Pod.
pub(crate) fn pod(name: &str, mut spec: Value, containers: &[Value]) -> Value {
    spec["containers"] = containers.into();
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec })
}

/// Several documents of one file.
pub(crate) fn documents(all: &[Value]) -> String {
    let texts: Vec<String> = all.iter().map(Value::to_string).collect();
    texts.join("\n---\n")
}

/// With the pod `pod`, whose container `a` waits.
pub(crate) fn with_a_pod() -> Podrun {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("pod", &[container("a", &["ready-sleep"])]))
        .ok();
    podrun
}

/// A Pod that is not restarted.
pub(crate) fn once(name: &str, containers: &[Value]) -> Value {
    pod(name, json!({ "restartPolicy": "Never" }), containers)
}

/// A Pod that lives, and ends soon when asked to.
pub(crate) fn lasting(name: &str, containers: &[Value]) -> Value {
    pod(
        name,
        json!({ "terminationGracePeriodSeconds": 1 }),
        containers,
    )
}

/// A container that runs the probe.
pub(crate) fn container(name: &str, words: &[&str]) -> Value {
    let mut command = vec!["/probe"];
    command.extend(words);
    json!({ "name": name, "image": IMAGE, "command": command })
}

/// A container of the probe with more fields.
pub(crate) fn container_with(name: &str, words: &[&str], fields: &Value) -> Value {
    let mut container = container(name, words);
    for (key, value) in fields.as_object().unwrap() {
        container[key] = value.clone();
    }
    container
}

/// The test is about those who may make cgroups; for the others there is nothing to say.
macro_rules! require_control {
    () => {
        if !has_control() {
            eprintln!("not about this user");
            return;
        }
    };
}
pub(crate) use require_control;

/// The test is about these users only; for the others there is nothing to say.
macro_rules! require_mode {
    ($($mode:expr),+) => {
        if ![$($mode),+].contains(&mode()) {
            eprintln!("not about this user");
            return;
        }
    };
}
pub(crate) use require_mode;
