//! Volumes of the machine that would be podrun's own directories: records, logs, volumes and images
//! of all pods, that no container is to change under podrun's hands.

use std::path::{Path, PathBuf};

use crate::plan::{PlanProblem, PodPlan, VolumeSource};
use crate::store::Store;

/// Says which of podrun's own directories holds a path, with links followed as the mount will follow
/// them, or nothing. A directory around podrun's own, such as `/`, is nobody's.
pub(super) fn holder(store: &Store, path: &Path) -> Option<PathBuf> {
    let path = real(path);
    let mut own = store.directories().into_iter();
    own.find(|own| path.starts_with(real(own)))
        .map(Path::to_owned)
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

/// What is wrong with a volume of the machine that is podrun's own.
pub(super) fn wording(path: &Path, holder: &Path) -> String {
    format!(
        "{} is inside {}, where podrun keeps its own",
        path.display(),
        holder.display()
    )
}

/// Finds the `hostPath` volumes of a Pod that are podrun's own.
pub(super) fn problems(store: &Store, plan: &PodPlan) -> Vec<PlanProblem> {
    let volumes = plan.volumes.iter().enumerate();
    volumes
        .filter_map(|(index, volume)| {
            let VolumeSource::HostPath { path, .. } = &volume.source else {
                return None;
            };
            Some(PlanProblem {
                path: format!("spec.volumes[{index}].hostPath.path"),
                message: wording(path, &holder(store, path)?),
                hint: Some(
                    "use an emptyDir or a persistentVolumeClaim, and `podrun cp` or `podrun logs` to read"
                        .to_owned(),
                ),
            })
        })
        .collect()
}
