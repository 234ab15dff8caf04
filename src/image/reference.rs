//! Image references: `[domain/]path[:tag][@digest]`, with docker.io's defaults.

use std::fmt;
use std::str::FromStr;

use super::{Digest, ImageError, escape};

/// The registry of short names.
const DOCKER_DOMAIN: &str = "docker.io";
/// The domain no registry can have.
const RESERVED_DOMAIN: &str = "podrun.local";

/// A parsed reference. `Display` is canonical: domain, path, and tag or digest are all there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses what a user wrote; `latest` when there is neither tag nor digest.
    ///
    /// # Errors
    /// [`ImageError::Reference`] with the broken rule.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        text.parse()
    }

    /// The registry's host and port, or `docker.io`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `domain/path`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository by digest alone.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            domain: self.domain.clone(),
            path: self.path.clone(),
            tag: None,
            digest: Some(digest),
        }
    }

    /// `podrun.local/host`, the machine's own root file system.
    pub fn is_host(&self) -> bool {
        self.domain == RESERVED_DOMAIN && self.path == "host"
    }

    /// Any name below `podrun.local/`: never pulled, never given to an image.
    pub fn is_reserved(&self) -> bool {
        self.domain == RESERVED_DOMAIN
    }

    /// What the store files it under: a digest says more than a tag beside it.
    pub(super) fn key(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("{}@{digest}", self.repository()),
            (None, Some(tag)) => format!("{}:{tag}", self.repository()),
            (None, None) => self.repository(),
        }
    }

    /// As people write it: `nginx`, `nginx:1.27`, `quay.io/a/b:c`.
    pub fn familiar(&self) -> String {
        let name = if self.domain == DOCKER_DOMAIN {
            self.path
                .strip_prefix("library/")
                .unwrap_or(&self.path)
                .to_owned()
        } else {
            self.repository()
        };
        let mut text = name;
        if let Some(tag) = &self.tag
            && (tag != "latest" || self.digest.is_some())
        {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let refuse = |why: &str, hint: Option<String>| ImageError::Reference {
            text: escape(text),
            why: why.to_owned(),
            hint,
        };
        if text.is_empty() {
            return Err(refuse("an image reference must not be empty", None));
        }
        if text.trim() != text {
            return Err(refuse("must not begin or end with white space", None));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(refuse(
                &format!("must not have a scheme such as `{}://`", escape(scheme)),
                Some(format!("write `{}`", escape(rest))),
            ));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(
                    digest
                        .parse::<Digest>()
                        .map_err(|why| refuse(&format!("its digest {why}"), None))?,
                ),
            ),
            None => (text, None),
        };
        // A colon after the last slash starts the tag; an earlier one belongs to the port.
        let last = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest.get(last..).and_then(|end| end.find(':')) {
            Some(at) => (
                rest.get(..last + at).unwrap_or_default(),
                rest.get(last + at + 1..),
            ),
            None => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(refuse(
                "a tag is up to 128 letters, digits, `_`, `.` and `-`, and begins with a letter, a digit or `_`",
                None,
            ));
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, path)) if looks_like_domain(first) => (first, path.to_owned()),
            Some(_) => (DOCKER_DOMAIN, name.to_owned()),
            None => (DOCKER_DOMAIN, format!("library/{name}")),
        };
        let (domain, path) = match domain {
            "index.docker.io" | "registry-1.docker.io" | DOCKER_DOMAIN if !path.contains('/') => {
                (DOCKER_DOMAIN, format!("library/{path}"))
            }
            "index.docker.io" | "registry-1.docker.io" => (DOCKER_DOMAIN, path),
            other => (other, path),
        };
        if !is_domain(domain) {
            return Err(refuse(
                &format!("`{}` is not a registry's host name", escape(domain)),
                None,
            ));
        }
        if path.len() + domain.len() > 255 {
            return Err(refuse("the name must be at most 255 characters", None));
        }
        if !path.split('/').all(is_path_component) {
            let lowered = text.to_ascii_lowercase();
            let hint = (lowered != text && lowered.parse::<Self>().is_ok())
                .then(|| format!("`{lowered}` would be accepted"));
            return Err(refuse(
                "a repository is lower-case letters and digits, separated by `.`, `_`, `__`, `-` or `/`",
                hint,
            ));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some("latest".to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Self {
            domain: domain.to_owned(),
            path,
            tag,
            digest,
        })
    }
}

