//! Creating processes with `clone(2)`, replacing them with `execve(2)`, and leaving them.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::process::{WaitId, WaitIdOptions};

/// Proof that this process has one thread.
///
/// A clone of a process with several threads copies locks that nobody will release, and
/// `unshare(CLONE_NEWUSER)` is refused there (`unshare(2)`, EINVAL). Only the re-executed stages
/// have this proof; podrun starts no thread in them.
#[derive(Debug)]
pub struct SingleThread(());

impl SingleThread {
    /// Looks at `/proc/self/task`.
    ///
    /// # Errors
    /// When there is a second thread, or `/proc` cannot be read.
    pub fn prove() -> io::Result<Self> {
        if std::fs::read_dir("/proc/self/task")?.take(2).count() == 1 {
            Ok(Self(()))
        } else {
            Err(io::Error::other("this process has more than one thread"))
        }
    }
}

/// Flags of `clone(2)` that podrun uses.
#[derive(Debug, Clone, Copy, Default)]
pub struct CloneFlags {
    /// `CLONE_NEW*` bits.
    pub namespaces: libc::c_int,
    /// `CLONE_PARENT`: the child's parent is the caller's parent.
    pub sibling: bool,
}

/// Which side of a clone the caller is on.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The old one, with the new one's pidfd (close-on-exec, `clone(2)` `CLONE_PIDFD`).
    Parent(OwnedFd),
}

/// Clones this process like `fork(2)`, with namespaces and a pidfd.
///
/// # Errors
/// As `clone(2)`: EPERM, EAGAIN, ENOSPC (nesting of namespaces), ENOMEM.
pub fn clone_process(_proof: &SingleThread, flags: CloneFlags) -> io::Result<Cloned> {
    let mut bits = libc::CLONE_PIDFD | flags.namespaces | libc::SIGCHLD;
    if flags.sibling {
        bits |= libc::CLONE_PARENT;
    }
    let mut pidfd: libc::c_int = -1;
    // SAFETY: without CLONE_VM and with a null stack the child gets a copy of the whole address
    // space and goes on on its own copy of this stack, like fork; the process has one thread
    // (`_proof`), so no lock in that copy is held by somebody else. `pidfd` outlives the call.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_long::from(bits),
            ptr::null_mut::<libc::c_void>(),
            ptr::from_mut(&mut pidfd),
            ptr::null_mut::<libc::c_void>(),
            0 as libc::c_long,
        )
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        // SAFETY: the kernel stored a new descriptor of this process there, owned by nobody yet.
        _ => Ok(Cloned::Parent(unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// Ends this process at once: no destructor, no `atexit` handler runs, which is what a clone that
/// shares its parent's buffers needs.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any value and does not return.
    unsafe { libc::_exit(code) }
}

/// `unshare(2)`.
///
/// # Errors
/// As `unshare(2)`.
pub fn unshare(_proof: &SingleThread, namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: no CLONE_FILES bit is ever passed and there is one thread, so no descriptor that
    // another thread relies on can change.
    if unsafe { libc::unshare(namespaces) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Joins several namespaces of the process behind `pidfd` in one `setns(2)`.
///
/// # Errors
/// As `setns(2)`.
pub fn join_namespaces(pidfd: BorrowedFd<'_>, namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call and nothing is passed by pointer.
    if unsafe { libc::setns(pidfd.as_raw_fd(), namespaces) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How a process ended: its code, or 128 plus the signal that killed it.
///
/// # Errors
/// As `waitid(2)`.
pub fn reap(pidfd: impl AsFd) -> io::Result<i32> {
    let status = loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(status) => break status,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let status = status.ok_or_else(|| io::Error::other("waitid returned without a status"))?;
    Ok(status
        .exit_status()
        .or_else(|| {
            status
                .terminating_signal()
                .map(|signal| signal.saturating_add(128))
        })
        .unwrap_or(255))
}

/// The process id behind a pidfd as this process' `/proc` shows it.
///
/// # Errors
/// When `/proc/self/fdinfo` cannot be read, or the process is already gone (pid -1).
pub fn pid_of(pidfd: BorrowedFd<'_>) -> io::Result<i32> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .and_then(|pid| pid.trim().parse().ok())
        .filter(|pid| *pid > 0)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}

/// Sends a signal through a pidfd; a process that is gone is not an error.
///
/// # Errors
/// As `pidfd_send_signal(2)`, but for ESRCH.
pub fn signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    send_signal(pidfd.as_fd(), signal, 0)
}

/// Sends a signal to the process group that the process behind a pidfd leads; to the process alone
/// where the kernel cannot do that (`PIDFD_SIGNAL_PROCESS_GROUP`, Linux 6.9).
///
/// # Errors
/// As [`signal`].
pub fn signal_group(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    /// `linux/pidfd.h`
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    match send_signal(pidfd.as_fd(), signal, PIDFD_SIGNAL_PROCESS_GROUP) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            send_signal(pidfd.as_fd(), signal, 0)
        }
        sent => sent,
    }
}

fn send_signal(pidfd: BorrowedFd<'_>, signal: i32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call; a null siginfo asks the kernel
    // to fill in what kill(2) would.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            flags,
        )
    };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) {
        Ok(())
    } else {
        Err(error)
    }
}

