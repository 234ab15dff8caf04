//! `containers-registries.conf(5)`: mirrors, other locations, insecure and blocked registries.

use serde::Deserialize;

use super::{ImageError, Reference};

/// The registry of docker.io.
const DOCKER_HOST: &str = "registry-1.docker.io";

/// Where a repository is fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port.
    pub host: String,
    /// The repository there.
    pub repository: String,
    /// Plain HTTP, or HTTPS without verification, is allowed.
    pub insecure: bool,
}

/// The configuration that counts.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Registries {
    #[serde(default, rename = "registry")]
    registries: Vec<Registry>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Registry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default, rename = "mirror")]
    mirrors: Vec<Mirror>,
}

#[derive(Debug, Clone, Deserialize)]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
}

impl Endpoint {
    fn new(domain: &str, repository: &str, insecure: bool) -> Self {
        Self {
            // docker.io is a name; the registry behind it has another.
            host: match domain {
                "docker.io" => DOCKER_HOST.to_owned(),
                domain => domain.to_owned(),
            },
            repository: repository.to_owned(),
            insecure,
        }
    }

    /// Whose credentials it is asked with: a mirror's own, and never those of what it mirrors.
    pub(super) fn account(&self) -> (&str, &str) {
        let domain = match self.host.as_str() {
            DOCKER_HOST => "docker.io",
            host => host,
        };
        (domain, &self.repository)
    }
}

impl Registries {
    /// Parses version 2 of the format; keys that are not used are passed over.
    ///
    /// # Errors
    /// What is wrong, with the file's name.
    pub fn parse(path: &std::path::Path, text: &str) -> Result<Self, ImageError> {
        toml::from_str(text).map_err(|error| ImageError::Config {
            path: path.to_owned(),
            why: error.message().to_owned(),
        })
    }

    /// Where an image is looked for, in order: the mirrors, then the registry itself.
    ///
    /// # Errors
    /// A registry that is blocked.
    pub fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, ImageError> {
        let name = reference.repository();
        let own = |insecure| Endpoint::new(reference.domain(), reference.path(), insecure);
        let fitting = self
            .registries
            .iter()
            .filter_map(|registry| {
                let prefix = if registry.prefix.is_empty() {
                    &registry.location
                } else {
                    &registry.prefix
                };
                Some((matches(prefix, &name)?, registry))
            })
            .max_by_key(|(length, _)| *length);
        let Some((length, registry)) = fitting else {
            return Ok(vec![own(false)]);
        };
        if registry.blocked {
            return Err(ImageError::Registry {
                object: name,
                why: "registries.conf blocks it".to_owned(),
                hint: None,
            });
        }
        let rest = name.get(length..).unwrap_or_default();
        let at = |location: &str, insecure: bool| -> Option<Endpoint> {
            let full = format!("{location}{rest}");
            let (host, repository) = full.split_once('/')?;
            Some(Endpoint::new(host, repository, insecure))
        };
        let mut endpoints: Vec<Endpoint> = registry
            .mirrors
            .iter()
            .filter_map(|mirror| at(&mirror.location, mirror.insecure))
            .collect();
        if registry.location.is_empty() {
            endpoints.push(own(registry.insecure));
        } else {
            endpoints.extend(at(&registry.location, registry.insecure));
        }
        Ok(endpoints)
    }
}

/// How much of a name a prefix takes: whole components, or `*.example.com`.
fn matches(prefix: &str, name: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix("*.") {
        let host = name.split('/').next()?;
        return host
            .strip_suffix(domain)?
            .ends_with('.')
            .then_some(host.len());
    }
    let rest = name.strip_prefix(prefix)?;
    (!prefix.is_empty() && (rest.is_empty() || rest.starts_with('/'))).then_some(prefix.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn endpoints(text: &str, image: &str) -> Vec<String> {
        let registries = Registries::parse(Path::new("registries.conf"), text).unwrap();
        registries
            .endpoints(&Reference::parse(image).unwrap())
            .unwrap()
            .into_iter()
            .map(|e| {
                format!(
                    "{}/{}{}",
                    e.host,
                    e.repository,
                    if e.insecure { " insecure" } else { "" }
                )
            })
            .collect()
    }

    #[test]
    fn mirrors_come_before_the_registry() {
        let text = "unqualified-search-registries = [\"docker.io\"]\n[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:5000\"\ninsecure = true\n";
        assert_eq!(
            endpoints(text, "nginx"),
            [
                "127.0.0.1:5000/library/nginx insecure",
                "registry-1.docker.io/library/nginx"
            ]
        );
        assert_eq!(endpoints(text, "quay.io/a/b"), ["quay.io/a/b"]);
    }

    #[test]
    fn the_longest_prefix_counts_and_moves_the_rest() {
        let text = "[[registry]]\nprefix = \"example.com/a\"\nlocation = \"other.net/x\"\n[[registry]]\nprefix = \"example.com\"\nblocked = true\n[[registry]]\nprefix = \"*.wild.org\"\ninsecure = true\nlocation = \"\"\n";
        assert_eq!(endpoints(text, "example.com/a/b"), ["other.net/x/b"]);
        assert_eq!(endpoints(text, "r.wild.org/i"), ["r.wild.org/i insecure"]);
        let registries = Registries::parse(Path::new("r"), text).unwrap();
        assert!(
            registries
                .endpoints(&Reference::parse("example.com/c").unwrap())
                .is_err()
        );
    }
}
