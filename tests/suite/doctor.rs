//! `doctor` on machines that lack something: each line that fails says what mends it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags};

use crate::harness::{Mode, Output, Podrun, binary, finish, mode, program, require_mode};

/// The line of a check, and the one after it.
#[track_caller]
fn line(output: &Output, name: &str) -> (String, String) {
    let mut lines = output.stdout.lines();
    let begin = format!("  {name}: ");
    let found = lines.find(|line| line.contains(&begin));
    let found = found.unwrap_or_else(|| panic!("no `{name}` in\n{}", output.stdout));
    (
        found.to_owned(),
        lines.next().unwrap_or_default().to_owned(),
    )
}

/// Every line that is no `ok` is followed by a hint.
#[track_caller]
fn all_hinted(output: &Output) {
    let lines: Vec<&str> = output.stdout.lines().collect();
    for (line, next) in lines.iter().zip(lines.iter().skip(1).chain([&""])) {
        if line.starts_with("FAIL") || line.starts_with("note") {
            assert!(next.starts_with("      hint: "), "{line}\n{next}");
        }
    }
}

#[test]
fn a_machine_of_the_suite_is_well() {
    let podrun = Podrun::empty();
    let output = podrun.run(["doctor"]).ok();
    all_hinted(&output);
    for name in ["kernel", "system calls", "devices", "sandbox"] {
        let (line, _) = line(&output, name);
        assert!(!line.starts_with("FAIL"), "{line}");
    }
    let (network, _) = line(&output, "pod network");
    assert!(network.contains("Services and the outside"), "{network}");
    podrun.nothing_left();
    assert!(output.stdout.contains("overlay"), "{}", output.stdout);
}

#[test]
fn a_store_that_is_full_or_odd_is_told() {
    require_mode!(Mode::Root);
    let podrun = Podrun::empty();
    for (options, flags, code, word, words) in [
        (c"size=1m", MountFlags::empty(), 1, "FAIL", "is full"),
        (c"size=8g", MountFlags::NOEXEC, 0, "note", "noexec"),
        (c"size=8g", MountFlags::NOSUID, 0, "note", "nosuid"),
        (c"size=8g", MountFlags::empty(), 0, "note", "is in memory"),
    ] {
        rustix::mount::mount("tmpfs", podrun.root(), "tmpfs", flags, options).unwrap();
        let output = podrun.run(["doctor"]);
        rustix::mount::unmount(podrun.root(), UnmountFlags::DETACH).unwrap();
        let output = output.code(code);
        let (line, _) = line(&output, "store");
        assert!(line.starts_with(word) && line.contains(words), "{line}");
        all_hinted(&output);
    }
    rustix::mount::mount("tmpfs", podrun.root(), "tmpfs", MountFlags::RDONLY, None).unwrap();
    let output = podrun.run(["doctor"]);
    rustix::mount::unmount(podrun.root(), UnmountFlags::DETACH).unwrap();
    let output = output.code(1);
    let (line, hint) = line(&output, "store");
    assert!(
        line.contains("cannot be made") && hint.contains("PODRUN_ROOT"),
        "{line}\n{hint}"
    );
}

/// A user namespace has limits of its own.
#[test]
fn a_limit_of_no_namespaces_is_told() {
    require_mode!(Mode::Root);
    let podrun = Podrun::empty();
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "sh", "-c"])
        .arg("echo 0 > /proc/sys/user/max_net_namespaces && exec \"$0\" doctor")
        .arg(binary())
        .env("PODRUN_ROOT", podrun.root());
    let output = finish(command, b"").code(1);
    let (line, hint) = line(&output, "user namespaces");
    assert!(
        line.starts_with("FAIL") && line.contains("max_net_namespaces is 0"),
        "{line}"
    );
    assert!(hint.contains("sysctl -w user.max_net_namespaces"), "{hint}");
}

#[test]
fn a_home_that_is_none_is_told() {
    require_mode!(Mode::User, Mode::Single);
    let podrun = Podrun::empty();
    let closed = podrun.files().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    let closed = closed.to_str().unwrap();
    for (home, words) in [
        (None, "HOME is not set"),
        (Some("relative"), "HOME is not an absolute path"),
        (Some("/"), "HOME is `/`"),
        (Some("/nonexistent"), "HOME is not a directory"),
        (Some(closed), "cannot be made"),
    ] {
        let mut command = podrun.command();
        command
            .env_remove("PODRUN_ROOT")
            .env_remove("HOME")
            .arg("doctor");
        if let Some(home) = home {
            command.env("HOME", home);
        }
        let output = finish(command, b"").code(1);
        let (line, hint) = line(&output, "store");
        assert!(line.starts_with("FAIL") && line.contains(words), "{line}");
        assert!(hint.contains("PODRUN_ROOT"), "{hint}");
    }
    let mut command = podrun.command();
    command
        .env_remove("PODRUN_ROOT")
        .env("XDG_DATA_HOME", "data")
        .arg("doctor");
    let output = finish(command, b"");
    let (line, hint) = line(&output, "directories");
    assert!(
        line.contains("XDG_DATA_HOME is relative and ignored"),
        "{line}"
    );
    assert!(line.contains("XDG_RUNTIME_DIR is not set"), "{line}");
    assert!(hint.contains("hint:"), "{hint}");
}

#[test]
fn a_program_that_has_lost_its_power_is_told() {
    require_mode!(Mode::User);
    let podrun = Podrun::empty();
    // A copy has neither a capability nor set-user-id root.
    for name in ["newuidmap", "newgidmap"] {
        let original = program(name).unwrap();
        fs::copy(original, podrun.files().join(name)).unwrap();
    }
    let mut command = podrun.command();
    command.env("PATH", podrun.files()).arg("doctor");
    let output = finish(command, b"").code(1);
    let (line, hint) = line(&output, "user");
    assert!(
        line.contains("newuidmap has neither its capability"),
        "{line}"
    );
    assert!(hint.contains("uidmap"), "{hint}");
    all_hinted(&output);
}
