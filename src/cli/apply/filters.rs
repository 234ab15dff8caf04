//! Filters of system calls for plans: each made once a command.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use crate::plan::{self, Filter, Seccomp};
use crate::seccomp::{self, Machine};

/// The most bytes a profile may have; Docker's has 12 KiB.
const MAX_PROFILE: u64 = 1024 * 1024;

/// Makes filters; profiles are files below a folder of podrun's data.
#[derive(Debug)]
pub(crate) struct Filters {
    folder: PathBuf,
    made: RefCell<BTreeMap<(Seccomp, u64), Filter>>,
    helper: OnceCell<Filter>,
}

impl Filters {
    /// With the profiles of this data directory.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            folder: data_dir.join("seccomp"),
            made: RefCell::default(),
            helper: OnceCell::new(),
        }
    }

    fn localhost(&self, file: &str, capabilities: u64) -> Result<Filter, String> {
        let path = self.folder.join(file);
        let told = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let text = read(&self.folder, file).map_err(|error| told(&error))?;
        let machine = Machine {
            capabilities,
            kernel: kernel(),
        };
        seccomp::localhost(&text, &machine).map_err(|error| told(&error))
    }
}

impl plan::Filters for Filters {
    fn helper(&self) -> Result<Filter, String> {
        if let Some(filter) = self.helper.get() {
            return Ok(filter.clone());
        }
        let filter = seccomp::helper().map_err(|error| error.to_string())?;
        Ok(self.helper.get_or_init(|| filter).clone())
    }

    fn filter(&self, seccomp: &Seccomp, capabilities: u64) -> Result<Filter, String> {
        let key = (seccomp.clone(), capabilities);
        if let Some(filter) = self.made.borrow().get(&key) {
            return Ok(filter.clone());
        }
        let filter = match seccomp {
            Seccomp::Unconfined => Filter::default(),
            Seccomp::RuntimeDefault => {
                seccomp::runtime_default(capabilities).map_err(|error| error.to_string())?
            }
            Seccomp::Localhost(file) => self.localhost(file, capabilities)?,
        };
        self.made.borrow_mut().insert(key, filter.clone());
        Ok(filter)
    }
}

/// A regular file below the folder, wherever its name leads.
fn read(folder: &Path, file: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, folder, flags, Mode::empty())?;
    let file = rustix::fs::openat2(
        folder,
        file,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )?;
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut text = Vec::new();
    let mut file = std::fs::File::from(file).take(MAX_PROFILE.saturating_add(1));
    file.read_to_end(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_PROFILE) {
        return Err(io::Error::other("is larger than 1 MiB"));
    }
    Ok(text)
}

/// Major and minor of the kernel's version.
fn kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    )
}