/// A `NULL`-terminated vector of strings for `execve(2)`.
struct StringVector<'a> {
    pointers: Vec<*const libc::c_char>,
    _strings: &'a [CString],
}

impl<'a> StringVector<'a> {
    fn new(strings: &'a [CString]) -> Self {
        let pointers = strings
            .iter()
            .map(|s| s.as_ptr())
            .chain(std::iter::once(ptr::null()))
            .collect();
        Self {
            pointers,
            _strings: strings,
        }
    }
}

/// Replaces this process; returns only when that failed.
pub fn execute(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let argv = StringVector::new(argv);
    let env = StringVector::new(env);
    // SAFETY: all strings and both null-terminated vectors live until the call returns, which it
    // does only on failure.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces this process with the program behind a descriptor (`execveat(2)`, `AT_EMPTY_PATH`).
pub fn execute_descriptor(program: BorrowedFd<'_>, argv: &[CString], env: &[CString]) -> io::Error {
    let argv = StringVector::new(argv);
    let env = StringVector::new(env);
    // SAFETY: as for `execute`; the descriptor is open and the empty path is a literal.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            env.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Marks every descriptor from `first` on close-on-exec (`close_range(2)`).
///
/// # Errors
/// As `close_range(2)`.
pub fn close_on_exec_from(first: libc::c_uint) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on. The caller must hold no owned descriptor among them
/// that it will still use: this is the last thing before `execve`, or before a process that never
/// returns.
///
/// # Errors
/// As `close_range(2)`.
pub fn close_from(first: libc::c_uint) -> io::Result<()> {
    close_range(first, 0)
}

fn close_range(first: libc::c_uint, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: no pointer is passed; callers give up the descriptors as their documentation says.
    if unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes `fd` the descriptor with number `number`, which is then inherited over `execve`.
///
/// # Errors
/// As `dup2(2)`.
pub fn install_descriptor(fd: BorrowedFd<'_>, number: libc::c_int) -> io::Result<()> {
    // SAFETY: plain numbers; the number is one of 0..=2, which no `OwnedFd` of a stage holds at
    // that point (they were opened while 0, 1 and 2 were taken).
    let done = unsafe { libc::dup2(fd.as_raw_fd(), number) };
    if done == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Takes ownership of an inherited descriptor, such as the socket a stage gets as stdin.
///
/// # Errors
/// EBADF when it is not open.
pub fn inherited(number: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes a number and makes a new descriptor.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Asks for `SIGKILL` when the parent thread ends (`prctl(2)` `PR_SET_PDEATHSIG`).
///
/// # Errors
/// As `prctl(2)`.
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        rustix::process::Signal::KILL,
    ))?)
}

/// Memory that this process can have back at any time: the program's code and constants. They are
/// looked up while `/proc` can be read and given up when nothing is urgent any more.
#[derive(Debug, Default)]
pub struct Reloadable(Vec<(usize, usize)>);

impl Reloadable {
    /// Finds it; nothing where `/proc` cannot be read.
    pub fn find() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Self(maps.lines().filter_map(reloadable).collect())
    }

    /// Lets go of it (`madvise(2)` `MADV_DONTNEED`; minor faults bring pages back from the page
    /// cache), and of what the allocator keeps free. A process that waits for hours keeps almost
    /// nothing resident. `MADV_PAGEOUT` would not do: it passes by pages that others map as well.
    pub fn release(&self) {
        for (start, end) in &self.0 {
            // SAFETY: the range is one mapping of this process, which unmaps none of its program;
            // it is backed by the program's file and was never written, so the next access reads
            // the same bytes again.
            unsafe {
                libc::madvise(
                    ptr::with_exposed_provenance_mut::<libc::c_void>(*start),
                    end.saturating_sub(*start),
                    libc::MADV_DONTNEED,
                )
            };
        }
        #[cfg(target_env = "gnu")]
        // SAFETY: it takes any number and only gives back what is free.
        unsafe {
            libc::malloc_trim(0)
        };
    }
}

