//! Images from a real registry, in the formats and behind the locks that registries have.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::forge;
use crate::harness::{Podrun, documents, once, program};
use crate::registry::{Registry, Transport, configure};

/// The user of the registry, with the hash of the password (`htpasswd -B`).
const CREDENTIALS: &str = "ci:open sesame";
const HTPASSWD: &str = "ci:$2b$04$ZmYsu0eO3.sPsQUkE8w6euXVMmnIEBRDHXeDHeYo9oJg5UsDi.YrC\n";

fn archive(podrun: &Podrun) -> PathBuf {
    let path = podrun.files().join("probe.tar");
    fs::write(&path, forge::probe_image("probe:1").bytes).unwrap();
    path
}

/// Runs the image once it is here, without asking the registry again.
#[track_caller]
fn runs(podrun: &Podrun, image: &str) {
    let container = json!({
        "name": "a", "image": image, "imagePullPolicy": "Never", "command": ["/probe", "echo", "pulled"],
    });
    let said = podrun.run_pod(&once("pulled", &[container])).ok().stdout;
    assert_eq!(said, "pulled/a │ pulled\n", "{image}");
}

macro_rules! require_registry {
    () => {
        for name in ["docker-registry", "skopeo"] {
            require!(
                program(name).is_some(),
                format!("`{name}` is not installed")
            );
        }
    };
}

#[test]
fn every_format_of_image_is_pulled() {
    require_registry!();
    let podrun = Podrun::empty();
    let registry = Registry::start(&podrun.files(), "");
    registry.allow_plain_http(&podrun);
    let archive = archive(&podrun);
    for (name, transport) in [
        ("gzip:1", Transport::Oci),
        ("zstd:1", Transport::OciZstd),
        ("docker:1", Transport::Docker),
    ] {
        let image = registry.push(&archive, name, transport, &[]);
        podrun.run(["image", "pull", &image]).ok();
        runs(&podrun, &image);
    }
}

#[test]
fn a_registry_that_wants_a_password_gets_it_from_the_users_files() {
    require_registry!();
    let podrun = Podrun::empty();
    let (registry, image) = locked(&podrun);
    let refused = podrun.run(["image", "pull", &image]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("hint: log in"),
        "{}",
        refused.stderr
    );

    let docker = podrun.scratch().join("home/.docker");
    fs::create_dir(&docker).unwrap();
    // Base64 of the credentials.
    let auths = json!({ "auths": { format!("127.0.0.1:{}", registry.port): { "auth": "Y2k6b3BlbiBzZXNhbWU=" } } });
    fs::write(docker.join("config.json"), auths.to_string()).unwrap();
    podrun.run(["image", "pull", &image]).ok();
    runs(&podrun, &image);
}

#[test]
fn a_token_is_fetched_where_the_registry_says() {
    require_registry!();
    let podrun = Podrun::empty();
    // The realm gives everybody a token; `silly` takes any.
    let realm = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = realm.local_addr().unwrap().port();
    let (asked, requests) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = realm.accept() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let body = r#"{"token":"let-me-in"}"#;
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .unwrap();
            asked.send(request).ok();
        }
    });
    let open = Registry::start(&podrun.files(), "");
    open.push(&archive(&podrun), "team/app:1", Transport::Oci, &[]);
    drop(open);
    let auth = format!(
        "auth:\n  silly:\n    realm: http://127.0.0.1:{port}/token\n    service: registry.test"
    );
    // The same images, behind a lock now.
    let registry = Registry::start(&podrun.files(), &auth);
    registry.allow_plain_http(&podrun);
    let image = format!("127.0.0.1:{}/team/app:1", registry.port);
    podrun.run(["image", "pull", &image]).ok();
    runs(&podrun, &image);
    let request = requests.recv().unwrap();
    assert!(
        request.contains("service=registry.test")
            && request.contains("scope=repository:team/app:pull"),
        "{request}"
    );
}

#[test]
fn a_mirror_is_asked_before_the_registry_it_mirrors() {
    require_registry!();
    let podrun = Podrun::empty();
    let registry = Registry::start(&podrun.files(), "");
    registry.push(&archive(&podrun), "library/app:1", Transport::Oci, &[]);
    configure(
        &podrun,
        &format!(
            "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:{}\"\ninsecure = true\n",
            registry.port
        ),
    );
    podrun.run(["image", "pull", "app:1"]).ok();
    runs(&podrun, "app:1");
}

#[test]
fn a_mirror_does_not_get_the_credentials_of_what_it_mirrors() {
    require_registry!();
    let podrun = Podrun::empty();
    let (registry, _) = locked(&podrun);
    let mirror = format!("127.0.0.1:{}", registry.port);
    configure(
        &podrun,
        &format!(
            "[[registry]]\nprefix = \"example.com\"\nlocation = \"{mirror}\"\ninsecure = true\n"
        ),
    );
    let docker = podrun.scratch().join("home/.docker");
    fs::create_dir(&docker).unwrap();
    for (host, code) in [("example.com", 1), (mirror.as_str(), 0)] {
        // Base64 of the credentials.
        let auths = json!({ "auths": { host: { "auth": "Y2k6b3BlbiBzZXNhbWU=" } } });
        fs::write(docker.join("config.json"), auths.to_string()).unwrap();
        let pulled = podrun.run(["image", "pull", "example.com/locked:1"]);
        assert_eq!(pulled.code, code, "{host}: {}", pulled.stderr);
    }
}

