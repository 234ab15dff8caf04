//! The plan of one pod: pure data, serialisable, written by the front end and performed by the
//! supervisor without looking anything up.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::{
    BindOptions, Console, ContainerRestart, EnvFile, Filter, Hooks, Probes, Propagation, Resources,
    Role, SecurityPlan, TerminationMessage,
};
use crate::names::{ContainerName, Namespace, ObjectName, PodUid, VolumeName};

/// The version written into every plan; a supervisor refuses another one.
pub const PLAN_VERSION: u32 = 1;

/// How many ids a pod with `hostUsers: false` has (`userns/types.go` of the kubelet).
pub const POD_IDS: u32 = 65536;

/// One pod, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPlan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// `metadata.namespace`, `default` when absent.
    pub namespace: Namespace,
    /// `metadata.name`.
    pub name: ObjectName,
    /// The generated `metadata.uid`.
    pub uid: PodUid,
    /// The host name in the pod's UTS namespace, the full one with `setHostnameAsFQDN`; not used with
    /// [`Network::Host`].
    pub hostname: String,
    /// Which network namespace the pod has.
    pub network: Network,
    /// `spec.hostPID`.
    pub host_pid: bool,
    /// `spec.hostIPC`.
    pub host_ipc: bool,
    /// `spec.hostUsers: false`: the pod has [`POD_IDS`] ids of its own.
    pub own_users: bool,
    /// `spec.shareProcessNamespace`: containers run in pause's own pid namespace.
    pub share_process_namespace: bool,
    /// Contents of the files bound into every container.
    pub files: EtcFiles,
    /// What is not in `/etc/resolv.conf` because of Kubernetes' bounds: a sentence for each list.
    pub dns_omissions: Vec<String>,
    /// The machine's own addresses, for the status.
    pub host_addresses: Addresses,
    /// The system calls of podrun's own processes in the pod.
    pub helper_filter: Filter,
    /// `spec.securityContext.sysctls`: paths below `/proc/sys`, with their values, in order.
    pub sysctls: Vec<(String, String)>,
    /// `spec.readinessGates`: conditions that must be true before the pod is Ready.
    pub readiness_gates: Vec<String>,
    /// `spec.securityContext.fsGroup`, whose volumes belong to it.
    pub fs_group: Option<FsGroup>,
    /// `spec.resources`: what the containers together request and may have at most; what is not
    /// written for the pod follows from its containers.
    pub resources: Resources,
    /// The pod's volumes, each materialised once.
    pub volumes: Vec<VolumePlan>,
    /// The containers: those of `spec.initContainers`, then those of `spec.containers`, each in
    /// its order.
    pub containers: Vec<ContainerPlan>,
    /// `spec.restartPolicy`.
    pub restart_policy: RestartPolicy,
    /// `spec.terminationGracePeriodSeconds`.
    pub termination_grace_period_seconds: u64,
    /// `spec.activeDeadlineSeconds`, from the pod's start.
    pub active_deadline_seconds: Option<u64>,
    /// Back-off between restarts.
    pub back_off: BackOff,
    /// Published ports: hostPort and `--publish`.
    pub ports: Vec<PublishedPort>,
}

/// Back-off constants in milliseconds: kubelet's 10 s doubling to 300 s, or what
/// `PODRUN_BACKOFF_INITIAL` and `PODRUN_BACKOFF_MAX` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackOff {
    /// Delay before the second restart.
    pub initial_ms: u64,
    /// The largest delay.
    pub max_ms: u64,
}

impl Default for BackOff {
    /// `initialCrashLoopBackOff` and `MaxCrashLoopBackOff` of kubelet.go.
    fn default() -> Self {
        Self {
            initial_ms: 10_000,
            max_ms: 300_000,
        }
    }
}

/// An IPv4 address, and the IPv6 address of the same pod or machine if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The one that counts where one is asked for (`status.podIP`).
    pub v4: Ipv4Addr,
    /// The other one.
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// All, IPv4 first.
    pub fn list(&self) -> Vec<IpAddr> {
        let v6 = self.v6.map(IpAddr::V6);
        std::iter::once(IpAddr::V4(self.v4)).chain(v6).collect()
    }
}

/// The pod's network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// `hostNetwork: true`; the pod's address is the machine's.
    Host {
        /// The machine's own address.
        address: IpAddr,
    },
    /// A namespace of the pod's own with `lo` and `eth0`.
    Pod {
        /// The address of `eth0`, unique among the user's pods.
        address: Ipv4Addr,
        /// Prefix length of the pod network.
        prefix_len: u8,
        /// Its IPv6 address, unique as well.
        address_v6: Option<Ipv6Addr>,
    },
}

