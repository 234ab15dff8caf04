//! `podrun volume`: claims as volumes.

use crate::cli::command::{get, rm};
use crate::cli::failure::Failure;
use crate::cli::options::{Get, Global, Volume, VolumeCommand};
use crate::names::ObjectKind;

/// Performs the command: `get pvc`, or `rm pvc/NAME`.
///
/// # Errors
/// As those.
pub(crate) fn run(global: &Global, options: &Volume) -> Result<u8, Failure> {
    match &options.command {
        VolumeCommand::Ls { listing } => {
            let options = Get {
                what: vec![ObjectKind::PersistentVolumeClaim.word().to_owned()],
                ignore_not_found: false,
                listing: listing.clone(),
            };
            get::run(global, &options)
        }
        VolumeCommand::Rm {
            names,
            ignore_not_found,
        } => rm::claims(global, names, *ignore_not_found),
    }
}
