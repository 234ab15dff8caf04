//! The pod's plan as it comes from the front end: a sealed file in memory.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use crate::plan::{PLAN_VERSION, PodPlan};

/// Reads a plan from its beginning, wherever the descriptor's offset is: supervisor and pause share
/// that.
///
/// # Errors
/// One line for the user.
pub fn read(plan: impl AsFd) -> Result<PodPlan, String> {
    let bytes = all(plan.as_fd()).map_err(|error| format!("the pod's plan: {error}"))?;
    let plan: PodPlan =
        serde_json::from_slice(&bytes).map_err(|error| format!("the pod's plan: {error}"))?;
    if plan.version == PLAN_VERSION {
        Ok(plan)
    } else {
        Err(format!(
            "the pod's plan has version {}, not {PLAN_VERSION}",
            plan.version
        ))
    }
}

fn all(plan: BorrowedFd<'_>) -> std::io::Result<Vec<u8>> {
    let file = File::from(plan.try_clone_to_owned()?);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or_default();
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
