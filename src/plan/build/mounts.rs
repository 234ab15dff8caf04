//! Where a container has the pod's volumes, and how.

use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::container::Surroundings;
use super::volume::clean_text;
use super::{PlanProblem, problem, sub_path};
use crate::names::VolumeName;
use crate::plan::{BindOptions, MountPlan, Propagation};

/// Plans the mounts of a container that is written at `path`, in the order they are made.
pub(super) fn plan(
    path: &str,
    container: &Container,
    surroundings: &Surroundings<'_>,
    declared: &[(String, String)],
    problems: &mut Vec<PlanProblem>,
) -> Vec<MountPlan> {
    let mut mounts: Vec<MountPlan> = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let Ok(volume) = VolumeName::new(mount.name.as_str()) else {
            continue;
        };
        let at = format!("{path}.volumeMounts[{index}]");
        let sub_path = match sub_path::plan(mount, declared) {
            Ok(sub_path) => sub_path,
            Err(message) => {
                problems.push(problem(format!("{at}.subPathExpr"), message));
                continue;
            }
        };
        let propagation = propagation(mount);
        if propagation == Propagation::Bidirectional && surroundings.spec.host_users == Some(false)
        {
            problems.push(problem(
                format!("{at}.mountPropagation"),
                "with `hostUsers: false` no mount of a container reaches anything else \
                 (mount_namespaces(7))",
            ));
        } else if propagation == Propagation::Bidirectional
            && !may_reach_the_machine(mount, surroundings)
        {
            problems.push(PlanProblem {
                path: format!("{at}.mountPropagation"),
                message: "the kernel lets no mount of a user's pod reach the machine \
                          (mount_namespaces(7)): `Bidirectional` of this volume needs root"
                    .to_owned(),
                hint: Some("containers of the pod can exchange mounts in an emptyDir".to_owned()),
            });
        }
        mounts.push(MountPlan {
            volume,
            mount_path: clean_text(&mount.mount_path),
            sub_path,
            read_only: mount.read_only == Some(true),
            recursive_read_only: is_recursive(mount),
            propagation,
            options: options(mount),
        });
    }
    // A mount at /a is made before the one at /a/b.
    mounts.sort_by_key(|mount| mount.mount_path.matches('/').count());
    mounts
}

/// `IfPossible` is always possible: podrun needs `mount_setattr(2)`, which is what it takes.
fn is_recursive(mount: &VolumeMount) -> bool {
    matches!(
        mount.recursive_read_only.as_deref(),
        Some("Enabled" | "IfPossible")
    )
}

fn propagation(mount: &VolumeMount) -> Propagation {
    match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => Propagation::HostToContainer,
        Some("Bidirectional") => Propagation::Bidirectional,
        Some(_) | None => Propagation::None,
    }
}

fn options(mount: &VolumeMount) -> BindOptions {
    let has = |option: &str| {
        mount
            .bind_mount_options
            .iter()
            .flatten()
            .any(|o| o == option)
    };
    BindOptions {
        no_exec: has("noexec"),
        no_dev: has("nodev"),
        no_suid: has("nosuid"),
    }
}

/// Root's pods are in the machine's user namespace; other volumes than these are the pod's own.
fn may_reach_the_machine(mount: &VolumeMount, surroundings: &Surroundings<'_>) -> bool {
    let mut volumes = surroundings.spec.volumes.iter().flatten();
    let is_machines = volumes.any(|volume| {
        let is_machines = volume.host_path.is_some() || volume.persistent_volume_claim.is_some();
        volume.name == mount.name && is_machines
    });
    !is_machines || surroundings.input.host.id_count.is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plan;
    use super::*;

    #[test]
    fn a_mount_is_planned_as_it_is_written() {
        let with = |more: serde_json::Value| {
            let mut mount = json!({"name": "v", "mountPath": "/v"});
            mount
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let spec = json!({
                "volumes": [{"name": "v"}],
                "containers": [{"name": "a", "image": "i", "volumeMounts": [mount]}],
            });
            plan(&spec).unwrap().containers[0].mounts[0].clone()
        };
        let plain = with(json!({}));
        assert_eq!(plain.propagation, Propagation::None);
        assert_eq!(plain.options, BindOptions::default());
        for (word, is_recursive) in [("Disabled", false), ("IfPossible", true), ("Enabled", true)] {
            let mount = with(json!({"readOnly": true, "recursiveReadOnly": word}));
            assert_eq!(mount.recursive_read_only, is_recursive, "{word}");
        }
        for (word, propagation) in [
            ("None", Propagation::None),
            ("HostToContainer", Propagation::HostToContainer),
            ("Bidirectional", Propagation::Bidirectional),
        ] {
            assert_eq!(
                with(json!({"mountPropagation": word})).propagation,
                propagation
            );
        }
        for (words, no_exec, no_dev, no_suid) in [
            (json!(["noexec"]), true, false, false),
            (json!(["nodev", "nosuid"]), false, true, true),
        ] {
            let options = with(json!({"bindMountOptions": words})).options;
            assert_eq!(
                options,
                BindOptions {
                    no_exec,
                    no_dev,
                    no_suid
                },
                "{words}"
            );
        }
    }
}
