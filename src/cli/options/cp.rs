//! `podrun cp` as it is typed.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// The container; the first one by default
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// A path here or [NAMESPACE/]POD:PATH; `-` is a tar archive on standard input
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// A path here or [NAMESPACE/]POD:PATH; `-` is a tar archive on standard output
    #[arg(value_name = "TO")]
    pub(crate) to: String,
}
