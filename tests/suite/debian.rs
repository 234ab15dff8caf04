//! Images made of Debian's packages: real programs without a registry of the world's. A root file
//! system takes a while, so each is kept beside the other fixtures.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::forge::{self, Entry};
use crate::harness::{Mode, fixtures, mode, program};

/// What an image is made of.
struct Recipe<'a> {
    /// The name of the fixture; another version of the recipe needs another one.
    name: &'a str,
    /// Debian's packages.
    packages: &'a str,
    /// Further arguments of mmdebstrap.
    arguments: &'a [&'a str],
    config: Value,
    /// Files over the packages'.
    files: &'a [Entry<'a>],
}

/// The archive; nothing where it can neither be found nor made.
fn archive(recipe: &Recipe<'_>) -> Option<PathBuf> {
    let path = fixtures().join(format!("{}.oci.tar", recipe.name));
    if path.exists() {
        return Some(path);
    }
    if mode() != Mode::Root || program("mmdebstrap").is_none() {
        return None;
    }
    let scratch = tempfile::tempdir_in(fixtures()).unwrap();
    let root = scratch.path().join("root.tar");
    let output = Command::new("mmdebstrap")
        .arg("--variant=essential")
        .arg(format!("--include={}", recipe.packages))
        .args(
            ["doc", "man", "locale", "zoneinfo"]
                .map(|name| format!("--dpkgopt=path-exclude=/usr/share/{name}/*")),
        )
        .args(recipe.arguments)
        .arg("bookworm")
        .arg(&root)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut layers = vec![fs::read(&root).unwrap()];
    if !recipe.files.is_empty() {
        layers.push(forge::tar(recipe.files));
    }
    let building = scratch.path().join("image.tar");
    fs::write(
        &building,
        forge::archive("debian:1", &recipe.config, &layers).bytes,
    )
    .unwrap();
    fs::rename(building, &path).unwrap();
    Some(path)
}

/// nginx.
pub(crate) fn nginx() -> Option<PathBuf> {
    archive(&Recipe {
        name: "nginx-bookworm-1",
        packages: "nginx-light",
        arguments: &[],
        config: json!({ "Cmd": ["nginx", "-g", "daemon off;"], "StopSignal": "SIGQUIT" }),
        files: &[],
    })
}

/// redis, whose data is at `/data`.
pub(crate) fn redis() -> Option<PathBuf> {
    archive(&Recipe {
        name: "redis-bookworm-1",
        packages: "redis-server,redis-tools",
        arguments: &[],
        config: json!({ "Cmd": ["redis-server"], "WorkingDir": "/data" }),
        files: &[],
    })
}

/// Python with its standard library.
pub(crate) fn python() -> Option<PathBuf> {
    archive(&Recipe {
        name: "python-bookworm-1",
        packages: "python3",
        arguments: &[],
        config: json!({ "Cmd": ["python3"] }),
        files: &[],
    })
}

/// `PostgreSQL` with the user 999, which makes its database with the password of
/// `POSTGRES_PASSWORD` when there is none in `PGDATA`.
pub(crate) fn postgres() -> Option<PathBuf> {
    const START: &str = "#!/bin/sh\nset -e\n\
        if [ ! -s \"$PGDATA/PG_VERSION\" ]; then\n\
          mkdir -p \"$PGDATA\"\n\
          printf %s \"$POSTGRES_PASSWORD\" >/tmp/password\n\
          initdb -D \"$PGDATA\" -U postgres --auth=scram-sha-256 --pwfile=/tmp/password\n\
          rm /tmp/password\n\
        fi\n\
        exec \"$@\" -D \"$PGDATA\"\n";
    archive(&Recipe {
        name: "postgres-bookworm-1",
        packages: "postgresql-15",
        arguments: &[
            // Its just-in-time compiler is as large as everything else, and is not used here.
            "--dpkgopt=path-exclude=/usr/lib/*/libLLVM*",
            "--essential-hook=echo 'postgres:x:999:999::/var/lib/postgresql:/bin/sh' >>\"$1/etc/passwd\"",
            "--essential-hook=echo 'postgres:x:999:' >>\"$1/etc/group\"",
        ],
        config: json!({
            "Entrypoint": ["/usr/local/bin/start"],
            "Cmd": ["postgres"],
            "Env": ["PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin"],
            "StopSignal": "SIGINT",
        }),
        files: &[Entry::Program("usr/local/bin/start", START.as_bytes())],
    })
}
