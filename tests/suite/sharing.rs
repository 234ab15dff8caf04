//! What the containers of one pod share, and what they do not.

use serde_json::{Value, json};

use crate::harness::{
    Mode, Podrun, container, container_with, lasting, mode, once, pod, require_mode,
};

fn namespaces(podrun: &Podrun, pod: &str, container: &str) -> Value {
    let report: Value =
        serde_json::from_str(podrun.probe(pod, container, &["report"]).trim()).unwrap();
    report["ns"].clone()
}

#[test]
fn containers_share_network_ipc_and_host_name_and_nothing_else() {
    let podrun = Podrun::new();
    let two = [
        container("a", &["ready-sleep"]),
        container("b", &["ready-sleep"]),
    ];
    podrun.up(&lasting("two", &two)).ok();
    let (a, b) = (
        namespaces(&podrun, "two", "a"),
        namespaces(&podrun, "two", "b"),
    );
    for shared in ["net", "ipc", "uts", "user"] {
        assert_eq!(a[shared], b[shared], "{shared}");
    }
    for own in ["pid", "mnt", "cgroup"] {
        assert_ne!(a[own], b[own], "{own}");
    }
    for name in ["net", "ipc", "uts", "pid", "mnt", "cgroup"] {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(a[name].as_str(), host.to_str(), "{name} is the host's");
    }
    let user = std::fs::read_link("/proc/self/ns/user").unwrap();
    assert_eq!(a["user"].as_str() == user.to_str(), mode() == Mode::Root);
    podrun.run(["rm", "two"]).ok();
    podrun.nothing_left();
}

#[test]
fn one_container_reaches_the_other_on_the_loopback_address() {
    let podrun = Podrun::new();
    let two = [
        container(
            "server",
            &["tcp-serve-loopback", "8000", "hello from the server"],
        ),
        container(
            "client",
            &["and", "tcp-get", "127.0.0.1:8000", "--", "sleep"],
        ),
    ];
    podrun.up(&lasting("loopback", &two)).ok();
    podrun.wait_for_log("loopback", "client", "hello from the server");
}

#[test]
fn the_pods_own_address_is_known_before_the_first_container_and_answers() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting(
            "address",
            &[container("a", &["tcp-serve", "8000", "mine"])],
        ))
        .ok();
    let pod = podrun.pod("address");
    let address = pod["status"]["podIP"].as_str().unwrap().to_owned();
    assert_eq!(pod["status"]["podIPs"][0]["ip"], address.as_str());
    let got = podrun.probe("address", "a", &["tcp-get", &format!("{address}:8000")]);
    assert_eq!(got.trim(), "mine");
    let hosts = podrun.probe("address", "a", &["read", "/etc/hosts"]);
    assert!(hosts.contains(&format!("{address}\taddress\n")), "{hosts}");
}

#[test]
fn pods_have_different_addresses() {
    let podrun = Podrun::new();
    let path = podrun.manifest_text(
        "pods.yaml",
        &["p1", "p2", "p3"]
            .map(|name| lasting(name, &[container("a", &["ready-sleep"])]).to_string())
            .join("\n---\n"),
    );
    podrun.run(["up", &path]).ok();
    let mut addresses: Vec<String> = podrun
        .pods()
        .iter()
        .map(|pod| pod["status"]["podIP"].to_string())
        .collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 3, "{addresses:?}");
}

#[test]
fn containers_share_one_dev_shm_of_64_mebibytes() {
    let podrun = Podrun::new();
    let two = [
        container("a", &["ready-sleep"]),
        container("b", &["ready-sleep"]),
    ];
    podrun.up(&lasting("shm", &two)).ok();
    podrun.probe("shm", "a", &["write", "/dev/shm/word", "shared"]);
    assert_eq!(
        podrun.probe("shm", "b", &["read", "/dev/shm/word"]),
        "shared"
    );
    let report: Value = serde_json::from_str(podrun.probe("shm", "b", &["report"]).trim()).unwrap();
    assert_eq!(report["shm_free"], "65536k");
    // Another pod has another one.
    podrun
        .up(&lasting("shm2", &[container("a", &["ready-sleep"])]))
        .ok();
    assert_eq!(
        podrun
            .run(["exec", "shm2", "--", "/probe", "read", "/dev/shm/word"])
            .code,
        99
    );
}

#[test]
fn containers_share_system_v_segments() {
    let podrun = Podrun::new();
    let two = [
        container("a", &["ready-sleep"]),
        container("b", &["ready-sleep"]),
    ];
    podrun.up(&lasting("sysv", &two)).ok();
    podrun.probe("sysv", "a", &["shm-create", "4711", "in the segment"]);
    assert_eq!(
        podrun.probe("sysv", "b", &["shm-read", "4711"]).trim(),
        "in the segment"
    );
}