impl PodPlan {
    /// The names of the layers that its containers and volumes are made of.
    pub fn layers(&self) -> BTreeSet<String> {
        let roots = self.containers.iter().filter_map(|one| match &one.root {
            RootSource::Layers(layers) => Some(layers),
            RootSource::Host => None,
        });
        let volumes = self.volumes.iter().filter_map(|one| match &one.source {
            VolumeSource::Image { layers } => Some(layers),
            _ => None,
        });
        let paths = roots.chain(volumes).flatten();
        let names = paths.filter_map(|path| path.file_name()?.to_str());
        names.map(ToOwned::to_owned).collect()
    }

    /// `status.podIPs`: those of the pod's own network, or the machine's.
    pub fn addresses(&self) -> Vec<IpAddr> {
        match self.network {
            Network::Host { .. } => self.host_addresses.list(),
            Network::Pod {
                address: v4,
                address_v6: v6,
                ..
            } => Addresses { v4, v6 }.list(),
        }
    }
}

/// Contents of the files podrun writes for every container of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcFiles {
    /// `/etc/hosts`
    pub hosts: String,
    /// `/etc/resolv.conf`
    pub resolv_conf: String,
    /// `/etc/hostname`
    pub hostname: String,
}

/// `spec.restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Restart on every exit.
    Always,
    /// Restart on a non-zero exit code.
    OnFailure,
    /// Never restart.
    Never,
}

/// The group that the pod's volumes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsGroup {
    /// `fsGroup`
    pub gid: u32,
    /// `fsGroupChangePolicy: OnRootMismatch`: a volume whose root is as it should be is not looked
    /// through.
    pub only_on_root_mismatch: bool,
}

/// One volume of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumePlan {
    /// `volumes[].name`.
    pub name: VolumeName,
    /// Where its content comes from.
    pub source: VolumeSource,
}

/// Where a volume's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// A directory of the pod's own on the state directory's disk.
    EmptyDirDisk {
        /// `sizeLimit` in bytes.
        size_limit: Option<u64>,
        /// Its permission bits, whatever the umask is.
        mode: u32,
    },
    /// A file system in memory of the pod's own.
    EmptyDirMemory {
        /// `sizeLimit` in bytes; the size of the file system.
        size_limit: Option<u64>,
        /// Its permission bits.
        mode: u32,
        /// Bytes of a page, where they are huge: a hugetlbfs, and else a tmpfs.
        page_size: Option<u64>,
    },
    /// A path of the host, resolved with the host's semantics.
    HostPath {
        /// Absolute; relative ones were joined to the manifest's folder.
        path: PathBuf,
        /// What must be there.
        kind: HostPathType,
    },
    /// The data of a claim, which outlives the pod.
    Claim {
        /// Where it is on the machine.
        path: PathBuf,
        /// What must be there.
        kind: HostPathType,
        /// `persistentVolumeClaim.readOnly`
        read_only: bool,
        /// Whether the pod's `fsGroup` is for it.
        takes_group: bool,
    },
    /// The data of an ephemeral claim: a directory of the pod's own.
    EphemeralClaim,
    /// The files of an image, read-only.
    Image {
        /// Its layers, the topmost first.
        layers: Vec<PathBuf>,
    },
    /// Files that podrun writes and containers read: a configMap, secret, downwardAPI or projected
    /// volume.
    Projected {
        /// The files; no path is the beginning of another.
        files: Vec<ProjectedFile>,
    },
}

/// One file of a volume that podrun writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectedFile {
    /// Relative, without `.` and `..`.
    pub path: String,
    /// Its permission bits, whatever the umask is.
    pub mode: u32,
    /// Whose it is; root's where nothing is said.
    pub user: Option<u32>,
    /// What is in it.
    pub content: FileContent,
}

/// What is in a file, and in no log: its `Debug` form is its length.
#[derive(Clone, PartialEq, Eq)]
pub struct FileContent(pub Vec<u8>);

impl std::fmt::Debug for FileContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for FileContent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for FileContent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(text);
        bytes.map(Self).map_err(serde::de::Error::custom)
    }
}

/// `hostPath.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPathType {
    /// `""`: no check.
    Unset,
    /// Created with mode 0755 when missing.
    DirectoryOrCreate,
    /// Must be a directory.
    Directory,
    /// Created with mode 0644 when missing; the parent is not created.
    FileOrCreate,
    /// Must be a regular file.
    File,
    /// Must be a UNIX socket.
    Socket,
    /// Must be a character device.
    CharDevice,
    /// Must be a block device.
    BlockDevice,
}

