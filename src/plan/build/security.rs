//! A container's `securityContext`, merged with its pod's: what the container says wins
//! (`DetermineEffectiveSecurityContext`).

use k8s_openapi::api::core::v1::{Container, PodSpec, SeccompProfile};

use super::{Input, PlanProblem, ids, problem};
use crate::manifest::Capability;
use crate::plan::{
    AppArmor, DEFAULT_CAPABILITIES, Filter, FsGroup, GroupsPolicy, Seccomp, SecurityPlan, UserPlan,
};

/// Plans the security of a container that is written at `path`.
pub(super) fn plan(
    path: &str,
    container: &Container,
    spec: &PodSpec,
    input: &Input<'_>,
    problems: &mut Vec<PlanProblem>,
) -> SecurityPlan {
    let available = input.host.capabilities;
    let own = container.security_context.as_ref();
    let privileged = own.and_then(|own| own.privileged) == Some(true);
    let profile = own
        .and_then(|own| own.seccomp_profile.as_ref())
        .or_else(|| spec.security_context.as_ref()?.seccomp_profile.as_ref());
    let capabilities = if privileged {
        available
    } else {
        capabilities(path, container, available, problems)
    };
    let seccomp = if privileged {
        Seccomp::Unconfined
    } else {
        seccomp(profile)
    };
    let filter = input
        .filters
        .filter(&seccomp, capabilities)
        .unwrap_or_else(|why| {
            let is_own = own.is_some_and(|own| own.seccomp_profile.is_some());
            let at = if is_own { path } else { "spec" };
            let path = format!("{at}.securityContext.seccompProfile.localhostProfile");
            say(problems, problem(path, why));
            Filter::default()
        });
    SecurityPlan {
        apparmor: apparmor(path, container, spec, &input.host.apparmor, problems),
        capabilities,
        no_new_privs: own.and_then(|own| own.allow_privilege_escalation) == Some(false),
        privileged,
        unmasked_proc: own.and_then(|own| own.proc_mount.as_deref()) == Some("Unmasked"),
        seccomp,
        filter,
    }
}

fn seccomp(profile: Option<&SeccompProfile>) -> Seccomp {
    match profile.map(|profile| (profile.type_.as_str(), profile.localhost_profile.as_ref())) {
        Some(("Unconfined", _)) => Seccomp::Unconfined,
        Some(("Localhost", Some(file))) => Seccomp::Localhost(file.clone()),
        Some(_) | None => Seccomp::RuntimeDefault,
    }
}

/// The profile that is to be in force; one that cannot be is refused.
fn apparmor(
    path: &str,
    container: &Container,
    spec: &PodSpec,
    available: &AppArmor,
    problems: &mut Vec<PlanProblem>,
) -> Option<String> {
    let own = container.security_context.as_ref();
    let own = own.and_then(|own| own.app_armor_profile.as_ref());
    let pods = spec.security_context.as_ref();
    let pods = pods.and_then(|pods| pods.app_armor_profile.as_ref());
    let at = if own.is_some() { path } else { "spec" };
    let profile = own
        .or(pods)
        .filter(|profile| profile.type_ == "Localhost")?;
    let name = profile.localhost_profile.clone().unwrap_or_default();
    let shown = name.escape_debug();
    let refused = match available {
        AppArmor::Absent => Some((
            "type",
            format!("this kernel has no AppArmor: the profile `{shown}` cannot be in force"),
            "capabilities and seccompProfile confine a container without AppArmor",
        )),
        AppArmor::Enabled(Some(loaded)) if !loaded.contains(&name) => Some((
            "localhostProfile",
            format!("the profile `{shown}` is not loaded"),
            "root loads it: `apparmor_parser -r FILE`",
        )),
        AppArmor::Enabled(_) => None,
    };
    if let Some((field, message, hint)) = refused {
        let problem = PlanProblem {
            path: format!("{at}.securityContext.appArmorProfile.{field}"),
            message,
            hint: Some(hint.to_owned()),
        };
        say(problems, problem);
    }
    Some(name)
}

/// Containerd's order: `ALL` of `add`, `ALL` of `drop`, then the single ones of `add` and `drop`
/// (`WithAllCapabilities`, `WithDroppedCapabilities`).
fn capabilities(
    path: &str,
    container: &Container,
    available: u64,
    problems: &mut Vec<PlanProblem>,
) -> u64 {
    let lists = container
        .security_context
        .as_ref()
        .and_then(|own| own.capabilities.as_ref());
    let add = lists
        .and_then(|lists| lists.add.as_deref())
        .unwrap_or_default();
    let drop = lists
        .and_then(|lists| lists.drop.as_deref())
        .unwrap_or_default();
    let parse = |names: &[String]| -> Vec<Option<Capability>> {
        names.iter().map(|name| Capability::parse(name)).collect()
    };
    let (added, dropped) = (parse(add), parse(drop));
    let mut held = DEFAULT_CAPABILITIES;
    if added.contains(&Some(Capability::All)) {
        held = available;
    }
    if dropped.contains(&Some(Capability::All)) {
        held = 0;
    }
    for (index, capability) in added.iter().enumerate() {
        if let Some(Capability::One(bit)) = capability {
            if available & bit == 0 {
                let name = add.get(index).map(String::as_str).unwrap_or_default();
                problems.push(PlanProblem {
                    path: format!("{path}.securityContext.capabilities.add[{index}]"),
                    message: format!(
                        "podrun itself does not have `{name}` here and cannot give it"
                    ),
                    hint: Some("`grep CapBnd /proc/self/status` shows what there is".to_owned()),
                });
            }
            held |= bit;
        }
    }
    for capability in &dropped {
        if let Some(Capability::One(bit)) = capability {
            held &= !bit;
        }
    }
    held
}

