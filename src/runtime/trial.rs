//! `doctor`'s tries, each in a process of its own.

use crate::runtime::idmap::IdMap;
use crate::runtime::inside;
use crate::wire::{Outcome, Task};

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// A user namespace with its id maps.
    Namespaces,
    /// All namespaces and mounts of a pod.
    Sandbox,
}

/// Tries it.
///
/// # Errors
/// What did not work.
pub fn run(ids: &IdMap, trial: Trial) -> Result<(), String> {
    let outcome = inside::perform(ids, &Task::TrySandbox, &[]);
    match (trial, outcome) {
        (_, Err(error)) => Err(error.to_string()),
        (Trial::Sandbox, Ok(Outcome::Failed { message } | Outcome::Invalid { message })) => {
            Err(message)
        }
        _ => Ok(()),
    }
}