#[test]
fn containers_see_each_others_processes_only_when_they_share_the_namespace() {
    let podrun = Podrun::new();
    let two = [
        container("a", &["ready-sleep"]),
        container("b", &["ready-sleep"]),
    ];
    podrun.up(&lasting("apart", &two)).ok();
    let spec = json!({ "shareProcessNamespace": true, "terminationGracePeriodSeconds": 1 });
    podrun.up(&pod("together", spec, &two)).ok();
    let seen = |pod: &str| {
        let report: Value =
            serde_json::from_str(podrun.probe(pod, "a", &["report"]).trim()).unwrap();
        report["processes"].as_object().unwrap().clone()
    };
    // Its own first process and the probe, whose maker may be there for a moment longer.
    crate::harness::until("the containers are apart", || seen("apart").len() == 2);
    let together = seen("together");
    assert_eq!(together["1"], "podrun-pause", "{together:?}");
    let probes = together.values().filter(|name| *name == "probe").count();
    assert_eq!(probes, 3, "{together:?}");
}

#[test]
fn pause_shows_a_sharing_container_nothing_of_the_host() {
    let podrun = Podrun::new();
    let spec = json!({ "shareProcessNamespace": true, "terminationGracePeriodSeconds": 1 });
    podrun
        .up(&pod("pause", spec, &[container("a", &["ready-sleep"])]))
        .ok();
    for path in [
        "/proc/1/root/etc",
        "/proc/1/cwd",
        "/proc/1/root/proc",
        "/proc/1/environ",
    ] {
        let said = podrun.run(["exec", "pause", "--", "/probe", "read", path]);
        assert_ne!(said.code, 0, "{path}: {}", said.stdout);
    }
    let report: Value =
        serde_json::from_str(podrun.probe("pause", "a", &["report"]).trim()).unwrap();
    assert!(
        !report["exe"].as_str().unwrap().contains("target"),
        "{}",
        report["exe"]
    );
}

#[test]
fn the_hosts_namespaces_are_used_where_the_pod_asks_for_them() {
    require_mode!(Mode::Root);
    let podrun = Podrun::new();
    let host = |name: &str| {
        std::fs::read_link(format!("/proc/self/ns/{name}"))
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    for (field, namespace) in [
        ("hostNetwork", "net"),
        ("hostPID", "pid"),
        ("hostIPC", "ipc"),
    ] {
        let spec = json!({ field: true, "terminationGracePeriodSeconds": 1 });
        let name = field.to_lowercase();
        podrun
            .up(&pod(&name, spec, &[container("a", &["ready-sleep"])]))
            .ok();
        let inside = namespaces(&podrun, &name, "a");
        for other in ["net", "pid", "ipc", "mnt"] {
            assert_eq!(
                inside[other] == host(other).as_str(),
                other == namespace,
                "{field}: {other}"
            );
        }
        podrun.run(["rm", &name]).ok();
    }
    podrun.nothing_left();
}

#[test]
fn a_host_network_pod_serves_on_the_hosts_ports() {
    let podrun = Podrun::new();
    let port = crate::harness::free_port().to_string();
    let spec = json!({ "hostNetwork": true, "terminationGracePeriodSeconds": 1 });
    podrun
        .up(&pod(
            "hostnet",
            spec,
            &[container("a", &["tcp-serve", &port, "host"])],
        ))
        .ok();
    podrun.wait_for_log("hostnet", "a", "listening");
    let mut text = String::new();
    let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
    assert_eq!(text, "host");
}

#[test]
fn etc_files_are_kubernetes_own_byte_for_byte() {
    let podrun = Podrun::new();
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "hostname": "named",
        "dnsPolicy": "Default",
        "hostAliases": [
            { "ip": "10.1.2.3", "hostnames": ["one", "two"] },
            { "ip": "10.1.2.4", "hostnames": ["three"] },
        ],
    });
    podrun
        .up(&pod("etc", spec, &[container("a", &["ready-sleep"])]))
        .ok();
    let address = podrun.pod("etc")["status"]["podIP"]
        .as_str()
        .unwrap()
        .to_owned();
    let ips = podrun.pod("etc")["status"]["podIPs"].clone();
    let ips = ips.as_array().unwrap().iter();
    let own = ips.fold(String::new(), |text, ip| {
        text + ip["ip"].as_str().unwrap() + "\tnamed\n"
    });
    assert!(own.starts_with(&address), "{own}");
    let expected = format!(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n\
         {own}\
         \n\
         # Entries added by HostAliases.\n\
         10.1.2.3\tone\ttwo\n\
         10.1.2.4\tthree\n"
    );
    assert_eq!(podrun.probe("etc", "a", &["read", "/etc/hosts"]), expected);
    assert_eq!(
        podrun.probe("etc", "a", &["read", "/etc/hostname"]),
        "named\n"
    );
    let report: Value = serde_json::from_str(podrun.probe("etc", "a", &["report"]).trim()).unwrap();
    assert_eq!(report["hostname"], "named");
    let resolver = podrun.probe("etc", "a", &["read", "/etc/resolv.conf"]);
    let hosts_own = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    for server in hosts_own
        .lines()
        .filter(|line| line.starts_with("nameserver 1"))
    {
        if !server.contains("127.0.0.53") {
            assert!(resolver.contains(server), "{server} is not in {resolver}");
        }
    }
}

