//! How a container lives: its place in the order, restarts, probes, hooks and last words.

use serde::{Deserialize, Serialize};

use super::RestartPolicy;

/// The part of a container in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// An init container: it must succeed before the next container starts.
    Init,
    /// A restartable init container (KEP-753): it starts in the init order and runs beside the
    /// containers.
    Sidecar,
    /// One of `spec.containers`.
    Main,
    /// One that `debug` added to a running pod; it is never restarted and counts for nothing.
    Ephemeral,
}

/// One of `restartPolicyRules` (KEP-5307): what happens on some exit codes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartRule {
    /// What is done.
    pub action: RestartRuleAction,
    /// Whether the codes are those it does not apply to (`NotIn`).
    pub is_negated: bool,
    /// The exit codes.
    pub exit_codes: Vec<i32>,
}

/// `restartPolicyRules[].action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartRuleAction {
    /// The container is restarted.
    Restart,
    /// All containers of the pod are stopped and started again, init containers first (KEP-5532).
    RestartAllContainers,
}

/// When a container is restarted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerRestart {
    /// `restartPolicy` of the container; the pod's when absent.
    pub policy: Option<RestartPolicy>,
    /// `restartPolicyRules`; the first that fits decides.
    pub rules: Vec<RestartRule>,
}

/// What a probe or a hook does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Handler {
    /// Runs a command in the container, without a shell.
    Exec {
        /// The command; never empty.
        command: Vec<String>,
    },
    /// Asks a web server.
    HttpGet(HttpGet),
    /// Opens a connection.
    TcpSocket {
        /// An address or a name; the pod's address unless the manifest says otherwise.
        host: String,
        /// The port.
        port: u16,
    },
    /// Asks a gRPC health service (`grpc.health.v1.Health/Check`) at the pod's address.
    Grpc {
        /// The pod's address.
        host: String,
        /// The port.
        port: u16,
        /// The service that is asked for; empty asks for the server.
        service: String,
        /// `mode: TLS`; certificates are not verified.
        tls: bool,
    },
    /// Waits; hooks only.
    Sleep {
        /// How long.
        seconds: u64,
    },
}

/// An HTTP request of a probe or a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpGet {
    /// An address or a name; the pod's address unless the manifest says otherwise.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query; with a leading slash.
    pub path: String,
    /// `scheme: HTTPS`; certificates are not verified.
    pub tls: bool,
    /// `protocol: HTTP2`, without TLS.
    pub http2: bool,
    /// `httpHeaders` in their order; one with an empty value removes a default header.
    pub headers: Vec<(String, String)>,
}

/// A probe with its defaults filled in (`SetDefaults_Probe`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What it does; never `Sleep`.
    pub handler: Handler,
    /// Milliseconds after the container's start before the first probe.
    pub initial_delay_ms: u64,
    /// Milliseconds a probe may take; at least 1000.
    pub timeout_ms: u64,
    /// Milliseconds between two probes; at least 1000.
    pub period_ms: u64,
    /// Successes in a row that count.
    pub success_threshold: u32,
    /// Failures in a row that count.
    pub failure_threshold: u32,
    /// Instead of the pod's grace period when this probe has the container killed; milliseconds.
    pub grace_period_ms: Option<u64>,
}

/// `startupProbe`, `livenessProbe` and `readinessProbe`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Probes {
    /// Until it has succeeded the others do not run.
    pub startup: Option<Probe>,
    /// Its failure restarts the container.
    pub liveness: Option<Probe>,
    /// Its failure makes the container unready.
    pub readiness: Option<Probe>,
}

/// `lifecycle`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hooks {
    /// Runs beside the command; what comes next waits for it.
    pub post_start: Option<Handler>,
    /// Runs before the stop signal, within the grace period.
    pub pre_stop: Option<Handler>,
}

/// `terminationMessagePath` and `terminationMessagePolicy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminationMessage {
    /// Absolute path in the container of the file that holds a container's last words.
    pub path: String,
    /// `FallbackToLogsOnError`: the end of the log counts when the file is empty and the container
    /// has failed.
    pub falls_back_to_logs: bool,
}

impl Default for TerminationMessage {
    /// `TerminationMessagePathDefault` of core/v1.
    fn default() -> Self {
        Self {
            path: "/dev/termination-log".to_owned(),
            falls_back_to_logs: false,
        }
    }
}

/// `stdin`, `stdinOnce` and `tty`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Console {
    /// The container has a standard input that `attach` writes to; without it, it reads the end of
    /// the file at once.
    pub stdin: bool,
    /// The input ends when the first that attached leaves.
    pub stdin_once: bool,
    /// All three are a terminal.
    pub tty: bool,
}
