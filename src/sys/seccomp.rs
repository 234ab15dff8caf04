//! Loading a filter of system calls (`seccomp(2)`).

use std::io;

/// Loads a filter into this thread, for it and everything that comes of it. An instruction is a
/// word as `crate::plan::Filter` has them: code, both jumps, operand.
///
/// # Errors
/// As `seccomp(2)`: EACCES without `CAP_SYS_ADMIN` and `PR_SET_NO_NEW_PRIVS`, EINVAL for what is
/// no program.
pub fn load(program: &[u64]) -> io::Result<()> {
    let instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|word| {
            let [c1, c2, jt, jf, k @ ..] = word.to_be_bytes();
            libc::sock_filter {
                code: u16::from_be_bytes([c1, c2]),
                jt,
                jf,
                k: u32::from_be_bytes(k),
            }
        })
        .collect();
    let length = u16::try_from(instructions.len())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog {
        len: length,
        filter: instructions.as_ptr().cast_mut(),
    };
    // The mitigation that the flag leaves alone is no longer part of a filter since Linux 5.16; a
    // container is not slower on an older kernel.
    // SAFETY: the program points to as many instructions as it says, which outlive the call; the
    // kernel only reads them, and checks them before they are used.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            std::ptr::from_ref(&program),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
