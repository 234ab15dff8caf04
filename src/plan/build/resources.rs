//! `resources` of containers and pods, and what the kernel is told of who ends first.

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};

use super::{HostFacts, PlanProblem};
use crate::manifest::{bytes_text, huge_pages_name};
use crate::plan::resources::together;
use crate::plan::{Amounts, ContainerPlan, QosClass, Resources, Role};

/// `besteffortOOMScoreAdj` (pkg/kubelet/qos/policy.go).
pub(super) const LAST_OOM_SCORE: i16 = 1000;

/// `guaranteedOOMScoreAdj`
const FIRST_OOM_SCORE: i16 = -997;

/// The resources of a container or a pod; the manifest was checked.
pub(super) fn plan(resources: Option<&ResourceRequirements>) -> Resources {
    resources.map_or_else(Resources::default, |resources| Resources {
        limits: Amounts::of(resources.limits.as_ref()),
        requests: Amounts::of(resources.requests.as_ref()),
    })
}

/// What the Pod's containers, and the Pod itself, may take up, with the paths of what says so.
fn all(spec: &PodSpec) -> impl Iterator<Item = (String, Resources)> {
    let containers = super::containers(spec);
    let containers = containers.map(|(path, _, container)| (path, container.resources.as_ref()));
    containers
        .chain([("spec".to_owned(), spec.resources.as_ref())])
        .map(|(path, resources)| (path, plan(resources)))
}

/// Whether a Pod asks for huge pages: what the machine has of them need not be known otherwise.
pub fn asks_for_huge_pages(spec: &PodSpec) -> bool {
    all(spec).any(|(_, resources)| !resources.limits.huge_pages.is_empty())
}

/// That the machine has the huge pages which the Pod's containers, or the Pod itself, may take up.
pub(super) fn check_huge_pages(spec: &PodSpec, host: &HostFacts, problems: &mut Vec<PlanProblem>) {
    for (path, resources) in all(spec) {
        for (size, wanted) in resources.limits.huge_pages {
            let Some(message) = lack_of_pages(size, wanted, host) else {
                continue;
            };
            let kibibytes = size / 1024;
            let file = format!("/sys/kernel/mm/hugepages/hugepages-{kibibytes}kB/nr_hugepages");
            let hint = if host.huge_pages.contains_key(&size) {
                format!("as root, write {} into {file}", wanted.div_ceil(size))
            } else {
                let names = host.huge_pages.keys().map(|size| huge_pages_name(*size));
                format!("it has {}", names.collect::<Vec<_>>().join(", "))
            };
            problems.push(PlanProblem {
                path: format!("{path}.resources.limits.{}", huge_pages_name(size)),
                message,
                hint: Some(hint).filter(|_| !host.huge_pages.is_empty()),
            });
        }
    }
}

fn lack_of_pages(size: u64, wanted: u64, host: &HostFacts) -> Option<String> {
    match host.huge_pages.get(&size) {
        None => Some("the machine has no pages of this size".to_owned()),
        Some(all) if wanted > *all => {
            let all = bytes_text(*all);
            Some(format!("the machine has set aside {all} for such pages"))
        }
        Some(_) => None,
    }
}

