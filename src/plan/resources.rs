//! What containers request and may have at most, and the class of service that follows from it.

use serde::{Deserialize, Serialize};

use super::{ContainerPlan, Role};

/// Amounts of resources; nothing is what is not written. A zero is written and means nothing, too
/// (`qos.go` counts it as not set, and so does the kubelet for limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amounts {
    /// Millicores: thousandths of a processor.
    pub cpu: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes.
    pub ephemeral_storage: Option<u64>,
}

impl Amounts {
    /// Thousandths of the unit of a resource by its name: of a processor, or of a byte.
    pub fn thousandths(&self, name: &str) -> Option<u128> {
        let bytes = match name {
            "cpu" => return self.cpu.map(u128::from),
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            _ => None,
        };
        bytes.map(|bytes| u128::from(bytes).saturating_mul(1000))
    }

    /// Millicores, if there are any.
    pub fn some_cpu(&self) -> Option<u64> {
        self.cpu.filter(|amount| *amount > 0)
    }

    /// Bytes of memory, if there are any.
    pub fn some_memory(&self) -> Option<u64> {
        self.memory.filter(|amount| *amount > 0)
    }

    fn map_both(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        let join = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(join(a, b)),
            (one, None) | (None, one) => one,
        };
        Self {
            cpu: join(self.cpu, other.cpu),
            memory: join(self.memory, other.memory),
            ephemeral_storage: join(self.ephemeral_storage, other.ephemeral_storage),
        }
    }
}

/// `resources` of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// `limits`
    pub limits: Amounts,
    /// `requests`; what is limited and not requested is requested up to its limit.
    pub requests: Amounts,
}

impl Resources {
    /// Whether the kernel has to know of it.
    pub fn is_anything(&self) -> bool {
        [self.limits, self.requests]
            .iter()
            .any(|amounts| amounts.some_cpu().is_some() || amounts.some_memory().is_some())
    }
}

/// What all containers of a pod need together (`PodRequests`, `PodLimits` of component-helpers):
/// those that run side by side, or an init container with the sidecars before it, if that is more.
/// With `of` they are requests or limits.
pub fn of_pod(containers: &[ContainerPlan], of: impl Fn(&Resources) -> Amounts) -> Amounts {
    let mut sidecars = Amounts::default();
    let mut most = Amounts::default();
    let mut mains = Amounts::default();
    for container in containers {
        let amounts = of(&container.resources);
        match container.role {
            Role::Sidecar => {
                sidecars = sidecars.map_both(amounts, u64::saturating_add);
                most = most.map_both(sidecars, u64::max);
            }
            Role::Init => {
                let during = sidecars.map_both(amounts, u64::saturating_add);
                most = most.map_both(during, u64::max);
            }
            Role::Main => mains = mains.map_both(amounts, u64::saturating_add),
            // Resources may not be set for them.
            Role::Ephemeral => {}
        }
    }
    most.map_both(sidecars.map_both(mains, u64::saturating_add), u64::max)
}

/// `status.qosClass` (`qos.go` `ComputePodQOS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has limits of processor and memory, and requests that much.
    Guaranteed,
    /// Something is requested or limited.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl QosClass {
    /// The class of a pod of these containers.
    pub fn of(containers: &[ContainerPlan]) -> Self {
        let mut all = containers
            .iter()
            .filter(|container| container.role != Role::Ephemeral)
            .map(|container| &container.resources);
        if !all.clone().any(Resources::is_anything) {
            return Self::BestEffort;
        }
        let is_guaranteed = |resources: &Resources| {
            let (limits, requests) = (&resources.limits, &resources.requests);
            limits.some_cpu().is_some()
                && limits.some_memory().is_some()
                && limits.some_cpu() == requests.some_cpu()
                && limits.some_memory() == requests.some_memory()
        };
        if all.all(is_guaranteed) {
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
