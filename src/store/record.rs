//! Who a pod is, and all that is known of it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::lifecycle::{Lost, lost_status};
use crate::names::{Namespace, ObjectName, PodUid};
use crate::store::{Liveness, PodDir};

/// The version written into every record.
pub const RECORD_VERSION: u32 = 1;

/// Who a pod is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// `metadata.namespace`
    pub namespace: Namespace,
    /// `metadata.name`
    pub name: ObjectName,
    /// `metadata.uid`
    pub uid: PodUid,
    /// Of the checked Pod: the same digest means that `up` has nothing to do.
    pub digest: String,
    /// The pod's address, if it has a network of its own.
    pub address: Option<Ipv4Addr>,
    /// It is in the pod network: its supervisor sees to it that there is a node agent.
    #[serde(default)]
    pub is_in_network: bool,
    /// The layers of its images and image volumes, by their names in the store: a tag may be
    /// another image's by now. Records of before have none.
    #[serde(default)]
    pub layers: BTreeSet<String>,
    /// `metadata.creationTimestamp`
    pub created: jiff::Timestamp,
    /// The boot it belongs to.
    pub boot_id: String,
    /// The podrun that started it.
    pub podrun: String,
}

impl Record {
    /// The name of the pod's directory.
    pub fn directory_name(&self) -> String {
        format!("{}_{}_{}", self.namespace, self.name, self.uid)
    }
}

/// A pod as the commands see it.
#[derive(Debug)]
pub struct PodRecord {
    /// Its directory.
    pub dir: PodDir,
    /// Who it is.
    pub record: Record,
    /// Whether its supervisor lives.
    pub liveness: Liveness,
}

impl PodRecord {
    /// Its status now: what the supervisor wrote last, and what its death makes of it.
    pub fn status(&self) -> PodStatus {
        let written = self.dir.read_status().unwrap_or_else(|| PodStatus {
            phase: Some("Pending".to_owned()),
            ..PodStatus::default()
        });
        match self.liveness {
            Liveness::Alive => written,
            Liveness::Dead => lost_status(&written, Lost::Supervisor, jiff::Timestamp::now()),
            Liveness::Rebooted => lost_status(&written, Lost::Reboot, jiff::Timestamp::now()),
        }
    }

    /// The whole Pod as it is now: what was applied, with its status and its deletion. Nothing for
    /// one whose file is gone: it is being removed.
    pub fn pod(&self) -> Option<Pod> {
        let mut pod: Pod = serde_json::from_value(self.dir.read_pod()?).ok()?;
        pod.status = Some(self.status());
        if let Some(deletion) = self.dir.read_deletion() {
            pod.metadata.deletion_timestamp = Some(Time(deletion.timestamp));
            pod.metadata.deletion_grace_period_seconds =
                i64::try_from(deletion.grace_period_seconds).ok();
        }
        Some(pod)
    }

    /// Whether it runs in the pod network: then there is a node agent, or its supervisor starts
    /// another one.
    pub fn uses_network(&self) -> bool {
        self.liveness == Liveness::Alive && self.record.is_in_network && !self.has_ended()
    }

    /// Whether it has ended, in whatever way.
    pub fn has_ended(&self) -> bool {
        matches!(self.status().phase.as_deref(), Some("Succeeded" | "Failed"))
    }
}
