//! How a container lives: restarts, probes, hooks, its last words.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{
    Container, ContainerRestartRuleOnExitCodes, Lifecycle, PodSpec, Probe,
};

use super::handlers::{Given, Handlers};
use super::{Rules, volumes};

/// `validateContainerRestartPolicy`.
const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;

/// The signals of Linux that `lifecycle.stopSignal` may name, besides the real-time ones
/// (`Signal` of core/v1).
const SIGNALS: [&str; 34] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// What a container finds in /dev.
const DEVICES: [&str; 16] = [
    "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr",
    "stdin", "stdout", "tty", "urandom", "zero",
];

/// `restartPolicy` and `restartPolicyRules` (`validateContainerRestartPolicy`, KEP-5307).
pub(super) fn check_restarts(path: &str, container: &Container, rules: &mut Rules<'_>) {
    let at = format!("{path}.restartPolicy");
    let allowed = ["Always", "OnFailure", "Never"];
    rules.one_of(&at, container.restart_policy.as_ref(), &allowed);
    let given = container
        .restart_policy_rules
        .as_deref()
        .unwrap_or_default();
    if !given.is_empty() && container.restart_policy.is_none() {
        let message = "must be set when restartPolicyRules are";
        rules.error_hint(&at, message, "write what holds when no rule fits");
    }
    let at = format!("{path}.restartPolicyRules");
    if given.len() > MAX_RULES {
        rules.error(&at, format!("has more than {MAX_RULES} rules"));
    }
    for (index, rule) in given.iter().enumerate() {
        let path = format!("{at}[{index}]");
        rules.required_one_of(
            &format!("{path}.action"),
            &rule.action,
            &["Restart", "RestartAllContainers"],
        );
        match &rule.exit_codes {
            None => rules.error(&format!("{path}.exitCodes"), "is required"),
            Some(codes) => check_exit_codes(&format!("{path}.exitCodes"), codes, rules),
        }
    }
}

/// The API server takes any number and keeps the values as a set; a code that no process can
/// have is a mistake.
fn check_exit_codes(path: &str, codes: &ContainerRestartRuleOnExitCodes, rules: &mut Rules<'_>) {
    rules.required_one_of(
        &format!("{path}.operator"),
        &codes.operator,
        &["In", "NotIn"],
    );
    let path = format!("{path}.values");
    let values = codes.values.as_deref().unwrap_or_default();
    if values.len() > MAX_EXIT_CODES {
        rules.error(&path, format!("has more than {MAX_EXIT_CODES} exit codes"));
    }
    let mut known = HashSet::new();
    for (index, code) in values.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if !known.insert(code) {
            rules.error(&path, format!("{code} is there twice"));
        }
        rules.between(&path, i64::from(*code), 0, 255);
    }
}

/// `terminationMessagePath` and `terminationMessagePolicy`. The API server takes any path; the
/// file is mounted over what is there, and that must be neither of the kernel's file systems nor
/// one of the devices (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881).
pub(super) fn check_termination_message(path: &str, container: &Container, rules: &mut Rules<'_>) {
    rules.one_of(
        &format!("{path}.terminationMessagePolicy"),
        container.termination_message_policy.as_ref(),
        &["File", "FallbackToLogsOnError"],
    );
    let Some(file) = &container.termination_message_path else {
        return;
    };
    let path = format!("{path}.terminationMessagePath");
    rules.plain_text(&path, file);
    if !file.starts_with('/') {
        rules.error(&path, "must be an absolute path");
        return;
    }
    let clean = volumes::clean(file);
    let names: Vec<&str> = clean.iter().map(String::as_str).collect();
    let is_taken = match names.as_slice() {
        [] | ["proc" | "sys", ..] | ["dev"] | ["dev", _, _, ..] => true,
        ["dev", name] => DEVICES.contains(name),
        [..] => false,
    };
    if is_taken {
        let message = format!("the file cannot be at /{}", names.join("/"));
        rules.error_hint(&path, message, "leave it out for /dev/termination-log");
    }
}

