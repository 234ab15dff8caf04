//! What works otherwise than it is written, on this machine or for this user.

use crate::cli::apply::{Change, Prepared};
use crate::cli::render;
use crate::manifest::Severity;
use crate::plan::PodPlan;
use crate::runtime::idmap::IdMap;

/// Says what `/etc/resolv.conf` of these pods has not; their events say it again.
pub(super) fn warn_about_omissions(plans: &[PodPlan]) {
    for plan in plans {
        for omission in &plan.dns_omissions {
            let omission = render::visible(omission);
            render::warn(&format!("pod/{}: DNSConfigForming: {omission}", plan.name));
        }
    }
}

impl Prepared {
    /// Says of each Pod that asks for the cluster's resolver that there is none.
    pub(super) fn note_resolver(&self) {
        if self.host.cluster_dns.is_some() {
            return;
        }
        let started = self.pods.iter();
        for (wanted, _) in started.filter(|(_, change)| *change != Change::Keep) {
            let path = "spec.dnsPolicy";
            let spec = wanted.checked.pod.spec.as_ref();
            let policy = spec.and_then(|spec| spec.dns_policy.as_deref());
            let host_network = spec.and_then(|spec| spec.host_network) == Some(true);
            let asks = policy == Some("ClusterFirstWithHostNet")
                || policy == Some("ClusterFirst") && !host_network;
            if asks && wanted.checked.positions.has(path) {
                let message = "there is no cluster DNS here: the machine's resolvers are used";
                let positions = &wanted.checked.positions;
                let note = positions.problem(Severity::Note, path, message, None);
                render::problem(&note, &self.sources);
            }
        }
    }

    /// Says of each privileged container of a rootless pod over what it is privileged.
    pub(super) fn note_privileged(&self) {
        let started = self.pods.iter();
        let started = started.filter(|(_, change)| *change != Change::Keep);
        for (wanted, _) in started.filter(|_| self.ids != IdMap::Machine) {
            let Some(spec) = &wanted.checked.pod.spec else {
                continue;
            };
            let inits = spec.init_containers.iter().flatten().enumerate();
            let inits = inits.map(|(index, one)| (format!("spec.initContainers[{index}]"), one));
            let mains = spec.containers.iter().enumerate();
            let mains = mains.map(|(index, one)| (format!("spec.containers[{index}]"), one));
            for (path, container) in inits.chain(mains) {
                let security = container.security_context.as_ref();
                if security.and_then(|security| security.privileged) == Some(true) {
                    let note = wanted.checked.positions.problem(
                        Severity::Note,
                        &format!("{path}.securityContext.privileged"),
                        "has every right over the pod's own namespaces and none over the machine: podrun is not root",
                        None,
                    );
                    render::problem(&note, &self.sources);
                }
            }
        }
    }
}
