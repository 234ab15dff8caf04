//! Values that are too long for a message: in memory that nobody can change any more.

use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The seals of what [`seal`] makes.
const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// Writes a value into memory of this name.
///
/// # Errors
/// As `memfd_create(2)` and `write(2)`.
pub fn seal(name: &str, value: &impl Serialize) -> io::Result<OwnedFd> {
    let bytes = serde_json::to_vec(value)?;
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut written = std::fs::File::from(file);
    io::Write::write_all(&mut written, &bytes)?;
    io::Seek::rewind(&mut written)?;
    rustix::fs::fcntl_add_seals(&written, SEALS)?;
    Ok(written.into())
}

/// Reads a value that was sealed; nothing that could block or change is read.
///
/// # Errors
/// What is not sealed, is longer than `limit` or is not such a value.
pub fn unseal<T: DeserializeOwned>(sealed: OwnedFd, limit: u64) -> io::Result<T> {
    if !rustix::fs::fcntl_get_seals(&sealed)?.contains(SEALS) {
        return Err(io::Error::other("not sealed"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::from(sealed);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
        return Err(io::Error::other(format!("longer than {limit} bytes")));
    }
    Ok(serde_json::from_slice(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_sealed_and_bounded_is_read() {
        let sealed = || seal("test", &"word").unwrap();
        assert_eq!(unseal::<String>(sealed(), 6).unwrap(), "word");
        assert!(unseal::<String>(sealed(), 5).is_err());
        assert!(unseal::<u32>(sealed(), 6).is_err());
        let (pipe, _end) = rustix::pipe::pipe().unwrap();
        assert!(unseal::<String>(pipe, 6).is_err());
        let open = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(unseal::<String>(open, 6).is_err());
    }
}
