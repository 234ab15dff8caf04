//! What a process between clone and exec tells the supervisor.

use serde::{Deserialize, Serialize};

/// The one message the other way: a container that is built may execute its command. It is sent
/// when the pod's namespaces are set up and it is the container's turn.
pub const GO: &[u8] = b"go";

/// From a launcher, pause, a container's init or an exec'd command before its `execve`; the end
/// of the socket without a failure means that it was executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The process exists; the message carries its pidfd.
    Born,
    /// The container's user, read from its own files.
    Resolved {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Supplementary groups.
        supplemental_groups: Vec<u32>,
        /// `HOME`.
        home: String,
    },
    /// The command's terminal; the message carries the master's descriptor.
    Terminal,
    /// Pause has made its namespaces; they can be joined.
    Namespaces,
    /// Pause is ready: the namespaces are set up.
    Ready,
    /// A step failed; the process ends.
    Failed(Failure),
}

/// A step that failed, before somebody who knows the names words it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which step.
    pub step: Step,
    /// What it was applied to: a path, a name; may be empty.
    pub object: String,
    /// The kernel's answer; 0 when it was not the kernel that refused.
    pub errno: i32,
}

/// The steps that can fail between clone and exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Joining or making namespaces.
    Namespaces,
    /// Setting the host name.
    Hostname,
    /// Setting up the network namespace.
    Network,
    /// Setting one of the pod's sysctls.
    Sysctl,
    /// Cloning the next process.
    Clone,
    /// Entering the container's cgroup.
    Cgroup,
    /// Opening a volume.
    Volume,
    /// Showing files with the pod's own ids.
    IdMap,
    /// Mounting the root file system.
    RootFilesystem,
    /// `/proc`, `/sys` or `/dev` in the image is not a directory.
    NotADirectory,
    /// Mounting one of the kernel's file systems.
    KernelFilesystem,
    /// Making a device node.
    Device,
    /// Mounting a volume or file.
    Mount,
    /// Hiding a path of the kernel.
    Mask,
    /// Changing the root.
    Pivot,
    /// Finding the user.
    User,
    /// The working directory.
    WorkingDirectory,
    /// Resource limits, signals, terminal: the process' own state.
    ProcessState,
    /// Changing user, groups and capabilities.
    Credentials,
    /// The command was not found.
    CommandNotFound,
    /// The command was found and could not be executed.
    Execute,
}
