//! The options of `podrun image`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct Image {
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Pull images from their registries
    Pull {
        /// Image references
        #[arg(value_name = "IMAGE", required = true)]
        images: Vec<String>,
    },
    /// List images
    Ls {
        /// Instead of a table
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<ImageOutput>,
    },
    /// Remove images
    Rm {
        /// Image references
        #[arg(value_name = "IMAGE", required = true)]
        images: Vec<String>,
    },
    /// Load an OCI layout or archive, or an archive of `docker save`
    Load {
        /// A file or directory
        #[arg(value_name = "ARCHIVE")]
        archive: PathBuf,
        /// The name it gets; without it, the names inside are listed and nothing is loaded
        #[arg(short, long, value_name = "IMAGE")]
        tag: Option<String>,
    },
    /// Make an image of the tar archive of a root file system
    Import {
        /// The archive, plain or compressed
        #[arg(value_name = "TAR")]
        archive: PathBuf,
        /// The name it gets
        #[arg(value_name = "IMAGE")]
        image: String,
        /// The entrypoint; repeat it for each word
        #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
        entrypoint: Vec<String>,
        /// The command; repeat it for each word
        #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
        cmd: Vec<String>,
        /// A variable of the environment
        #[arg(long, value_name = "NAME=VALUE")]
        env: Vec<String>,
        /// The user
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// The working directory
        #[arg(long, value_name = "DIR")]
        workdir: Option<String>,
        /// The stop signal
        #[arg(long, value_name = "SIGNAL")]
        stop_signal: Option<String>,
    },
    /// Show an image's manifest and configuration
    Inspect {
        /// An image reference
        #[arg(value_name = "IMAGE")]
        image: String,
    },
}

/// How images are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageOutput {
    /// All that is known of them
    Json,
    /// Their names, a line each
    Name,
}
