//! The manifests of `examples/` that need real images, run unchanged.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::debian;
use crate::harness::{Mode, Podrun, mode, require_mode, until};
use crate::nginx;

/// Has the image under the name that the example gives it.
fn load(podrun: &Podrun, archive: &Path, reference: &str) {
    let archive = archive.to_str().unwrap();
    podrun
        .run(["image", "load", "--tag", reference, archive])
        .ok();
}

fn exec(podrun: &Podrun, pod: &str, words: &[&str]) -> String {
    let mut all = vec!["exec", pod, "--"];
    all.extend(words);
    podrun.run(all).ok().stdout
}

#[test]
fn redis_keeps_its_data_when_its_pod_is_removed() {
    let archive = debian::redis();
    require!(archive.is_some(), "the image must be built by root first");
    let podrun = Podrun::empty();
    load(&podrun, &archive.unwrap(), "docker.io/library/redis:7");
    let manifest = podrun.manifest_text("redis.yaml", include_str!("../../examples/redis.yaml"));
    podrun.run(["up", &manifest]).ok();
    let cli = |words: &[&str]| {
        let mut all = vec!["redis-cli"];
        all.extend(words);
        exec(&podrun, "redis", &all)
    };
    assert_eq!(
        cli(&["config", "get", "maxmemory"]),
        "maxmemory\n67108864\n"
    );
    assert_eq!(cli(&["set", "word", "kept"]), "OK\n");
    podrun.run(["rm", "redis"]).ok();
    podrun.run(["up", &manifest]).ok();
    assert_eq!(cli(&["get", "word"]), "kept\n");
    podrun.run(["down", &manifest, "--volumes"]).ok();
    podrun.run(["get", "pvc"]).ok().says("No resources found");
    podrun.nothing_left();
}

#[test]
fn postgres_runs_as_its_user_with_a_claim_of_its_group() {
    // It refuses to run as the only user that other pods have.
    require_mode!(Mode::Root, Mode::User);
    let archive = debian::postgres();
    require!(archive.is_some(), "the image must be built by root first");
    let podrun = Podrun::empty();
    load(&podrun, &archive.unwrap(), "docker.io/library/postgres:15");
    let manifest = podrun.manifest_text(
        "postgres.yaml",
        include_str!("../../examples/postgres.yaml"),
    );
    podrun.run(["up", "--timeout", "2m", &manifest]).ok();
    let sql = |statement: &str| {
        let script = format!(
            "PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -U postgres -tAc \"{statement}\""
        );
        exec(&podrun, "postgres", &["sh", "-c", &script])
    };
    sql("create table words (word text); insert into words values ('kept')");
    podrun.run(["rm", "postgres"]).ok();
    podrun.run(["up", "--timeout", "2m", &manifest]).ok();
    assert_eq!(sql("select word from words"), "kept\n");
    let data = "/var/lib/postgresql/data";
    let owner = exec(&podrun, "postgres", &["stat", "-c", "%u:%g %a", data]);
    assert_eq!(owner, "0:999 2777\n");
    podrun.run(["rm", "postgres", "--volumes"]).ok();
    podrun.nothing_left();
}

#[test]
fn nginx_serves_from_a_root_that_it_cannot_write() {
    require_mode!(Mode::Root, Mode::User);
    let archive = debian::nginx();
    require!(archive.is_some(), "the image must be built by root first");
    let podrun = Podrun::empty();
    load(&podrun, &archive.unwrap(), "docker.io/library/nginx:1");
    let manifest = podrun.manifest_text("nginx.yaml", include_str!("../../examples/nginx.yaml"));
    podrun.run(["up", &manifest]).ok();
    let page = nginx::page(18080).unwrap();
    assert!(page.contains("It works"), "{page}");
    let capabilities = exec(&podrun, "nginx", &["grep", "CapBnd", "/proc/1/status"]);
    assert_eq!(capabilities, "CapBnd:\t0000000000000000\n");
    podrun
        .run(["exec", "nginx", "--", "touch", "/etc/nginx/x"])
        .code(1)
        .says("Read-only file system");
    podrun.run(["rm", "nginx"]).ok();
    podrun.nothing_left();
}

/// What the front of the guestbook answers.
fn front(request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", 18081)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_guestbook_keeps_what_is_written_with_its_leader_and_reads_it_from_its_follower() {
    // Its containers are no user that a pod with one id could have.
    require_mode!(Mode::Root, Mode::User);
    let (redis, python) = (debian::redis(), debian::python());
    require!(
        redis.is_some() && python.is_some(),
        "the images must be built by root first"
    );
    let podrun = Podrun::empty();
    load(&podrun, &redis.unwrap(), "docker.io/library/redis:7");
    load(&podrun, &python.unwrap(), "docker.io/library/python:3");
    let example = podrun.files().join("guestbook");
    std::fs::create_dir(&example).unwrap();
    for (name, text) in [
        (
            "redis.yaml",
            include_str!("../../examples/guestbook/redis.yaml"),
        ),
        (
            "front.yaml",
            include_str!("../../examples/guestbook/front.yaml"),
        ),
    ] {
        std::fs::write(example.join(name), text).unwrap();
    }
    let example = example.to_str().unwrap();
    podrun.run(["up", "--timeout", "2m", example]).ok();
    let sent = "entry=I+was+%3Chere%3E";
    let length = sent.len();
    let answer = front(&format!(
        "POST / HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{sent}"
    ));
    assert!(answer.starts_with("HTTP/1.0 303"), "{answer}");
    until("the follower has the entry", || {
        front("GET / HTTP/1.0\r\n\r\n").contains("<li>I was &lt;here&gt;</li>")
    });
    let of_leader = exec(
        &podrun,
        "redis-follower",
        &[
            "redis-cli",
            "-h",
            "redis-leader",
            "lrange",
            "entries",
            "0",
            "-1",
        ],
    );
    assert_eq!(of_leader, "I was <here>\n");
    let endless = front("POST / HTTP/1.0\r\nContent-Length: -1\r\n\r\n");
    assert!(endless.starts_with("HTTP/1.0 400"), "{endless}");
    podrun.run(["down", example]).ok();
    podrun.nothing_left();
}
