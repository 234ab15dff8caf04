//! Amounts of resources, by the names that Kubernetes gives them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};

use super::quantity::{bytes_text, millicores_text, parse_quantity, parse_thousandths};

/// What the names of resources begin with that are pages of a size.
pub(super) const HUGE_PAGES: &str = "hugepages-";

/// Amounts of resources; nothing is what is not written. A zero is written and means nothing, too
/// (`qos.go` counts it as not set, and so does the kubelet for limits).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amounts {
    /// Millicores: thousandths of a processor.
    pub cpu: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes.
    pub ephemeral_storage: Option<u64>,
    /// Bytes of huge pages, by the bytes of such a page.
    pub huge_pages: BTreeMap<u64, u64>,
}

/// When a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Before those that follow it.
    Init,
    /// From its turn on, beside all others.
    Sidecar,
    /// Beside the other main ones.
    Main,
}

impl Amounts {
    /// Of what is written; what is not right counts for nothing.
    pub fn of(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let mut amounts = Self::default();
        for (name, quantity) in list.into_iter().flatten() {
            let bytes = || parse_quantity(&quantity.0).ok();
            match name.as_str() {
                "cpu" => amounts.cpu = parse_thousandths(&quantity.0).ok(),
                "memory" => amounts.memory = bytes(),
                "ephemeral-storage" => amounts.ephemeral_storage = bytes(),
                _ => {
                    if let (Some(size), Some(bytes)) = (page_size(name), bytes()) {
                        amounts.huge_pages.insert(size, bytes);
                    }
                }
            }
        }
        amounts
    }

    /// The amount of a resource by its name: millicores of a processor, bytes of anything else.
    pub fn get(&self, name: &str) -> Option<u64> {
        match name {
            "cpu" => self.cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            _ => self.huge_pages.get(&page_size(name)?).copied(),
        }
    }

    /// Thousandths of the unit of a resource by its name: of a processor, or of a byte.
    pub fn thousandths(&self, name: &str) -> Option<u128> {
        let amount = u128::from(self.get(name)?);
        Some(if name == "cpu" {
            amount
        } else {
            amount.saturating_mul(1000)
        })
    }

    /// Millicores, if there are any.
    pub fn some_cpu(&self) -> Option<u64> {
        self.cpu.filter(|amount| *amount > 0)
    }

    /// Bytes of memory, if there are any.
    pub fn some_memory(&self) -> Option<u64> {
        self.memory.filter(|amount| *amount > 0)
    }

    /// What is written, as Kubernetes writes it.
    pub fn quantities(&self) -> BTreeMap<String, Quantity> {
        let bytes = |bytes: &u64| Quantity(bytes_text(*bytes));
        let plain = [
            ("cpu", self.cpu.map(|it| Quantity(millicores_text(it)))),
            ("memory", self.memory.as_ref().map(bytes)),
            (
                "ephemeral-storage",
                self.ephemeral_storage.as_ref().map(bytes),
            ),
        ];
        let plain = plain
            .into_iter()
            .filter_map(|(name, it)| Some((name.to_owned(), it?)));
        let pages = self.huge_pages.iter();
        let pages = pages.map(|(size, amount)| (huge_pages_name(*size), bytes(amount)));
        plain.chain(pages).collect()
    }

