//! Services and endpoints as objects: what they are given, how they are shown, and what pods find of
//! them in their environment.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Podrun, container, container_with, documents, lasting, once, until};

fn service(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": spec,
    })
}

fn of_web(more: &Value) -> Value {
    let mut spec = json!({
        "selector": { "app": "web" },
        "ports": [{ "name": "http", "port": 80, "targetPort": "web" }],
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    service("web", &spec)
}

/// A pod of `app: web` that calls its port 8080 `web`.
fn backend(name: &str, fields: &Value) -> Value {
    let mut fields = fields.clone();
    fields["ports"] = json!([{ "name": "web", "containerPort": 8080 }]);
    let mut pod = lasting(name, &[container_with("a", &["ready-sleep"], &fields)]);
    pod["metadata"]["labels"] = json!({ "app": "web" });
    pod
}

/// An object as `get -o json` prints it.
#[track_caller]
fn get(podrun: &Podrun, what: &str) -> Value {
    let shown = podrun.run(["get", what, "-o", "json"]).ok().stdout;
    serde_json::from_str(&shown).unwrap()
}

/// The lines of a table, blanks between the words reduced to one and the age left out.
#[track_caller]
fn rows(podrun: &Podrun, words: &[&str]) -> Vec<String> {
    let shown = podrun.run(words).ok().stdout;
    let lines = shown.lines().skip(1);
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words[..words.len() - 1].join(" ")
        })
        .collect()
}

#[test]
fn services_are_given_addresses_shown_and_removed() {
    let podrun = Podrun::new();
    let all = documents(&[
        of_web(&json!({ "type": "NodePort" })),
        service("none", &json!({ "clusterIP": "None" })),
        service(
            "given",
            &json!({ "clusterIP": "10.89.0.2", "ports": [{ "port": 1 }] }),
        ),
        service(
            "other",
            &json!({ "ports": [{ "port": 1, "protocol": "UDP" }] }),
        ),
        service(
            "out",
            &json!({ "type": "ExternalName", "externalName": "a.example" }),
        ),
    ]);
    let manifest = podrun.manifest_text("all.yaml", &all);
    let said = podrun.run(["up", &manifest]).ok().stdout;
    assert!(said.contains("service/web created\n"), "{said}");
    let before = get(&podrun, "svc/web");
    let node_port = &before["spec"]["ports"][0]["nodePort"];
    let expected = [
        "given ClusterIP 10.89.0.2 <none> 1/TCP",
        "none ClusterIP None <none> <none>",
        "other ClusterIP 10.89.0.1 <none> 1/UDP",
        "out ExternalName <none> a.example <none>",
        &format!("web NodePort 10.89.0.3 <none> 80:{node_port}/TCP"),
    ];
    assert_eq!(rows(&podrun, &["get", "services"]), expected);
    assert_eq!(before["kind"], "Service");
    assert_eq!(before["spec"]["clusterIPs"][0], before["spec"]["clusterIP"]);
    assert!(before["metadata"]["uid"].is_string(), "{before}");

    // It keeps what it was given, and what has not changed is left alone.
    let said = podrun.run(["up", &manifest]).ok().stdout;
    assert!(said.contains("service/web unchanged\n"), "{said}");
    podrun
        .up(&of_web(
            &json!({ "type": "NodePort", "sessionAffinity": "ClientIP" }),
        ))
        .ok();
    let after = get(&podrun, "svc/web");
    assert_eq!(after["spec"]["sessionAffinity"], "ClientIP");
    for pointer in ["/metadata/uid", "/spec/clusterIP", "/spec/ports/0/nodePort"] {
        assert_eq!(after.pointer(pointer), before.pointer(pointer), "{pointer}");
    }
    podrun
        .up(&of_web(&json!({ "clusterIP": "10.89.9.9" })))
        .code(3)
        .says("service/web: spec.clusterIP is immutable");

    // An address is free again when its Service is gone.
    podrun.run(["rm", "service/given"]).ok();
    let taken = json!({ "clusterIP": "10.89.0.2", "ports": [{ "port": 1 }] });
    podrun.up(&service("new", &taken)).ok();
    podrun
        .up(&service("again", &taken))
        .code(3)
        .says("service/again: spec.clusterIP: 10.89.0.2 is another Service's");
    podrun
        .run(["get", "service", "again"])
        .code(4)
        .says("service/again not found");
    podrun.run(["down", &manifest, "--ignore-not-found"]).ok();
    assert_eq!(
        rows(&podrun, &["get", "svc"]),
        ["new ClusterIP 10.89.0.2 <none> 1/TCP"]
    );
}

