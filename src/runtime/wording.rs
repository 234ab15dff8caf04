//! Words for what failed between clone and exec: the stage knows the step, the supervisor the
//! names, and nobody else adds to it.

use std::io;

use crate::wire::{Failure, Step};

/// How a container's start failed, in the kubelet's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailure {
    /// The reason in the container's status.
    pub reason: &'static str,
    /// One line for the user.
    pub message: String,
}

/// Words a failure of a container's start.
pub fn start_failure(failure: &Failure) -> StartFailure {
    let reason = match failure.step {
        Step::CommandNotFound | Step::Execute => "StartError",
        Step::User => "CreateContainerConfigError",
        _ => "CreateContainerError",
    };
    StartFailure {
        reason,
        message: sentence(failure),
    }
}

/// One line about a failure.
pub fn sentence(failure: &Failure) -> String {
    let object = &failure.object;
    let why = kernel_words(failure.errno);
    match failure.step {
        Step::Namespaces => format!("the pod's namespaces cannot be joined: {why}"),
        Step::Hostname => format!("the host name `{object}` cannot be set: {why}"),
        Step::Network => format!("the pod's network cannot be set up: {why}"),
        Step::Sysctl => {
            let name = object.replace('/', ".");
            match failure.errno {
                libc::ENOENT => format!("SysctlForbidden: no pod has a sysctl `{name}` of its own"),
                libc::EACCES | libc::EPERM => {
                    format!("SysctlForbidden: the kernel lets nobody but root set `{name}`")
                }
                _ => format!("sysctl `{name}` cannot be set: {why}"),
            }
        }
        Step::Clone => format!("no new process can be made: {why}"),
        Step::Cgroup if failure.errno == libc::ENOMEM => {
            format!("cgroup {object}: {why}: the memory limit is too low")
        }
        Step::Cgroup => format!("cgroup {object}: {why}"),
        Step::Volume => object.clone(),
        Step::IdMap => format!(
            "{object} cannot be seen with the pod's own ids (`hostUsers: false` needs idmapped mounts of its file system): {why}"
        ),
        Step::RootFilesystem if object.is_empty() => {
            format!("the root file system cannot be mounted: {why}")
        }
        Step::RootFilesystem => format!("the root file system cannot be mounted: {object}: {why}"),
        Step::NotADirectory => format!("{object} in the image is not a directory"),
        Step::KernelFilesystem => match failure.errno {
            libc::EPERM => format!(
                "{object} cannot be mounted: {why}; inside another container this needs an unmasked /proc and /sys"
            ),
            _ => format!("{object} cannot be mounted: {why}"),
        },
        Step::Device => format!("{object} cannot be made: {why}"),
        Step::Mount => format!("nothing can be mounted at {object}: {why}"),
        Step::Mask => format!("{object} cannot be hidden: {why}"),
        Step::Pivot => format!("the root cannot be changed: {why}"),
        Step::User => match failure.errno {
            0 => object.clone(),
            libc::EINVAL => format!("{object} in the image is not a regular file"),
            _ => format!("{object} in the image cannot be read: {why}"),
        },
        Step::WorkingDirectory => match failure.errno {
            libc::EXDEV => format!("the working directory `{object}` is outside of the container"),
            libc::ELOOP => {
                format!("the working directory `{object}` leads through a link of the kernel")
            }
            _ => format!("the working directory `{object}` cannot be entered: {why}"),
        },
        Step::ProcessState => format!("{object} cannot be set: {why}"),
        Step::Credentials => match failure.errno {
            libc::EINVAL => format!("{object} does not exist in the pod's user namespace"),
            _ => format!("{object} cannot be set: {why}"),
        },
        Step::CommandNotFound if object.contains('/') => {
            format!("exec: `{object}`: no such file in the image")
        }
        Step::CommandNotFound => format!("exec: `{object}`: executable file not found in $PATH"),
        Step::Execute => match failure.errno {
            libc::ENOENT => format!(
                "exec: `{object}`: the file is there but its interpreter or dynamic loader is not"
            ),
            libc::ENOEXEC => format!(
                "exec: `{object}`: exec format error (another architecture, or a script without `#!`)"
            ),
            libc::E2BIG => format!("exec: `{object}`: the arguments and environment are too long"),
            _ => format!("exec: `{object}`: {why}"),
        },
    }
}

/// The kernel's words without Rust's "(os error 2)".
pub fn kernel_words(errno: i32) -> String {
    if errno == 0 {
        return "unknown error".to_owned();
    }
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(step: Step, object: &str, errno: i32) -> Failure {
        Failure {
            step,
            object: object.to_owned(),
            errno,
        }
    }

    #[test]
    fn a_missing_command_is_a_start_error_that_names_it() {
        let failure = start_failure(&failed(Step::CommandNotFound, "serve", libc::ENOENT));
        assert_eq!(failure.reason, "StartError");
        assert_eq!(
            failure.message,
            "exec: `serve`: executable file not found in $PATH"
        );
    }

    #[test]
    fn the_kernel_is_quoted_without_numbers() {
        assert_eq!(
            sentence(&failed(Step::Mount, "/data", libc::EACCES)),
            "nothing can be mounted at /data: permission denied"
        );
    }
}