/// Has all threads allocate from one heap (`mallopt(3)`, `M_ARENA_MAX`): each further one would keep
/// pages of its own, for threads that live for one short task.
pub fn share_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes any numbers and changes what the allocator does from now on.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// A line of `/proc/self/maps` as a range, if it is code, or the constants at the beginning of the
/// file. Other read-only mappings may hold what relocation has written before they were protected.
fn reloadable(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, access, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let is_file = fields.nth(1)? != "0";
    let is_code = access == "r-xp";
    let is_constant = access == "r--p" && offset.bytes().all(|digit| digit == b'0');
    if !is_file || !(is_code || is_constant) {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((
        usize::from_str_radix(start, 16).ok()?,
        usize::from_str_radix(end, 16).ok()?,
    ))
}

/// Closes every descriptor but 0, 1, 2 and those in `keep`: what a process does before it enters
/// a namespace whose other processes may look at it (CVE-2016-9962). The caller is a clone that
/// will use only what it keeps and never drops the rest.
///
/// # Errors
/// As `close_range(2)`.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<libc::c_uint> = keep
        .iter()
        .filter_map(|fd| libc::c_uint::try_from(fd.as_raw_fd()).ok())
        .collect();
    kept.sort_unstable();
    let mut next: libc::c_uint = 3;
    for number in kept {
        if number > next {
            close_between(next, number.saturating_sub(1))?;
        }
        next = next.max(number.saturating_add(1));
    }
    close_from(next)
}

fn close_between(first: libc::c_uint, last: libc::c_uint) -> io::Result<()> {
    // SAFETY: no pointer is passed; callers give up the descriptors as their documentation says.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_and_constants_can_be_loaded_again() {
        let range = Some((0x20_0000, 0x37_f000));
        for (rest, expected) in [
            ("r--p 00000000 fe:00 7 /podrun", range),
            ("r-xp 0017f000 fe:00 7 /podrun", range),
            // Protected after relocation: it may have been written.
            ("r--p 007ef000 fe:00 7 /podrun", None),
            ("rw-p 007f4000 fe:00 7 /podrun", None),
            ("r-xp 00000000 00:00 0 [vdso]", None),
            ("rw-p 00000000 00:00 0 [heap]", None),
        ] {
            assert_eq!(
                reloadable(&format!("00200000-0037f000 {rest}")),
                expected,
                "{rest}"
            );
        }
    }
}
