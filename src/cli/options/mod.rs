//! The command line as it is typed: no I/O, nothing decided. Man pages, completions and `--help`
//! are made of this.

mod cp;
mod image;
mod port_forward;
mod rm;
mod top;
mod volume;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use cp::Cp;
pub(crate) use image::{Image, ImageCommand, ImageOutput};
pub(crate) use port_forward::PortForward;
pub(crate) use rm::{Down, Removal, Rm};
pub(crate) use top::Top;
pub(crate) use volume::{Volume, VolumeCommand};

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
    /// Show all that is known of a pod, its events last
    Describe(Describe),
    /// List what happened to pods
    Events(Events),
    /// Show what pods use of processors and memory
    Top(Top),
    /// Print the output of a container
    Logs(Logs),
    /// Run a command in a running container
    Exec(Exec),
    /// Copy files and directories to and from a running container
    Cp(Cp),
    /// Follow a running container's output and type into its input
    Attach(Attach),
    /// Forward ports of this machine to a running pod until interrupted
    PortForward(PortForward),
    /// Add a container to a running pod to look around
    Debug(Debug),
    /// Stop all containers of a pod and start them again
    Restart(Restart),
    /// Set a condition that a readiness gate waits for
    Condition(Condition),
    /// Wait until a condition of a pod is true
    Wait(WaitFor),
    /// Check files as `up` does, and do nothing else
    Validate(Validate),
    /// Pull, list, remove and load images
    Image(Image),
    /// Claims and their data
    Volume(Volume),
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
    /// Refuse limits that cannot be in force here instead of warning
    #[arg(long)]
    pub(crate) strict_limits: bool,
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

#[derive(Debug, Clone, Args)]
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
    /// pods, services, endpoints, configmaps, secrets, pvc, pv, some of them with commas between, or all;
    /// or KIND/NAME
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
pub(crate) struct Describe {
    /// A pod; or KIND NAME, KIND/NAME with pods, configmaps or secrets
    #[arg(value_name = "WHAT", required = true)]
    pub(crate) what: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only of this pod
    #[arg(value_name = "POD")]
    pub(crate) pod: Option<String>,
    /// Of all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Go on and print what comes
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// json, yaml or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<String>,
    /// Leave the first line out
    #[arg(long)]
    pub(crate) no_headers: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// Use the container's terminal
    #[arg(short = 't', long)]
    pub(crate) tty: bool,
    /// The container; the first one by default
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// The pod
    #[arg(value_name = "POD")]
    pub(crate) pod: String,
}

#[derive(Debug, Args)]
pub(crate) struct Debug {
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// Give the container a terminal
    #[arg(short = 't', long)]
    pub(crate) tty: bool,
    /// The image of the new container; the machine's own root file system by default
    #[arg(long, value_name = "IMAGE", default_value = "podrun.local/host")]
    pub(crate) image: String,
    /// See and signal the processes of this container
    #[arg(long, value_name = "CONTAINER")]
    pub(crate) target: Option<String>,
    /// The name of the new container; made up by default
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// A variable of the environment
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Print the new container's output until it ends; `-i` implies it
    #[arg(long)]
    pub(crate) attach: bool,
    /// The pod
    #[arg(value_name = "POD")]
    pub(crate) pod: String,
    /// The command, instead of the image's
    #[arg(value_name = "CMD", last = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Condition {
    #[command(subcommand)]
    pub(crate) command: ConditionCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConditionCommand {
    /// Set conditions of a running pod
    Set {
        /// The pod
        #[arg(value_name = "POD")]
        pod: String,
        /// Conditions with True or False, such as `example.com/ready=True`
        #[arg(value_name = "TYPE=STATUS", required = true)]
        conditions: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// Pods
    #[arg(value_name = "POD", required = true)]
    pub(crate) names: Vec<String>,
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
