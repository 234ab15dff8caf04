//! The whole way: a real image out of a real registry, two containers, a shared volume and a port
//! of the host.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::debian;
use crate::forge::{self, Entry};
use crate::harness::{Mode, Podrun, free_port, lasting, mode, program};
use crate::registry::{Registry, Transport};

fn busybox_archive() -> Vec<u8> {
    let busybox = fs::read(program("busybox").unwrap()).unwrap();
    let layer = forge::tar(&[
        Entry::Dir("bin"),
        Entry::Program("bin/busybox", &busybox),
        Entry::Link("bin/sh", "busybox"),
        Entry::Link("bin/sleep", "busybox"),
        Entry::Link("bin/date", "busybox"),
    ]);
    forge::archive("busybox:1", &json!({ "Cmd": ["sh"] }), &[layer]).bytes
}

pub(crate) fn page(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    stream
        .write_all(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.starts_with("HTTP/1.1 200").then_some(text)
}

#[test]
fn nginx_from_a_registry_serves_what_its_neighbour_writes() {
    for name in ["docker-registry", "skopeo", "busybox"] {
        require!(
            program(name).is_some(),
            format!("`{name}` is not installed")
        );
    }
    let archive = debian::nginx();
    require!(
        archive.is_some(),
        "the nginx image must be built by root with mmdebstrap first"
    );
    let podrun = Podrun::empty();
    let registry = Registry::start(&podrun.files(), "");
    // skopeo unpacks archives beside them; the fixture's directory may not be ours.
    let local = podrun.files().join("nginx.tar");
    fs::copy(archive.unwrap(), &local).unwrap();
    let nginx = registry.push(&local, "library/nginx:1", Transport::Oci, &[]);
    fs::remove_file(&local).unwrap();
    let busybox = podrun.files().join("busybox.tar");
    fs::write(&busybox, busybox_archive()).unwrap();
    let busybox = registry.push(&busybox, "busybox:1", Transport::Oci, &[]);
    registry.allow_plain_http(&podrun);

    let port = free_port();
    let mut web = json!({
        "name": "web", "image": nginx,
        "ports": [{ "name": "http", "containerPort": 80, "hostPort": port }],
        "readinessProbe": { "httpGet": { "port": "http" }, "periodSeconds": 1 },
        "livenessProbe": { "tcpSocket": { "port": "http" }, "periodSeconds": 1 },
        "lifecycle": { "preStop": { "exec": { "command": ["sh", "-c", "nginx -s quit || true"] } } },
        "volumeMounts": [{ "name": "site", "mountPath": "/var/www/html", "readOnly": true }],
    });
    if mode() == Mode::Single {
        // There is no second user to hand files and connections to.
        let script = "sed 's/^user .*/user root;/' /etc/nginx/nginx.conf >/tmp/nginx.conf; \
            exec nginx -c /tmp/nginx.conf -g 'daemon off; master_process off;'";
        web["args"] = json!(["sh", "-c", script]);
    }
    let writer = json!({
        "name": "writer", "image": busybox,
        "command": ["sh", "-c", "echo written; exec sleep 100000"],
        "volumeMounts": [{ "name": "site", "mountPath": "/site" }],
        // Until then the server has no page and is not Ready.
        "lifecycle": { "postStart": { "exec": {
            "command": ["sh", "-c", "cat /site/words >/site/index.html"],
        } } },
    });
    let words = json!({
        "name": "words", "image": busybox,
        "command": ["sh", "-c", "echo the page of the neighbour >/site/words"],
        "volumeMounts": [{ "name": "site", "mountPath": "/site" }],
    });
    let clock = json!({
        "name": "clock", "image": busybox, "restartPolicy": "Always",
        "command": ["sh", "-c", "while :; do date >/site/now; sleep 1; done"],
        "startupProbe": { "exec": { "command": ["sh", "-c", "test -s /site/now"] }, "periodSeconds": 1 },
        "volumeMounts": [{ "name": "site", "mountPath": "/site" }],
    });
    let mut manifest = lasting("site", &[web, writer]);
    manifest["spec"]["initContainers"] = json!([words, clock]);
    manifest["spec"]["volumes"] = json!([{ "name": "site", "emptyDir": {} }]);
    let up = podrun.up(&manifest).ok();
    if mode() == Mode::Single {
        let said = up.stderr.to_lowercase();
        assert!(
            said.contains("subuid") || said.contains("newuidmap"),
            "{said}"
        );
    }

    // `up` has returned: the server is Ready, so it serves the page.
    let got = page(port).unwrap();
    assert!(got.contains("the page of the neighbour"), "{got}");
    assert!(got.contains("Server: nginx"), "{got}");

    let listed = podrun.run(["ps", "--no-headers"]).ok().stdout;
    let row: Vec<&str> = listed.split_whitespace().collect();
    assert_eq!(row[..4], ["site", "3/3", "Running", "0"]);
    assert_eq!(
        podrun.run(["logs", "site", "-c", "writer"]).ok().stdout,
        "written\n"
    );
    let said = podrun
        .run(["exec", "site", "-c", "web", "--", "nginx", "-v"])
        .ok();
    assert!(said.stderr.contains("nginx/1."), "{}", said.stderr);
    let said = podrun
        .run([
            "exec",
            "site",
            "-c",
            "web",
            "--",
            "cat",
            "/var/www/html/index.html",
        ])
        .ok();
    assert_eq!(said.stdout, "the page of the neighbour\n");
    let images = podrun.run(["image", "ls"]).ok().stdout;
    assert!(images.contains("library/nginx"), "{images}");
    let status = podrun.pod("site")["status"].clone();
    let id = status["containerStatuses"][0]["imageID"].as_str().unwrap();
    assert!(id.contains("@sha256:"), "{id}");

    // Present images need no registry.
    let listening = registry.port;
    drop(registry);
    assert!(TcpStream::connect(("127.0.0.1", listening)).is_err());
    podrun.run(["rm", "site"]).ok();
    podrun.nothing_left();
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "the port is still open"
    );
    podrun.up(&manifest).ok();
    podrun.run(["rm", "site"]).ok();
    podrun.nothing_left();
}
