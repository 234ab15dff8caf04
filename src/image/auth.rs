//! Credentials that users already have: `containers-auth.json(5)` and Docker's config.

use std::fs::File;
use std::path::PathBuf;

use docker_credential::{CredentialRetrievalError, DockerCredential};

use super::ImageError;

/// Files that are searched, in order.
#[derive(Debug, Clone, Default)]
pub struct CredentialFiles(pub Vec<PathBuf>);

/// What a registry gets to know.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credential {
    Basic { user: String, password: String },
    IdentityToken(String),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(…)")
    }
}

impl CredentialFiles {
    /// The credential for a repository: of the longest name in a file that is a beginning of it.
    pub(super) fn find(&self, domain: &str, path: &str) -> Result<Option<Credential>, ImageError> {
        for file in &self.0 {
            for key in keys(domain, path) {
                // A file that is not there, or another user's, is passed over.
                let Ok(reader) = File::open(file) else { break };
                match docker_credential::get_credential_from_reader(reader, &key) {
                    Ok(DockerCredential::UsernamePassword(user, password)) => {
                        return Ok(Some(Credential::Basic { user, password }));
                    }
                    Ok(DockerCredential::IdentityToken(token)) => {
                        return Ok(Some(Credential::IdentityToken(token)));
                    }
                    Err(
                        CredentialRetrievalError::NoCredentialConfigured
                        | CredentialRetrievalError::ConfigNotFound,
                    ) => {}
                    Err(error) => {
                        return Err(ImageError::Config {
                            path: file.clone(),
                            why: error.to_string(),
                        });
                    }
                }
            }
        }
        Ok(None)
    }
}

/// The names under which a repository's credential may stand, the longest first.
fn keys(domain: &str, path: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut name = format!("{domain}/{path}");
    loop {
        keys.push(name.clone());
        match name.rfind('/') {
            Some(end) => name.truncate(end),
            None => break,
        }
    }
    keys.push(format!("https://{domain}"));
    // What `docker login` writes for Docker Hub.
    if domain == "docker.io" {
        keys.push("https://index.docker.io/v1/".to_owned());
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_longest_name_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.json");
        // "dTpw" is u:p and "YTpi" is a:b.
        let mut written = File::create_new(&file).unwrap();
        written.write_all(
            br#"{"auths":{"example.com":{"auth":"dTpw"},"example.com/team":{"auth":"YTpi"},"https://index.docker.io/v1/":{"auth":"dTpw"}}}"#,
        )
        .unwrap();
        let files = CredentialFiles(vec![dir.path().join("none.json"), file]);
        let user = |domain, path| match files.find(domain, path).unwrap() {
            Some(Credential::Basic { user, .. }) => Some(user),
            _ => None,
        };
        assert_eq!(user("example.com", "team/app").as_deref(), Some("a"));
        assert_eq!(user("example.com", "other").as_deref(), Some("u"));
        assert_eq!(user("docker.io", "library/nginx").as_deref(), Some("u"));
        assert_eq!(user("quay.io", "x"), None);
    }
}
