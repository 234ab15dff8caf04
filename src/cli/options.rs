//! The command line as it is typed: no I/O, nothing decided. Man pages, completions and `--help`
//! are made of this.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs Kubernetes Pods on this machine: no daemon, no root, nothing else installed.
#[derive(Debug, Parser)]
#[command(
    name = "podrun",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Podrun {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Keep everything below this directory instead of the user's own
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "PODRUN_ROOT",
        hide_env_values = true
    )]
    pub(crate) root: Option<PathBuf>,
    /// The namespace of pods and objects that name none
    #[arg(
        short,
        long,
        global = true,
        value_name = "NAMESPACE",
        default_value = "default",
        hide_default_value = true
    )]
    pub(crate) namespace: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start what is new, replace what has changed, leave what is unchanged
    Up(Up),
    /// Run pods in the foreground, remove them at the end, exit with their code
    Run(Run),
    /// Remove what these files describe
    Down(Down),
    /// Remove pods and objects by name
    Rm(Rm),
    /// List pods (same as `get pods`)
    Ps(Ps),
    /// Show pods, configmaps or secrets
    Get(Get),
    /// Print the output of a container
    Logs(Logs),
    /// Run a command in a running container
    Exec(Exec),
    /// Wait until a condition of a pod is true
    Wait(WaitFor),
    /// Check files as `up` does, and do nothing else
    Validate(Validate),
    /// Pull, list, remove and load images
    Image(Image),
    /// Check what podrun needs of this machine
    Doctor,
    /// Remove ended pods and unused image data
    Prune(Prune),
    /// Print the completions for a shell
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Print the version
    Version,
}

#[derive(Debug, Args)]
pub(crate) struct Files {
    /// Files, directories, or `-` for standard input
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// A file, as kubectl takes it; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
}

impl Files {
    pub(crate) fn all(&self) -> Vec<PathBuf> {
        self.files.iter().chain(&self.filename).cloned().collect()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Input {
    #[command(flatten)]
    pub(crate) files: Files,
    /// What to do about fields that are not known
    #[arg(long, value_enum, default_value = "strict")]
    pub(crate) validate: Validation,
    /// When to pull images, instead of what the manifest says
    #[arg(long, value_enum)]
    pub(crate) pull: Option<Pull>,
    /// Forward a port of the host to a container's port
    #[arg(short, long, value_name = "[IP:]HOST:CTR[/udp]")]
    pub(crate) publish: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Validation {
    /// Unknown fields are errors
    Strict,
    /// Unknown fields are warnings
    Warn,
    /// Unknown fields are dropped
    Ignore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// Pull even if the image is here
    Always,
    /// Pull what is not here
    Missing,
    /// Use only what is here
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UpWait {
    /// Until every pod is Ready, or has succeeded
    Ready,
    /// Until every container was started
    Running,
    /// Until every pod has succeeded
    Done,
    /// Not at all
    None,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) input: Input,
    /// What to wait for
    #[arg(long, value_enum, default_value = "ready")]
    pub(crate) wait: UpWait,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "5m")]
    pub(crate) timeout: String,
    /// Print the containers' output while waiting
    #[arg(long)]
    pub(crate) attach: bool,
    /// Remove a pod when all its containers have ended
    #[arg(long)]
    pub(crate) rm: bool,
    /// Say what would be done and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Give up after this time
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// Print output as it is, without `pod/container │`
    #[arg(long)]
    pub(crate) no_prefix: bool,
}

#[derive(Debug, Args)]
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

#[derive(Debug, Args)]
pub(crate) struct Listing {
    /// wide, json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<String>,
    /// Only those with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
    /// Of all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Leave the first line out
    #[arg(long)]
    pub(crate) no_headers: bool,
    /// Go on and print what changes
    #[arg(short, long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Only these pods
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Print names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) listing: Listing,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// pods, configmaps, secrets; or KIND/NAME
    #[arg(value_name = "KIND", required = true)]
    pub(crate) what: Vec<String>,
    /// What is not there is no error
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
    #[command(flatten)]
    pub(crate) listing: Listing,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of kubectl's")]
pub(crate) struct Logs {
    /// The pod, or pod/NAME
    #[arg(value_name = "POD")]
    pub(crate) pod: Option<String>,
    /// Pods with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
    /// The container; the first one by default
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Go on as more is written, across restarts, until the pod ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Of the run before the last restart
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// The last lines only
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<usize>,
    /// Lines not older than this, as `10s`, `5m`, `1h`
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Begin each line with its time
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Begin each line with its pod and container
    #[arg(long)]
    pub(crate) prefix: bool,
    /// Of all containers of the pod
    #[arg(long)]
    pub(crate) all_containers: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// Give the command a terminal
    #[arg(short = 't', long)]
    pub(crate) tty: bool,
    /// The container; the first one by default
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// The pod
    #[arg(value_name = "POD")]
    pub(crate) pod: String,
    /// The command
    #[arg(value_name = "CMD", last = true, required = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WaitFor {
    /// The pod, or pod/NAME
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// condition=Ready, done, delete, or jsonpath=EXPRESSION=VALUE
    #[arg(
        long = "for",
        value_name = "CONDITION",
        default_value = "condition=Ready"
    )]
    pub(crate) condition: String,
    /// How long
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) timeout: String,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) files: Files,
    /// What to do about fields that are not known
    #[arg(
        long = "validate",
        value_name = "VALIDATE",
        value_enum,
        default_value = "strict"
    )]
    pub(crate) strictness: Validation,
    /// text or json
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: ValidateOutput,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ValidateOutput {
    /// For people
    Text,
    /// For programs
    Json,
}

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

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Remove images that no pod uses as well
    #[arg(long)]
    pub(crate) images: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// bash
    Bash,
    /// fish
    Fish,
    /// zsh
    Zsh,
}

/// How images are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageOutput {
    /// All that is known of them
    Json,
    /// Their names, a line each
    Name,
}