#[test]
fn several_kinds_are_shown_at_once() {
    let podrun = Podrun::new();
    let empty = podrun.run(["get", "all"]).ok();
    assert_eq!(empty.stderr, "No resources found in default namespace.\n");
    let all = documents(&[of_web(&json!({})), backend("b", &json!({}))]);
    let manifest = podrun.manifest_text("all.yaml", &all);
    podrun.run(["up", &manifest]).ok();
    let shown = podrun.run(["get", "services,endpoints"]).ok().stdout;
    let tables: Vec<Vec<&str>> = shown
        .split("\n\n")
        .map(|table| {
            table
                .lines()
                .map(|line| line.split(' ').next().unwrap())
                .collect()
        })
        .collect();
    assert_eq!(
        tables,
        [["NAME", "service/web"], ["NAME", "endpoints/web"]],
        "{shown}"
    );
    let names = |what: &[&str]| {
        podrun
            .run([&["get", "-o", "name"], what].concat())
            .ok()
            .stdout
    };
    assert_eq!(names(&["all"]), "pod/b\nservice/web\n");
    assert_eq!(names(&["svc,po"]), "service/web\npod/b\n");
    assert_eq!(names(&["pod/b", "ep/web"]), "pod/b\nendpoints/web\n");
    let list = podrun.run(["get", "po,svc,ep", "-o", "json"]).ok().stdout;
    let list: Value = serde_json::from_str(&list).unwrap();
    let kinds = list["items"].as_array().unwrap().iter();
    let kinds: Vec<&str> = kinds.map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Pod", "Service", "Endpoints"]);
    let missing = podrun.run(["get", "pod/b", "svc/none"]).code(4);
    assert_eq!(missing.stderr, "error: service/none not found\n");
    podrun.run(["get", "po,svc", "--watch"]).code(2);
}

#[test]
fn services_of_commands_at_the_same_time_have_different_addresses() {
    let podrun = Podrun::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let podrun = &podrun;
            scope.spawn(move || {
                let name = format!("s{number}");
                let spec = json!({ "type": "NodePort", "ports": [{ "port": 1 }] });
                let file = format!("{name}.yaml");
                let manifest = podrun.manifest_text(&file, &service(&name, &spec).to_string());
                podrun.run(["up", &manifest]).ok();
            });
        }
    });
    let all = get(&podrun, "services");
    let of = |pointer: &str| -> BTreeSet<String> {
        let items = all["items"].as_array().unwrap().iter();
        items
            .map(|item| item.pointer(pointer).unwrap().to_string())
            .collect()
    };
    assert_eq!(of("/spec/clusterIP").len(), 8, "{all}");
    assert_eq!(of("/spec/ports/0/nodePort").len(), 8, "{all}");
}

#[test]
fn endpoints_are_the_ready_pods_and_what_is_written() {
    let podrun = Podrun::new();
    let probe = json!({
        "readinessProbe": {
            "exec": { "command": ["/probe", "exists", "/tmp/ready"] }, "periodSeconds": 1,
        },
    });
    let manual = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "db" },
        "subsets": [{ "addresses": [{ "ip": "192.0.2.1" }], "ports": [{ "port": 5432 }] }],
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "sliced-1", "labels": { "kubernetes.io/service-name": "sliced" },
        },
        "addressType": "IPv4", "endpoints": [{ "addresses": ["192.0.2.9"] }],
        "ports": [{ "port": 99 }],
    });
    let all = documents(&[
        of_web(&json!({})),
        service("db", &json!({ "ports": [{ "port": 1 }] })),
        service("sliced", &json!({ "ports": [{ "port": 1 }] })),
        manual,
        slice,
        backend("one", &json!({})),
        backend("two", &probe),
    ]);
    let manifest = podrun.manifest_text("all.yaml", &all);
    podrun.run(["up", "--wait=running", &manifest]).ok();
    let address = |name: &str| {
        let pod = podrun.pod(name);
        pod["status"]["podIP"].as_str().unwrap().to_owned()
    };
    let (one, two) = (address("one"), address("two"));
    until("the first pod is ready", || {
        rows(&podrun, &["get", "endpoints"])
            == [
                "db 192.0.2.1:5432".to_owned(),
                "sliced 192.0.2.9:99".to_owned(),
                format!("web {one}:8080"),
            ]
    });
    assert_eq!(
        rows(&podrun, &["get", "endpointslices"]),
        ["sliced-1 IPv4 99 192.0.2.9"]
    );
    let object = get(&podrun, "endpoints/web");
    assert_eq!(object["kind"], "Endpoints");
    let subset = &object["subsets"][0];
    assert_eq!(subset["addresses"][0]["targetRef"]["name"], "one");
    assert_eq!(subset["notReadyAddresses"][0]["ip"], two.as_str());

    podrun.probe("two", "a", &["make-dir", "/tmp/ready"]);
    until("the second pod is ready", || {
        rows(&podrun, &["get", "ep", "web"]) == [format!("web {one}:8080,{two}:8080")]
    });
    let described = podrun.run(["describe", "service", "web"]).ok().stdout;
    let line = format!("Endpoints:                {one}:8080,{two}:8080\n");
    for expected in [
        "Name:                     web\n",
        "Selector:                 app=web\n",
        "Type:                     ClusterIP\n",
        "Port:                     http  80/TCP\n",
        "TargetPort:               web/TCP\n",
        "Session Affinity:         None\n",
        &line,
    ] {
        assert!(described.contains(expected), "{expected}{described}");
    }
}