/// What the pod has is said once and not for each container.
pub(super) fn say(problems: &mut Vec<PlanProblem>, problem: PlanProblem) {
    if !problems.contains(&problem) {
        problems.push(problem);
    }
}

/// The group of the pod's volumes.
pub(super) fn fs_group(spec: &PodSpec) -> Option<FsGroup> {
    let pods = spec.security_context.as_ref()?;
    Some(FsGroup {
        gid: u32::try_from(pods.fs_group?).ok()?,
        only_on_root_mismatch: pods.fs_group_change_policy.as_deref() == Some("OnRootMismatch"),
    })
}

/// Who a container runs as; ids that do not exist for this user are refused.
pub(super) fn user(
    path: &str,
    container: &Container,
    spec: &PodSpec,
    image_user: &str,
    id_count: Option<u32>,
    problems: &mut Vec<PlanProblem>,
) -> UserPlan {
    let own = container.security_context.as_ref();
    let pods = spec.security_context.as_ref();
    let mut id = |at: String, id: i64| ids::existing(at, id, id_count, problems);
    let mut merged = |field: &str, own: Option<i64>, pods: Option<i64>| {
        let at = if own.is_some() { path } else { "spec" };
        id(format!("{at}.securityContext.{field}"), own.or(pods)?)
    };
    let run_as_user = merged(
        "runAsUser",
        own.and_then(|s| s.run_as_user),
        pods.and_then(|s| s.run_as_user),
    );
    let run_as_group = merged(
        "runAsGroup",
        own.and_then(|s| s.run_as_group),
        pods.and_then(|s| s.run_as_group),
    );
    let groups = pods
        .and_then(|s| s.supplemental_groups.as_deref())
        .unwrap_or_default();
    let mut supplemental_groups: Vec<u32> = groups
        .iter()
        .enumerate()
        .filter_map(|(index, group)| {
            id(
                format!("spec.securityContext.supplementalGroups[{index}]"),
                *group,
            )
        })
        .collect();
    // With every policy (`kuberuntime_container_linux.go`).
    if let Some(fs_group) = pods.and_then(|s| s.fs_group)
        && let Some(gid) = id("spec.securityContext.fsGroup".to_owned(), fs_group)
        && !supplemental_groups.contains(&gid)
    {
        supplemental_groups.push(gid);
    }
    let policy = match pods.and_then(|s| s.supplemental_groups_policy.as_deref()) {
        Some("Strict") => GroupsPolicy::Strict,
        Some(_) | None => GroupsPolicy::Merge,
    };
    // user_namespaces(7): with a map of one id `setgroups(2)` is denied.
    if id_count == Some(1) {
        for (field, is_set) in [
            ("fsGroup", pods.is_some_and(|s| s.fs_group.is_some())),
            ("supplementalGroups", !groups.is_empty()),
            ("supplementalGroupsPolicy", policy == GroupsPolicy::Strict),
        ] {
            if is_set {
                let problem = PlanProblem {
                    path: format!("spec.securityContext.{field}"),
                    message: "groups cannot be set for this user, whose pods have one id"
                        .to_owned(),
                    hint: Some("`podrun doctor` says how to get a range".to_owned()),
                };
                say(problems, problem);
            }
        }
    }
    UserPlan {
        image_user: image_user.to_owned(),
        run_as_user,
        run_as_group,
        run_as_non_root: own
            .and_then(|s| s.run_as_non_root)
            .or_else(|| pods?.run_as_non_root)
            == Some(true),
        supplemental_groups,
        groups_policy: policy,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::plan;
    use super::*;

    fn with(pods: &Value, own: &Value) -> Result<Option<String>, Vec<PlanProblem>> {
        let spec = json!({
            "securityContext": { "appArmorProfile": pods },
            "containers": [
                {"name": "a", "image": "i", "securityContext": { "appArmorProfile": own }},
            ],
        });
        plan(&spec).map(|plan| plan.containers[0].security.apparmor.clone())
    }

    #[test]
    fn a_profile_of_apparmor_is_one_that_is_loaded() {
        let localhost = |name: &str| json!({"type": "Localhost", "localhostProfile": name});
        let runtime = json!({"type": "RuntimeDefault"});
        let loaded = Some("loaded".to_owned());
        assert_eq!(with(&Value::Null, &localhost("loaded")), Ok(loaded.clone()));
        assert_eq!(with(&localhost("loaded"), &Value::Null), Ok(loaded));
        assert_eq!(with(&localhost("loaded"), &runtime), Ok(None));
        assert_eq!(with(&Value::Null, &runtime), Ok(None));
        for (pods, own, path) in [
            (Value::Null, localhost("other"), "spec.containers[0]"),
            (localhost("other"), Value::Null, "spec"),
        ] {
            let problems = with(&pods, &own).unwrap_err();
            let path = format!("{path}.securityContext.appArmorProfile.localhostProfile");
            assert_eq!(problems.len(), 1);
            assert_eq!(problems[0].path, path);
            assert_eq!(problems[0].message, "the profile `other` is not loaded");
        }
    }
}
