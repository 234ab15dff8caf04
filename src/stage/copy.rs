//! One side of `podrun cp`, in the container's namespaces and with its user and rights: every path
//! means what it means to the container's own processes, and nothing of the image is executed.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use crate::copy::{self, CopyError, FirstName, Links, Skipped, Target};
use crate::sys::process::{exit_now, inherited};
use crate::wire::CopyJob;

/// Copies between the standard streams and the container. Never returns: 0 when all was copied, 1
/// when something was not, which standard error says.
pub(crate) fn run(job: &CopyJob) -> ! {
    let (lines, code) = match perform(job) {
        Ok(skipped) => {
            let lines = skipped.lines();
            let code = i32::from(!lines.is_empty());
            (lines, code)
        }
        Err(error) => (vec![error.to_string()], 1),
    };
    for line in lines {
        writeln!(io::stderr(), "{line}").ok();
    }
    exit_now(code)
}

fn perform(job: &CopyJob) -> Result<Skipped, CopyError> {
    let stream = |number| {
        inherited(number)
            .map(File::from)
            .map_err(|error| at("", &error))
    };
    match job {
        CopyJob::Send { path, name } => copy::pack(Path::new(path), name.as_bytes(), stream(1)?),
        CopyJob::Receive { path, name } => {
            let (parent, name) = destination(path, name.as_deref())?;
            let target = Target {
                parent: parent.as_fd(),
                name: name.as_deref().map(|name| FirstName {
                    directory: name,
                    file: name,
                }),
                links: Links::Any,
            };
            copy::unpack(stream(0)?, &target).map_err(|error| error.copying_to(path))
        }
    }
}

fn at(path: &str, error: &io::Error) -> CopyError {
    CopyError(format!("{}: {error}", path.escape_debug()))
}

fn destination(path: &str, name: Option<&str>) -> Result<(OwnedFd, Option<Vec<u8>>), CopyError> {
    let open = |path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty())
    };
    match (open(Path::new(path)), name) {
        (Ok(directory), name) => Ok((directory, name.map(|name| name.as_bytes().to_vec()))),
        (Err(errno), Some(_)) => {
            let (Some(parent), Some(name), false) = (
                Path::new(path).parent(),
                Path::new(path).file_name(),
                path.ends_with('/'),
            ) else {
                return Err(at(path, &errno.into()));
            };
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            let opened =
                open(parent).map_err(|errno| at(&parent.to_string_lossy(), &errno.into()))?;
            Ok((opened, Some(name.as_bytes().to_vec())))
        }
        (Err(errno), None) => Err(at(path, &errno.into())),
    }
}