#[test]
fn pods_find_the_services_of_their_namespace_in_their_environment() {
    let podrun = Podrun::new();
    let spec = json!({ "clusterIP": "10.89.0.7", "ports": [{ "port": 6379 }] });
    podrun.up(&service("stored", &spec)).ok();
    let mut elsewhere = service("elsewhere", &json!({ "ports": [{ "port": 1 }] }));
    elsewhere["metadata"]["namespace"] = "other".into();
    let environment = |links: bool| {
        let env = json!({
            "env": [
                { "name": "NEW_PORT", "value": "mine" },
                { "name": "URL", "value": "http://$(NEW_SERVICE_HOST)" },
            ],
        });
        let container = container_with("a", &["environment"], &env);
        let mut pod = once("env", &[container]);
        pod["spec"]["enableServiceLinks"] = links.into();
        let new = json!({ "clusterIP": "10.89.0.8", "ports": [{ "name": "web", "port": 80 }] });
        let all = documents(&[service("new", &new), elsewhere.clone(), pod]);
        let manifest = podrun.manifest_text("all.yaml", &all);
        let said = podrun.run(["run", "--no-prefix", &manifest]).ok().stdout;
        said.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let found = environment(true);
    for line in [
        "STORED_SERVICE_HOST=10.89.0.7",
        "STORED_PORT_6379_TCP=tcp://10.89.0.7:6379",
        "NEW_SERVICE_HOST=10.89.0.8",
        "NEW_SERVICE_PORT_WEB=80",
        "NEW_PORT=mine",
        "URL=http://10.89.0.8",
    ] {
        assert!(found.contains(line), "{line}: {found:#?}");
    }
    assert!(!found.iter().any(|line| line.starts_with("ELSEWHERE_")));
    let found = environment(false);
    let is_of_a_service = |line: &String| line.starts_with("STORED_") || line.contains("10.89.");
    assert!(!found.iter().any(is_of_a_service), "{found:#?}");
    // `run` leaves nothing of the Services of its files.
    assert_eq!(
        rows(&podrun, &["get", "services", "-A"]),
        ["default stored ClusterIP 10.89.0.7 <none> 6379/TCP"]
    );
}

#[test]
fn a_service_of_a_command_that_fails_is_as_it_was() {
    let podrun = Podrun::new();
    podrun.up(&of_web(&json!({}))).ok();
    let before = get(&podrun, "service/web");
    let failing = once("bad", &[container("a", &["exit", "3"])]);
    let all = documents(&[
        of_web(&json!({ "publishNotReadyAddresses": true })),
        service("new", &json!({ "ports": [{ "port": 1 }] })),
        failing,
    ]);
    let manifest = podrun.manifest_text("all.yaml", &all);
    podrun.run(["up", "--wait=done", &manifest]).code(1);
    assert_eq!(get(&podrun, "service/web"), before);
    podrun.run(["get", "service", "new"]).code(4);
}

#[test]
fn the_name_of_the_api_servers_service_is_refused() {
    let podrun = Podrun::new();
    let spec = json!({ "ports": [{ "port": 443 }] });
    podrun
        .up(&service("kubernetes", &spec))
        .code(3)
        .says("service/kubernetes of namespace default is the API server's");
    let mut elsewhere = service("kubernetes", &spec);
    elsewhere["metadata"]["namespace"] = "other".into();
    podrun.up(&elsewhere).ok();
}
