//! New files for the volumes that podrun writes.

use std::os::fd::OwnedFd;

use crate::plan::{VolumePlan, VolumeSource};
use crate::runtime::sealed;
use crate::supervisor::pod::Pod;
use crate::volume;
use crate::wire::Reply;

/// The most bytes of an update: the objects of a few volumes, each of at most 1 MiB, in base64.
const MAX_UPDATE: u64 = 32 * 1024 * 1024;

impl Pod {
    /// Replaces the files of the pod's volumes that have these names.
    pub(super) fn update_volumes(&mut self, descriptors: Vec<OwnedFd>) -> Reply {
        match self.try_update(descriptors) {
            Ok(()) => Reply::Done,
            Err(message) => Reply::Refused { code: 125, message },
        }
    }

    fn try_update(&mut self, descriptors: Vec<OwnedFd>) -> Result<(), String> {
        let Some(sealed) = descriptors.into_iter().next() else {
            return Err("a descriptor with the volumes is needed".to_owned());
        };
        let updates: Vec<VolumePlan> = sealed::unseal(sealed, MAX_UPDATE)
            .map_err(|error| format!("the volumes cannot be read: {error}"))?;
        let gid = self.plan.fs_group.map(|group| group.gid);
        for update in updates {
            let VolumeSource::Projected { files } = &update.source else {
                continue;
            };
            let mut volumes = self.plan.volumes.iter_mut();
            let Some(known) = volumes.find(|known| known.name == update.name) else {
                continue;
            };
            if !matches!(known.source, VolumeSource::Projected { .. }) || *known == update {
                continue;
            }
            volume::write_files(&self.places.pod_dir, &known.name, files, gid)
                .map_err(|error| format!("volume `{}`: {error}", known.name))?;
            known.source = update.source;
        }
        Ok(())
    }
}
