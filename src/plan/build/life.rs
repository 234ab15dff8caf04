//! How a container lives: restarts, probes, hooks, its last words.

use std::fmt::Write;

use k8s_openapi::api::core::v1::{
    self as api, Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::volume::clean_text;
use super::{PlanProblem, problem, restart_policy};
use crate::plan::{
    Console, ContainerRestart, Handler, Hooks, HttpGet, ImageConfig, Probe, Probes, RestartRule,
    RestartRuleAction, TerminationMessage, signal,
};

/// `lifecycle.stopSignal`, else the image's, else TERM.
pub(super) fn stop_signal(
    path: &str,
    container: &Container,
    image: &ImageConfig,
    problems: &mut Vec<PlanProblem>,
) -> Option<i32> {
    let own = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.stop_signal.as_deref());
    let (at, whose, text) = match (own, image.stop_signal.as_str()) {
        (Some(text), _) => ("lifecycle.stopSignal", "", text),
        (None, "") => return Some(15),
        (None, text) => ("image", "its stop signal ", text),
    };
    let number = signal::parse(text);
    if number.is_none() {
        problems.push(problem(
            format!("{path}.{at}"),
            format!("{whose}`{}` is not a signal", text.escape_debug()),
        ));
    }
    number
}

/// `restartPolicy` and `restartPolicyRules`.
pub(super) fn restart(container: &Container) -> ContainerRestart {
    let rules = container.restart_policy_rules.iter().flatten();
    ContainerRestart {
        policy: container.restart_policy.as_deref().map(restart_policy),
        rules: rules.map(restart_rule).collect(),
    }
}

fn restart_rule(rule: &api::ContainerRestartRule) -> RestartRule {
    let exit_codes = rule.exit_codes.as_ref();
    RestartRule {
        action: match rule.action.as_str() {
            "RestartAllContainers" => RestartRuleAction::RestartAllContainers,
            _ => RestartRuleAction::Restart,
        },
        is_negated: exit_codes.is_some_and(|codes| codes.operator == "NotIn"),
        exit_codes: exit_codes
            .and_then(|codes| codes.values.clone())
            .unwrap_or_default(),
    }
}

/// `terminationMessagePath` and `terminationMessagePolicy`.
pub(super) fn termination_message(container: &Container) -> TerminationMessage {
    let path = container.termination_message_path.as_deref();
    let policy = container.termination_message_policy.as_deref();
    TerminationMessage {
        path: path
            .filter(|path| !path.is_empty())
            .map_or_else(|| TerminationMessage::default().path, clean_text),
        falls_back_to_logs: policy == Some("FallbackToLogsOnError"),
    }
}

/// `stdin`, `stdinOnce` and `tty`.
pub(super) fn console(container: &Container) -> Console {
    Console {
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
    }
}

/// What the probes and hooks of a container are made of.
pub(super) struct Handlers<'a> {
    pub(super) container: &'a Container,
    /// The pod's address.
    pub(super) address: &'a str,
}