/// `GetContainerOOMScoreAdjust`: the more of the machine's memory a container requests, the later it
/// is ended. What the pod requests beyond its containers is theirs in equal parts. A sidecar is not
/// ended before the containers it serves.
pub(super) fn set_oom_scores(containers: &mut [ContainerPlan], pod: &Resources, memory: u64) {
    let class = QosClass::of(pod, containers);
    let requested = together(containers, |resources| &resources.requests);
    let rest = pod.requests.memory.unwrap_or(0);
    let rest = rest.saturating_sub(requested.memory.unwrap_or(0));
    let count = u64::try_from(containers.len()).unwrap_or(u64::MAX);
    let rest = rest.checked_div(count).unwrap_or(0);
    for container in &mut *containers {
        container.oom_score_adj = match class {
            QosClass::Guaranteed => FIRST_OOM_SCORE,
            QosClass::BestEffort => LAST_OOM_SCORE,
            QosClass::Burstable => {
                let request = container.resources.requests.memory.unwrap_or(0);
                let part = u128::from(request.saturating_add(rest))
                    .saturating_mul(1000)
                    .checked_div(u128::from(memory))
                    .unwrap_or(0);
                let part = i16::try_from(part).unwrap_or(i16::MAX);
                let score = LAST_OOM_SCORE.saturating_sub(part);
                // Between those of the other classes, and neither of them.
                let least = LAST_OOM_SCORE.saturating_add(FIRST_OOM_SCORE);
                score.clamp(least, LAST_OOM_SCORE.saturating_sub(1))
            }
        };
    }
    let mains = containers.iter().filter(|it| it.role == Role::Main);
    let Some(least) = mains.map(|container| container.oom_score_adj).min() else {
        return;
    };
    for container in containers.iter_mut().filter(|it| it.role == Role::Sidecar) {
        container.oom_score_adj = container.oom_score_adj.min(least);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::plan;
    use crate::plan::{Amounts, PodPlan, QosClass};

    fn containers(list: &[(&str, Value)]) -> PodPlan {
        let make = |(name, resources): &(&str, Value)| {
            let mut made = json!({ "name": name, "image": "i", "resources": resources });
            if name.starts_with("sidecar") {
                made["restartPolicy"] = "Always".into();
            }
            made
        };
        let is_init = |(name, _): &&(&str, Value)| !name.starts_with("main");
        let inits: Vec<Value> = list.iter().filter(is_init).map(make).collect();
        let mains: Vec<Value> = list.iter().filter(|it| !is_init(it)).map(make).collect();
        plan(&json!({ "containers": mains, "initContainers": inits })).unwrap()
    }

    fn both(cpu: &str, memory: &str) -> Value {
        let amounts = json!({ "cpu": cpu, "memory": memory });
        json!({ "limits": amounts, "requests": amounts })
    }

    #[test]
    fn the_class_and_the_score_are_the_kubelets() {
        // The machine of the tests has 3 GiB.
        for (list, class, scores) in [
            (vec![("main", json!({}))], "BestEffort", vec![1000]),
            (vec![("main", both("1", "1Gi"))], "Guaranteed", vec![-997]),
            (
                vec![("main", both("1", "1Gi")), ("main2", json!({}))],
                "Burstable",
                vec![667, 999],
            ),
            (
                vec![("main", json!({ "requests": { "cpu": "1" } }))],
                "Burstable",
                vec![999],
            ),
            (
                vec![("main", json!({ "requests": { "cpu": "0", "memory": "0" } }))],
                "BestEffort",
                vec![1000],
            ),
            (
                vec![("main", json!({ "requests": { "memory": "64Gi" } }))],
                "Burstable",
                vec![3],
            ),
            (
                vec![("init", json!({})), ("main", both("1", "1Gi"))],
                "Burstable",
                vec![999, 667],
            ),
            (
                vec![("sidecar", json!({})), ("main", both("1", "1Gi"))],
                "Burstable",
                vec![667, 667],
            ),
            (
                vec![(
                    "main",
                    json!({ "requests": { "ephemeral-storage": "1Gi" } }),
                )],
                "BestEffort",
                vec![1000],
            ),
        ] {
            let plan = containers(&list);
            assert_eq!(
                QosClass::of(&plan.resources, &plan.containers).word(),
                class,
                "{list:?}"
            );
            let found: Vec<i16> = plan.containers.iter().map(|it| it.oom_score_adj).collect();
            assert_eq!(found, scores, "{list:?}");
        }
    }

    #[test]
    fn a_pod_needs_what_runs_side_by_side_or_the_most_of_its_start() {
        let of =
            |list: &[(&str, Value)]| containers(list).together(|resources| &resources.requests);
        let cpu = |amount: &str| json!({ "requests": { "cpu": amount } });
        let pod = of(&[("main", cpu("1")), ("main2", cpu("500m"))]);
        assert_eq!(pod.cpu, Some(1500));
        let pod = of(&[("init", cpu("3")), ("main", cpu("1"))]);
        assert_eq!(pod.cpu, Some(3000));
        let pod = of(&[
            ("sidecar", cpu("1")),
            ("init", cpu("3")),
            ("main", cpu("1")),
        ]);
        assert_eq!(pod.cpu, Some(4000));
        let pod = of(&[
            ("init", cpu("3")),
            ("sidecar", cpu("1")),
            ("main", cpu("5")),
        ]);
        assert_eq!(pod.cpu, Some(6000));
        assert_eq!(of(&[("main", json!({}))]), Amounts::default());
    }

    #[test]
    fn what_is_written_for_the_pod_decides_of_its_class() {
        let pod = |resources: Value, first: Value| {
            let plan = plan(&json!({
                "resources": resources,
                "containers": [
                    { "name": "a", "image": "i", "resources": first },
                    { "name": "b", "image": "i" },
                ],
            }))
            .unwrap();
            let class = QosClass::of(&plan.resources, &plan.containers).word();
            let scores: Vec<i16> = plan.containers.iter().map(|it| it.oom_score_adj).collect();
            (class, scores)
        };
        let all = both("1", "1536Mi");
        assert_eq!(pod(all.clone(), json!({})), ("Guaranteed", vec![-997; 2]));
        assert_eq!(
            pod(json!({ "limits": { "cpu": "1" } }), both("1", "1Gi")),
            ("Burstable", vec![667, 999])
        );
        // A half and a quarter of the machine's memory: what is left is shared.
        let requests = json!({ "requests": { "memory": "1536Mi" } });
        assert_eq!(
            pod(requests, json!({ "requests": { "memory": "768Mi" } })),
            ("Burstable", vec![625, 875])
        );
    }

    #[test]
    fn a_pod_needs_what_is_written_for_it() {
        let plan = plan(&json!({
            "resources": { "limits": { "cpu": "3" } },
            "containers": [
                { "name": "a", "image": "i", "resources": both("1", "1Gi") },
                { "name": "b", "image": "i", "resources": both("1", "1Gi") },
            ],
        }))
        .unwrap();
        let limits = plan.together(|resources| &resources.limits);
        assert_eq!((limits.cpu, limits.memory), (Some(3000), Some(2 << 30)));
    }

    #[test]
    fn huge_pages_are_those_that_the_machine_has_set_aside() {
        // The machine of the tests has 16 MiB of pages of 2 MiB.
        let problems = |limits: Value| {
            let container = json!({ "name": "a", "image": "i", "resources": { "limits": limits } });
            let problems = plan(&json!({ "containers": [container] })).err();
            let mut all = problems.into_iter().flatten();
            all.next().map(|it| {
                let hint = it.hint.unwrap_or_default();
                format!("{}: {} ({hint})", it.path, it.message)
            })
        };
        assert_eq!(problems(json!({ "hugepages-2Mi": "16Mi" })), None);
        assert_eq!(
            problems(json!({ "hugepages-2Mi": "18Mi" })).as_deref(),
            Some(
                "spec.containers[0].resources.limits.hugepages-2Mi: the machine has set aside 16Mi \
                 for such pages (as root, write 9 into \
                 /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages)"
            )
        );
        assert_eq!(
            problems(json!({ "hugepages-1Gi": "1Gi" })).as_deref(),
            Some(
                "spec.containers[0].resources.limits.hugepages-1Gi: the machine has no pages of \
                 this size (it has hugepages-2Mi)"
            )
        );
    }

    #[test]
    fn a_volume_in_memory_is_no_larger_than_the_pods_memory() {
        use crate::plan::VolumeSource;
        let sizes = |second: Value| {
            let volume = |name: &str, mut fields: Value| {
                fields["medium"] = "Memory".into();
                json!({ "name": name, "emptyDir": fields })
            };
            let plan = plan(&json!({
                "volumes": [
                    volume("a", json!({})),
                    volume("b", json!({ "sizeLimit": "1Gi" })),
                    volume("c", json!({ "sizeLimit": "8Gi" })),
                ],
                "containers": [
                    { "name": "a", "image": "i", "resources": both("1", "2Gi") },
                    { "name": "b", "image": "i", "resources": second },
                ],
            }))
            .unwrap();
            let volumes = plan.volumes.iter();
            volumes
                .map(|volume| match volume.source {
                    VolumeSource::EmptyDirMemory { size_limit, .. } => {
                        size_limit.map(|it| it >> 30)
                    }
                    _ => panic!("{volume:?}"),
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(both("1", "1Gi")), [Some(3), Some(1), Some(3)]);
        assert_eq!(sizes(json!({})), [None, Some(1), Some(8)]);
    }
}
