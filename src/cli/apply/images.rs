//! All images of the files, present before anything starts.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::cli::command::image;
use crate::cli::failure::{Failure, INVALID};
use crate::cli::options::Pull;
use crate::image::{ImageStore, PullSecret, Reference};
use crate::plan::PresentImage;
use crate::runtime::idmap::IdMap;

/// An image that something needs.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The reference as it is written.
    written: String,
    /// When it is pulled.
    policy: Option<String>,
    /// What it is pulled with besides the user's own credentials.
    secrets: Vec<PullSecret>,
}

impl Wanted {
    /// The image of a container.
    pub(crate) fn of_container(container: &Container, secrets: &[PullSecret]) -> Self {
        Self {
            secrets: secrets.to_vec(),
            written: container.image.clone().unwrap_or_default(),
            policy: container.image_pull_policy.clone(),
        }
    }

    /// The images of a Pod: those of its containers, then those of its volumes.
    pub(crate) fn of_pod(spec: &PodSpec, secrets: &[PullSecret]) -> impl Iterator<Item = Self> {
        let inits = spec.init_containers.iter().flatten();
        let containers = inits
            .chain(&spec.containers)
            .map(|container| Self::of_container(container, secrets));
        let volumes = spec.volumes.iter().flatten();
        containers.chain(volumes.filter_map(|volume| {
            let image = volume.image.as_ref()?;
            Some(Self {
                written: image.reference.clone().unwrap_or_default(),
                policy: image.pull_policy.clone(),
                secrets: secrets.to_vec(),
            })
        }))
    }
}

/// Looks up or pulls images, each once.
///
/// # Errors
/// An image that cannot be had; nothing was started.
pub(crate) fn all_present(
    data_dir: &Path,
    ids: &IdMap,
    wanted: impl Iterator<Item = Wanted>,
    pull: Option<Pull>,
) -> Result<BTreeMap<String, PresentImage>, Failure> {
    let mut present: BTreeMap<String, PresentImage> = BTreeMap::new();
    let mut store = None;
    for Wanted {
        written,
        policy,
        secrets,
    } in wanted
    {
        if present.contains_key(&written) {
            continue;
        }
        let reference = Reference::parse(&written)
            .map_err(|error| Failure::with_code(INVALID, error.to_string()))?;
        if reference.is_host() {
            present.insert(written, crate::image::host_image());
            continue;
        }
        let store = match &mut store {
            Some(store) => store,
            None => store.insert(ImageStore::open(data_dir).map_err(Failure::internal)?),
        };
        let policy = match pull {
            Some(Pull::Always) => "Always",
            Some(Pull::Missing) => "IfNotPresent",
            Some(Pull::Never) => "Never",
            None => policy.as_deref().unwrap_or("IfNotPresent"),
        };
        let here = store.get(&reference).map_err(Failure::internal)?;
        let image = match (policy, here) {
            ("Never", None) => {
                return Err(Failure::with_code(
                    1,
                    format!(
                        "ErrImageNeverPull: image `{written}` is not here and may not be pulled"
                    ),
                )
                .hinted(format!("pull it: `podrun image pull {written}`")));
            }
            ("IfNotPresent" | "Never", Some(image)) => image,
            _ => image::pull(store, ids, &reference, secrets)?,
        };
        present.insert(written, image.present());
    }
    Ok(present)
}
