//! Which log files a container has, in the order they were written.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The files of one run of a container, oldest first; the last one is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// How many runs there were before.
    pub number: u32,
    /// The files.
    pub files: Vec<PathBuf>,
}

/// All runs of a container whose logs are kept, oldest first.
///
/// # Errors
/// As `readdir(3)`; a directory that is not there has no runs.
pub fn attempts(directory: &Path) -> io::Result<Vec<Attempt>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some((number, rest)) = name.split_once(".log") else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        if rest.is_empty() || rest.starts_with('.') {
            found.entry(number).or_default().push(name.to_owned());
        }
    }
    Ok(found
        .into_iter()
        .map(|(number, mut names)| {
            // Rotated names carry the time; the plain one is the newest and sorts last here.
            names.sort_by_key(|name| {
                let is_plain = Path::new(name).extension().is_some_and(|end| end == "log");
                (is_plain, name.clone())
            });
            Attempt {
                number,
                files: names.into_iter().map(|name| directory.join(name)).collect(),
            }
        })
        .collect())
}
