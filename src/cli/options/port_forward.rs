//! `podrun port-forward` as it is typed.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct PortForward {
    /// Addresses of this machine to listen on; `localhost` is its loopback, of IPv4 and IPv6
    #[arg(
        long,
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = "localhost"
    )]
    pub(crate) address: Vec<String>,
    /// The pod, pod/NAME, or service/NAME for one of its pods
    #[arg(value_name = "POD")]
    pub(crate) pod: String,
    /// Ports here and in the pod: 8080:80, 80 for the same here, :80 for any that is free
    #[arg(value_name = "[LOCAL:]REMOTE", required = true)]
    pub(crate) ports: Vec<String>,
}
