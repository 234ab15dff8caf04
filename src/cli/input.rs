//! Reading the files that commands are given, and the directories they work in.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cgroup;
use crate::cli::failure::{Failure, INVALID};
use crate::cli::options::{Files, Global, Validation};
use crate::cli::render;
use crate::manifest::{self, MAX_SOURCE, Manifest, Severity, Source, Strictness};
use crate::names::Namespace;
use crate::store::{Environment, Store};

/// Opens the user's directories.
///
/// # Errors
/// As [`Store::open`].
pub(crate) fn open_store(global: &Global) -> Result<Store, Failure> {
    let environment = Environment {
        home: std::env::var_os("HOME"),
        xdg_runtime_dir: std::env::var_os("XDG_RUNTIME_DIR"),
        xdg_state_home: std::env::var_os("XDG_STATE_HOME"),
        xdg_data_home: std::env::var_os("XDG_DATA_HOME"),
    };
    let store = Store::open(global.root.as_deref(), &environment).map_err(Failure::internal)?;
    // What is left of a pod whose supervisor was killed keeps no command from its work.
    store
        .open_runtime_dir()
        .ok()
        .and_then(|runtime_dir| cgroup::sweep(runtime_dir).ok());
    Ok(store)
}

/// The socket of the bus on which this user's systemd is.
pub(crate) fn user_bus() -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|directory| !directory.is_empty())
        .map_or_else(|| PathBuf::from(format!("/run/user/{uid}")), PathBuf::from)
        .join("bus")
}

/// `-n`.
///
/// # Errors
/// A usage error for what is no namespace.
pub(crate) fn namespace(global: &Global) -> Result<Namespace, Failure> {
    Namespace::new(global.namespace.as_str())
        .map_err(|error| Failure::with_code(2, format!("--namespace: {error}")))
}

/// Reads all files.
///
/// # Errors
/// A file that cannot be read (3: nothing was started), or no file at all (2).
pub(crate) fn read(files: &Files) -> Result<Vec<Source>, Failure> {
    let paths = files.all();
    if paths.is_empty() {
        return Err(Failure::with_code(2, "no file was given")
            .hinted("name a file, a directory, or `-` for standard input"));
    }
    let mut sources = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let text = bounded(std::io::stdin().lock(), Path::new("<stdin>"))?;
            sources.push(Source {
                name: "<stdin>".to_owned(),
                text,
                folder: None,
            });
        } else if path.is_dir() {
            for file in files_in(&path)? {
                sources.push(read_file(&file)?);
            }
        } else {
            sources.push(read_file(&path)?);
        }
    }
    Ok(sources)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let code = if error.kind() == std::io::ErrorKind::NotFound {
        4
    } else {
        INVALID
    };
    let why = error.to_string();
    let why = why
        .split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase();
    Failure::with_code(
        code,
        format!("{}: {why}", render::visible(&path.to_string_lossy())),
    )
}

fn bounded(reader: impl Read, path: &Path) -> Result<Vec<u8>, Failure> {
    let limit = u64::try_from(MAX_SOURCE)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut text = Vec::new();
    reader
        .take(limit)
        .read_to_end(&mut text)
        .map_err(|error| unreadable(path, &error))?;
    Ok(text)
}

fn read_file(path: &Path) -> Result<Source, Failure> {
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let text = bounded(file, path)?;
    let absolute = std::path::absolute(path).map_err(|error| unreadable(path, &error))?;
    Ok(Source {
        name: path.to_string_lossy().into_owned(),
        text,
        folder: absolute.parent().map(Path::to_owned),
    })
}

/// The manifests of a directory, by name.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(directory).map_err(|error| unreadable(directory, &error))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|kind| ["yaml", "yml", "json"].iter().any(|k| kind == *k))
        })
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(Failure::with_code(
            INVALID,
            format!("{} has no .yaml, .yml or .json file", directory.display()),
        ));
    }
    Ok(files)
}

/// Checks the files and says what is wrong with them.
///
/// # Errors
/// Invalid manifests, after every problem was printed.
pub(crate) fn check(sources: &[Source], validation: Validation) -> Result<Manifest, Failure> {
    checked(manifest::read(sources, strictness(validation)), sources)
}

/// Reads which objects the files are about, for a command that starts none: only what is wrong is
/// said.
///
/// # Errors
/// As [`check`].
pub(crate) fn names(sources: &[Source]) -> Result<Manifest, Failure> {
    let mut manifest = manifest::read(sources, Strictness::Ignore);
    manifest
        .problems
        .retain(|problem| problem.severity == Severity::Error);
    checked(manifest, sources)
}

fn checked(manifest: Manifest, sources: &[Source]) -> Result<Manifest, Failure> {
    for problem in &manifest.problems {
        render::problem(problem, sources);
    }
    if manifest.has_errors() {
        let count = manifest
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .count();
        let errors = if count == 1 {
            "1 error".to_owned()
        } else {
            format!("{count} errors")
        };
        return Err(Failure::with_code(
            INVALID,
            format!("{errors}; nothing was started"),
        ));
    }
    if manifest.objects.is_empty() && manifest.problems.is_empty() {
        return Err(Failure::with_code(INVALID, "the files contain no object"));
    }
    Ok(manifest)
}

pub(crate) const fn strictness(validation: Validation) -> Strictness {
    match validation {
        Validation::Strict => Strictness::Strict,
        Validation::Warn => Strictness::Warn,
        Validation::Ignore => Strictness::Ignore,
    }
}
