//! What containers and pods request and may have at most, and the class of service that follows from
//! it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ContainerPlan, PodPlan, Role};
use crate::manifest::{Amounts, Part};

/// `resources` of a container or of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// `limits`
    pub limits: Amounts,
    /// `requests`; what is limited and not requested is requested up to its limit.
    pub requests: Amounts,
}

impl Resources {
    /// Whether the kernel has to know of it.
    pub fn is_anything(&self) -> bool {
        let is_some = |amounts: &Amounts| {
            amounts.some_cpu().is_some()
                || amounts.some_memory().is_some()
                || amounts.huge_pages.values().any(|amount| *amount > 0)
        };
        is_some(&self.limits) || is_some(&self.requests)
    }

    /// Whether anything is written.
    pub fn is_written(&self) -> bool {
        *self != Self::default()
    }

    /// What a container in a pod of such resources may have at most: where it has no limit of its
    /// own, the pod's (`getCPULimit`, `getMemoryLimit` of the kubelet).
    pub fn limits_in(&self, pod: &Self) -> Amounts {
        let mut own = self.limits.clone();
        own.cpu = own.some_cpu();
        own.memory = own.some_memory();
        own.or(&pod.limits)
    }
}

/// Which resources the kernel gives out here as it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InForce {
    /// Time of processors.
    pub cpu: bool,
    /// Memory.
    pub memory: bool,
    /// Huge pages.
    pub huge_pages: bool,
}

impl InForce {
    /// What is in force of these resources. Limits of ephemeral storage always are, requests of it
    /// never: nothing is kept for anybody.
    pub fn of(self, resources: &Resources) -> Resources {
        let own = |amounts: &Amounts| Amounts {
            cpu: amounts.cpu.filter(|_| self.cpu),
            memory: amounts.memory.filter(|_| self.memory),
            ephemeral_storage: None,
            huge_pages: if self.huge_pages {
                amounts.huge_pages.clone()
            } else {
                BTreeMap::new()
            },
        };
        Resources {
            limits: Amounts {
                ephemeral_storage: resources.limits.ephemeral_storage,
                ..own(&resources.limits)
            },
            requests: own(&resources.requests),
        }
    }
}

/// What containers need together, with `of` requests or limits.
pub(super) fn together<'a>(
    containers: &'a [ContainerPlan],
    of: impl Fn(&'a Resources) -> &'a Amounts,
) -> Amounts {
    Amounts::together(containers.iter().filter_map(|container| {
        let part = match container.role {
            Role::Init => Part::Init,
            Role::Sidecar => Part::Sidecar,
            Role::Main => Part::Main,
            // Resources may not be set for them.
            Role::Ephemeral => return None,
        };
        Some((part, of(&container.resources).clone()))
    }))
}

impl PodPlan {
    /// What the pod needs (`PodRequests`, `PodLimits` of component-helpers): what is written for it,
    /// and else what its containers need together. With `of` they are requests or limits.
    pub fn together<'a>(&'a self, of: impl Fn(&'a Resources) -> &'a Amounts) -> Amounts {
        of(&self.resources).or(&together(&self.containers, of))
    }

    /// What all of the pod may have at most (`ResourceConfigForPod` of the kubelet): processor time and
    /// memory are limited if they are for the pod, or for each of its containers.
    pub fn limits(&self) -> Amounts {
        let mut limits = self.together(|resources| &resources.limits);
        let counted = self.containers.iter();
        for container in counted.filter(|container| container.role != Role::Ephemeral) {
            let own = container.resources.limits_in(&self.resources);
            limits.cpu = limits.cpu.filter(|_| own.some_cpu().is_some());
            limits.memory = limits.memory.filter(|_| own.some_memory().is_some());
        }
        limits
    }

    /// Whether the kernel has to know of anything.
    pub fn is_limited(&self) -> bool {
        let mut all = self.containers.iter().map(|container| &container.resources);
        self.resources.is_anything() || all.any(Resources::is_anything)
    }
}

/// `status.qosClass` (`qos.go` `ComputePodQOS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QosClass {
    /// The pod, or every container, has limits of processor and memory, and requests that much.
    Guaranteed,
    /// Something is requested or limited.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl QosClass {
    /// The class of a pod of these containers. What is written for the pod decides alone.
    pub fn of(pod: &Resources, containers: &[ContainerPlan]) -> Self {
        let counts = |resources: &Resources| {
            let all = [&resources.limits, &resources.requests];
            let is_some = |it: &&Amounts| it.some_cpu().is_some() || it.some_memory().is_some();
            all.iter().any(is_some)
        };
        let is_guaranteed = |resources: &Resources| {
            let (limits, requests) = (&resources.limits, &resources.requests);
            limits.some_cpu().is_some()
                && limits.some_memory().is_some()
                && limits.some_cpu() == requests.some_cpu()
                && limits.some_memory() == requests.some_memory()
        };
        let own = containers
            .iter()
            .filter(|container| container.role != Role::Ephemeral)
            .map(|container| &container.resources);
        let all: Vec<&Resources> = if pod.is_written() {
            vec![pod]
        } else {
            own.collect()
        };
        if !all.iter().any(|it| counts(it)) {
            Self::BestEffort
        } else if all.iter().all(|it| is_guaranteed(it)) {
            Self::Guaranteed
        } else {
            Self::Burstable
        }
    }

    /// The word of the API.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_gives_out_is_in_force() {
        let all = Amounts {
            cpu: Some(1),
            memory: Some(2),
            ephemeral_storage: Some(3),
            huge_pages: [(4, 4)].into(),
        };
        let resources = Resources {
            limits: all.clone(),
            requests: all.clone(),
        };
        let everything = InForce {
            cpu: true,
            memory: true,
            huge_pages: true,
        };
        let found = everything.of(&resources);
        assert_eq!(found.limits, all);
        let requests = Amounts {
            ephemeral_storage: None,
            ..all
        };
        assert_eq!(found.requests, requests);
        let found = InForce::default().of(&resources);
        let limits = Amounts {
            ephemeral_storage: Some(3),
            ..Amounts::default()
        };
        assert_eq!(found.limits, limits);
        assert_eq!(found.requests, Amounts::default());
    }
}