impl Handlers<'_> {
    /// The probes and hooks of a container that is written at `path`.
    pub(super) fn all(&self, path: &str, problems: &mut Vec<PlanProblem>) -> (Probes, Hooks) {
        let mut probe = |field: &str, probe: &Option<api::Probe>| {
            let probe = probe.as_ref()?;
            self.probe(&format!("{path}.{field}"), probe, problems)
        };
        let probes = Probes {
            startup: probe("startupProbe", &self.container.startup_probe),
            liveness: probe("livenessProbe", &self.container.liveness_probe),
            readiness: probe("readinessProbe", &self.container.readiness_probe),
        };
        let lifecycle = self.container.lifecycle.clone().unwrap_or_default();
        let mut hook = |field: &str, hook: Option<&LifecycleHandler>| {
            self.hook(&format!("{path}.lifecycle.{field}"), hook?, problems)
        };
        let hooks = Hooks {
            post_start: hook("postStart", lifecycle.post_start.as_ref()),
            pre_stop: hook("preStop", lifecycle.pre_stop.as_ref()),
        };
        (probes, hooks)
    }

    fn probe(
        &self,
        path: &str,
        probe: &api::Probe,
        problems: &mut Vec<PlanProblem>,
    ) -> Option<Probe> {
        let handler = if let Some(exec) = &probe.exec {
            Some(command(exec))
        } else if let Some(get) = &probe.http_get {
            self.http_get(&format!("{path}.httpGet"), get, problems)
        } else if let Some(tcp) = &probe.tcp_socket {
            let port = self.port(&format!("{path}.tcpSocket.port"), &tcp.port, problems);
            port.map(|port| Handler::TcpSocket {
                host: self.host(tcp.host.as_deref()),
                port,
            })
        } else if let Some(grpc) = &probe.grpc {
            self.grpc(&format!("{path}.grpc"), grpc, problems)
        } else {
            problems.push(problem(path, "must specify a handler type"));
            None
        };
        let count = |value: Option<i32>, default: u32| {
            let given = value.and_then(|value| u32::try_from(value).ok());
            given.filter(|value| *value > 0).unwrap_or(default)
        };
        let milliseconds = |seconds: u32| u64::from(seconds).saturating_mul(1000);
        Some(Probe {
            handler: handler?,
            initial_delay_ms: milliseconds(count(probe.initial_delay_seconds, 0)),
            timeout_ms: milliseconds(count(probe.timeout_seconds, 1)),
            period_ms: milliseconds(count(probe.period_seconds, 10)),
            success_threshold: count(probe.success_threshold, 1),
            failure_threshold: count(probe.failure_threshold, 3),
            grace_period_ms: probe
                .termination_grace_period_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(|seconds| seconds.saturating_mul(1000)),
        })
    }

    fn hook(
        &self,
        path: &str,
        hook: &LifecycleHandler,
        problems: &mut Vec<PlanProblem>,
    ) -> Option<Handler> {
        if let Some(exec) = &hook.exec {
            Some(command(exec))
        } else if let Some(get) = &hook.http_get {
            self.http_get(&format!("{path}.httpGet"), get, problems)
        } else if let Some(sleep) = &hook.sleep {
            Some(Handler::Sleep {
                seconds: u64::try_from(sleep.seconds).unwrap_or(0),
            })
        } else {
            problems.push(problem(path, "must specify a handler type"));
            None
        }
    }

    fn http_get(
        &self,
        path: &str,
        get: &HTTPGetAction,
        problems: &mut Vec<PlanProblem>,
    ) -> Option<Handler> {
        let port = self.port(&format!("{path}.port"), &get.port, problems)?;
        let headers = get.http_headers.iter().flatten();
        Some(Handler::HttpGet(HttpGet {
            host: self.host(get.host.as_deref()),
            port,
            path: request_target(get.path.as_deref().unwrap_or_default()),
            tls: get.scheme.as_deref() == Some("HTTPS"),
            headers: headers
                .map(|header| (header.name.clone(), header.value.clone()))
                .collect(),
        }))
    }

    fn grpc(
        &self,
        path: &str,
        grpc: &GRPCAction,
        problems: &mut Vec<PlanProblem>,
    ) -> Option<Handler> {
        let port = IntOrString::Int(grpc.port);
        Some(Handler::Grpc {
            host: self.address.to_owned(),
            port: self.port(&format!("{path}.port"), &port, problems)?,
            service: grpc.service.clone().unwrap_or_default(),
            tls: grpc.mode.as_deref() == Some("TLS"),
        })
    }

    fn host(&self, given: Option<&str>) -> String {
        given
            .filter(|host| !host.is_empty())
            .unwrap_or(self.address)
            .to_owned()
    }

    /// The number of a port; a name is one of this container's (`FindPortByName` of the kubelet's
    /// container package).
    fn port(&self, path: &str, port: &IntOrString, problems: &mut Vec<PlanProblem>) -> Option<u16> {
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => self
                .container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_deref() == Some(name))
                .map(|port| port.container_port),
        };
        let number = number
            .and_then(|number| u16::try_from(number).ok())
            .filter(|number| *number > 0);
        if number.is_none() {
            problems.push(problem(path, "is not a port of the container"));
        }
        number
    }
}

fn command(exec: &ExecAction) -> Handler {
    Handler::Exec {
        command: exec.command.clone().unwrap_or_default(),
    }
}

/// Path and query as they go into a request: with a leading slash, without a fragment, and with
/// everything escaped that would end the request line or is no ASCII, as Go's `URL.RequestURI`
/// does.
fn request_target(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let mut target = String::with_capacity(path.len());
    if !path.starts_with('/') {
        target.push('/');
    }
    for byte in path.bytes() {
        if byte.is_ascii_graphic() {
            target.push(char::from(byte));
        } else {
            write!(target, "%{byte:02X}").ok();
        }
    }
    target
}
