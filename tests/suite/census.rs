//! Counts what podrun has on the machine: processes, mounts, namespaces and files.
//!
//! A process belongs to a test when it names the test's directory (command line, environment,
//! mounts, descriptors), when it serves a control socket below it, or when it descends from one
//! that does. All of it is read from the kernel; nothing is asked of podrun.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::harness::{PATIENCE, until};

/// One process, told apart from a later one with its number by its start time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) name: String,
    start: String,
}

/// The node agent's name.
const AGENT: &str = "podrun-node";

/// `include/linux/sched.h`: the process is in `do_exit`.
const PF_EXITING: u32 = 4;

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (front, back) = stat.rsplit_once(") ")?;
        let name = front.split_once('(')?.1.to_owned();
        let mut fields = back.split(' ');
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let flags: u32 = fields.nth(4)?.parse().ok()?;
        let start = fields.nth(12)?.to_owned();
        // A killed pause stays until the machine's process 1 has reaped the inits of its pid
        // namespace, which may take that one a while: it has let go of everything it had.
        let is_dead = state == "Z" || state == "X" || flags & PF_EXITING != 0;
        (!is_dead).then_some(Self {
            pid,
            parent,
            name,
            start,
        })
    }

    /// Whether this very process still runs.
    pub(crate) fn lives(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.start == self.start)
    }

    /// Whether it is dead before this time is over.
    pub(crate) fn ends_within(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while self.lives() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    pub(crate) fn id(&self) -> Pid {
        Pid::from_raw(self.pid).unwrap()
    }

    pub(crate) fn kill(&self) {
        if self.lives() {
            rustix::process::kill_process(self.id(), Signal::KILL).ok();
        }
    }
}

pub(crate) fn all_processes() -> BTreeMap<i32, Process> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Process::read(pid)?)))
        .collect()
}

/// The processes of all pods below this state directory; their node agent is none of them.
pub(crate) fn processes_of(root: &Path) -> Vec<Process> {
    let mut processes = with_agent(root);
    processes.retain(|process| process.name != AGENT);
    processes
}

/// The node agents of the pods below this state directory.
pub(crate) fn agents(root: &Path) -> Vec<Process> {
    let mut processes = with_agent(root);
    processes.retain(|process| process.name == AGENT);
    processes
}

fn with_agent(root: &Path) -> Vec<Process> {
    let all = all_processes();
    let own = i32::try_from(std::process::id()).unwrap();
    let word = root.to_str().unwrap();
    let mut members: BTreeSet<i32> = servers(root).into_iter().map(|(_, pid)| pid).collect();
    members.extend(
        all.keys()
            .filter(|pid| **pid != own && mentions(**pid, word)),
    );
    loop {
        let more: Vec<i32> = all
            .values()
            .filter(|process| !members.contains(&process.pid) && members.contains(&process.parent))
            .map(|process| process.pid)
            .collect();
        if more.is_empty() {
            break;
        }
        members.extend(more);
    }
    members.remove(&own);
    members
        .into_iter()
        .filter_map(|pid| all.get(&pid).cloned())
        .collect()
}

/// The servers of the pods' control sockets below the directory.
pub(crate) fn supervisors(root: &Path) -> Vec<i32> {
    let mut servers = servers(root);
    servers.retain(|(path, _)| !path.ends_with("node.sock"));
    servers.into_iter().map(|(_, pid)| pid).collect()
}

fn servers(root: &Path) -> Vec<(PathBuf, i32)> {
    let mut found = Vec::new();
    for path in files_below(root) {
        let is_socket =
            fs::symlink_metadata(&path).is_ok_and(|about| about.file_type().is_socket());
        if is_socket && let Some(pid) = server_of(&path) {
            found.push((path, pid));
        }
    }
    found
}

fn server_of(path: &Path) -> Option<i32> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
    let address = SocketAddrUnix::new(path).ok()?;
    for kind in [SocketType::SEQPACKET, SocketType::STREAM] {
        let socket = rustix::net::socket(AddressFamily::UNIX, kind, None).ok()?;
        if rustix::net::connect(&socket, &address).is_ok() {
            let peer = rustix::net::sockopt::socket_peercred(UnixStream::from(socket)).ok()?;
            return Some(peer.pid.as_raw_nonzero().get());
        }
    }
    None
}

