//! Signal dispositions and masks.

use std::io;

use nix::sys::signal::{SigSet, SigmaskHow};

/// `_NSIG` of the kernel (`asm-generic/signal.h`).
const KERNEL_SIGNALS: libc::c_int = 64;

/// Blocks every signal that can be blocked, so that a loop reads them from a `signalfd(2)`.
///
/// # Errors
/// As `sigprocmask(2)`.
pub fn block_all() -> io::Result<()> {
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    Ok(())
}

/// Gives every signal its default disposition and unblocks all: what a program expects from its
/// parent (Rust's runtime ignores SIGPIPE, and a caller may have ignored others).
///
/// # Errors
/// As `sigprocmask(2)`.
pub fn reset_all() -> io::Result<()> {
    // The kernel's own interface: libc refuses to touch the two real-time signals it uses itself,
    // which a caller may have ignored all the same.
    let default = [0_u64; 4];
    for number in 1..=KERNEL_SIGNALS {
        // SAFETY: `struct kernel_sigaction` is four 64-bit words here (handler, flags, restorer,
        // mask), and all zero is SIG_DFL; the mask's size is that of the last word. KILL and STOP
        // are refused and have their default anyway.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}
