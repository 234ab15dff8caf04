//! Values that go to a supervisor in memory that nobody can change any more.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};
use serde::Serialize;

/// The value's JSON form in a sealed memfd (`memfd_create(2)`).
///
/// # Errors
/// As `memfd_create(2)`, `write(2)` and `fcntl(2)`.
pub fn seal(name: &str, value: &impl Serialize) -> io::Result<OwnedFd> {
    let bytes = serde_json::to_vec(value).map_err(io::Error::other)?;
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut written = std::fs::File::from(file);
    io::Write::write_all(&mut written, &bytes)?;
    io::Seek::rewind(&mut written)?;
    rustix::fs::fcntl_add_seals(
        &written,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(written.into())
}
