//! What a probe or a hook does.

use std::ops::RangeInclusive;

use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, SleepAction,
    TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Rules;
use super::ports::{NAME_RULE, is_service_name};

const PORTS: RangeInclusive<i32> = 1..=65_535;

/// How alike two names of ports must be for "did you mean".
const LIKENESS: f64 = 0.8;

/// The handlers that are written; one of them should be (`commonHandler`).
pub(super) struct Given<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

impl<'a> Given<'a> {
    pub(super) fn of_probe(probe: &'a Probe) -> Self {
        Self {
            exec: probe.exec.as_ref(),
            http_get: probe.http_get.as_ref(),
            tcp_socket: probe.tcp_socket.as_ref(),
            grpc: probe.grpc.as_ref(),
            sleep: None,
        }
    }

    pub(super) fn of_hook(hook: &'a LifecycleHandler) -> Self {
        Self {
            exec: hook.exec.as_ref(),
            http_get: hook.http_get.as_ref(),
            tcp_socket: hook.tcp_socket.as_ref(),
            grpc: None,
            sleep: hook.sleep.as_ref(),
        }
    }
}

/// What the handlers of a container depend on.
pub(super) struct Handlers<'a> {
    pub(super) container: &'a Container,
    /// `spec.terminationGracePeriodSeconds`.
    pub(super) grace: Option<i64>,
}

impl Handlers<'_> {
    /// `validateHandler`.
    pub(super) fn check(&self, path: &str, given: &Given<'_>, rules: &mut Rules<'_>) {
        let mut written = [
            ("exec", given.exec.is_some()),
            ("httpGet", given.http_get.is_some()),
            ("tcpSocket", given.tcp_socket.is_some()),
            ("grpc", given.grpc.is_some()),
            ("sleep", given.sleep.is_some()),
        ]
        .into_iter()
        .filter(|(_, is_written)| *is_written);
        if written.next().is_none() {
            rules.error(path, "must specify a handler type");
        }
        for (other, _) in written {
            let path = format!("{path}.{other}");
            rules.error(&path, "may not specify more than 1 handler type");
        }
        if let Some(exec) = given.exec {
            check_exec(&format!("{path}.exec.command"), exec, rules);
        } else if let Some(get) = given.http_get {
            self.check_http_get(&format!("{path}.httpGet"), get, rules);
        } else if let Some(tcp) = given.tcp_socket {
            self.check_port(&format!("{path}.tcpSocket.port"), &tcp.port, rules);
            check_host(
                &format!("{path}.tcpSocket.host"),
                tcp.host.as_deref(),
                rules,
            );
        } else if let Some(grpc) = given.grpc {
            let path = format!("{path}.grpc");
            self.check_port(&format!("{path}.port"), &IntOrString::Int(grpc.port), rules);
            rules.one_of(
                &format!("{path}.mode"),
                grpc.mode.as_ref(),
                &["Plaintext", "TLS"],
            );
        } else if let Some(sleep) = given.sleep {
            self.check_sleep(&format!("{path}.sleep.seconds"), sleep, rules);
        }
    }

    /// `validateSleepAction`; a grace period that is wrong has its own error.
    fn check_sleep(&self, path: &str, sleep: &SleepAction, rules: &mut Rules<'_>) {
        let Some(grace) = self.grace.filter(|grace| *grace >= 0) else {
            return;
        };
        if !(0..=grace).contains(&sleep.seconds) {
            rules.error(
                path,
                format!("must be between 0 and terminationGracePeriodSeconds ({grace})"),
            );
        }
    }

    /// `validateHTTPGetAction`; Go refuses a header's value only when it sends the request.
    fn check_http_get(&self, path: &str, get: &HTTPGetAction, rules: &mut Rules<'_>) {
        self.check_port(&format!("{path}.port"), &get.port, rules);
        check_host(&format!("{path}.host"), get.host.as_deref(), rules);
        rules.one_of(
            &format!("{path}.scheme"),
            get.scheme.as_ref(),
            &["HTTP", "HTTPS"],
        );
        let protocol = format!("{path}.protocol");
        rules.one_of(&protocol, get.protocol.as_ref(), &["HTTP1", "HTTP2"]);
        if get.protocol.as_deref() == Some("HTTP2") && get.scheme.as_deref() == Some("HTTPS") {
            rules.error_hint(
                &protocol,
                "`HTTP2` is HTTP/2 without TLS",
                "leave `scheme: HTTPS` or `protocol: HTTP2` out",
            );
        }
        for (index, header) in get.http_headers.iter().flatten().enumerate() {
            let path = format!("{path}.httpHeaders[{index}]");
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if header.name.is_empty() {
                rules.error(&format!("{path}.name"), "is required");
            } else if !header.name.chars().all(fits) {
                rules.error(
                    &format!("{path}.name"),
                    "must consist of letters, digits and '-'",
                );
            }
            if header.value.chars().any(|c| c.is_control() && c != '\t') {
                rules.error(&format!("{path}.value"), "contains a control character");
            }
        }
    }

    /// `ValidatePortNumOrName`. The API server takes any name; one that the container does not
    /// have would fail each time.
    fn check_port(&self, path: &str, port: &IntOrString, rules: &mut Rules<'_>) {
        let name = match port {
            IntOrString::Int(number) => {
                if *number == 0 && !rules.is_written(path) {
                    rules.error(path, "is required");
                } else if !PORTS.contains(number) {
                    rules.error(path, "must be between 1 and 65535");
                }
                return;
            }
            IntOrString::String(name) => name,
        };
        if name.parse::<u16>().is_ok() {
            let message = format!("\"{name}\" is text, and a port's name has at least one letter");
            rules.error_hint(path, message, format!("write {name} without quotes"));
            return;
        }
        if !is_service_name(name) {
            rules.error(path, NAME_RULE);
            return;
        }
        let ports = self.container.ports.iter().flatten();
        let known: Vec<&str> = ports.filter_map(|port| port.name.as_deref()).collect();
        if known.contains(&name.as_str()) {
            return;
        }
        let message = format!("the container has no port named `{name}`");
        let nearest = known
            .iter()
            .find(|known| strsim::jaro_winkler(known, name) >= LIKENESS);
        match nearest {
            Some(known) => rules.error_hint(path, message, format!("did you mean `{known}`?")),
            None => rules.error_hint(path, message, "name it in `ports`, or write its number"),
        }
    }
}

