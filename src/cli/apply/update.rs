//! Running pods get the files of the objects that have changed; their environments stay, as in a
//! cluster.

use std::os::fd::AsFd;

use k8s_openapi::api::core::v1::Pod;

use crate::cli::apply::{Change, Prepared, facts};
use crate::cli::failure::Failure;
use crate::cli::render;
use crate::plan::{self, PlanProblem};
use crate::runtime::client::Connection;
use crate::runtime::sealed;
use crate::store::{Liveness, PodRecord};
use crate::wire::{Reply, Request};

impl Prepared {
    /// Updates the volumes of the pods that run; to be called when the objects are stored. A pod
    /// that cannot be updated keeps what it has, with a warning.
    ///
    /// # Errors
    /// When the records of pods cannot be read.
    pub(crate) fn update_volumes(&self) -> Result<(), Failure> {
        if self
            .objects
            .iter()
            .all(|(_, change)| *change == Change::Keep)
        {
            return Ok(());
        }
        for pod in self.store.pods().map_err(Failure::internal)? {
            if pod.liveness != Liveness::Alive {
                continue;
            }
            if let Err(why) = self.update(&pod) {
                let name = &pod.record.name;
                render::warn(&format!(
                    "the volumes of pod/{name} stay as they were: {why}"
                ));
            }
        }
        Ok(())
    }

    fn update(&self, pod: &PodRecord) -> Result<(), String> {
        let value = pod.dir.read_pod().unwrap_or_default();
        let written: Pod = serde_json::from_value(value).map_err(|error| error.to_string())?;
        let Some(spec) = &written.spec else {
            return Ok(());
        };
        let names = plan::objects_of_volumes(spec);
        let has_changed = names.iter().any(|(kind, name)| {
            self.objects.iter().any(|(object, change)| {
                // One that is new may have been optional.
                *change != Change::Keep
                    && object.kind == *kind
                    && object.namespace == pod.record.namespace
                    && object.name.as_str() == name
            })
        });
        if !has_changed {
            return Ok(());
        }
        let objects = self
            .objects_of(spec, &pod.record.namespace)
            .map_err(|failure| failure.message)?;
        let host = plan::HostFacts {
            pod_addresses: facts::pod_addresses(pod.record.address),
            ..self.host.clone()
        };
        let input = plan::Input {
            pod: &written,
            namespace: &pod.record.namespace,
            name: &pod.record.name,
            uid: &pod.record.uid,
            folder: None,
            images: &self.images,
            objects: &objects,
            claims: &plan::Claims::new(),
            services: &[],
            host: &host,
            publish: &[],
            back_off: self.back_off,
            filters: &self.filters,
        };
        let volumes = plan::projected_volumes(&input).map_err(|all| one_line(&all))?;
        let sealed = sealed::seal("podrun-volumes", &volumes).map_err(|error| error.to_string())?;
        let runtime_dir = self
            .store
            .open_runtime_dir()
            .map_err(|error| error.to_string())?;
        let connection = Connection::open(runtime_dir.as_fd(), &pod.record.uid)
            .map_err(|error| error.to_string())?;
        connection
            .send(&Request::UpdateVolumes, &[sealed.as_fd()])
            .map_err(|error| error.to_string())?;
        match connection.receive() {
            Ok(Some((Reply::Refused { message, .. }, _))) => Err(message),
            // Nothing is said by one that has ended meanwhile.
            Ok(Some(_) | None) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Problems of a Pod that has no file any more.
pub(crate) fn one_line(problems: &[PlanProblem]) -> String {
    let words: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.path, problem.message))
        .collect();
    words.join("; ")
}
