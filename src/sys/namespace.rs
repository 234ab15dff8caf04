//! Namespaces that a thread makes for its process.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// A new network namespace, which lives as long as it is open or somebody is in it. This process
/// stays in its own: without a privilege over that one it could not come back.
///
/// # Errors
/// As `unshare(2)`, `open(2)` and `pthread_create(3)`.
pub fn new_network() -> io::Result<OwnedFd> {
    std::thread::scope(|scope| {
        let make = || -> io::Result<OwnedFd> {
            // SAFETY: of this thread alone; nothing it uses before its end depends on the network.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        };
        let thread = std::thread::Builder::new().spawn_scoped(scope, make)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}
