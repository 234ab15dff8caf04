//! What containers request and may have at most (validation.go `ValidateContainerResourceName`,
//! `ValidateResourceRequirements`).

use k8s_openapi::api::core::v1::Container;

use super::Rules;
use crate::manifest::{parse_quantity, parse_thousandths};

pub(super) fn check(path: &str, container: &Container, rules: &mut Rules<'_>) {
    let Some(resources) = &container.resources else {
        return;
    };
    let limits = resources.limits.iter().flatten();
    for (name, limit) in limits {
        let at = format!("{path}.resources.limits.{name}");
        check_one(&at, name, &limit.0, rules);
    }
    for (name, request) in resources.requests.iter().flatten() {
        let at = format!("{path}.resources.requests.{name}");
        let limit = resources
            .limits
            .as_ref()
            .and_then(|limits| limits.get(name));
        // One that only follows from its limit is told of there.
        if limit.is_some() && !rules.is_written(&at) {
            continue;
        }
        let Some(amount) = check_one(&at, name, &request.0, rules) else {
            continue;
        };
        if let Some(limit) = limit
            && amount_of(name, &limit.0).is_ok_and(|limit| amount > limit)
        {
            let message = format!("must not be more than its limit of {}", limit.0);
            rules.error(&at, message);
        }
    }
}

/// Millicores of a processor, bytes of anything else.
fn amount_of(name: &str, quantity: &str) -> Result<u64, String> {
    match name {
        "cpu" => parse_thousandths(quantity),
        _ => parse_quantity(quantity),
    }
}

/// The amount, if the resource is one that containers can have here.
fn check_one(path: &str, name: &str, quantity: &str, rules: &mut Rules<'_>) -> Option<u64> {
    match name {
        "cpu" | "memory" | "ephemeral-storage" => {}
        _ if name.starts_with("hugepages-") => {
            rules.error(path, "is not supported yet");
            return None;
        }
        _ if name.contains('/') => {
            rules.error(path, "needs a device plugin of a cluster");
            return None;
        }
        _ => {
            let message = format!("`{}` is not a resource of a container", name.escape_debug());
            rules.error_hint(path, message, "use cpu or memory");
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
    use crate::manifest::pod::tests::{assert_containers, checked};

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
            (
                "resources: {limits: {hugepages-2Mi: 4Mi}}",
                "resources.limits.hugepages-2Mi: is not supported yet",
            ),
            (
                "resources: {limits: {nvidia.com/gpu: 1}}",
                "resources.limits.nvidia.com/gpu: needs a device plugin of a cluster",
            ),
            (
                "resources: {requests: {ram: 1Gi}}",
                "resources.requests.ram: `ram` is not a resource of a container (use cpu or \
                 memory)",
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
