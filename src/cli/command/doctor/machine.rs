//! What the kernel has, and what of `/dev`.

use super::Outcome;

/// Filters of system calls (`/proc/sys/kernel/seccomp/actions_avail`).
pub(super) fn seccomp(actions: Option<&str>) -> Outcome {
    let has = |action: &str| {
        let mut words = actions.unwrap_or_default().split_whitespace();
        words.any(|word| word == action)
    };
    if has("errno") && has("kill_process") {
        Outcome::Pass("system calls are filtered".to_owned())
    } else {
        Outcome::Fail(
            "the kernel cannot filter system calls: containers do not start".to_owned(),
            "use a kernel with CONFIG_SECCOMP_FILTER; `seccompProfile: {type: Unconfined}` needs none"
                .to_owned(),
        )
    }
}

/// Security modules (`/sys/kernel/security/lsm`); podrun needs none.
pub(super) fn security_modules(active: Option<&str>, has_apparmor: bool) -> Outcome {
    let active = active.map(str::trim).filter(|list| !list.is_empty());
    let list = active.unwrap_or("not listed: securityfs is not mounted");
    let apparmor = if has_apparmor {
        "profiles of AppArmor that are loaded can be used"
    } else {
        "no AppArmor: `appArmorProfile` of type Localhost is refused"
    };
    Outcome::Pass(format!("{apparmor} ({list})"))
}

/// A device that containers get, as `stat(2)` tells it: its major and minor number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) expected: (u32, u32),
    /// None where there is no character device of the name.
    pub(super) found: Option<(u32, u32)>,
}

/// The devices of every container, and the one of tunnels.
pub(super) fn devices(nodes: &[Node], has_tun: bool) -> Outcome {
    let wrong = nodes.iter().find(|node| node.found != Some(node.expected));
    if let Some(node) = wrong {
        let (name, (major, minor)) = (node.name, node.expected);
        return Outcome::Fail(
            format!("/dev/{name} is not the device {major}:{minor}"),
            format!("rm -f /dev/{name}; mknod -m 666 /dev/{name} c {major} {minor} (as root)"),
        );
    }
    if has_tun {
        return Outcome::Pass("those of every container are there".to_owned());
    }
    Outcome::Limited(
        "there is no /dev/net/tun: containers that ask for it, such as those of a VPN, fail"
            .to_owned(),
        "modprobe tun (as root)".to_owned(),
    )
}

/// The number of namespaces of a kind that may be made (`/proc/sys/user/max_*_namespaces`).
pub(super) fn namespace_limits(limits: &[(&'static str, Option<u64>)]) -> Option<Outcome> {
    let (name, _) = limits.iter().find(|(_, limit)| *limit == Some(0))?;
    Some(Outcome::Fail(
        format!("user.{name} is 0"),
        format!("sysctl -w user.{name}=15000 (as root)"),
    ))
}

/// What helps when a pod's namespaces and mounts cannot be made, by the words of the trial.
pub(super) fn mend_of_sandbox(error: &str) -> &'static str {
    if error.contains("overlay") {
        "modprobe overlay (as root); inside another container, give podrun a volume on a disk"
    } else if error.contains("proc:") || error.contains("sysfs:") {
        "inside another container podrun needs an unmasked /proc and /sys"
    } else if error.contains("newuidmap:") || error.contains("newgidmap:") {
        "look at the lines of /etc/subuid and /etc/subgid: they must not overlap"
    } else {
        "inside another container podrun needs CAP_SYS_ADMIN or user namespaces, and a seccomp profile that allows unshare and mount"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_filters_is_told() {
        let all = "kill_process kill_thread trap errno user_notif trace log allow";
        for (actions, word) in [(Some(all), "ok"), (Some("allow"), "FAIL"), (None, "FAIL")] {
            assert_eq!(seccomp(actions).parts().0, word, "{actions:?}");
        }
    }

    #[test]
    fn security_modules_are_never_a_failure() {
        for (active, has_apparmor, words) in [
            (
                Some("lockdown,yama,apparmor\n"),
                true,
                "(lockdown,yama,apparmor)",
            ),
            (Some("landlock"), false, "no AppArmor"),
            (None, false, "not listed"),
        ] {
            let outcome = security_modules(active, has_apparmor);
            let (word, text, _) = outcome.parts();
            assert_eq!(word, "ok");
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_device_that_is_none_is_named_with_its_mend() {
        let node = |found| Node {
            name: "null",
            expected: (1, 3),
            found,
        };
        for (found, has_tun, word, words) in [
            (Some((1, 3)), true, "ok", "there"),
            (Some((1, 3)), false, "note", "/dev/net/tun"),
            (
                Some((1, 5)),
                true,
                "FAIL",
                "/dev/null is not the device 1:3",
            ),
            (None, true, "FAIL", "/dev/null is not the device 1:3"),
        ] {
            let outcome = devices(&[node(found)], has_tun);
            let (said, text, _) = outcome.parts();
            assert_eq!(said, word);
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_limit_of_no_namespace_is_named() {
        let limits = [
            ("max_user_namespaces", Some(5)),
            ("max_net_namespaces", Some(0)),
        ];
        let outcome = namespace_limits(&limits).unwrap();
        assert!(outcome.parts().1.contains("user.max_net_namespaces is 0"));
        assert!(namespace_limits(&[("max_net_namespaces", None)]).is_none());
    }

    #[test]
    fn what_failed_says_what_helps() {
        for (error, words) in [
            ("overlay: No such device (os error 19)", "modprobe overlay"),
            (
                "proc: Operation not permitted (os error 1)",
                "unmasked /proc",
            ),
            (
                "newuidmap: uid range [1-2) -> [5-6) not allowed",
                "/etc/subuid",
            ),
            ("pid namespace: Operation not permitted", "seccomp profile"),
        ] {
            let mend = mend_of_sandbox(error);
            assert!(mend.contains(words), "{error}: {mend}");
        }
    }
}
