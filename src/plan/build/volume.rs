//! The pod's volumes, and paths by their text.

use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::Volume;

use super::{Input, PlanProblem, problem, projection};
use crate::manifest::parse_quantity;
use crate::names::VolumeName;
use crate::plan::{HostPathType, VolumePlan, VolumeSource};

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
        if empty.medium.as_deref() == Some("Memory") {
            VolumeSource::EmptyDirMemory { size_limit }
        } else {
            VolumeSource::EmptyDirDisk { size_limit }
        }
    };
    Some(VolumePlan { name, source })
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
