//! All images of the files, present before anything starts.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::Container;

use crate::cli::command::image;
use crate::cli::failure::{Failure, INVALID};
use crate::cli::options::Pull;
use crate::image::{ImageStore, Reference};
use crate::plan::PresentImage;
use crate::runtime::idmap::IdMap;

/// Looks up or pulls the images of all containers, each once.
///
/// # Errors
/// An image that cannot be had; nothing was started.
#[expect(
    single_use_lifetimes,
    reason = "`impl Trait` takes no anonymous lifetime yet"
)]
pub(crate) fn all_present<'a>(
    data_dir: &Path,
    ids: &IdMap,
    containers: impl Iterator<Item = &'a Container>,
    pull: Option<Pull>,
) -> Result<BTreeMap<String, PresentImage>, Failure> {
    let mut present: BTreeMap<String, PresentImage> = BTreeMap::new();
    let mut store = None;
    for container in containers {
        let written = container.image.clone().unwrap_or_default();
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
            None => container
                .image_pull_policy
                .as_deref()
                .unwrap_or("IfNotPresent"),
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
            _ => image::pull(store, ids, &reference)?,
        };
        present.insert(written, image.present());
    }
    Ok(present)
}
