//! Which system calls a container may make: podrun's own policy and the profiles of the machine's
//! administrator, compiled to the kernel's filter programs before the pod starts.

mod compile;
mod names;
mod policy;
mod profile;

use crate::plan::Filter;
pub use profile::{Machine, ProfileError};

/// What becomes of a system call (`seccomp(2)`, "Seccomp mode filter return values").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Allow,
    Errno(u16),
    KillProcess,
    KillThread,
    Log,
    Trace(u16),
    Trap,
}

/// One rule: for a system call whose arguments fulfil all conditions.
#[derive(Debug, Clone)]
struct Rule {
    number: u32,
    action: Action,
    conditions: Vec<seccompiler::SeccompCondition>,
}

/// A whole policy. Of the rules for one call those with conditions come first, in their order.
#[derive(Debug, Clone)]
struct Policy {
    default: Action,
    rules: Vec<Rule>,
}

/// `RuntimeDefault` for a container with these capabilities.
///
/// # Errors
/// [`ProfileError::TooLong`].
pub fn runtime_default(capabilities: u64) -> Result<Filter, ProfileError> {
    compile::compile(policy::runtime_default(capabilities))
}

/// For podrun's own processes that talk with containers and the network.
///
/// # Errors
/// [`ProfileError::TooLong`].
pub fn helper() -> Result<Filter, ProfileError> {
    compile::compile(policy::helper())
}

/// A profile of the OCI's or Docker's JSON form.
///
/// # Errors
/// As [`ProfileError`] says.
pub fn localhost(text: &[u8], machine: &Machine) -> Result<Filter, ProfileError> {
    compile::compile(profile::read(text, machine)?)
}
