//! What containers and pods request and may have at most (validation.go
//! `ValidateContainerResourceName`, `ValidateResourceRequirements`, `validatePodResources`).

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};

use super::Rules;
use crate::manifest::amounts::{Amounts, HUGE_PAGES, page_size};
use crate::manifest::quantity::{bytes_text, millicores_text};
use crate::manifest::{huge_pages_name, parse_quantity, parse_thousandths};

/// What does without one.
const DEVICES: &str = "a device file can be had as a hostPath of type CharDevice";

/// Whose resources they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Container,
    Pod,
}

pub(super) fn check(path: &str, container: &Container, rules: &mut Rules<'_>) {
    if let Some(resources) = &container.resources {
        check_all(
            &format!("{path}.resources"),
            Owner::Container,
            resources,
            rules,
        );
    }
}

/// `spec.resources`: what is written for the pod is enough for its containers.
pub(super) fn check_pod(spec: &PodSpec, rules: &mut Rules<'_>) {
    let Some(resources) = &spec.resources else {
        return;
    };
    let path = "spec.resources";
    check_all(path, Owner::Pod, resources, rules);
    let limits = Amounts::of(resources.limits.as_ref());
    let requests = Amounts::of(resources.requests.as_ref());
    let of_containers = Amounts::of_containers(spec, |it| it.requests.as_ref());
    for name in of_containers.quantities().keys() {
        let Some(needed) = of_containers.get(name).filter(|_| is_of_pods(name)) else {
            continue;
        };
        let at = format!("{path}.requests.{name}");
        // Where the request follows from the containers, or from the limit, it is the limit that
        // was written.
        let (at, amount) = match limits.get(name) {
            Some(limit) if !rules.is_written(&at) => (format!("{path}.limits.{name}"), limit),
            _ => (at, requests.get(name).unwrap_or(0)),
        };
        if needed > amount {
            let message = format!(
                "must be at least what the containers request together, {}",
                text(name, needed)
            );
            rules.error(&at, message);
        }
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let own = container.resources.as_ref();
        let own = Amounts::of(own.and_then(|own| own.limits.as_ref()));
        for name in own.quantities().keys() {
            let (Some(own), Some(limit)) = (own.get(name), limits.get(name)) else {
                continue;
            };
            if own > limit {
                let at = format!("spec.containers[{index}].resources.limits.{name}");
                let message = format!(
                    "must not be more than the pod's limit of {}",
                    text(name, limit)
                );
                rules.error(&at, message);
            }
        }
    }
}

/// `IsSupportedPodLevelResource`
fn is_of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with(HUGE_PAGES)
}

fn check_all(path: &str, owner: Owner, resources: &ResourceRequirements, rules: &mut Rules<'_>) {
    let limits = resources.limits.iter().flatten();
    for (name, limit) in limits {
        let at = format!("{path}.limits.{name}");
        check_one(&at, owner, name, &limit.0, rules);
    }
    for (name, request) in resources.requests.iter().flatten() {
        let at = format!("{path}.requests.{name}");
        let limit = resources
            .limits
            .as_ref()
            .and_then(|limits| limits.get(name));
        // One that only follows from its limit, or from the containers, is told of there.
        if !rules.is_written(&at) {
            continue;
        }
        let Some(amount) = check_one(&at, owner, name, &request.0, rules) else {
            continue;
        };
        let is_huge = name.starts_with(HUGE_PAGES);
        match limit.map(|limit| (limit, amount_of(name, &limit.0))) {
            None if is_huge => {
                let message =
                    "must have a limit that is equal: huge pages are never shared out twice";
                rules.error(&at, message);
            }
            Some((limit, Ok(most))) if is_huge && amount != most => {
                rules.error(&at, format!("must be equal to its limit of {}", limit.0));
            }
            Some((limit, Ok(most))) if amount > most => {
                rules.error(
                    &at,
                    format!("must not be more than its limit of {}", limit.0),
                );
            }
            _ => {}
        }
    }
    check_company(path, resources, rules);
}

/// Huge pages are of use to a process that has processor and memory, too.
fn check_company(path: &str, resources: &ResourceRequirements, rules: &mut Rules<'_>) {
    let lists = [
        ("limits", &resources.limits),
        ("requests", &resources.requests),
    ];
    let has = |wanted: &dyn Fn(&str) -> bool| {
        lists.iter().find_map(|(list, amounts)| {
            let name = amounts
                .iter()
                .flatten()
                .map(|(name, _)| name)
                .find(|name| wanted(name))?;
            Some(format!("{path}.{list}.{name}"))
        })
    };
    let huge = has(&|name| name.starts_with(HUGE_PAGES));
    if let Some(at) = huge
        && has(&|name| matches!(name, "cpu" | "memory")).is_none()
    {
        rules.error_hint(
            &at,
            "needs cpu or memory beside it",
            "request `memory`, too",
        );
    }
}

/// Millicores of a processor, bytes of anything else.
fn amount_of(name: &str, quantity: &str) -> Result<u64, String> {
    match name {
        "cpu" => parse_thousandths(quantity),
        _ => parse_quantity(quantity),
    }
}