#[test]
fn an_image_that_is_not_there_is_said_so() {
    require_registry!();
    let podrun = Podrun::empty();
    let registry = Registry::start(&podrun.files(), "");
    registry.allow_plain_http(&podrun);
    let image = format!("127.0.0.1:{}/nobody/nothing:1", registry.port);
    let output = podrun.run(["image", "pull", &image]);
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains(&image), "{}", output.stderr);
    assert_eq!(podrun.run(["image", "ls", "-o", "name"]).stdout, "");
}

/// A registry behind a password, with one image.
fn locked(podrun: &Podrun) -> (Registry, String) {
    let users = podrun.files().join("htpasswd");
    fs::write(&users, HTPASSWD).unwrap();
    let auth = format!(
        "auth:\n  htpasswd:\n    realm: test\n    path: {}",
        users.display()
    );
    let registry = Registry::start(&podrun.files(), &auth);
    registry.allow_plain_http(podrun);
    let credentials = format!("--dest-creds={CREDENTIALS}");
    let archive = archive(podrun);
    let image = registry.push(&archive, "locked:1", Transport::Oci, &[&credentials]);
    (registry, image)
}

fn secret(name: &str, kind: &str, key: &str, content: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "type": kind,
        "stringData": { key: content },
    })
}

fn pulling(image: &str, secrets: &[&str]) -> Value {
    let container = json!({ "name": "a", "image": image, "command": ["/probe", "echo", "pulled"] });
    let mut pod = once("pulling", &[container]);
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({ "name": name })).collect();
    pod["spec"]["imagePullSecrets"] = secrets.into();
    pod
}

#[test]
fn images_are_pulled_with_the_secrets_of_the_pod() {
    require_registry!();
    let podrun = Podrun::empty();
    let (registry, image) = locked(&podrun);
    let host = format!("127.0.0.1:{}", registry.port);
    // Base64 of the credentials, and of others.
    let right = json!({ &host: { "auth": "Y2k6b3BlbiBzZXNhbWU=" } });
    let wrong = json!({ &host: { "username": "ci", "password": "wrong-password" } });
    let config = |auths: &Value| json!({ "auths": auths }).to_string();
    let (new, old) = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg");
    let forms = [
        secret("right", new, ".dockerconfigjson", &config(&right)),
        secret("right", old, ".dockercfg", &right.to_string()),
    ];
    // What does not work is passed over, and so is the user's own file.
    let docker = podrun.scratch().join("home/.docker");
    fs::create_dir(&docker).unwrap();
    fs::write(docker.join("config.json"), config(&wrong)).unwrap();
    for form in forms {
        let wrong = secret("wrong", new, ".dockerconfigjson", &config(&wrong));
        let all = [wrong, form, pulling(&image, &["wrong", "right"])];
        let path = podrun.manifest_text("all.yaml", &documents(&all));
        let output = podrun.run(["run", &path]).ok();
        assert!(output.stdout.contains("pulled"), "{}", output.stdout);
        assert!(!output.stderr.contains("sesame"), "{}", output.stderr);
        podrun.run(["image", "rm", &image]).ok();
        podrun
            .run(["rm", "--ignore-not-found", "secret/right", "secret/wrong"])
            .ok();
    }
    // From the store.
    let stored = secret("right", new, ".dockerconfigjson", &config(&right));
    podrun.run(["up", &podrun.manifest("secret", &stored)]).ok();
    podrun.run_pod(&pulling(&image, &["right"])).ok();
}

#[test]
fn secrets_that_are_no_credentials_are_told_with_their_place() {
    require_registry!();
    let podrun = Podrun::empty();
    let (_registry, image) = locked(&podrun);
    let missing = podrun.up(&pulling(&image, &["nowhere"])).code(1);
    let missing = missing
        .says("FailedToRetrieveImagePullSecret")
        .says("(nowhere)");
    missing.says("ErrImagePull");
    let new = "kubernetes.io/dockerconfigjson";
    let bad = json!({ "auths": { "h": { "auth": "open-sesame!" } } }).to_string();
    for (secret, words) in [
        (
            secret("s", "Opaque", ".dockerconfigjson", "{}"),
            "spec.imagePullSecrets[0].name: secret `s` is of type Opaque",
        ),
        (
            secret("s", new, ".dockerconfigjson", &bad),
            "`auth` in entry 1 of auths is not base64 of `user:password`",
        ),
        (
            secret("s", new, ".dockerconfigjson", "{\"auths\": open-sesame"),
            "stringData..dockerconfigjson: is not a JSON object: line 1, column 11",
        ),
    ] {
        let path = podrun.manifest_text("all.yaml", &documents(&[secret, pulling(&image, &["s"])]));
        let output = podrun.run(["up", &path]).code(3);
        assert!(!output.stderr.contains("sesame"), "{}", output.stderr);
        let said = output.stderr.replace('\n', " ");
        assert!(said.contains(words), "{words}\n{}", output.stderr);
    }
    podrun.nothing_left();
}
