//! Pause: process 1 of the pod's pid namespace. It sets up what all containers share, then holds
//! the namespaces, reaps orphans and ends when the supervisor does.
//!
//! It makes its namespaces before the pod is known: the kernel needs half a millisecond for a
//! network namespace, and the front end is still making the plan.

use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::DumpableBehavior;

use crate::plan::{Network, PodPlan};
use crate::stage::{At, Reporter, confine, oom_score, own_users, sealed_plan};
use crate::sys::process::{self, Reloadable, SingleThread, exit_now};
use crate::wire::{Failure, PauseLaunch, Report, Step};

/// What pause is cloned with. The pod's plan and an empty directory, which becomes pause's root,
/// come over the socket of its reports.
#[derive(Debug)]
pub struct PauseSetup {
    /// `CLONE_NEW*` bits of the namespaces pause makes.
    pub namespaces: libc::c_int,
    /// It is in a new user namespace of the pod's, whose maps the supervisor writes.
    pub own_users: bool,
    /// Sets up the network namespace; the layer above owns how.
    pub network: fn(&PodPlan, Wire) -> std::io::Result<()>,
}

/// The pod's wire to the pod network.
#[derive(Debug)]
pub enum Wire {
    /// There is no such network here.
    None,
    /// It is in this network namespace already.
    Made,
    /// It is to be made.
    Make {
        /// A routing socket of the network namespace with the bridge. Pause itself never goes
        /// there: who joins its namespaces at that moment would go with it.
        route: OwnedFd,
        /// The bridge's number there.
        bridge: u32,
    },
}

/// Runs pause until the lifeline's end of file says that the supervisor is gone. Never returns.
pub fn run(
    proof: &SingleThread,
    reporter: &Reporter,
    setup: &PauseSetup,
    lifeline: BorrowedFd<'_>,
) -> ! {
    // While there is a `/proc`.
    let memory = Reloadable::find();
    if let Err(failure) = set_up(proof, reporter, setup) {
        reporter.send(&Report::Failed(failure), &[]);
        exit_now(125);
    }
    reporter.send(&Report::Ready, &[]);
    hold(lifeline, &memory)
}

fn set_up(proof: &SingleThread, reporter: &Reporter, setup: &PauseSetup) -> Result<(), Failure> {
    // The first of three ways to die together. It closes no race by itself: if the supervisor
    // died before this call, the lifeline below has its end of file already.
    process::die_with_parent().at(Step::ProcessState, "parent death signal")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .at(Step::ProcessState, "dumpable")?;
    rustix::thread::set_name(c"podrun-pause").at(Step::ProcessState, "name")?;
    if setup.own_users {
        reporter.wait_for_go()?;
        own_users::become_root()?;
        // It ended with the change of credentials (prctl(2)).
        process::die_with_parent().at(Step::ProcessState, "parent death signal")?;
    }
    process::unshare(proof, setup.namespaces).at(Step::Namespaces, "")?;
    // Containers build their root file systems while the network is set up here.
    reporter.send(&Report::Namespaces, &[]);
    let (PauseLaunch { bridge, is_wired }, descriptors) = reporter.receive()?;
    let mut descriptors = descriptors.into_iter();
    let (Some(plan), Some(empty_dir)) = (descriptors.next(), descriptors.next()) else {
        return Err(std::io::Error::from_raw_os_error(libc::ECANCELED)).at(Step::Namespaces, "");
    };
    let wire = match (bridge, descriptors.next()) {
        _ if is_wired => Wire::Made,
        (Some(bridge), Some(route)) => Wire::Make { route, bridge },
        _ => Wire::None,
    };
    let plan = sealed_plan::read(plan)
        .map_err(std::io::Error::other)
        .at(Step::ProcessState, "plan")?;
    if let Some(least) = plan.containers.iter().map(|it| it.oom_score_adj).min() {
        oom_score::go_after(least);
    }
    if let Network::Pod { .. } = plan.network {
        rustix::system::sethostname(plan.hostname.as_bytes())
            .at(Step::Hostname, plan.hostname.clone())?;
        (setup.network)(&plan, wire).at(Step::Network, "")?;
    }
    for (path, value) in &plan.sysctls {
        set_sysctl(path, value).at(Step::Sysctl, path.as_str())?;
    }
    // With shareProcessNamespace containers see this process: it keeps no view of the host's
    // files, no capability and no descriptor.
    rustix::process::fchdir(&empty_dir).at(Step::Pivot, "")?;
    rustix::process::chroot(".").at(Step::Pivot, "")?;
    confine::confine_helper(&plan.helper_filter).at(Step::Credentials, "")?;
    Ok(())
}

/// Of this process' own namespaces, which are the pod's: `/proc` is still the host's, which no
/// container can change (CVE-2025-52881).
fn set_sysctl(path: &str, value: &str) -> std::io::Result<()> {
    let root = rustix::fs::open(
        "/proc/sys",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let file = rustix::fs::openat2(
        root,
        path,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH
            | ResolveFlags::NO_XDEV
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS,
    )?;
    std::fs::File::from(file).write_all(value.as_bytes())
}

fn hold(lifeline: BorrowedFd<'_>, memory: &Reloadable) -> ! {
    // The lifeline takes the place of stdio; every other descriptor goes, the report socket too.
    for number in 0..=2 {
        if process::install_descriptor(lifeline, number).is_err() {
            exit_now(125);
        }
    }
    if process::close_from(3).is_err() {
        exit_now(125);
    }
    let Ok(children) = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC) else {
        exit_now(125)
    };
    let lifeline = rustix::stdio::stdin();
    // It has everything the supervisor had when it was cloned, and needs next to nothing of it.
    memory.release();
    loop {
        let mut ready = [
            PollFd::new(&lifeline, PollFlags::IN),
            PollFd::new(&children, PollFlags::IN),
        ];
        if poll(&mut ready, None).is_err() {
            continue;
        }
        let [lifeline_ready, children_ready] = ready;
        if !lifeline_ready.revents().is_empty() {
            exit_now(0);
        }
        if !children_ready.revents().is_empty() {
            children.read_signal().ok();
            while matches!(
                waitpid(None, Some(WaitPidFlag::WNOHANG)),
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))
            ) {}
        }
    }
}