/// `validateExecAction`.
fn check_exec(path: &str, exec: &ExecAction, rules: &mut Rules<'_>) {
    let command = exec.command.as_deref().unwrap_or_default();
    if command.is_empty() {
        rules.error(path, "is required");
    }
    for (index, text) in command.iter().enumerate() {
        rules.plain_text(&format!("{path}[{index}]"), text);
    }
}

/// The API server takes any text; it goes into a request.
fn check_host(path: &str, host: Option<&str>, rules: &mut Rules<'_>) {
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || "/?#@[]".contains(c);
    if host.unwrap_or_default().contains(is_odd) {
        rules.error(path, "must be an address or the name of a host");
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::pod::tests::assert_containers;

    #[test]
    fn a_probe_has_one_handler() {
        assert_containers(&[
            ("livenessProbe: null", ""),
            (
                "livenessProbe: {}",
                "livenessProbe: must specify a handler type",
            ),
            (
                "readinessProbe: {exec: null, periodSeconds: 1}",
                "readinessProbe: must specify a handler type",
            ),
            ("livenessProbe: {exec: null, grpc: {port: 1}}", ""),
            (
                "livenessProbe: {exec: {command: [x]}, grpc: {port: 1}}",
                "livenessProbe.grpc: may not specify more than 1 handler type",
            ),
            (
                "livenessProbe: {tcpSocket: {port: 1}, httpGet: {port: 1}}",
                "livenessProbe.tcpSocket: may not specify more than 1 handler type",
            ),
            (
                "livenessProbe: {sleep: {seconds: 1}, grpc: {port: 1}}",
                "livenessProbe.sleep: is not a field of this object",
            ),
        ]);
    }

    #[test]
    fn a_command_is_not_empty() {
        assert_containers(&[
            ("livenessProbe: {exec: {command: [x, '']}}", ""),
            (
                "livenessProbe: {exec: {}}",
                "livenessProbe.exec.command: is required",
            ),
            (
                "livenessProbe: {exec: {command: []}}",
                "livenessProbe.exec.command: is required",
            ),
            (
                r#"livenessProbe: {exec: {command: [x, "\0"]}}"#,
                "livenessProbe.exec.command[1]: contains a NUL byte",
            ),
        ]);
    }

    #[test]
    fn a_port_is_a_number_or_a_name_of_the_container() {
        for handler in ["httpGet", "tcpSocket"] {
            let fields = |port: &str| format!("livenessProbe: {{{handler}: {{{port}}}}}");
            let error = |message: &str| format!("livenessProbe.{handler}.port: {message}");
            let range = error("must be between 1 and 65535");
            let rule = error(
                "must have at most 15 lower case letters, digits or '-', and at least one letter",
            );
            assert_containers(&[
                (&fields("port: 1"), ""),
                (&fields("port: 65535"), ""),
                (&fields("port: web"), ""),
                (&fields("host: x"), &error("is required")),
                (&fields("port: 0"), &range),
                (&fields("port: 65536"), &range),
                (&fields("port: -1"), &range),
                (&fields("port: Web"), &rule),
                (&fields("port: ''"), &rule),
                (&fields("port: a-very-long-name"), &rule),
                (
                    &fields("port: '80'"),
                    &error(
                        "\"80\" is text, and a port's name has at least one letter \
                         (write 80 without quotes)",
                    ),
                ),
                (
                    &fields("port: wep"),
                    &error("the container has no port named `wep` (did you mean `web`?)"),
                ),
                (
                    &fields("port: metrics"),
                    &error(
                        "the container has no port named `metrics` (name it in `ports`, or write \
                         its number)",
                    ),
                ),
            ]);
        }
        assert_containers(&[
            ("livenessProbe: {grpc: {port: 1, service: x}}", ""),
            (
                "livenessProbe: {grpc: {service: x}}",
                "livenessProbe.grpc.port: is required",
            ),
            (
                "livenessProbe: {grpc: {port: 65536}}",
                "livenessProbe.grpc.port: must be between 1 and 65535",
            ),
        ]);
    }

    #[test]
    fn a_request_is_one_that_can_be_sent() {
        let header = |fields: &str| format!("readinessProbe: {{httpGet: {{port: 1, {fields}}}}}");
        assert_containers(&[
            (&header("scheme: HTTPS, path: x, host: '::1'"), ""),
            (&header("scheme: HTTP, host: example.com"), ""),
            (&header("scheme: ''"), ""),
            (
                &header("scheme: https"),
                "readinessProbe.httpGet.scheme: `https` is not one of HTTP, HTTPS",
            ),
            (&header("httpHeaders: [{name: X-Y, value: a b}]"), ""),
            (&header("httpHeaders: [{name: Accept, value: ''}]"), ""),
            (
                &header("httpHeaders: [{value: x}]"),
                "readinessProbe.httpGet.httpHeaders[0].name: is required",
            ),
            (
                &header("httpHeaders: [{name: A, value: b}, {name: 'A:', value: b}]"),
                "readinessProbe.httpGet.httpHeaders[1].name: must consist of letters, digits and \
                 '-'",
            ),
            (
                &header(r#"httpHeaders: [{name: A, value: "b\r\nC: d"}]"#),
                "readinessProbe.httpGet.httpHeaders[0].value: contains a control character",
            ),
            (
                &header("host: 'http://x'"),
                "readinessProbe.httpGet.host: must be an address or the name of a host",
            ),
            (&header("protocol: HTTP1"), ""),
            (&header("protocol: HTTP2"), ""),
            (
                &header("protocol: HTTP3"),
                "readinessProbe.httpGet.protocol: `HTTP3` is not one of HTTP1, HTTP2",
            ),
            (
                &header("protocol: HTTP2, scheme: HTTPS"),
                "readinessProbe.httpGet.protocol: `HTTP2` is HTTP/2 without TLS (leave `scheme: \
                 HTTPS` or `protocol: HTTP2` out)",
            ),
            (
                "readinessProbe: {tcpSocket: {port: 1, host: 'a b'}}",
                "readinessProbe.tcpSocket.host: must be an address or the name of a host",
            ),
            ("readinessProbe: {grpc: {port: 1, mode: TLS}}", ""),
            ("readinessProbe: {grpc: {port: 1, mode: Plaintext}}", ""),
            (
                "readinessProbe: {grpc: {port: 1, mode: tls}}",
                "readinessProbe.grpc.mode: `tls` is not one of Plaintext, TLS",
            ),
        ]);
    }
}
