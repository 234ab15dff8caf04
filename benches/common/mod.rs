//! What the benches share: their scratch directory, podrun and podman in it, and programs built to
//! run in any root file system.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A directory of the bench's own with an image, `localhost/bench:1`, that has been imported into
/// podrun and into podman, whose roots are in there as well. All of it goes on drop.
pub(crate) struct Bench {
    scratch: PathBuf,
    pub(crate) podrun: PathBuf,
    /// Whether podman and what it needs are installed.
    pub(crate) podman: bool,
    /// The file of podman's locks, where the user has none yet.
    locks: Option<PathBuf>,
}

/// The id of an ordinary user; root is none.
pub(crate) fn user() -> Option<u32> {
    let id = rustix::process::geteuid();
    (!id.is_root()).then(|| id.as_raw())
}

/// Compiles a source of this repository to a static program.
fn build(source: &str, to: &Path) {
    let status = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
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
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source))
        .arg("-o")
        .arg(to)
        .status()
        .expect("rustc runs");
    assert!(status.success(), "{source} does not build");
}

/// Runs a command that has to succeed.
pub(crate) fn quiet(command: Command) {
    if let Err(said) = attempt(command) {
        panic!("{said}");
    }
}

/// Runs a command and returns what it prints, or, if it fails, its program and its complaint.
pub(crate) fn attempt(mut command: Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output();
    let program = command.get_program().display();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", said.trim()))
}

impl Bench {
    /// `programs`: sources and where they go below the scratch directory; those in `rootfs/` are in
    /// the image. `conf`: the containers.conf of podman.
    pub(crate) fn prepare(programs: &[(&str, &str)], conf: &str) -> Self {
        let podrun = std::env::var_os("PODRUN_BENCH_BINARY").map_or_else(
            || {
                let target = format!(
                    "target/{}-unknown-linux-gnu/release/podrun",
                    std::env::consts::ARCH
                );
                Path::new(env!("CARGO_MANIFEST_DIR")).join(target)
            },
            PathBuf::from,
        );
        assert!(
            podrun.exists(),
            "{} is missing: build it as the README's \"Installing\" says",
            podrun.display()
        );
        let podman = ["podman", "runc", "catatonit"].iter().all(|name| {
            Command::new(name)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        });
        if !podman {
            eprintln!("podman, runc and catatonit are not all installed: their column stays empty");
        }
        let this = Self {
            scratch: PathBuf::from(format!("/var/tmp/podrun-bench-{}", std::process::id())),
            podrun,
            podman,
            locks: user()
                .map(|id| PathBuf::from(format!("/dev/shm/libpod_rootless_lock_{id}")))
                .filter(|path| !path.exists()),
        };
        for name in ["rootfs", "root", "podman/xdg", "empty"] {
            fs::create_dir_all(this.path(name)).unwrap();
        }
        let own = fs::Permissions::from_mode(0o700);
        fs::set_permissions(this.path("podman/xdg"), own).unwrap();
        for (source, to) in programs {
            build(source, &this.path(to));
        }
        fs::write(this.path("containers.conf"), conf).unwrap();
        this
    }

    /// Makes the image of what is in `rootfs/` and imports it.
    pub(crate) fn import(&self) {
        let tar = self.path("image.tar");
        let mut command = Command::new("tar");
        command
            .arg("-C")
            .arg(self.path("rootfs"))
            .arg("-cf")
            .arg(&tar)
            .arg(".");
        quiet(command);
        let mut command = self.podrun(&["image", "import"]);
        command.arg(&tar).arg("localhost/bench:1");
        quiet(command);
        if self.podman {
            let mut command = self.podman(&["import"]);
            command.arg(&tar).arg("localhost/bench:1");
            quiet(command);
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    pub(crate) fn podrun(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.podrun);
        command.args(args).env("PODRUN_ROOT", self.path("root"));
        command
    }

    pub(crate) fn podman(&self, args: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(self.path("podman/root"))
            .arg("--runroot")
            .arg(self.path("podman/run"))
            .arg("--tmpdir")
            .arg(self.path("podman/tmp"))
            .args([
                "--cgroup-manager=cgroupfs",
                "--events-backend=file",
                "--runtime=runc",
            ])
            .args(args)
            .env("CONTAINERS_CONF", self.path("containers.conf"))
            // A folder with the image's name would be taken for its build context.
            .current_dir(self.path("empty"));
        if user().is_some() {
            command
                .env("HOME", self.path("podman"))
                .env("XDG_RUNTIME_DIR", self.path("podman/xdg"));
            for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"] {
                command.env_remove(name);
            }
        }
        command
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.podrun(&["rm", "--all", "--force"]).output().ok();
        if self.podman {
            self.podman(&["pod", "rm", "--force", "--all", "--time", "0"])
                .output()
                .ok();
        }
        if self.podman && user().is_some() {
            // What belongs to ids of the user's range, and the process that holds their namespace.
            let mut command = self.podman(&["unshare", "rm", "-rf"]);
            command.arg(self.path("podman/root"));
            command.output().ok();
            let pause = fs::read_to_string(self.path("podman/tmp/pause.pid")).unwrap_or_default();
            if let Some(id) = pause.trim().parse().ok().and_then(Pid::from_raw) {
                kill_process(id, Signal::KILL).ok();
            }
        }
        if let Some(locks) = &self.locks {
            fs::remove_file(locks).ok();
        }
        fs::remove_dir_all(&self.scratch).ok();
    }
}
