//! `podrun volume`.

use clap::{Args, Subcommand};

use super::Listing;

#[derive(Debug, Args)]
pub(crate) struct Volume {
    #[command(subcommand)]
    pub(crate) command: VolumeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// List claims
    Ls {
        #[command(flatten)]
        listing: Listing,
    },
    /// Remove claims with their data
    Rm {
        /// Claims
        #[arg(value_name = "CLAIM", required = true)]
        names: Vec<String>,
        /// What is not there is no error
        #[arg(long)]
        ignore_not_found: bool,
    },
}
