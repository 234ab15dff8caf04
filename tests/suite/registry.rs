//! A real registry: Debian's, on a port of the loopback address, ended with the test.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{Podrun, free_port, until};

pub(crate) struct Registry {
    child: Child,
    pub(crate) port: u16,
}

/// What skopeo makes of an image on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Transport {
    /// OCI with gzip layers.
    Oci,
    /// OCI with zstd layers.
    OciZstd,
    /// Docker schema 2.
    Docker,
}

impl Registry {
    /// Starts one that keeps its images in the directory; `auth` is that section of its
    /// configuration.
    pub(crate) fn start(dir: &Path, auth: &str) -> Self {
        let port = free_port();
        let config = dir.join("registry.yml");
        let storage = dir.join("registry");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n{auth}\n",
                storage.display()
            ),
        )
        .unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the registry listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { child, port }
    }

    /// Pushes an archive and returns the image's name.
    pub(crate) fn push(
        &self,
        archive: &Path,
        name: &str,
        transport: Transport,
        more: &[&str],
    ) -> String {
        let reference = format!("127.0.0.1:{}/{name}", self.port);
        let format: &[&str] = match transport {
            Transport::Oci => &["--format=oci"],
            Transport::OciZstd => &["--format=oci", "--dest-compress-format=zstd"],
            Transport::Docker => &["--format=v2s2"],
        };
        let output = Command::new("skopeo")
            .args([
                "--insecure-policy",
                "copy",
                "--quiet",
                "--dest-tls-verify=false",
            ])
            .args(format)
            .args(more)
            .arg(format!("oci-archive:{}", archive.display()))
            .arg(format!("docker://{reference}"))
            .env("TMPDIR", archive.parent().unwrap())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        reference
    }

    /// Lets podrun use it without TLS.
    pub(crate) fn allow_plain_http(&self, podrun: &Podrun) {
        configure(
            podrun,
            &format!(
                "[[registry]]\nlocation = \"127.0.0.1:{}\"\ninsecure = true\n",
                self.port
            ),
        );
    }
}

/// Writes the user's `registries.conf`.
pub(crate) fn configure(podrun: &Podrun, text: &str) {
    let config = podrun.scratch().join("home/.config/containers");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("registries.conf"), text).unwrap();
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
