//! `podrun prune`: what nobody needs any more.

use std::collections::BTreeSet;

use crate::cli::apply::storage;
use crate::cli::command::{get, rm};
use crate::cli::failure::Failure;
use crate::cli::options::{Global, Prune};
use crate::cli::{input, render};
use crate::image::ImageStore;
use crate::runtime::idmap::IdMap;
use crate::runtime::inside;

/// Performs the command.
///
/// # Errors
/// What cannot be removed.
pub(crate) fn run(global: &Global, options: &Prune) -> Result<u8, Failure> {
    let store = input::open_store(global)?;
    for pod in store.pods().map_err(Failure::internal)? {
        if pod.has_ended() {
            rm::remove_pod(&store, &pod, None)?;
            render::line(&format!("pod/{} removed", pod.record.name))?;
        }
    }
    {
        let lock = store.lock().map_err(Failure::internal)?;
        for leftover in store.leftovers(&lock).map_err(Failure::internal)? {
            if leftover.remove().is_err() {
                inside::remove(&IdMap::of_this_user(), leftover.path())
                    .map_err(Failure::internal)?;
            }
        }
    }
    storage::remove_discarded(&store)?;
    let images = ImageStore::open(store.data_dir()).map_err(Failure::internal)?;
    if options.images {
        let used: BTreeSet<String> = store
            .pods()
            .map_err(Failure::internal)?
            .iter()
            .flat_map(get::images)
            .collect();
        for image in images.list().map_err(Failure::internal)? {
            let name = image.reference.to_string();
            if !used.contains(&name) && !used.contains(&image.reference.familiar()) {
                images.remove(&image.reference).map_err(Failure::internal)?;
                render::line(&format!("image {} removed", image.reference.familiar()))?;
            }
        }
    }
    let ids = IdMap::of_this_user();
    let pods = store.pods().map_err(Failure::internal)?;
    let mounted = pods.into_iter().flat_map(|pod| pod.record.layers).collect();
    let removed = images
        .collect_garbage(&mounted, &|path| {
            inside::remove(&ids, path).map_err(std::io::Error::other)
        })
        .map_err(Failure::internal)?;
    if removed > 0 {
        render::line(&format!("{removed} unused blobs and layers removed"))?;
    }
    Ok(0)
}