/// The probes and `lifecycle` of a container that may have them.
pub(super) fn check(path: &str, container: &Container, spec: &PodSpec, rules: &mut Rules<'_>) {
    let handlers = Handlers {
        container,
        grace: spec.termination_grace_period_seconds,
    };
    for (field, probe) in [
        ("startupProbe", &container.startup_probe),
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
    ] {
        let Some(probe) = probe else { continue };
        let path = format!("{path}.{field}");
        handlers.check(&path, &Given::of_probe(probe), rules);
        check_probe(&path, probe, rules);
        if field == "readinessProbe" {
            if probe.termination_grace_period_seconds.is_some() {
                rules.error_hint(
                    &format!("{path}.terminationGracePeriodSeconds"),
                    "must not be set for readinessProbes",
                    "a container that is not ready is not stopped",
                );
            }
        } else if probe.success_threshold.is_some_and(|count| count > 1) {
            rules.error(&format!("{path}.successThreshold"), "must be 1");
        }
    }
    if let Some(lifecycle) = &container.lifecycle {
        let path = format!("{path}.lifecycle");
        for (field, hook) in [
            ("postStart", &lifecycle.post_start),
            ("preStop", &lifecycle.pre_stop),
        ] {
            let Some(hook) = hook else { continue };
            let path = format!("{path}.{field}");
            if hook.tcp_socket.is_some() {
                rules.error_hint(
                    &format!("{path}.tcpSocket"),
                    "is deprecated: lifecycle hooks with it fail at runtime",
                    "use exec or httpGet",
                );
            }
            handlers.check(&path, &Given::of_hook(hook), rules);
        }
        check_stop_signal(&format!("{path}.stopSignal"), lifecycle, spec, rules);
    }
}

/// `validateProbe`; zeros have become the defaults.
fn check_probe(path: &str, probe: &Probe, rules: &mut Rules<'_>) {
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        if value.is_some_and(|value| value < 0) {
            rules.error(&format!("{path}.{field}"), "must not be negative");
        }
    }
    if probe
        .termination_grace_period_seconds
        .is_some_and(|seconds| seconds < 1)
    {
        rules.error(
            &format!("{path}.terminationGracePeriodSeconds"),
            "must be at least 1",
        );
    }
}

/// `validateStopSignal` (KEP-4960).
fn check_stop_signal(path: &str, lifecycle: &Lifecycle, spec: &PodSpec, rules: &mut Rules<'_>) {
    let Some(signal) = &lifecycle.stop_signal else {
        return;
    };
    if spec.os.is_none() {
        rules.error_hint(
            path,
            "may not be set without spec.os.name",
            "set `spec.os.name: linux`",
        );
    }
    if is_signal(signal) {
        return;
    }
    let message = format!("`{}` is not a signal of Linux", signal.escape_debug());
    let upper = signal.to_ascii_uppercase();
    let meant = [upper.clone(), format!("SIG{upper}")];
    match meant.iter().find(|name| is_signal(name)) {
        Some(name) => rules.error_hint(path, message, format!("did you mean `{name}`?")),
        None => rules.error(path, message),
    }
}

