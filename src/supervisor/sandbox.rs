//! What a pod's containers share: pause with the namespaces, `/etc` files, `/dev/shm`, volumes,
//! and the forwarder of published ports.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountAttrFlags, UnmountFlags};
use rustix::net::SendFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::net::{forward, namespace, pod_sockets};
use crate::plan::{Network, PodPlan};
use crate::runtime::wording;
use crate::stage::own_users::{self, PodUsers};
use crate::stage::pause::{self, PauseSetup};
use crate::stage::{Reporter, confine, prober};
use crate::sys::mount::{attach, new_filesystem};
use crate::sys::process::{self, CloneFlags, Cloned, SingleThread};
use crate::sys::{children, seqpacket, signal};
use crate::volume;
use crate::wire::{self, IdSpace, PauseLaunch};

/// Places in the pod's directory.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) pod_dir: PathBuf,
}

impl Places {
    pub(super) fn etc(&self) -> PathBuf {
        self.pod_dir.join("etc")
    }

    pub(super) fn shm(&self, plan: &PodPlan) -> PathBuf {
        if plan.host_ipc {
            PathBuf::from("/dev/shm")
        } else {
            self.pod_dir.join("shm")
        }
    }

    /// The directory that hides directories; on the tmpfs, so that a container's mountinfo does
    /// not show where the pod's directory is.
    pub(super) fn mask(&self) -> PathBuf {
        self.etc().join("mask")
    }

    /// Pause's root.
    pub(super) fn empty(&self) -> PathBuf {
        self.pod_dir.join("empty")
    }

    pub(super) fn container(&self, name: &str) -> PathBuf {
        self.pod_dir.join("containers").join(name)
    }

    /// The file that is bound to `terminationMessagePath`; on the tmpfs, so that a container cannot
    /// fill the disk with it.
    pub(super) fn message(&self, name: &str, attempt: u32) -> PathBuf {
        self.etc().join(format!("{name}.{attempt}.message"))
    }

    pub(super) fn logs(&self, name: &str) -> PathBuf {
        self.pod_dir.join("logs").join(name)
    }
}

/// Opens a directory of podrun's own.
pub(super) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )?)
}

/// Makes a directory of podrun's own, unless it is there.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The directories and file systems every container needs, with the trees of the launch.
pub(super) fn prepare(
    plan: &PodPlan,
    places: &Places,
    ids: IdSpace,
    trees: Vec<OwnedFd>,
    users: Option<&PodUsers>,
) -> Result<(), String> {
    prepare_shared(plan, places, users).map_err(|error| format!("the pod's directory: {error}"))?;
    if let Some(users) = users {
        own_users::check_layers(plan, users).map_err(|(container, failure)| {
            format!("container `{container}`: {}", wording::sentence(&failure))
        })?;
    }
    let users = users.map(|users| users.namespace.as_fd());
    volume::materialise(plan, &places.pod_dir, ids, trees, users).map_err(|error| error.to_string())
}

fn prepare_shared(plan: &PodPlan, places: &Places, users: Option<&PodUsers>) -> io::Result<()> {
    let give = |file: BorrowedFd<'_>| users.map_or(Ok(()), |users| users.give(file));
    for name in ["etc", "volumes", "containers", "logs"] {
        make_directory(&places.pod_dir.join(name))?;
    }
    // In memory and bounded: containers may write to these files (CVE-2020-8557).
    let options = [("mode", "0755"), ("size", "1m")];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let etc = new_filesystem("tmpfs", &options, attributes)?;
    attach(etc.as_fd(), open_directory(&places.etc())?.as_fd())?;
    for (name, content) in [
        ("hosts", &plan.files.hosts),
        ("hostname", &plan.files.hostname),
        ("resolv.conf", &plan.files.resolv_conf),
    ] {
        give(write_file(&etc, name, content.as_bytes())?.as_fd())?;
    }
    rustix::fs::mkdirat(&etc, "mask", Mode::from_raw_mode(0o555))?;
    rustix::fs::chmodat(
        &etc,
        "mask",
        Mode::from_raw_mode(0o555),
        rustix::fs::AtFlags::empty(),
    )?;
    if !plan.host_ipc {
        make_directory(&places.pod_dir.join("shm"))?;
        let shm = new_filesystem("tmpfs", &[("mode", "1777"), ("size", "65536k")], attributes)?;
        give(shm.as_fd())?;
        attach(shm.as_fd(), open_directory(&places.shm(plan))?.as_fd())?;
    }
    Ok(())
}

