//! `securityContext` of a pod and of a container (`validatePodSpecSecurityContext`,
//! `ValidateSecurityContext`).

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, PodSecurityContext, PodSpec, SeccompProfile, Sysctl,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Rules;
use crate::manifest::Capability;

/// The longest name of a sysctl (`SysctlMaxLength`).
const MAX_SYSCTL: usize = 253;

/// The longest name of a profile (`maxLocalhostProfileLength`).
const MAX_APPARMOR: usize = 4095;

/// Annotations that said what fields say now; the API server has stopped reading them (1.27 and
/// 1.30), and who writes them relies on a confinement that is not there.
const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    ("seccomp.security.alpha.kubernetes.io/pod", "seccompProfile"),
    (
        "container.seccomp.security.alpha.kubernetes.io/",
        "seccompProfile",
    ),
    (
        "container.apparmor.security.beta.kubernetes.io/",
        "appArmorProfile",
    ),
];

/// `metadata.annotations` that look like a confinement.
pub(super) fn check_annotations(metadata: &ObjectMeta, rules: &mut Rules<'_>) {
    for key in metadata.annotations.iter().flatten().map(|(key, _)| key) {
        let old = OLD_ANNOTATIONS
            .iter()
            .find(|(begin, _)| key.starts_with(begin));
        if let Some((_, field)) = old {
            rules.note(
                &format!("metadata.annotations.{key}"),
                format!("has no effect: write `securityContext.{field}`"),
            );
        }
    }
}

/// `spec.securityContext`.
pub(super) fn check_pod(spec: &PodSpec, rules: &mut Rules<'_>) {
    check_users(spec, rules);
    let Some(security) = &spec.security_context else {
        return;
    };
    let path = "spec.securityContext";
    rules.id(&format!("{path}.runAsUser"), security.run_as_user);
    rules.id(&format!("{path}.runAsGroup"), security.run_as_group);
    for (index, group) in security.supplemental_groups.iter().flatten().enumerate() {
        rules.id(&format!("{path}.supplementalGroups[{index}]"), Some(*group));
    }
    rules.id(&format!("{path}.fsGroup"), security.fs_group);
    rules.one_of(
        &format!("{path}.fsGroupChangePolicy"),
        security.fs_group_change_policy.as_ref(),
        &["Always", "OnRootMismatch"],
    );
    rules.one_of(
        &format!("{path}.supplementalGroupsPolicy"),
        security.supplemental_groups_policy.as_ref(),
        &["Merge", "Strict"],
    );
    check_seccomp(path, security.seccomp_profile.as_ref(), rules);
    check_apparmor(path, security.app_armor_profile.as_ref(), rules);
    check_sysctls(path, spec, security, rules);
}

