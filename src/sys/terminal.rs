//! The controlling terminal.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Makes a terminal the controlling one of this session leader (`ioctl_tty(2)` `TIOCSCTTY`).
///
/// # Errors
/// As the ioctl.
pub fn make_controlling(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the argument is a plain number (0: do not steal), no memory is passed.
    if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