fn write_file(directory: &OwnedFd, name: &str, content: &[u8]) -> io::Result<File> {
    let file = rustix::fs::openat(
        directory,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o644),
    )?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
    let mut file = File::from(file);
    io::Write::write_all(&mut file, content)?;
    Ok(file)
}

/// Takes the pod's mounts out of this mount namespace, so that the directory can be removed.
pub(super) fn unmount(plan: &PodPlan, places: &Places) {
    volume::unmount(plan, &places.pod_dir);
    for path in [places.etc(), places.pod_dir.join("shm")] {
        rustix::mount::unmount(&path, UnmountFlags::DETACH).ok();
    }
}

/// The namespaces of pause in most pods, as `CLONE_NEW*` bits.
pub(super) const USUAL: libc::c_int =
    libc::CLONE_NEWNET | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWPID;

/// The namespaces of pause in this pod.
pub(super) fn namespaces(plan: &PodPlan) -> libc::c_int {
    let mut namespaces = 0;
    if matches!(plan.network, Network::Pod { .. }) {
        namespaces |= libc::CLONE_NEWNET | libc::CLONE_NEWUTS;
    }
    if !plan.host_ipc {
        namespaces |= libc::CLONE_NEWIPC;
    }
    if !plan.host_pid {
        namespaces |= libc::CLONE_NEWPID;
    }
    if plan.own_users {
        namespaces |= libc::CLONE_NEWUSER;
    }
    namespaces
}

/// Pause as the supervisor sees it.
#[derive(Debug)]
pub(super) struct Pause {
    pub(super) pidfd: OwnedFd,
    pub(super) report: OwnedFd,
    /// The end that keeps pause, and the forwarder, alive.
    lifeline: OwnedFd,
    lifeline_end: OwnedFd,
    /// Namespaces of pause that containers join, as `CLONE_NEW*` bits.
    pub(super) namespaces: libc::c_int,
}

impl Pause {
    /// Clones pause. It makes its own namespaces but for the pid namespace, in parallel with what
    /// the supervisor does meanwhile, and waits for its pod.
    pub(super) fn start(proof: &SingleThread, namespaces: libc::c_int) -> io::Result<Self> {
        let (report, theirs) = seqpacket::pair()?;
        let (lifeline_end, lifeline) = pipe_with(PipeFlags::CLOEXEC)?;
        let made = namespaces & (libc::CLONE_NEWPID | libc::CLONE_NEWUSER);
        let flags = CloneFlags {
            namespaces: made,
            sibling: false,
        };
        match process::clone_process(proof, flags)? {
            Cloned::Child => {
                // The write end must be the supervisor's alone, or pause would keep itself alive.
                let kept = [theirs.as_fd(), lifeline_end.as_fd()];
                if process::close_all_but(&kept).is_err() {
                    process::exit_now(125);
                }
                let setup = PauseSetup {
                    namespaces: namespaces & !made,
                    own_users: made & libc::CLONE_NEWUSER != 0,
                    network: namespace::configure,
                };
                pause::run(proof, &Reporter::new(theirs), &setup, lifeline_end.as_fd())
            }
            Cloned::Parent(pidfd) => Ok(Self {
                pidfd,
                report,
                lifeline,
                lifeline_end,
                namespaces,
            }),
        }
    }