#[test]
fn a_pod_asks_the_pod_networks_resolver_unless_it_says_otherwise() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("asks", &[container("a", &["ready-sleep"])]))
        .ok();
    let resolver = podrun.probe("asks", "a", &["read", "/etc/resolv.conf"]);
    let searches = "search default.svc.cluster.local svc.cluster.local cluster.local";
    assert!(resolver.starts_with(searches), "{resolver}");
    assert!(resolver.contains("\nnameserver 10.88.0.1\n"), "{resolver}");
    assert!(resolver.ends_with("\noptions ndots:5\n"), "{resolver}");
}

#[test]
fn a_pods_full_name_and_its_resolver_are_what_it_asks_for() {
    let podrun = Podrun::new();
    let nameservers = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    // A name of 253 characters with its dot: the API server takes it, the kubelet leaves it out.
    let long = format!("{0}.{0}.{0}.{1}.", "l".repeat(63), "l".repeat(61));
    let searches = ["a.example", long.as_str(), "b.example"];
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "hostname": "web-0",
        "subdomain": "nginx",
        "setHostnameAsFQDN": true,
        "dnsPolicy": "None",
        "dnsConfig": {
            "nameservers": nameservers,
            "searches": searches,
            "options": [{ "name": "ndots", "value": "2" }, { "name": "edns0" }],
        },
    });
    podrun
        .up(&pod("web-0", spec, &[container("a", &["ready-sleep"])]))
        .ok()
        .says("pod/web-0: DNSConfigForming: Search Line limits were exceeded");
    let fqdn = "web-0.nginx.default.svc.cluster.local";
    let read = |path: &str| podrun.probe("web-0", "a", &["read", path]);
    let report: Value =
        serde_json::from_str(podrun.probe("web-0", "a", &["report"]).trim()).unwrap();
    assert_eq!(report["hostname"], fqdn);
    assert_eq!(read("/etc/hostname"), format!("{fqdn}\n"));
    let status = podrun.pod("web-0")["status"].clone();
    let address = status["podIP"].as_str().unwrap();
    assert_eq!(status["podIPs"][0]["ip"], address);
    let line = format!("{address}\t{fqdn}\tweb-0\n");
    let hosts = read("/etc/hosts");
    assert!(hosts.contains(&line), "{hosts}");
    assert_eq!(
        read("/etc/resolv.conf"),
        "search a.example b.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n\
         nameserver 192.0.2.3\noptions ndots:2 edns0\n"
    );
    podrun.until_event("web-0", "DNSConfigForming Search Line limits were exceeded");
}

#[test]
fn a_full_name_that_is_too_long_is_refused_before_anything_starts() {
    let podrun = Podrun::new();
    let spec = json!({
        "hostname": "h".repeat(60),
        "subdomain": "nginx",
        "setHostnameAsFQDN": true,
    });
    podrun
        .up(&pod("long", spec, &[container("a", &["ready-sleep"])]))
        .code(3)
        .says("spec.setHostnameAsFQDN: the pod's full name")
        .says("is too long");
}

#[test]
fn a_container_cannot_mount() {
    let podrun = Podrun::new();
    podrun
        .up(&lasting("mounter", &[container("a", &["ready-sleep"])]))
        .ok();
    let said = podrun.probe("mounter", "a", &["mount-tmpfs", "/m"]);
    assert_eq!(said.trim(), "errno 1");
}

#[test]
fn working_dir_command_and_arguments_follow_kubernetes_rules() {
    let podrun = Podrun::new();
    let image = "localhost/entry:1";
    podrun.load(&crate::forge::image_over_probe(
        image,
        &json!({
            "Entrypoint": ["/probe", "echo", "entry"], "Cmd": ["cmd"],
            "Env": ["FROM=image"], "WorkingDir": "/made/for/it",
        }),
        &[],
    ));
    let cases = [
        (json!({}), "entry cmd\n"),
        // What the image sets is not expanded, only what the Pod does.
        (
            json!({ "args": ["args", "$(FROM)"] }),
            "entry args $(FROM)\n",
        ),
        (json!({ "command": ["/probe", "echo", "own"] }), "own\n"),
        (
            json!({ "command": ["/probe", "echo"], "args": ["$$(FROM)", "$(X)"] }),
            "$(FROM) $(X)\n",
        ),
    ];
    for (fields, expected) in cases {
        let mut container = json!({ "name": "a", "image": image });
        for (key, value) in fields.as_object().unwrap() {
            container[key] = value.clone();
        }
        let said = podrun.run_pod(&once("entry", &[container])).ok().stdout;
        assert!(said.ends_with(expected), "{fields}: {said}");
    }
    let container = json!({ "name": "a", "image": image, "command": ["/probe", "report"] });
    let said = podrun.run_pod(&once("cwd", &[container])).ok().stdout;
    assert!(said.contains(r#""cwd":"/made/for/it""#), "{said}");
    let container = container_with("a", &["report"], &json!({ "workingDir": "/tmp" }));
    let said = podrun.run_pod(&once("cwd", &[container])).ok().stdout;
    assert!(said.contains(r#""cwd":"/tmp""#), "{said}");
}
