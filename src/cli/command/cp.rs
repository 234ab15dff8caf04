//! `podrun cp`: kubectl's way of naming both sides, without needing anything of the image.
//!
//! ```text
//!  tree here ──pack──▶ pipe ──▶ unpack, in the container        cp PATH POD:PATH
//!  tree here ◀─unpack── pipe ◀── pack, in the container         cp POD:PATH PATH
//! ```

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::cli::command::{exec, exec_streams, get, restart};
use crate::cli::failure::{FAILED, Failure};
use crate::cli::options::{Cp, Global};
use crate::cli::{input, render};
use crate::copy::{self, CopyError, Links, Skipped, Target};
use crate::runtime::client::Connection;
use crate::wire::{CopyJob, Request};

/// The most bytes taken of what the container's side says.
const MAX_SAID: u64 = 64 * 1024;

/// One side of a copy as it was typed.
#[derive(Debug, PartialEq, Eq)]
enum Side<'a> {
    Here(&'a str),
    Pod {
        namespace: Option<&'a str>,
        pod: &'a str,
        path: &'a str,
    },
}

/// As kubectl: what has a colon names a pod, unless it begins like a path.
fn side(text: &str) -> Side<'_> {
    match text.split_once(':') {
        Some((pod, path)) if !text.starts_with(['/', '.']) => match pod.split_once('/') {
            Some((namespace, pod)) => Side::Pod {
                namespace: Some(namespace),
                pod,
                path,
            },
            None => Side::Pod {
                namespace: None,
                pod,
                path,
            },
        },
        _ => Side::Here(text),
    }
}

/// Performs the command.
///
/// # Errors
/// Two sides of one kind (2), no such pod or container (4), anything that was not copied (1).
pub(crate) fn run(global: &Global, options: &Cp) -> Result<u8, Failure> {
    let usage = |what: &str| {
        Failure::with_code(2, what)
            .hinted("write `podrun cp POD:/path path` or the other way round")
    };
    let (from, to) = (side(&options.from), side(&options.to));
    let (namespace, pod, path) = match (&from, &to) {
        (
            Side::Here(_),
            Side::Pod {
                namespace,
                pod,
                path,
            },
        )
        | (
            Side::Pod {
                namespace,
                pod,
                path,
            },
            Side::Here(_),
        ) => (namespace, pod, path),
        (Side::Here(_), Side::Here(_)) => return Err(usage("neither side names a pod")),
        (Side::Pod { .. }, Side::Pod { .. }) => return Err(usage("both sides name a pod")),
    };
    if path.is_empty() {
        return Err(usage("the path in the pod is missing"));
    }
    let global = Global {
        root: global.root.clone(),
        namespace: namespace.map_or_else(|| global.namespace.clone(), str::to_owned),
    };
    let store = input::open_store(&global)?;
    let pod = get::find_pod(&global, &store, pod)?;
    let container = exec::pick_container(&pod, options.container.as_deref())?;
    let copier = || -> Result<Copier, Failure> {
        Ok(Copier {
            connection: restart::connect(&store, &pod)?,
            container: container.clone(),
        })
    };
    match (from, to) {
        (Side::Pod { path, .. }, Side::Here(here)) => copier()?.download(path, here),
        (Side::Here(here), Side::Pod { path, .. }) => {
            // Before the pod is asked for anything.
            if here != "-" && !Path::new(here).exists() {
                let missing = format!("{}: no such file or directory", here.escape_debug());
                return Err(Failure::with_code(FAILED, missing));
            }
            copier()?.upload(here, path)
        }
        _ => Err(usage("one side must name a pod")),
    }
}

/// A container and the connection to its supervisor.
struct Copier {
    connection: Connection,
    container: crate::names::ContainerName,
}

impl Copier {
    fn download(self, path: &str, here: &str) -> Result<u8, Failure> {
        let name = base_name(Path::new(path)).unwrap_or(".").to_owned();
        let job = CopyJob::Send {
            path: path.to_owned(),
            name: name.clone(),
        };
        if here == "-" {
            if io::stdout().is_terminal() {
                return Err(
                    Failure::with_code(2, "the archive is not written to a terminal")
                        .hinted("pass standard output on to a file or to `tar`"),
                );
            }
            let [stdin, stdout, stderr] = self.ask(job)?;
            drop(stdin);
            return exec_streams::with_pipes(&self.connection, None, stdout, stderr, None);
        }
        // Before anything is asked: a destination that cannot be is told of at once.
        let place = Place::of(here)?;
        let [stdin, stdout, stderr] = self.ask(job)?;
        drop(stdin);
        let copied = place
            .unpack(File::from(stdout), &name)
            .map_err(|error| error.copying_to(here));
        self.end(copied, stderr)
    }

    fn upload(self, here: &str, path: &str) -> Result<u8, Failure> {
        if here == "-" {
            let job = CopyJob::Receive {
                path: path.to_owned(),
                name: None,
            };
            let [stdin, stdout, stderr] = self.ask(job)?;
            return exec_streams::with_pipes(&self.connection, Some(stdin), stdout, stderr, None);
        }
        let name = name_of(here)?;
        let job = CopyJob::Receive {
            path: path.to_owned(),
            name: Some(name.clone()),
        };
        let [stdin, stdout, stderr] = self.ask(job)?;
        drop(stdout);
        let first = if name.is_empty() { "." } else { &name };
        let copied = copy::pack(Path::new(here), first.as_bytes(), File::from(stdin));
        self.end(copied, stderr)
    }

