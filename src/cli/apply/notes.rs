//! What works otherwise for an ordinary user than for root.

use crate::cli::apply::{Change, Prepared};
use crate::cli::render;
use crate::manifest::Severity;
use crate::runtime::idmap::IdMap;

impl Prepared {
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
