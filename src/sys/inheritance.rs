//! What every process passes on and no program expects: how its caller is scheduled and runs.

/// `PER_LINUX`: no flag of `personality(2)`, such as no randomisation of addresses.
const PER_LINUX: libc::c_ulong = 0;

/// `IOPRIO_WHO_PROCESS` of `linux/ioprio.h`.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;

/// What the first process of the machine has, in nanoseconds (`init/init_task.c`).
const TIMER_SLACK: libc::c_ulong = 50_000;

/// Gives this process the values that the machine's first one has. What the kernel does not let it
/// have, such as a better priority than its caller's, stays as it is.
pub fn reset() {
    // SAFETY: these take and change plain numbers of this process.
    unsafe { libc::personality(PER_LINUX) };
    // SAFETY: as above; class and level 0 is the default.
    unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0) };
    // SAFETY: as above.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, TIMER_SLACK, 0, 0, 0) };
    // SAFETY: as above; 0 allows huge pages again.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 0, 0, 0, 0) };
    let normal = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter outlives the call, which only reads it.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const normal) };
    // SAFETY: plain numbers.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    let all = [u8::MAX; 1024];
    // SAFETY: the mask outlives the call, which reads as many bytes as it is told; the kernel leaves
    // out the processors that are not there, or not the cgroup's.
    unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, all.len(), all.as_ptr()) };
}