/// Docker's rule: the first component is a domain when it has a dot or a port, is `localhost`,
/// or has a capital letter (no path component may).
fn looks_like_domain(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = if let Some(rest) = domain.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else {
            return false;
        };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match after.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if after.is_empty() => (None, None),
            None => return false,
        }
    } else {
        match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        }
    };
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let port_is_fine = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)
    });
    port_is_fine && host.is_none_or(|host| host.split('.').all(label))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Runs of letters and digits, separated by `.`, `_`, `__` or any number of `-`.
fn is_path_component(part: &str) -> bool {
    let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().is_some_and(word) || !bytes.last().is_some_and(word) {
        return false;
    }
    bytes.split(word).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn short_names_get_docker_defaults() {
        let with_digest = format!("nginx@{DIGEST}");
        let with_both = format!("nginx:1@{DIGEST}");
        for (text, canonical, familiar) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
            ("a/b", "docker.io/a/b:latest", "a/b"),
            ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx"),
            ("index.docker.io/a/b:c", "docker.io/a/b:c", "a/b:c"),
            ("quay.io/a/b:c", "quay.io/a/b:c", "quay.io/a/b:c"),
            ("localhost/x", "localhost/x:latest", "localhost/x"),
            (
                "localhost:5000/x:y",
                "localhost:5000/x:y",
                "localhost:5000/x:y",
            ),
            (
                "127.0.0.1:5000/x",
                "127.0.0.1:5000/x:latest",
                "127.0.0.1:5000/x",
            ),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x"),
            (
                "a__b/c--d.e_f",
                "docker.io/a__b/c--d.e_f:latest",
                "a__b/c--d.e_f",
            ),
            (
                &with_digest,
                &format!("docker.io/library/nginx@{DIGEST}"),
                &with_digest,
            ),
            (
                &with_both,
                &format!("docker.io/library/nginx:1@{DIGEST}"),
                &with_both,
            ),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), canonical);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(Reference::parse(canonical).unwrap(), reference);
        }
    }

    #[test]
    fn malformed_references_are_refused() {
        let long = "a".repeat(300);
        for bad in [
            "",
            " nginx",
            "nginx ",
            "https://nginx",
            "Nginx",
            "a//b",
            "/a",
            "a/",
            "a/../b",
            "nginx:",
            "nginx:-x",
            "nginx:a b",
            "nginx@sha256:../../x",
            "nginx@md5:00",
            "quay.io",
            "a___b",
            "a..b",
            "x.y:99999/z",
            "x.y:0/z",
            "-x.y/z",
            "a\nb",
            "nginx:latest:latest",
            "[::1/x",
            "é",
            long.as_str(),
        ] {
            // A bare domain is a fine docker.io name in Docker's grammar.
            if bad == "quay.io" {
                assert!(Reference::parse(bad).is_ok());
                continue;
            }
            assert!(Reference::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_capital_letter_is_refused_with_the_lower_case_spelling() {
        let refused = Reference::parse("MyApp:v1").unwrap_err();
        assert_eq!(
            refused.hint().as_deref(),
            Some("`myapp:v1` would be accepted")
        );
    }

    #[test]
    fn the_host_image_is_reserved_with_its_whole_domain() {
        assert!(Reference::parse("podrun.local/host").unwrap().is_host());
        assert!(Reference::parse("podrun.local/host:x").unwrap().is_host());
        let other = Reference::parse("podrun.local/other").unwrap();
        assert!(other.is_reserved() && !other.is_host());
        assert!(!Reference::parse("host").unwrap().is_reserved());
    }
}