    fn map_both(&self, other: &Self, join: impl Fn(u64, u64) -> u64) -> Self {
        let both = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(join(a, b)),
            (one, None) | (None, one) => one,
        };
        let mut huge_pages = self.huge_pages.clone();
        for (size, amount) in &other.huge_pages {
            let sum = both(huge_pages.get(size).copied(), Some(*amount));
            huge_pages.insert(*size, sum.unwrap_or_default());
        }
        Self {
            cpu: both(self.cpu, other.cpu),
            memory: both(self.memory, other.memory),
            ephemeral_storage: both(self.ephemeral_storage, other.ephemeral_storage),
            huge_pages,
        }
    }

    /// These, and where nothing is written the others.
    #[must_use]
    pub fn or(&self, others: &Self) -> Self {
        self.map_both(others, |own, _| own)
    }

    /// What containers need together (`AggregateContainerRequests`, `AggregateContainerLimits` of
    /// component-helpers): those that run side by side, or an init container with the sidecars
    /// before it, if that is more.
    pub fn together(containers: impl IntoIterator<Item = (Part, Self)>) -> Self {
        let mut sidecars = Self::default();
        let mut most = Self::default();
        let mut mains = Self::default();
        for (part, amounts) in containers {
            match part {
                Part::Sidecar => {
                    sidecars = sidecars.map_both(&amounts, u64::saturating_add);
                    most = most.map_both(&sidecars, u64::max);
                }
                Part::Init => {
                    let during = sidecars.map_both(&amounts, u64::saturating_add);
                    most = most.map_both(&during, u64::max);
                }
                Part::Main => mains = mains.map_both(&amounts, u64::saturating_add),
            }
        }
        most.map_both(&sidecars.map_both(&mains, u64::saturating_add), u64::max)
    }

    /// What the containers of a Pod need together.
    pub(super) fn of_containers(
        spec: &PodSpec,
        of: impl Fn(&ResourceRequirements) -> Option<&BTreeMap<String, Quantity>>,
    ) -> Self {
        let amounts = |it: &Container| Self::of(it.resources.as_ref().and_then(&of));
        let inits = spec.init_containers.iter().flatten().map(|it| {
            let is_sidecar = it.restart_policy.as_deref() == Some("Always");
            let part = if is_sidecar {
                Part::Sidecar
            } else {
                Part::Init
            };
            (part, amounts(it))
        });
        let mains = spec.containers.iter().map(|it| (Part::Main, amounts(it)));
        Self::together(inits.chain(mains))
    }
}

/// The bytes of a page of the file system of an emptyDir, by its medium: nothing if it is no such
/// medium. It is one that the pod's containers ask for (`getPageSizeMountOption` of the kubelet).
///
/// # Errors
/// What is wrong with the medium in this pod.
pub fn page_size_of_medium(spec: &PodSpec, medium: &str) -> Result<Option<u64>, &'static str> {
    let Some(rest) = medium.strip_prefix("HugePages") else {
        return Ok(None);
    };
    let of_pod = Amounts::of(spec.resources.as_ref().and_then(|it| it.limits.as_ref()));
    let asked_for = Amounts::of_containers(spec, |it| it.limits.as_ref()).or(&of_pod);
    let mut sizes = asked_for.huge_pages.into_keys();
    if rest.is_empty() {
        return match (sizes.next(), sizes.next()) {
            (Some(size), None) => Ok(Some(size)),
            (None, _) => Err("needs a container with a limit of huge pages"),
            (Some(_), Some(_)) => Err("does not say of which size: the pod has limits of several"),
        };
    }
    let size = rest
        .strip_prefix('-')
        .and_then(|size| parse_quantity(size).ok());
    let size = size.ok_or("must be HugePages or HugePages-<size>, such as HugePages-2Mi")?;
    if sizes.any(|asked_for| asked_for == size) {
        Ok(Some(size))
    } else {
        Err("needs a container with a limit of pages of this size")
    }
}

/// The bytes of a page, of a resource such as `hugepages-2Mi`.
pub(super) fn page_size(name: &str) -> Option<u64> {
    let size = parse_quantity(name.strip_prefix(HUGE_PAGES)?).ok()?;
    Some(size).filter(|size| *size > 0)
}

/// The resource that is pages of this size.
pub fn huge_pages_name(size: u64) -> String {
    format!("{HUGE_PAGES}{}", bytes_text(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_they_are_read() {
        let written: BTreeMap<String, Quantity> = [
            ("cpu", "250m"),
            ("memory", "64Mi"),
            ("ephemeral-storage", "3Gi"),
            ("hugepages-2Mi", "4Mi"),
            ("hugepages-1Gi", "1Gi"),
        ]
        .map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())))
        .into();
        let amounts = Amounts::of(Some(&written));
        assert_eq!(amounts.quantities(), written);
        assert_eq!(amounts.get("hugepages-2048Ki"), Some(4 << 20));
        assert_eq!(amounts.get("hugepages-0"), None);
    }
}