/// One container, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPlan {
    /// `containers[].name`.
    pub name: ContainerName,
    /// The reference as written, for the status.
    pub image: String,
    /// `repository@sha256:…` or the config digest, for `status.containerStatuses[].imageID`.
    pub image_id: String,
    /// The root file system's lower layers.
    pub root: RootSource,
    /// `securityContext.readOnlyRootFilesystem`.
    pub read_only_root: bool,
    /// ENTRYPOINT/CMD/command/args combined, `$(VAR)` expanded; never empty.
    pub argv: Vec<String>,
    /// Image ENV, then PATH and HOSTNAME defaults, then the pod's; in order, no name twice.
    /// HOME is added at the start from the user's passwd entry when it is not here.
    pub env: Vec<(String, String)>,
    /// The values in `env` and `argv` that are read from files when it starts.
    pub env_files: Vec<EnvFile>,
    /// Absolute path inside the container; created when missing.
    pub working_dir: String,
    /// Who it runs as; names are resolved against the image's passwd and group at the start.
    pub user: UserPlan,
    /// What its processes may do.
    pub security: SecurityPlan,
    /// What it requests and may have at most.
    pub resources: Resources,
    /// `oom_score_adj` (`proc_pid_oom_score_adj(5)`): the more, the sooner the kernel ends it when the
    /// machine's memory is used up.
    pub oom_score_adj: i16,
    /// Mounts in the order they are made (by depth).
    pub mounts: Vec<MountPlan>,
    /// The signal that asks PID 1 to end: `lifecycle.stopSignal`, else the image's, else TERM.
    pub stop_signal: i32,
    /// Its part in the pod.
    pub role: Role,
    /// When it is restarted.
    pub restart: ContainerRestart,
    /// Its probes.
    pub probes: Probes,
    /// Its hooks.
    pub hooks: Hooks,
    /// Its last words.
    pub termination_message: TerminationMessage,
    /// Its standard input.
    pub console: Console,
    /// The container whose pid namespace an ephemeral one joins (`targetContainerName`).
    pub target: Option<ContainerName>,
}

impl ContainerPlan {
    /// Where it is in the Pod, as events name it (`ContainerFieldPath` of client-go).
    pub fn field_path(&self) -> String {
        let list = match self.role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::Main => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        format!("spec.{list}{{{}}}", self.name)
    }
}

/// The lower layers of a container's root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootSource {
    /// Unpacked layers, the topmost first (overlay's `lowerdir` order); absolute paths in the store.
    Layers(Vec<PathBuf>),
    /// `podrun.local/host`: the machine's own root file system.
    Host,
}

/// Who a container runs as, before the image's user database was read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UserPlan {
    /// The image's `User` (`name`, `uid`, `name:group`, `uid:gid` …); empty when absent.
    pub image_user: String,
    /// `runAsUser`; wins over the image's user.
    pub run_as_user: Option<u32>,
    /// `runAsGroup`.
    pub run_as_group: Option<u32>,
    /// `runAsNonRoot`: it does not start as user 0, nor as one that only the image knows by number.
    pub run_as_non_root: bool,
    /// `supplementalGroups`.
    pub supplemental_groups: Vec<u32>,
    /// `supplementalGroupsPolicy`.
    pub groups_policy: GroupsPolicy,
}

/// `supplementalGroupsPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum GroupsPolicy {
    /// The groups of the image's `/etc/group` count as well.
    #[default]
    Merge,
    /// Only those of the manifest count.
    Strict,
}

/// One mount of a volume into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    /// Which volume.
    pub volume: VolumeName,
    /// Absolute path inside the container.
    pub mount_path: String,
    /// The part of the volume: names, none of them `.` or `..`, with slashes between them; empty
    /// for all of it. `volumeMounts[].subPath`, or what `subPathExpr` comes to.
    pub sub_path: String,
    /// `volumeMounts[].readOnly`.
    pub read_only: bool,
    /// `volumeMounts[].recursiveReadOnly` is in force: what is mounted below is read-only, too.
    pub recursive_read_only: bool,
    /// `volumeMounts[].mountPropagation`.
    pub propagation: Propagation,
    /// `volumeMounts[].bindMountOptions`.
    pub options: BindOptions,
}

/// One port of the host that is forwarded to the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The host's address to listen on; nothing for all that it has, of IPv4 and IPv6.
    pub host_ip: Option<IpAddr>,
    /// The host's port; 0 lets the kernel choose.
    pub host_port: u16,
    /// The pod's port.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl PublishedPort {
    /// Whether the kernel would refuse to open one beside the other (`bind(2)`, EADDRINUSE): the
    /// same protocol and number at one address, or at one that takes the other in. `0.0.0.0` and
    /// `::` take in their own family only. A port that the kernel chooses is always another.
    #[must_use]
    pub fn clashes(&self, other: &Self) -> bool {
        let takes_in = |all: Option<IpAddr>, one: Option<IpAddr>| match (all, one) {
            (None, _) => true,
            (Some(all), Some(one)) => all.is_unspecified() && all.is_ipv4() == one.is_ipv4(),
            (Some(_), None) => false,
        };
        self.protocol == other.protocol
            && self.host_port == other.host_port
            && self.host_port != 0
            && (self.host_ip == other.host_ip
                || takes_in(self.host_ip, other.host_ip)
                || takes_in(other.host_ip, self.host_ip))
    }
}

/// Transport of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// `TCP`
    Tcp,
    /// `UDP`
    Udp,
}
