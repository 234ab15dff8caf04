//! Volumes of the machine that would be podrun's own directories: records, logs, volumes and images
//! of all pods, that no container is to change under podrun's hands.

use std::path::{Path, PathBuf};

use crate::plan::{PlanProblem, PodPlan, VolumeSource};
use crate::store::Store;

/// Refuses a path in one of podrun's own directories, with links followed as the mount will follow
/// them. A directory around podrun's own, such as `/`, is nobody's.
///
/// # Errors
/// Such a path, worded for the user.
pub(super) fn refuse(store: &Store, path: &Path) -> Result<(), String> {
    let real_path = real(path);
    let mut own = store.directories().into_iter();
    match own.find(|own| real_path.starts_with(real(own))) {
        None => Ok(()),
        Some(own) => Err(format!(
            "{} is inside {}, where podrun keeps its own",
            path.display(),
            own.display()
        )),
    }
}

/// The path without links, as far as it exists: what is to be made is made below that.
fn real(path: &Path) -> PathBuf {
    path.ancestors()
        .find_map(|ancestor| {
            let rest = path.strip_prefix(ancestor).ok()?;
            Some(std::fs::canonicalize(ancestor).ok()?.join(rest))
        })
        .unwrap_or_else(|| path.to_owned())
}

/// Finds the `hostPath` volumes of a Pod that are podrun's own.
pub(super) fn problems(store: &Store, plan: &PodPlan) -> Vec<PlanProblem> {
    let volumes = plan.volumes.iter().enumerate();
    volumes
        .filter_map(|(index, volume)| {
            let VolumeSource::HostPath { path, .. } = &volume.source else {
                return None;
            };
            let message = refuse(store, path).err()?;
            let hint =
                "use an emptyDir or a persistentVolumeClaim; `podrun cp` and `podrun logs` read";
            Some(PlanProblem {
                path: format!("spec.volumes[{index}].hostPath.path"),
                message,
                hint: Some(hint.to_owned()),
            })
        })
        .collect()
}