fn mentions(pid: i32, word: &str) -> bool {
    let contains = |name: &str| {
        fs::read(format!("/proc/{pid}/{name}"))
            .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(word))
    };
    contains("cmdline")
        || contains("environ")
        || contains("mountinfo")
        || fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| {
                fs::read_link(entry.path())
                    .is_ok_and(|target| target.to_string_lossy().starts_with(word))
            })
}

/// Fails when a process is left; one that is just ending gets the time for it.
#[track_caller]
pub(crate) fn assert_no_processes(root: &Path) {
    let left: Vec<Process> = with_agent(root)
        .into_iter()
        .filter(|process| !process.ends_within(Duration::from_secs(2)))
        .collect();
    assert!(left.is_empty(), "processes are left: {left:#?}");
}

/// Fails when one of these processes outlives the time.
#[track_caller]
pub(crate) fn assert_all_end(processes: &[Process]) {
    for process in processes {
        assert!(
            process.ends_within(PATIENCE),
            "{process:?} outlives its pod"
        );
    }
}

/// Fails when the machine's mount table names the directory.
#[track_caller]
pub(crate) fn assert_no_mounts(root: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let word = root.to_str().unwrap();
    let left: Vec<&str> = table.lines().filter(|line| line.contains(word)).collect();
    assert!(left.is_empty(), "mounts are left: {left:#?}");
}

/// The namespaces of these processes, by their link names.
pub(crate) fn namespaces_of(processes: &[Process]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for process in processes {
        for name in ["net", "mnt", "pid", "ipc", "uts", "user", "cgroup"] {
            if let Ok(link) = fs::read_link(format!("/proc/{}/ns/{name}", process.pid)) {
                found.insert(link.to_string_lossy().into_owned());
            }
        }
    }
    found
}

/// Fails when one of these namespaces keeps a process, the test's own aside. The kernel gives a
/// freed namespace's number to the next one, so a pod of a test that runs beside this one may have
/// it for a while; what has leaked has it for ever.
#[track_caller]
pub(crate) fn assert_namespaces_gone(namespaces: &BTreeSet<String>) {
    let own = i32::try_from(std::process::id()).unwrap();
    let ours = namespaces_of(&[Process::read(own).unwrap()]);
    for process in all_processes().into_values() {
        let keeps = || {
            let held = namespaces_of(std::slice::from_ref(&process));
            held.iter()
                .any(|name| namespaces.contains(name) && !ours.contains(name))
        };
        until(&format!("{process:?} leaves the pod's namespaces"), || {
            !keeps() || !process.lives()
        });
    }
}

/// Everything below a directory.
pub(crate) fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// Files and directories of pods: whatever names a pod's uid.
pub(crate) fn pod_files(root: &Path) -> Vec<PathBuf> {
    let names_a_uid = |path: &Path| {
        path.components().any(|part| {
            part.as_os_str()
                .to_string_lossy()
                .split(['_', '.'])
                .any(|word| {
                    word.len() == 36 && word.bytes().filter(|byte| *byte == b'-').count() == 4
                })
        })
    };
    files_below(root)
        .into_iter()
        .filter(|path| path.strip_prefix(root).is_ok_and(names_a_uid))
        .collect()
}

/// A directory outside podrun's own that must stay as it is.
#[derive(Debug)]
pub(crate) struct Canary {
    path: PathBuf,
    before: Vec<(PathBuf, String)>,
}

impl Canary {
    pub(crate) const TOKEN: &'static str = "canary-5d1c0f77";

    pub(crate) fn new(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        fs::write(path.join("secret"), Self::TOKEN).unwrap();
        for name in ["empty", "w", "f"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        let before = Self::look(&path);
        Self { path, before }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn look(path: &Path) -> Vec<(PathBuf, String)> {
        use std::os::unix::fs::MetadataExt;
        let mut all = files_below(path);
        all.push(path.to_path_buf());
        all.into_iter()
            .map(|path| {
                let about = fs::symlink_metadata(&path).unwrap();
                let content = fs::read(&path).unwrap_or_default();
                let seen = (
                    about.mode(),
                    about.uid(),
                    about.gid(),
                    about.mtime_nsec(),
                    content,
                );
                (path, format!("{seen:?}"))
            })
            .collect()
    }

    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        assert_eq!(
            Self::look(&self.path),
            self.before,
            "the canary was touched"
        );
    }
}