    /// Gives it its pod.
    pub(super) fn set_up(
        &self,
        plan: &OwnedFd,
        places: &Places,
        route: Option<(BorrowedFd<'_>, u32)>,
        is_wired: bool,
    ) -> io::Result<()> {
        make_directory(&places.empty())?;
        let empty = open_directory(&places.empty())?;
        // Pause may be another user by the time this becomes its root.
        rustix::fs::chmod(places.empty(), Mode::from_raw_mode(0o755))?;
        let mut descriptors = vec![plan.as_fd(), empty.as_fd()];
        descriptors.extend(route.map(|(socket, _)| socket));
        let launch = PauseLaunch {
            bridge: route.map(|(_, bridge)| bridge),
            is_wired,
        };
        let bytes = wire::encode(&launch).map_err(io::Error::other)?;
        seqpacket::send(&self.report, &bytes, &descriptors, SendFlags::empty())
    }

    /// Ends pause and with it every process of the pod's pid namespace, and waits for it: once it
    /// is reaped the namespace is empty.
    pub(super) fn end(self) {
        process::signal(&self.pidfd, libc::SIGKILL).ok();
        children::reap_with_others(&self.pidfd).ok();
        drop(self.lifeline);
    }
}

/// Clones the prober: its process and our end of its socket.
pub(super) fn start_prober(
    proof: &SingleThread,
    plan: &PodPlan,
    pause: &Pause,
) -> io::Result<(OwnedFd, OwnedFd)> {
    let (process, socket) = start_helper(proof, plan, pause, c"podrun-prober", prober::run)?;
    rustix::fs::fcntl_setfl(&socket, OFlags::NONBLOCK)?;
    Ok((process, socket))
}

/// Clones a process that makes sockets in the pod's network namespace for `port-forward`, and
/// returns the end at which they are asked for. It ends with that, with the pod or with this
/// process, and is reaped as any child that nobody waits for.
pub(super) fn start_pod_sockets(
    proof: &SingleThread,
    plan: &PodPlan,
    pause: &Pause,
) -> io::Result<OwnedFd> {
    let name = c"podrun-sockets";
    let (_, socket) = start_helper(proof, plan, pause, name, |theirs, lifeline| {
        pod_sockets::serve(theirs.as_fd(), lifeline)
    })?;
    Ok(socket)
}

/// Clones a process of podrun's own in the pod's network namespace, which has nothing open but its
/// socket and what tells the pod's end: its process and our end of the socket.
fn start_helper(
    proof: &SingleThread,
    plan: &PodPlan,
    pause: &Pause,
    name: &CStr,
    work: impl FnOnce(OwnedFd, BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<(OwnedFd, OwnedFd)> {
    let (socket, theirs) = seqpacket::pair()?;
    match process::clone_process(proof, CloneFlags::default())? {
        Cloned::Parent(pidfd) => Ok((pidfd, socket)),
        Cloned::Child => {
            let kept = [
                theirs.as_fd(),
                pause.pidfd.as_fd(),
                pause.lifeline_end.as_fd(),
            ];
            let ready = process::close_all_but(&kept)
                .and_then(|()| rustix::thread::set_name(name).map_err(Into::into))
                .and_then(|()| become_helper(plan, pause));
            if ready.is_err() {
                process::exit_now(125);
            }
            let ended = work(theirs, pause.lifeline_end.as_fd());
            process::exit_now(i32::from(ended.is_err()))
        }
    }
}

/// Makes this process one of podrun's own in the pod's network namespace.
fn become_helper(plan: &PodPlan, pause: &Pause) -> io::Result<()> {
    process::die_with_parent()?;
    signal::reset_all()?;
    if matches!(plan.network, Network::Pod { .. }) {
        process::join_namespaces(pause.pidfd.as_fd(), libc::CLONE_NEWNET)?;
    }
    confine::confine_helper(&plan.helper_filter)
}

/// Clones the forwarder of the published ports.
pub(super) fn start_forwarder(
    proof: &SingleThread,
    plan: &PodPlan,
    pause: &Pause,
    sockets: Vec<OwnedFd>,
) -> io::Result<Option<OwnedFd>> {
    let Network::Pod { address, .. } = plan.network else {
        return Ok(None);
    };
    if sockets.is_empty() {
        return Ok(None);
    }
    match process::clone_process(proof, CloneFlags::default())? {
        Cloned::Parent(pidfd) => Ok(Some(pidfd)),
        Cloned::Child => {
            let kept: Vec<BorrowedFd<'_>> = sockets
                .iter()
                .map(AsFd::as_fd)
                .chain([pause.pidfd.as_fd(), pause.lifeline_end.as_fd()])
                .collect();
            let ready = process::close_all_but(&kept).and_then(|()| become_helper(plan, pause));
            if ready.is_err() {
                process::exit_now(125);
            }
            let listeners = sockets
                .into_iter()
                .zip(&plan.ports)
                .map(|(socket, port)| forward::Listener {
                    socket,
                    protocol: port.protocol,
                    to: SocketAddr::from((address, port.container_port)).into(),
                })
                .collect();
            let ended = forward::run(listeners, pause.lifeline_end.as_fd());
            process::exit_now(i32::from(ended.is_err()))
        }
    }
}
