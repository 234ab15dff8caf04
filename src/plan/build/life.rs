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
    RestartRuleAction, TerminationMessage, command, signal,
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
            Some(self.probe_command(exec))
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
            let command = exec.command.clone().unwrap_or_default();
            Some(Handler::Exec { command })
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

    /// A probe's command may name variables of the pod, whose values count as they are written
    /// (`ExpandContainerCommandOnlyStatic` of the kubelet's container package); a hook's may not.
    fn probe_command(&self, exec: &ExecAction) -> Handler {
        let env = self.container.env.iter().flatten();
        let variables: Vec<(String, String)> = env
            .map(|var| (var.name.clone(), var.value.clone().unwrap_or_default()))
            .collect();
        let words = exec.command.iter().flatten();
        Handler::Exec {
            command: words
                .map(|word| command::expand(word, &variables))
                .collect(),
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
            http2: get.protocol.as_deref() == Some("HTTP2"),
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::RestartPolicy;
    use crate::plan::build::tests::{container, plan, plan_with_stop_signal};

    fn readiness(probe: &Value) -> Probe {
        container(json!({"readinessProbe": probe}))
            .probes
            .readiness
            .unwrap()
    }

    #[test]
    fn a_handler_needs_nothing_looked_up() {
        let http = |host: &str, port: u16, path: &str, tls: bool| {
            Handler::HttpGet(HttpGet {
                host: host.to_owned(),
                port,
                path: path.to_owned(),
                tls,
                http2: false,
                headers: Vec::new(),
            })
        };
        for (handler, expected) in [
            (
                json!({"exec": {"command": ["x", "$(Y)"]}}),
                Handler::Exec {
                    command: vec!["x".to_owned(), "$(Y)".to_owned()],
                },
            ),
            (
                json!({"httpGet": {"port": "web", "path": "health", "scheme": "HTTP"}}),
                http("10.0.0.7", 80, "/health", false),
            ),
            (
                json!({"httpGet": {"port": 8443, "path": "/", "scheme": "HTTPS", "host": "::1"}}),
                http("::1", 8443, "/", true),
            ),
            (
                json!({"httpGet": {"port": 1, "host": ""}}),
                http("10.0.0.7", 1, "/", false),
            ),
            (
                json!({"tcpSocket": {"port": "dns"}}),
                Handler::TcpSocket {
                    host: "10.0.0.7".to_owned(),
                    port: 53,
                },
            ),
            (
                json!({"tcpSocket": {"port": 65535, "host": "example.com"}}),
                Handler::TcpSocket {
                    host: "example.com".to_owned(),
                    port: 65535,
                },
            ),
            (
                json!({"grpc": {"port": 9, "service": "s", "mode": "TLS"}}),
                Handler::Grpc {
                    host: "10.0.0.7".to_owned(),
                    port: 9,
                    service: "s".to_owned(),
                    tls: true,
                },
            ),
            (
                json!({"grpc": {"port": 9}}),
                Handler::Grpc {
                    host: "10.0.0.7".to_owned(),
                    port: 9,
                    service: String::new(),
                    tls: false,
                },
            ),
        ] {
            assert_eq!(readiness(&handler).handler, expected, "{handler}");
        }
    }

    #[test]
    fn a_probes_command_names_variables_and_a_hooks_does_not() {
        let exec = json!({"exec": {"command": ["$(A)", "$(B)", "$(NO)", "$$(A)"]}});
        let plan = container(json!({
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"}],
            "livenessProbe": exec,
            "lifecycle": {"postStart": exec},
        }));
        let command = |words: [&str; 4]| Handler::Exec {
            command: words.map(str::to_owned).to_vec(),
        };
        assert_eq!(
            plan.probes.liveness.unwrap().handler,
            command(["1", "$(A)", "$(NO)", "$(A)"])
        );
        assert_eq!(
            plan.hooks.post_start,
            Some(command(["$(A)", "$(B)", "$(NO)", "$$(A)"]))
        );
    }

    #[test]
    fn headers_stay_in_their_order() {
        let probe = readiness(&json!({"httpGet": {"port": 1, "httpHeaders": [
            {"name": "B", "value": "1"}, {"name": "A", "value": ""}, {"name": "B", "value": "2"},
        ]}}));
        let Handler::HttpGet(get) = probe.handler else {
            panic!("{probe:?}")
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(get.headers, [pair("B", "1"), pair("A", ""), pair("B", "2")]);
    }

    #[test]
    fn a_probe_on_the_hosts_network_asks_the_machine() {
        let plan = plan(&json!({
            "hostNetwork": true,
            "containers": [{"name": "a", "image": "i", "livenessProbe": {"grpc": {"port": 1}}}],
        }))
        .unwrap();
        let probe = plan.containers[0].probes.liveness.clone().unwrap();
        assert!(
            matches!(&probe.handler, Handler::Grpc { host, .. } if host == "192.0.2.1"),
            "{probe:?}"
        );
    }

    #[test]
    fn a_port_that_is_not_there_is_a_problem() {
        for port in [json!("wep"), json!(0), json!(65536), json!(-1)] {
            let problems = plan(&json!({"containers": [{
                "name": "a",
                "image": "i",
                "lifecycle": {"preStop": {"httpGet": {"port": port}}},
            }]}))
            .unwrap_err();
            assert_eq!(
                problems,
                [problem(
                    "spec.containers[0].lifecycle.preStop.httpGet.port",
                    "is not a port of the container"
                )],
                "{port}"
            );
        }
    }

    #[test]
    fn a_probes_times_are_milliseconds() {
        let exec = json!({"command": ["x"]});
        let plain = readiness(&json!({"exec": exec}));
        assert_eq!(
            plain,
            Probe {
                handler: plain.handler.clone(),
                initial_delay_ms: 0,
                timeout_ms: 1000,
                period_ms: 10_000,
                success_threshold: 1,
                failure_threshold: 3,
                grace_period_ms: None,
            }
        );
        let given = container(json!({"livenessProbe": {
            "exec": exec, "initialDelaySeconds": 2_147_483_647, "timeoutSeconds": 2,
            "periodSeconds": 3, "successThreshold": 1, "failureThreshold": 4,
            "terminationGracePeriodSeconds": i64::MAX,
        }}));
        assert_eq!(
            given.probes.liveness,
            Some(Probe {
                handler: plain.handler,
                initial_delay_ms: 2_147_483_647_000,
                timeout_ms: 2000,
                period_ms: 3000,
                success_threshold: 1,
                failure_threshold: 4,
                grace_period_ms: Some(u64::MAX),
            })
        );
    }

    #[test]
    fn each_probe_and_hook_is_where_it_belongs() {
        let exec = |word: &str| json!({"exec": {"command": [word]}});
        let plan = container(json!({
            "startupProbe": exec("s"), "livenessProbe": exec("l"), "readinessProbe": exec("r"),
            "lifecycle": {"postStart": exec("post"), "preStop": {"sleep": {"seconds": 5}}},
        }));
        let handler = |word: &str| Handler::Exec {
            command: vec![word.to_owned()],
        };
        assert_eq!(plan.probes.startup.unwrap().handler, handler("s"));
        assert_eq!(plan.probes.liveness.unwrap().handler, handler("l"));
        assert_eq!(plan.probes.readiness.unwrap().handler, handler("r"));
        assert_eq!(plan.hooks.post_start, Some(handler("post")));
        assert_eq!(plan.hooks.pre_stop, Some(Handler::Sleep { seconds: 5 }));
        let plain = container(json!({"lifecycle": {}}));
        assert_eq!(plain.probes, Probes::default());
        assert_eq!(plain.hooks, Hooks::default());
    }

    #[test]
    fn the_pods_stop_signal_wins_over_the_images() {
        let signal = |own: Value, image: &str| {
            let container = json!({"name": "a", "image": "i", "lifecycle": {"stopSignal": own}});
            plan_with_stop_signal(&json!({"containers": [container]}), image)
                .map(|plan| plan.containers[0].stop_signal)
        };
        assert_eq!(signal(json!("SIGRTMIN+3"), "SIGQUIT"), Ok(37));
        assert_eq!(signal(json!("SIGUSR1"), "nonsense"), Ok(10));
        assert_eq!(signal(Value::Null, "SIGQUIT"), Ok(3));
        assert_eq!(signal(Value::Null, ""), Ok(15));
        assert_eq!(
            signal(Value::Null, "nonsense"),
            Err(vec![problem(
                "spec.containers[0].image",
                "its stop signal `nonsense` is not a signal"
            )])
        );
    }

    #[test]
    fn restarts_have_the_containers_own_rules() {
        let plan = container(json!({
            "restartPolicy": "OnFailure",
            "restartPolicyRules": [
                {"action": "Restart", "exitCodes": {"operator": "In", "values": [1, 2]}},
                {"action": "RestartAllContainers", "exitCodes": {"operator": "NotIn"}},
            ],
        }));
        assert_eq!(
            plan.restart,
            ContainerRestart {
                policy: Some(RestartPolicy::OnFailure),
                rules: vec![
                    RestartRule {
                        action: RestartRuleAction::Restart,
                        is_negated: false,
                        exit_codes: vec![1, 2],
                    },
                    RestartRule {
                        action: RestartRuleAction::RestartAllContainers,
                        is_negated: true,
                        exit_codes: Vec::new(),
                    },
                ],
            }
        );
        assert_eq!(container(json!({})).restart, ContainerRestart::default());
    }

    #[test]
    fn last_words_and_console_are_as_written() {
        let plain = container(json!({"terminationMessagePath": ""}));
        assert_eq!(plain.termination_message, TerminationMessage::default());
        assert_eq!(plain.console, Console::default());
        let plan = container(json!({
            "terminationMessagePath": "/tmp/../var//log",
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "stdin": true, "stdinOnce": true, "tty": true,
        }));
        assert_eq!(
            plan.termination_message,
            TerminationMessage {
                path: "/var/log".to_owned(),
                falls_back_to_logs: true,
            }
        );
        assert_eq!(
            plan.console,
            Console {
                stdin: true,
                stdin_once: true,
                tty: true,
            }
        );
    }

    #[test]
    fn a_request_target_fits_into_a_request() {
        for (path, target) in [
            ("", "/"),
            ("/", "/"),
            ("health", "/health"),
            ("?a=b", "/?a=b"),
            ("/a b?c=d e#f", "/a%20b?c=d%20e"),
            ("/%20", "/%20"),
            ("/x HTTP/1.1\r\nA: b", "/x%20HTTP/1.1%0D%0AA:%20b"),
            ("/é", "/%C3%A9"),
        ] {
            assert_eq!(request_target(path), target, "{path}");
        }
    }
}
