//! The options of `podrun rm` and `podrun down`.

use clap::Args;

use super::Files;

#[derive(Debug, Default, Args)]
pub(crate) struct Removal {
    /// Seconds between the stop signal and the kill, instead of what the pod says
    #[arg(long, value_name = "SECONDS")]
    pub(crate) grace_period: Option<u64>,
    /// Kill at once
    #[arg(long)]
    pub(crate) force: bool,
    /// Like `--grace-period=1`
    #[arg(long)]
    pub(crate) now: bool,
    /// What is not there is no error
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
    /// The claims as well, with their data: those that the pods use, and those that are named
    #[arg(long)]
    pub(crate) volumes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) removal: Removal,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Pods, or KIND/NAME
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// All pods of the namespace
    #[arg(long)]
    pub(crate) all: bool,
    /// Pods with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
    #[command(flatten)]
    pub(crate) removal: Removal,
}