fn text(name: &str, amount: u64) -> String {
    match name {
        "cpu" => millicores_text(amount),
        _ => bytes_text(amount),
    }
}

/// The amount, if the resource is one that can be had here.
fn check_one(
    path: &str,
    owner: Owner,
    name: &str,
    quantity: &str,
    rules: &mut Rules<'_>,
) -> Option<u64> {
    let shown = name.escape_debug();
    match (name, owner) {
        ("cpu" | "memory", _) | ("ephemeral-storage", Owner::Container) => {}
        ("ephemeral-storage", Owner::Pod) => {
            let message = "cannot be set for a pod";
            rules.error_hint(path, message, "set it for the containers");
            return None;
        }
        _ if name.starts_with(HUGE_PAGES) => match page_size(name).map(huge_pages_name) {
            Some(usual) if usual == name => {}
            usual => {
                let example = usual.unwrap_or_else(|| "hugepages-2Mi".to_owned());
                let message = "does not end with the size of a page";
                rules.error_hint(path, message, format!("write `{example}`"));
                return None;
            }
        },
        _ if name.contains('/') => {
            rules.error_hint(path, "needs a device plugin of a cluster", DEVICES);
            return None;
        }
        (_, Owner::Container) => {
            let message = format!("`{shown}` is not a resource of a container");
            rules.error_hint(
                path,
                message,
                "use cpu, memory, ephemeral-storage or hugepages-<size>",
            );
            return None;
        }
        (_, Owner::Pod) => {
            let message = format!("`{shown}` is not a resource of a pod");
            rules.error_hint(path, message, "use cpu, memory or hugepages-<size>");
            return None;
        }
    }
    match amount_of(name, quantity) {
        Ok(amount) => {
            // `validate/resource.go` warns of it, too: it is never what was meant.
            if name == "memory" && quantity.ends_with('m') {
                let message =
                    format!("`{quantity}` is a fraction of a byte: `M` is mega, `Mi` is mebi");
                rules.note(path, message);
            }
            Some(amount)
        }
        Err(message) => {
            rules.error(path, message);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::pod::tests::{assert_containers, assert_specs, checked};

    #[test]
    fn resources_are_those_that_one_machine_has() {
        assert_containers(&[
            ("resources: {}", ""),
            ("resources: {limits: {}, requests: {}}", ""),
            ("resources: {limits: {cpu: 1, memory: 64Mi}}", ""),
            ("resources: {limits: {cpu: 0.5}, requests: {cpu: 250m}}", ""),
            ("resources: {requests: {ephemeral-storage: 1Gi}}", ""),
            ("resources: {limits: {ephemeral-storage: 1Gi}}", ""),
            (
                "resources: {limits: {ephemeral-storage: 1Gi}, \
                 requests: {ephemeral-storage: 2Gi}}",
                "resources.requests.ephemeral-storage: must not be more than its limit of 1Gi",
            ),
            ("resources: {limits: {hugepages-2Mi: 4Mi, memory: 1Gi}}", ""),
            (
                "resources: {limits: {hugepages-2Mi: 4Mi, cpu: 1}, \
                 requests: {hugepages-2Mi: 4Mi}}",
                "",
            ),
            (
                "resources: {limits: {hugepages-2Mi: 4Mi}}",
                "resources.limits.hugepages-2Mi: needs cpu or memory beside it (request `memory`, \
                 too)",
            ),
            (
                "resources: {limits: {hugepages-2Mi: 4Mi, cpu: 1}, \
                 requests: {hugepages-2Mi: 2Mi}}",
                "resources.requests.hugepages-2Mi: must be equal to its limit of 4Mi",
            ),
            (
                "resources: {requests: {hugepages-2Mi: 2Mi, cpu: 1}}",
                "resources.requests.hugepages-2Mi: must have a limit that is equal: huge pages are \
                 never shared out twice",
            ),
            (
                "resources: {limits: {hugepages-2048Ki: 4Mi, cpu: 1}}",
                "resources.limits.hugepages-2048Ki: does not end with the size of a page (write \
                 `hugepages-2Mi`)",
            ),
            (
                "resources: {limits: {nvidia.com/gpu: 1}}",
                "resources.limits.nvidia.com/gpu: needs a device plugin of a cluster (a device file \
                 can be had as a hostPath of type CharDevice)",
            ),
            (
                "resources: {requests: {example.com/dongle: 1}}",
                "resources.requests.example.com/dongle: needs a device plugin of a cluster (a \
                 device file can be had as a hostPath of type CharDevice)",
            ),
            (
                "resources: {requests: {ram: 1Gi}}",
                "resources.requests.ram: `ram` is not a resource of a container (use cpu, \
                 memory, ephemeral-storage or hugepages-<size>)",
            ),
            (
                "resources: {claims: [{name: a}]}",
                "resources.claims: needs a device driver of a cluster",
            ),
        ]);
    }

    #[test]
    fn a_request_is_at_most_its_limit() {
        assert_containers(&[
            (
                "resources: {limits: {cpu: 1}, requests: {cpu: 1500m}}",
                "resources.requests.cpu: must not be more than its limit of 1",
            ),
            (
                "resources: {limits: {memory: 1Gi}, requests: {memory: 1025Mi}}",
                "resources.requests.memory: must not be more than its limit of 1Gi",
            ),
            (
                "resources: {limits: {memory: 1Gi}, requests: {memory: 1024Mi}}",
                "",
            ),
            (
                "resources: {limits: {cpu: much}}",
                "resources.limits.cpu: `much` is not a quantity",
            ),
            (
                "resources: {requests: {memory: -1}}",
                "resources.requests.memory: `-1` is negative",
            ),
            (
                "resources: {limits: [cpu]}",
                "resources.limits: expected an object of quantities, got a list",
            ),
        ]);
    }

    #[test]
    fn a_pods_resources_are_enough_for_its_containers() {
        let spec = |pod: &str, a: &str, b: &str| {
            format!(
                "resources: {pod}, containers: [{{name: a, image: i, resources: {a}}}, {{name: b, \
                 image: i, resources: {b}}}]"
            )
        };
        let cpu = "{requests: {cpu: 600m}}";
        for (pod, a, b, error) in [
            ("{}", "{}", "{}", ""),
            ("{limits: {cpu: 1, memory: 1Gi}}", "{}", "{}", ""),
            ("{limits: {cpu: 1200m}}", cpu, cpu, ""),
            ("{requests: {cpu: 1200m}}", cpu, cpu, ""),
            (
                "{limits: {cpu: 1}}",
                cpu,
                cpu,
                "spec.resources.limits.cpu: must be at least what the containers request together, \
                 1200m",
            ),
            (
                "{requests: {memory: 1Gi}}",
                cpu,
                "{}",
                "spec.resources.requests.cpu: must be at least what the containers request together, \
                 600m",
            ),
            (
                "{limits: {cpu: 2}, requests: {cpu: 1}}",
                cpu,
                cpu,
                "spec.resources.requests.cpu: must be at least what the containers request together, \
                 1200m",
            ),
            (
                "{limits: {memory: 1Gi}, requests: {memory: 2Gi}}",
                "{}",
                "{}",
                "spec.resources.requests.memory: must not be more than its limit of 1Gi",
            ),
            (
                "{limits: {memory: 1Gi}}",
                "{}",
                "{limits: {memory: 2Gi}, requests: {memory: 1Mi}}",
                "spec.containers[1].resources.limits.memory: must not be more than the pod's limit \
                 of 1Gi",
            ),
            (
                "{limits: {ephemeral-storage: 1Gi}}",
                "{}",
                "{}",
                "spec.resources.limits.ephemeral-storage: cannot be set for a pod (set it for the \
                 containers)",
            ),
            (
                "{limits: {example.com/dongle: 1}}",
                "{}",
                "{}",
                "spec.resources.limits.example.com/dongle: needs a device plugin of a cluster (a \
                 device file can be had as a hostPath of type CharDevice)",
            ),
            (
                "{limits: {ram: 1Gi}}",
                "{}",
                "{}",
                "spec.resources.limits.ram: `ram` is not a resource of a pod (use cpu, memory or \
                 hugepages-<size>)",
            ),
            (
                "{claims: [{name: a}]}",
                "{}",
                "{}",
                "spec.resources.claims: needs a device driver of a cluster",
            ),
        ] {
            assert_specs(&[(&spec(pod, a, b), error)]);
        }
    }

    #[test]
    fn a_pod_requests_what_its_containers_do_and_else_its_limits() {
        let requests = |pod: &str, a: &str| {
            let spec = checked(&format!(
                "resources: {pod}, containers: [{{name: a, image: i, resources: {a}}}, {{name: b, \
                 image: i, resources: {{limits: {{ephemeral-storage: 1Gi}}}}}}]"
            ));
            let of_pod = spec.resources.and_then(|it| it.requests);
            let all = of_pod.iter().flatten();
            all.map(|(name, amount)| format!("{name}={}", amount.0))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let limits = "{limits: {cpu: 2, memory: 1Gi}}";
        assert_eq!(requests(limits, "{}"), "cpu=2 memory=1Gi");
        assert_eq!(
            requests(limits, "{requests: {cpu: 250m}, limits: {memory: 0.5Gi}}"),
            "cpu=250m memory=512Mi"
        );
        assert_eq!(
            requests("{requests: {cpu: 1}}", "{limits: {memory: 0}}"),
            "cpu=1"
        );
        assert_eq!(requests("{}", "{limits: {cpu: 1}}"), "");
    }

    #[test]
    fn what_is_limited_is_requested() {
        let spec = checked(
            "containers: [{name: a, image: i, resources: {limits: {cpu: 1, memory: 1Gi}, \
             requests: {cpu: 100m}}}, {name: b, image: i, resources: {limits: {}}}]",
        );
        let resources = spec.containers[0].resources.as_ref().unwrap();
        let requests = resources.requests.as_ref().unwrap();
        assert_eq!(requests["cpu"].0, "100m");
        assert_eq!(requests["memory"].0, "1Gi");
        assert_eq!(spec.containers[1].resources, None);
    }
}
