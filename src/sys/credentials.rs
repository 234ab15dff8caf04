//! Session keyring, supplementary groups and the capability calls around a change of user.

use std::io;

/// Gives this process an anonymous session keyring of its own (`keyctl(2)`
/// `KEYCTL_JOIN_SESSION_KEYRING`), so that a container does not see the caller's keys.
///
/// # Errors
/// As `keyctl(2)`. ENOSYS (no keyrings in this kernel) and EDQUOT (`kernel.keys.maxkeys` of this
/// user is used up) are left to the caller.
pub fn join_new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    let serial = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    if serial == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