    /// Asks for the copy; returns this side's ends of its three streams.
    fn ask(&self, job: CopyJob) -> Result<[OwnedFd; 3], Failure> {
        let flags = PipeFlags::CLOEXEC;
        let pipes =
            || -> io::Result<_> { Ok((pipe_with(flags)?, pipe_with(flags)?, pipe_with(flags)?)) };
        let (stdin, stdout, stderr) = pipes().map_err(Failure::internal)?;
        let request = Request::Copy {
            container: self.container.clone(),
            job,
        };
        let theirs = [stdin.0.as_fd(), stdout.1.as_fd(), stderr.1.as_fd()];
        self.connection
            .send(&request, &theirs)
            .map_err(Failure::internal)?;
        Ok([stdin.1, stdout.0, stderr.0])
    }

    /// What the container's side says comes first: this side's failure follows from it more often
    /// than the other way round.
    fn end(&self, copied: Result<Skipped, CopyError>, stderr: OwnedFd) -> Result<u8, Failure> {
        let mut said = Vec::new();
        File::from(stderr)
            .take(MAX_SAID)
            .read_to_end(&mut said)
            .map_err(Failure::internal)?;
        let code = exec_streams::receive(&self.connection)?;
        let mut lines: Vec<String> = String::from_utf8_lossy(&said)
            .lines()
            .map(str::to_owned)
            .collect();
        match copied {
            Ok(skipped) => lines.extend(skipped.lines()),
            Err(error) if lines.is_empty() => return Err(Failure::with_code(FAILED, error)),
            Err(_) => {}
        }
        for line in &lines {
            render::warn(&render::visible(line));
        }
        if code == 0 && lines.is_empty() {
            return Ok(0);
        }
        Err(Failure::with_code(FAILED, "not everything was copied"))
    }
}

/// The last component of a path, where it is a name and text.
fn base_name(path: &Path) -> Option<&str> {
    match path.components().next_back()? {
        Component::Normal(name) => name.to_str(),
        _ => None,
    }
}

/// What a path here is called; `.` and the like have a name all the same, only `/` has none.
fn name_of(path: &str) -> Result<String, Failure> {
    if let Some(name) = base_name(Path::new(path)) {
        return Ok(name.to_owned());
    }
    let real = std::fs::canonicalize(path).map_err(|error| failed(path, &error))?;
    match real.file_name().map(std::ffi::OsStr::to_str) {
        None => Ok(String::new()),
        Some(Some(name)) => Ok(name.to_owned()),
        Some(None) => {
            let error = io::Error::other("its real name is not UTF-8");
            Err(failed(path, &error))
        }
    }
}

fn failed(path: &str, error: &io::Error) -> Failure {
    Failure::with_code(FAILED, format!("{}: {error}", path.escape_debug()))
}

/// Where a copy goes here.
enum Place {
    /// A directory that exists: the content of a directory is merged into it, as with kubectl.
    Existing(OwnedFd),
    /// A name in a directory.
    New(OwnedFd, Vec<u8>),
}

impl Place {
    fn of(path: &str) -> Result<Self, Failure> {
        let open = |path: &Path| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, path, flags, Mode::empty())
        };
        let typed = Path::new(path);
        let errno = match open(typed) {
            Ok(directory) => return Ok(Self::Existing(directory)),
            Err(errno) => errno,
        };
        let (Some(parent), Some(name), false) =
            (typed.parent(), typed.file_name(), path.ends_with('/'))
        else {
            return Err(failed(path, &errno.into()));
        };
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        let directory =
            open(parent).map_err(|errno| failed(&parent.to_string_lossy(), &errno.into()))?;
        Ok(Self::New(directory, name.as_bytes().to_vec()))
    }

    fn unpack(&self, stream: File, file_name: &str) -> Result<Skipped, CopyError> {
        let (parent, name, file_name) = match self {
            Self::Existing(directory) => (directory, [].as_slice(), file_name.as_bytes()),
            Self::New(directory, name) => (directory, name.as_slice(), name.as_slice()),
        };
        let target = Target {
            parent: parent.as_fd(),
            name: Some(copy::FirstName {
                directory: name,
                file: file_name,
            }),
            links: Links::Inside,
        };
        copy::unpack(stream, &target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_with_a_colon_names_a_pod_unless_it_begins_like_a_path() {
        let pod = |namespace, pod, path| Side::Pod {
            namespace,
            pod,
            path,
        };
        for (text, expected) in [
            ("pod:/x", pod(None, "pod", "/x")),
            ("ns/pod:x:y", pod(Some("ns"), "pod", "x:y")),
            ("pod:", pod(None, "pod", "")),
            ("./a:b", Side::Here("./a:b")),
            ("/a:b", Side::Here("/a:b")),
            ("-", Side::Here("-")),
            ("file", Side::Here("file")),
        ] {
            assert_eq!(side(text), expected);
        }
    }
}
