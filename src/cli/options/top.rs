//! `podrun top` as it is typed.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Pods; all that run by default
    #[arg(value_name = "POD")]
    pub(crate) names: Vec<String>,
    /// A line for each container
    #[arg(long)]
    pub(crate) containers: bool,
    /// Leave the first line out
    #[arg(long)]
    pub(crate) no_headers: bool,
}
