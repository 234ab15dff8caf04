//! Where a pod's control socket is.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::net::SocketAddrUnix;

use crate::names::PodUid;

/// The name of a pod's control socket in the runtime directory.
pub fn name(uid: &PodUid) -> String {
    format!("{uid}.sock")
}

/// Removes a pod's control socket; one that is not there is no error.
pub fn remove(runtime_dir: BorrowedFd<'_>, uid: &PodUid) {
    rustix::fs::unlinkat(runtime_dir, name(uid), rustix::fs::AtFlags::empty()).ok();
}

/// The address of a socket in a directory given by descriptor: the path of the directory may be
/// longer than an address can be (`unix(7)`: 108 bytes).
///
/// # Errors
/// Never in practice; the name would have to be longer than a uid.
pub fn address(directory: BorrowedFd<'_>, name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!(
        "/proc/self/fd/{}/{name}",
        directory.as_raw_fd()
    ))?)
}