/// `securityContext` of a container that is written at `path`.
pub(super) fn check_container(
    path: &str,
    container: &Container,
    spec: &PodSpec,
    rules: &mut Rules<'_>,
) {
    let Some(security) = &container.security_context else {
        return;
    };
    let path = &format!("{path}.securityContext");
    rules.id(&format!("{path}.runAsUser"), security.run_as_user);
    rules.id(&format!("{path}.runAsGroup"), security.run_as_group);
    check_seccomp(path, security.seccomp_profile.as_ref(), rules);
    check_apparmor(path, security.app_armor_profile.as_ref(), rules);
    let proc_mount = format!("{path}.procMount");
    rules.one_of(
        &proc_mount,
        security.proc_mount.as_ref(),
        &["Default", "Unmasked"],
    );
    if security.proc_mount.as_deref() == Some("Unmasked") && spec.host_users != Some(false) {
        rules.error(&proc_mount, "`hostUsers` must be false to use `Unmasked`");
    }
    let mut adds_administration = false;
    if let Some(capabilities) = &security.capabilities {
        for (list, names) in [("add", &capabilities.add), ("drop", &capabilities.drop)] {
            for (index, name) in names.iter().flatten().enumerate() {
                check_capability(&format!("{path}.capabilities.{list}[{index}]"), name, rules);
            }
        }
        let administration = Capability::parse("SYS_ADMIN");
        adds_administration = capabilities
            .add
            .iter()
            .flatten()
            .any(|name| Capability::parse(name) == administration);
    }
    if security.allow_privilege_escalation == Some(false) {
        let path = format!("{path}.allowPrivilegeEscalation");
        if security.privileged == Some(true) {
            rules.error(
                &path,
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        if adds_administration {
            rules.error(
                &path,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
}

/// `validateHostUsers`: namespaces of the machine's are not the pod's users' to use.
fn check_users(spec: &PodSpec, rules: &mut Rules<'_>) {
    if spec.host_users != Some(false) {
        return;
    }
    for (field, is_host) in [
        ("hostNetwork", spec.host_network),
        ("hostPID", spec.host_pid),
        ("hostIPC", spec.host_ipc),
    ] {
        if is_host == Some(true) {
            rules.error(
                &format!("spec.{field}"),
                "cannot be true when `hostUsers` is false",
            );
        }
    }
}

fn check_capability(path: &str, name: &str, rules: &mut Rules<'_>) {
    if Capability::parse(name).is_some() {
        return;
    }
    let message = format!("`{}` is not a capability", name.escape_debug());
    match Capability::nearest(name) {
        Some(nearest) => rules.error_hint(path, message, format!("did you mean `{nearest}`?")),
        None => rules.error_hint(
            path,
            message,
            "capabilities(7) lists them; `ALL` is all of them",
        ),
    }
}

/// `validateSeccompProfileField`.
fn check_seccomp(path: &str, profile: Option<&SeccompProfile>, rules: &mut Rules<'_>) {
    let Some(profile) = profile else { return };
    let path = format!("{path}.seccompProfile");
    rules.required_one_of(
        &format!("{path}.type"),
        &profile.type_,
        &["Localhost", "RuntimeDefault", "Unconfined"],
    );
    let file = profile.localhost_profile.as_deref();
    check_localhost(&path, "seccomp", &profile.type_, file, rules);
    let Some(file) = file.filter(|_| profile.type_ == "Localhost") else {
        return;
    };
    let path = format!("{path}.localhostProfile");
    if file.starts_with('/') {
        rules.error_hint(
            &path,
            "must be a relative path",
            "profiles are in the folder `seccomp` of podrun's data directory",
        );
    } else if file.split('/').any(|part| part == "..") {
        rules.error(&path, "must not contain '..'");
    }
    rules.plain_text(&path, file);
}

/// `localhostProfile` is there if, and only if, the type asks for it; an empty name must never
/// stand for no confinement (CVE-2023-2431).
fn check_localhost(path: &str, what: &str, kind: &str, name: Option<&str>, rules: &mut Rules<'_>) {
    let path = format!("{path}.localhostProfile");
    match (kind, name) {
        ("Localhost", None | Some("")) => {
            let message = format!("must be set when {what} type is Localhost");
            rules.error(&path, message);
        }
        ("Localhost", Some(_)) | (_, None) => {}
        (_, Some(_)) => {
            let message = format!("can only be set when {what} type is Localhost");
            rules.error(&path, message);
        }
    }
}

/// `ValidateAppArmorProfileField`; podrun loads no profile and has none of its own. Whether the
/// kernel has the one that is asked for is for the plan to say.
fn check_apparmor(path: &str, profile: Option<&AppArmorProfile>, rules: &mut Rules<'_>) {
    let Some(profile) = profile else { return };
    let path = format!("{path}.appArmorProfile");
    rules.required_one_of(
        &format!("{path}.type"),
        &profile.type_,
        &["Localhost", "RuntimeDefault", "Unconfined"],
    );
    let name = profile.localhost_profile.as_deref();
    check_localhost(&path, "AppArmor", &profile.type_, name, rules);
    if let Some(name) = name {
        let at = format!("{path}.localhostProfile");
        rules.plain_text(&at, name);
        if name.trim() != name {
            rules.error(&at, "must not be padded with whitespace");
        }
        if name.len() > MAX_APPARMOR {
            rules.error(&at, format!("must have at most {MAX_APPARMOR} bytes"));
        }
    }
    match profile.type_.as_str() {
        "RuntimeDefault" => rules.note(
            &path,
            "has no effect: podrun has no AppArmor profile of its own",
        ),
        "Unconfined" => rules.note(&path, "is the case anyway: podrun uses no AppArmor profile"),
        _ => {}
    }
}

/// `validateSysctls`, and whose each of them is.
fn check_sysctls(path: &str, spec: &PodSpec, security: &PodSecurityContext, rules: &mut Rules<'_>) {
    let mut names = HashSet::new();
    for (index, Sysctl { name, value }) in security.sysctls.iter().flatten().enumerate() {
        let path = format!("{path}.sysctls[{index}]");
        let at = format!("{path}.name");
        rules.plain_text(&format!("{path}.value"), value);
        if name.is_empty() {
            rules.error(&at, "is required");
            continue;
        }
        if name.len() > MAX_SYSCTL || !is_sysctl(name) {
            rules.error(&at, format!("`{}` is not a sysctl", name.escape_debug()));
            continue;
        }
        let dotted = dotted(name);
        if !names.insert(dotted.clone()) {
            rules.error(&at, format!("`{dotted}` is set twice"));
        }
        match owner(&dotted) {
            Owner::Network if spec.host_network == Some(true) => {
                rules.error(&at, "is the machine's own with `hostNetwork: true`");
            }
            Owner::Ipc if spec.host_ipc == Some(true) => {
                rules.error(&at, "is the machine's own with `hostIPC: true`");
            }
            Owner::Network | Owner::Ipc => {}
            Owner::Machine => rules.error_hint(
                &at,
                format!("SysctlForbidden: `{dotted}` is one of the whole machine and not of a pod"),
                "a pod has its own net.*, kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.*",
            ),
        }
    }
}

/// Which namespace a sysctl belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Network,
    Ipc,
    Machine,
}

fn owner(dotted: &str) -> Owner {
    if dotted.starts_with("net.") {
        Owner::Network
    } else if dotted == "kernel.sem"
        || ["kernel.shm", "kernel.msg", "fs.mqueue."]
            .iter()
            .any(|prefix| dotted.starts_with(prefix))
    {
        Owner::Ipc
    } else {
        Owner::Machine
    }
}

/// `SysctlContainSlashFmt`: words of lower case with `.` or `/` between them.
fn is_sysctl(name: &str) -> bool {
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.split(['.', '/']).all(|word| {
        word.starts_with(end)
            && word.ends_with(end)
            && word.chars().all(|c| end(c) || c == '-' || c == '_')
    })
}

/// With dots as separators, whichever it is written with: the first one says (sysctl.d(5)).
fn dotted(name: &str) -> String {
    let first = name.chars().find(|c| *c == '.' || *c == '/');
    if first == Some('/') {
        swapped(name)
    } else {
        name.to_owned()
    }
}

fn swapped(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '/' => '.',
            '.' => '/',
            c => c,
        })
        .collect()
}

/// The path of a checked sysctl below `/proc/sys`.
pub fn sysctl_path(name: &str) -> String {
    swapped(&dotted(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::pod::tests::{assert_containers, assert_specs, first_error};

    #[test]
    fn a_profile_of_apparmor_has_a_name_if_it_is_local() {
        const AT: &str = "spec.securityContext.appArmorProfile.localhostProfile";
        for (profile, error) in [
            ("{type: RuntimeDefault}", ""),
            ("{type: Localhost, localhostProfile: a}", ""),
            (
                "{type: Localhost}",
                "must be set when AppArmor type is Localhost",
            ),
            (
                "{type: Unconfined, localhostProfile: a}",
                "can only be set when AppArmor type is Localhost",
            ),
            (
                "{type: Localhost, localhostProfile: ' a'}",
                "must not be padded with whitespace",
            ),
        ] {
            let spec = format!(
                "securityContext: {{appArmorProfile: {profile}}}, containers: [{{name: a, image: i}}]"
            );
            let expected = Some(format!("{AT}: {error}")).filter(|_| !error.is_empty());
            assert_eq!(first_error(&spec), expected.unwrap_or_default());
        }
    }

    #[test]
    fn capabilities_are_names_or_all() {
        assert_containers(&[
            (
                "securityContext: {capabilities: {add: [NET_ADMIN, cap_sys_time], drop: [ALL]}}",
                "",
            ),
            ("securityContext: {capabilities: {add: [all]}}", ""),
            (
                "securityContext: {capabilities: {add: [NET_ADMN]}}",
                "securityContext.capabilities.add[0]: `NET_ADMN` is not a capability (did you \
                 mean `NET_ADMIN`?)",
            ),
            (
                "securityContext: {capabilities: {drop: [CHOWN, 'x y']}}",
                "securityContext.capabilities.drop[1]: `x y` is not a capability \
                 (capabilities(7) lists them; `ALL` is all of them)",
            ),
        ]);
    }

    #[test]
    fn what_gives_every_right_cannot_forbid_more_of_them() {
        const PATH: &str = "securityContext.allowPrivilegeEscalation: cannot set \
                            `allowPrivilegeEscalation` to false and";
        for (fields, error) in [
            ("allowPrivilegeEscalation: false", String::new()),
            (
                "allowPrivilegeEscalation: true, privileged: true",
                String::new(),
            ),
            (
                "allowPrivilegeEscalation: false, privileged: false",
                String::new(),
            ),
            (
                "allowPrivilegeEscalation: false, privileged: true",
                format!("{PATH} `privileged` to true"),
            ),
            (
                "allowPrivilegeEscalation: false, capabilities: {add: [CAP_SYS_ADMIN]}",
                format!("{PATH} `capabilities.Add` CAP_SYS_ADMIN"),
            ),
            (
                "allowPrivilegeEscalation: false, capabilities: {add: [SYS_ADMIN]}",
                format!("{PATH} `capabilities.Add` CAP_SYS_ADMIN"),
            ),
            (
                "allowPrivilegeEscalation: false, capabilities: {drop: [SYS_ADMIN]}",
                String::new(),
            ),
        ] {
            assert_containers(&[(&format!("securityContext: {{{fields}}}"), &error)]);
        }
    }

    #[test]
    fn a_profile_is_never_read_as_none() {
        const AT: &str = "securityContext.seccompProfile";
        for (profile, error) in [
            ("{type: RuntimeDefault}", String::new()),
            ("{type: Unconfined}", String::new()),
            (
                "{type: Localhost, localhostProfile: a/b.json}",
                String::new(),
            ),
            (
                "{type: Localhost}",
                format!("{AT}.localhostProfile: must be set when seccomp type is Localhost"),
            ),
            (
                "{type: Localhost, localhostProfile: ''}",
                format!("{AT}.localhostProfile: must be set when seccomp type is Localhost"),
            ),
            (
                "{type: Localhost, localhostProfile: ../x}",
                format!("{AT}.localhostProfile: must not contain '..'"),
            ),
            (
                "{type: Localhost, localhostProfile: /x}",
                format!(
                    "{AT}.localhostProfile: must be a relative path (profiles are in the folder \
                     `seccomp` of podrun's data directory)"
                ),
            ),
            (
                "{type: RuntimeDefault, localhostProfile: x}",
                format!("{AT}.localhostProfile: can only be set when seccomp type is Localhost"),
            ),
            (
                "{type: none}",
                format!("{AT}.type: `none` is not one of Localhost, RuntimeDefault, Unconfined"),
            ),
            (
                "{}",
                format!("{AT}.type: is required: one of Localhost, RuntimeDefault, Unconfined"),
            ),
        ] {
            assert_containers(&[(
                &format!("securityContext: {{seccompProfile: {profile}}}"),
                &error,
            )]);
        }
    }

    #[test]
    fn annotations_that_confine_no_longer_are_told() {
        let text = "{apiVersion: v1, kind: Pod, metadata: {name: p, annotations: {\
            container.apparmor.security.beta.kubernetes.io/a: runtime/default, \
            seccomp.security.alpha.kubernetes.io/pod: runtime/default, other: x}}, \
            spec: {containers: [{name: a, image: i}]}}";
        let source = crate::manifest::Source {
            name: "pod.yaml".to_owned(),
            text: text.into(),
            folder: None,
        };
        let manifest = crate::manifest::read(&[source], crate::manifest::Strictness::Strict);
        let notes: Vec<&str> = manifest
            .problems
            .iter()
            .map(|note| note.message.as_str())
            .collect();
        assert_eq!(
            notes,
            [
                "has no effect: write `securityContext.appArmorProfile`",
                "has no effect: write `securityContext.seccompProfile`",
            ]
        );
    }

    #[test]
    fn only_a_pods_own_sysctls_are_set() {
        const AT: &str = "spec.securityContext.sysctls[0].name";
        for (host, name, error) in [
            ("", "net.ipv4.ip_local_port_range", String::new()),
            ("", "net/ipv4/tcp_syncookies", String::new()),
            ("", "kernel.shm_rmid_forced", String::new()),
            ("", "kernel.sem", String::new()),
            ("", "fs.mqueue.msg_max", String::new()),
            ("hostIPC: true,", "net.core.somaxconn", String::new()),
            (
                "hostNetwork: true,",
                "net.core.somaxconn",
                format!("{AT}: is the machine's own with `hostNetwork: true`"),
            ),
            (
                "hostIPC: true,",
                "kernel.msgmax",
                format!("{AT}: is the machine's own with `hostIPC: true`"),
            ),
            (
                "",
                "kernel.core_pattern",
                format!(
                    "{AT}: SysctlForbidden: `kernel.core_pattern` is one of the whole machine and \
                     not of a pod (a pod has its own net.*, kernel.shm*, kernel.msg*, kernel.sem \
                     and fs.mqueue.*)"
                ),
            ),
            (
                "",
                "net/../kernel/x",
                format!("{AT}: `net/../kernel/x` is not a sysctl"),
            ),
            ("", "", format!("{AT}: is required")),
        ] {
            let spec = format!(
                "{host} securityContext: {{sysctls: [{{name: '{name}', value: '1'}}]}}, \
                 containers: [{{name: a, image: i}}]"
            );
            assert_specs(&[(&spec, &error)]);
        }
        for name in ["net/ipv4/conf/eth0.1/x", "net.ipv4.conf.eth0/1.x"] {
            assert_eq!(dotted(name), "net.ipv4.conf.eth0/1.x");
            assert_eq!(sysctl_path(name), "net/ipv4/conf/eth0.1/x");
        }
    }
}
