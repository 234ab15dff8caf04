//! Reads the files that a container's environment comes from, when it starts.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use crate::plan::{ContainerPlan, EnvFile, MAX_ENV_FILE, value_in};
use crate::volume::volume_path;

/// The plan of a container as it is to be started now; nothing when no file is part of it.
///
/// # Errors
/// A file or key that is missing, or a file that is not well-formed; worded for the user.
pub(super) fn resolved(
    plan: &ContainerPlan,
    pod_dir: &Path,
) -> Result<Option<Box<ContainerPlan>>, String> {
    if plan.env_files.is_empty() {
        return Ok(None);
    }
    let values = plan
        .env_files
        .iter()
        .map(|file| value(file, pod_dir))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Box::new(plan.with_values(&values))))
}

fn value(file: &EnvFile, pod_dir: &Path) -> Result<Option<String>, String> {
    let shown = format!(
        "env `{}`: {} in volume `{}`",
        file.name, file.path, file.volume
    );
    let text = match read(file, pod_dir) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if file.optional {
                Ok(None)
            } else {
                Err(format!("{shown} does not exist"))
            };
        }
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    match value_in(&text, &file.key).map_err(|why| format!("{shown}: {why}"))? {
        Some(value) => Ok(Some(value)),
        None if file.optional => Ok(None),
        None => Err(format!("{shown} has no key `{}`", file.key)),
    }
}

/// Containers write this volume: no link leads out of it, nothing but a file is read, without waiting
/// for who has its other end, and no more of it than an environment may be.
fn read(file: &EnvFile, pod_dir: &Path) -> io::Result<String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let volume = rustix::fs::openat2(
        CWD,
        volume_path(pod_dir, &file.volume),
        flags,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )?;
    let opened = rustix::fs::openat2(
        volume.as_fd(),
        file.path.as_str(),
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
    )?;
    if FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    let mut bounded = std::fs::File::from(opened).take(MAX_ENV_FILE.saturating_add(1));
    bounded.read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_ENV_FILE {
        return Err(io::Error::other(format!(
            "it has more than {MAX_ENV_FILE} bytes"
        )));
    }
    Ok(text)
}
