//! The pod's volumes, and paths by their text.

use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Volume};

use super::{Input, PlanProblem, problem, projection};
use crate::manifest::{page_size_of_medium, parse_quantity};
use crate::names::VolumeName;
use crate::plan::{HostPathType, PodPlan, RootSource, VolumePlan, VolumeSource, storage};

pub(super) fn plan(
    index: usize,
    volume: &Volume,
    input: &Input<'_>,
    problems: &mut Vec<PlanProblem>,
) -> Option<VolumePlan> {
    let path = format!("spec.volumes[{index}]");
    let name = match VolumeName::new(volume.name.as_str()) {
        Ok(name) => name,
        Err(error) => {
            problems.push(problem(format!("{path}.name"), error.rule));
            return None;
        }
    };
    let source = if let Some(files) = projection::files(&path, volume, input, problems) {
        VolumeSource::Projected { files }
    } else if let Some(claim) = &volume.persistent_volume_claim {
        claimed(&path, claim, input, problems)?
    } else if volume.ephemeral.is_some() {
        let name = storage::ephemeral_name(input.name.as_str(), &volume.name);
        if input.claims.contains_key(&name) {
            let message = format!("persistentvolumeclaim `{name}` was not made for this pod");
            problems.push(problem(format!("{path}.ephemeral"), message));
        }
        VolumeSource::EphemeralClaim
    } else if let Some(image) = &volume.image {
        let reference = image.reference.as_deref().unwrap_or_default();
        let at = format!("{path}.image.reference");
        match input.images.get(reference).map(|image| &image.root) {
            Some(RootSource::Layers(layers)) => VolumeSource::Image {
                layers: layers.clone(),
            },
            Some(RootSource::Host) => {
                problems.push(PlanProblem {
                    path: at,
                    message: "the machine's own root is not an image".to_owned(),
                    hint: Some("use a hostPath".to_owned()),
                });
                return None;
            }
            None => {
                problems.push(problem(at, format!("`{reference}` is not present")));
                return None;
            }
        }
    } else if let Some(host) = &volume.host_path {
        let wanted = PathBuf::from(&host.path);
        let absolute = if wanted.is_absolute() {
            clean(&wanted)
        } else if let Some(folder) = input.folder {
            clean(&folder.join(wanted))
        } else {
            problems.push(PlanProblem {
                path: format!("{path}.hostPath.path"),
                message: "is relative, and this manifest did not come from a file".to_owned(),
                hint: Some("write an absolute path".to_owned()),
            });
            return None;
        };
        let kind = match host.type_.as_deref().unwrap_or_default() {
            "DirectoryOrCreate" => HostPathType::DirectoryOrCreate,
            "Directory" => HostPathType::Directory,
            "FileOrCreate" => HostPathType::FileOrCreate,
            "File" => HostPathType::File,
            "Socket" => HostPathType::Socket,
            "CharDevice" => HostPathType::CharDevice,
            "BlockDevice" => HostPathType::BlockDevice,
            _ => HostPathType::Unset,
        };
        VolumeSource::HostPath {
            path: absolute,
            kind,
        }
    } else {
        let empty = volume.empty_dir.clone().unwrap_or_default();
        let size_limit = match empty
            .size_limit
            .as_ref()
            .map(|limit| parse_quantity(&limit.0))
        {
            None => None,
            Some(Ok(bytes)) => Some(bytes),
            Some(Err(message)) => {
                problems.push(problem(format!("{path}.emptyDir.sizeLimit"), message));
                return None;
            }
        };
        // `perm` of the kubelet's `empty_dir.go`.
        let mode = empty.mode.and_then(|mode| u32::try_from(mode).ok());
        let mode = mode.unwrap_or(0o777);
        let medium = empty.medium.as_deref().unwrap_or_default();
        let spec = input.pod.spec.as_ref();
        let page_size = spec.and_then(|spec| page_size_of_medium(spec, medium).ok()?);
        if page_size.is_some() && input.host.id_count.is_some() {
            problems.push(PlanProblem {
                path: format!("{path}.emptyDir.medium"),
                message: "huge pages cannot be mounted in a user namespace".to_owned(),
                hint: Some(
                    "use root, or `mmap(2)` with MAP_HUGETLB, which needs no volume".to_owned(),
                ),
            });
        }
        if medium == "Memory" || page_size.is_some() {
            VolumeSource::EmptyDirMemory {
                size_limit,
                mode,
                page_size,
            }
        } else {
            VolumeSource::EmptyDirDisk { size_limit, mode }
        }
    };
    Some(VolumePlan { name, source })
}

/// A volume in memory is no larger than the memory of the pod (`calculateEmptyDirMemorySize` of the
/// kubelet).
pub(super) fn bound_memory(plan: &mut PodPlan) {
    let Some(memory) = plan.limits().some_memory() else {
        return;
    };
    for volume in &mut plan.volumes {
        if let VolumeSource::EmptyDirMemory {
            size_limit,
            page_size: None,
            ..
        } = &mut volume.source
        {
            let own = size_limit.filter(|limit| *limit > 0);
            *size_limit = Some(own.map_or(memory, |own| own.min(memory)));
        }
    }
}

fn claimed(
    path: &str,
    claim: &PersistentVolumeClaimVolumeSource,
    input: &Input<'_>,
    problems: &mut Vec<PlanProblem>,
) -> Option<VolumeSource> {
    let name = &claim.claim_name;
    let (message, hint) = match input.claims.get(name) {
        Some(Ok(bound)) => {
            return Some(VolumeSource::Claim {
                path: bound.path.clone(),
                kind: bound.kind,
                read_only: claim.read_only == Some(true),
                takes_group: bound.takes_group,
            });
        }
        Some(Err(why)) => (
            format!("persistentvolumeclaim `{name}` is not bound: {why}"),
            "`podrun get pv` shows what there is",
        ),
        None => (
            format!("persistentvolumeclaim `{name}` not found"),
            "add a PersistentVolumeClaim of this name and namespace to the files",
        ),
    };
    problems.push(PlanProblem {
        path: format!("{path}.persistentVolumeClaim.claimName"),
        message,
        hint: Some(hint.to_owned()),
    });
    None
}

/// Removes `.` and `..` by the text, as a shell's `cd -L` does.
fn clean(path: &Path) -> PathBuf {
    let mut result = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => {
                result.pop();
            }
            Component::Normal(name) => result.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    result
}

/// A path inside a container: absolute, without `.` and `..`.
pub(super) fn clean_text(path: &str) -> String {
    let rooted = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    clean(Path::new(&rooted)).to_string_lossy().into_owned()
}