/// The 65 names: 34, and SIGRTMIN to SIGRTMIN+15 and SIGRTMAX-14 to SIGRTMAX.
fn is_signal(name: &str) -> bool {
    let Some(name) = name.strip_prefix("SIG") else {
        return false;
    };
    let is_offset = |rest: &str, sign: char, most: u8| {
        rest.is_empty()
            || rest.strip_prefix(sign).is_some_and(|digits| {
                let offset = digits.parse::<u8>().ok();
                offset.is_some_and(|offset| {
                    (1..=most).contains(&offset) && digits == offset.to_string()
                })
            })
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        is_offset(rest, '+', 15)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        is_offset(rest, '-', 14)
    } else {
        SIGNALS.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::pod::tests::{assert_containers, assert_specs};

    #[test]
    fn restart_rules_need_a_policy_and_stay_within_bounds() {
        let rule = "{action: Restart, exitCodes: {operator: In, values: [1]}}";
        let many = |count: usize| {
            let rules = vec![rule; count].join(", ");
            format!("restartPolicy: Never, restartPolicyRules: [{rules}]")
        };
        let codes = |values: &str| {
            format!(
                "restartPolicy: Never, restartPolicyRules: [{{action: Restart, \
                 exitCodes: {{operator: NotIn, values: [{values}]}}}}]"
            )
        };
        let all: Vec<String> = (0..=255).map(|code| code.to_string()).collect();
        assert_containers(&[
            ("restartPolicy: Always", ""),
            ("restartPolicy: OnFailure", ""),
            (
                "restartPolicy: never",
                "restartPolicy: `never` is not one of Always, OnFailure, Never",
            ),
            (
                "restartPolicy: ''",
                "restartPolicy: `` is not one of Always, OnFailure, Never",
            ),
            (
                &format!("restartPolicyRules: [{rule}]"),
                "restartPolicy: must be set when restartPolicyRules are (write what holds when no \
                 rule fits)",
            ),
            ("restartPolicyRules: []", ""),
            (&many(20), ""),
            (&many(21), "restartPolicyRules: has more than 20 rules"),
            (
                "restartPolicy: Never, restartPolicyRules: [{action: RestartAllContainers, \
                 exitCodes: {operator: In, values: [0, 255]}}]",
                "",
            ),
            (
                "restartPolicy: Never, restartPolicyRules: [{exitCodes: {operator: In}}]",
                "restartPolicyRules[0].action: is required: one of Restart, RestartAllContainers",
            ),
            (
                "restartPolicy: Never, restartPolicyRules: [{action: Stop, exitCodes: \
                 {operator: In}}]",
                "restartPolicyRules[0].action: `Stop` is not one of Restart, RestartAllContainers",
            ),
            (
                "restartPolicy: Never, restartPolicyRules: [{action: Restart}]",
                "restartPolicyRules[0].exitCodes: is required",
            ),
            (
                "restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {}}]",
                "restartPolicyRules[0].exitCodes.operator: is required: one of In, NotIn",
            ),
            (
                "restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: \
                 {operator: Equals}}]",
                "restartPolicyRules[0].exitCodes.operator: `Equals` is not one of In, NotIn",
            ),
            (&codes(&all[..255].join(", ")), ""),
            (
                &codes(&all.join(", ")),
                "restartPolicyRules[0].exitCodes.values: has more than 255 exit codes",
            ),
            (
                &codes("256"),
                "restartPolicyRules[0].exitCodes.values[0]: must be between 0 and 255",
            ),
            (
                &codes("1, -1"),
                "restartPolicyRules[0].exitCodes.values[1]: must be between 0 and 255",
            ),
            (
                &codes("1, 2, 1"),
                "restartPolicyRules[0].exitCodes.values[2]: 1 is there twice",
            ),
            (
                &codes("99999999999"),
                "restartPolicyRules[0].exitCodes.values[0]: expected a whole number of 32 bits, \
                 got the number 99999999999",
            ),
        ]);
    }

    #[test]
    fn last_words_are_in_a_file_of_the_containers_own() {
        const HINT: &str = "(leave it out for /dev/termination-log)";
        assert_containers(&[
            ("terminationMessagePath: ''", ""),
            ("terminationMessagePath: /dev/termination-log", ""),
            ("terminationMessagePath: /tmp/my-log", ""),
            ("terminationMessagePath: /process", ""),
            ("terminationMessagePolicy: File", ""),
            ("terminationMessagePolicy: ''", ""),
            ("terminationMessagePolicy: FallbackToLogsOnError", ""),
            (
                "terminationMessagePolicy: Fallback",
                "terminationMessagePolicy: `Fallback` is not one of File, FallbackToLogsOnError",
            ),
            (
                "terminationMessagePath: tmp/log",
                "terminationMessagePath: must be an absolute path",
            ),
            (
                r#"terminationMessagePath: "/tmp/\0""#,
                "terminationMessagePath: contains a NUL byte",
            ),
            (
                "terminationMessagePath: /tmp/..",
                &format!("terminationMessagePath: the file cannot be at / {HINT}"),
            ),
            (
                "terminationMessagePath: /dev/",
                &format!("terminationMessagePath: the file cannot be at /dev {HINT}"),
            ),
            ("terminationMessagePath: /dev/my-log", ""),
            (
                "terminationMessagePath: /dev/./null",
                &format!("terminationMessagePath: the file cannot be at /dev/null {HINT}"),
            ),
            (
                "terminationMessagePath: /dev/pts/0",
                &format!("terminationMessagePath: the file cannot be at /dev/pts/0 {HINT}"),
            ),
            (
                "terminationMessagePath: /x/../proc/self/attr/exec",
                &format!(
                    "terminationMessagePath: the file cannot be at /proc/self/attr/exec {HINT}"
                ),
            ),
            (
                "terminationMessagePath: //sys/x",
                &format!("terminationMessagePath: the file cannot be at /sys/x {HINT}"),
            ),
        ]);
    }

    #[test]
    fn a_probes_numbers_have_bounds() {
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            for number in [
                "initialDelaySeconds",
                "timeoutSeconds",
                "periodSeconds",
                "successThreshold",
                "failureThreshold",
            ] {
                let fields =
                    |value: i32| format!("{probe}: {{exec: {{command: [x]}}, {number}: {value}}}");
                let error = format!("{probe}.{number}: must not be negative");
                assert_containers(&[(&fields(-1), &error), (&fields(0), ""), (&fields(1), "")]);
            }
        }
        assert_containers(&[
            (
                "livenessProbe: {exec: {command: [x]}, successThreshold: 2}",
                "livenessProbe.successThreshold: must be 1",
            ),
            (
                "startupProbe: {exec: {command: [x]}, successThreshold: 2}",
                "startupProbe.successThreshold: must be 1",
            ),
            (
                "readinessProbe: {exec: {command: [x]}, successThreshold: 2}",
                "",
            ),
            (
                "livenessProbe: {exec: {command: [x]}, terminationGracePeriodSeconds: 1}",
                "",
            ),
            (
                "livenessProbe: {exec: {command: [x]}, terminationGracePeriodSeconds: 0}",
                "livenessProbe.terminationGracePeriodSeconds: must be at least 1",
            ),
            (
                "readinessProbe: {exec: {command: [x]}, terminationGracePeriodSeconds: 1}",
                "readinessProbe.terminationGracePeriodSeconds: must not be set for \
                 readinessProbes (a container that is not ready is not stopped)",
            ),
            (
                "readinessProbe: {exec: {command: [x]}, periodSeconds: 4294967296}",
                "readinessProbe.periodSeconds: expected a whole number of 32 bits, got the number \
                 4294967296",
            ),
        ]);
    }

    #[test]
    fn a_hook_has_one_handler_that_works() {
        assert_containers(&[
            ("lifecycle: {}", ""),
            ("lifecycle: {postStart: null}", ""),
            ("lifecycle: {postStart: {exec: {command: [x]}}}", ""),
            ("lifecycle: {preStop: {httpGet: {port: web}}}", ""),
            ("lifecycle: {preStop: {sleep: {seconds: 0}}}", ""),
            ("lifecycle: {preStop: {sleep: {seconds: 30}}}", ""),
            (
                "lifecycle: {preStop: {sleep: {seconds: 31}}}",
                "lifecycle.preStop.sleep.seconds: must be between 0 and \
                 terminationGracePeriodSeconds (30)",
            ),
            (
                "lifecycle: {postStart: {sleep: {seconds: -1}}}",
                "lifecycle.postStart.sleep.seconds: must be between 0 and \
                 terminationGracePeriodSeconds (30)",
            ),
            (
                "lifecycle: {postStart: {}}",
                "lifecycle.postStart: must specify a handler type",
            ),
            (
                "lifecycle: {preStop: {exec: {command: [x]}, sleep: {seconds: 1}}}",
                "lifecycle.preStop.sleep: may not specify more than 1 handler type",
            ),
            (
                "lifecycle: {preStop: {tcpSocket: {port: 80}}}",
                "lifecycle.preStop.tcpSocket: is deprecated: lifecycle hooks with it fail at \
                 runtime (use exec or httpGet)",
            ),
            (
                "lifecycle: {postStart: {exec: {}}}",
                "lifecycle.postStart.exec.command: is required",
            ),
        ]);
        assert_specs(&[(
            "terminationGracePeriodSeconds: -1, containers: [{name: a, image: i, lifecycle: \
             {preStop: {sleep: {seconds: 5}}}}]",
            "spec.terminationGracePeriodSeconds: must not be negative",
        )]);
    }

    #[test]
    fn a_stop_signal_needs_the_name_of_the_system() {
        let spec = |os: &str, signal: &str| {
            format!("{os} containers: [{{name: a, image: i, lifecycle: {{stopSignal: {signal}}}}}]")
        };
        let at = "spec.containers[0].lifecycle.stopSignal";
        let linux = "os: {name: linux},";
        assert_specs(&[
            (&spec(linux, "SIGQUIT"), ""),
            (&spec(linux, "SIGRTMIN+15"), ""),
            (
                &spec("", "SIGQUIT"),
                &format!("{at}: may not be set without spec.os.name (set `spec.os.name: linux`)"),
            ),
            (
                &spec(linux, "quit"),
                &format!("{at}: `quit` is not a signal of Linux (did you mean `SIGQUIT`?)"),
            ),
            (
                &spec(linux, "sigterm"),
                &format!("{at}: `sigterm` is not a signal of Linux (did you mean `SIGTERM`?)"),
            ),
            (
                &spec(linux, "'15'"),
                &format!("{at}: `15` is not a signal of Linux"),
            ),
        ]);
    }

    #[test]
    fn linux_has_65_signals() {
        let mut names: Vec<String> = SIGNALS.iter().map(|name| format!("SIG{name}")).collect();
        names.extend(["SIGRTMIN".to_owned(), "SIGRTMAX".to_owned()]);
        names.extend((1..=15).map(|n| format!("SIGRTMIN+{n}")));
        names.extend((1..=14).map(|n| format!("SIGRTMAX-{n}")));
        assert_eq!(names.len(), 65);
        for name in names {
            assert!(is_signal(&name), "{name}");
        }
        for name in [
            "",
            "SIG",
            "TERM",
            "SIGRTMIN+0",
            "SIGRTMIN+16",
            "SIGRTMIN-1",
            "SIGRTMAX-15",
            "SIGRTMAX+1",
            "SIGRTMIN+01",
            "SIGRTMIN+",
            "SIGRTMIN++1",
            "SIGTERM ",
        ] {
            assert!(!is_signal(name), "{name}");
        }
    }
}
