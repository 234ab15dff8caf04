//! Credentials in Secrets (`imagePullSecrets`): Docker's configuration without what runs programs.
//!
//! A manifest may come from anywhere, so a `credHelpers` or `credsStore` of a Secret is not read:
//! it names a program of the machine's.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::auth::Credential;

/// The type of Secret that has a whole configuration, and the key it is under.
pub const DOCKER_CONFIG_JSON: (&str, &str) =
    ("kubernetes.io/dockerconfigjson", ".dockerconfigjson");

/// The type of Secret that has what is in `auths` alone.
pub const DOCKER_CONFIG: (&str, &str) = ("kubernetes.io/dockercfg", ".dockercfg");

/// The credentials of one Secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PullSecret(Vec<Entry>);

impl std::fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PullSecret({})", self.0.len())
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    /// As it is written, `*` standing for anything between two dots.
    host: String,
    /// The beginning of the repository's path; empty for all.
    path: String,
    credential: Credential,
}

impl PullSecret {
    /// Reads the content of a Secret of type [`DOCKER_CONFIG_JSON`].
    ///
    /// # Errors
    /// What is wrong, with the place and without the content.
    pub fn of_config_json(bytes: &[u8]) -> Result<Self, String> {
        let Value::Object(config) = json(bytes)? else {
            return Err("is not a JSON object".to_owned());
        };
        match config.get("auths") {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(Value::Object(auths)) => Self::of_entries(auths, "auths"),
            Some(_) => Err("`auths` is not an object".to_owned()),
        }
    }

    /// Reads the content of a Secret of type [`DOCKER_CONFIG`].
    ///
    /// # Errors
    /// As [`Self::of_config_json`].
    pub fn of_config(bytes: &[u8]) -> Result<Self, String> {
        match json(bytes)? {
            Value::Object(auths) => Self::of_entries(&auths, "it"),
            _ => Err("is not a JSON object".to_owned()),
        }
    }

    fn of_entries(auths: &Map<String, Value>, whole: &str) -> Result<Self, String> {
        let mut entries = Vec::new();
        for (index, (name, entry)) in auths.iter().enumerate() {
            let place = || format!("entry {} of {whole}", index.saturating_add(1));
            let Value::Object(entry) = entry else {
                return Err(format!("{} is not an object", place()));
            };
            let text = |field: &str| match entry.get(field) {
                None | Some(Value::Null) => Ok(""),
                Some(Value::String(text)) => Ok(text.as_str()),
                Some(_) => Err(format!("`{field}` in {} is not a string", place())),
            };
            let (user, password, auth) = (text("username")?, text("password")?, text("auth")?);
            let (user, password) = if auth.is_empty() {
                (user.to_owned(), password.to_owned())
            } else {
                decode(auth).ok_or_else(|| {
                    format!("`auth` in {} is not base64 of `user:password`", place())
                })?
            };
            if user.is_empty() && password.is_empty() {
                continue;
            }
            let (host, path) = host_and_path(name);
            entries.push(Entry {
                host,
                path,
                credential: Credential::Basic { user, password },
            });
        }
        Ok(Self(entries))
    }
}

/// What the Secrets have for a repository, the longest names first, as the kubelet tries them
/// (`keyring.go`).
pub(super) fn credentials_of(secrets: &[PullSecret], domain: &str, path: &str) -> Vec<Credential> {
    let entries = secrets.iter().flat_map(|secret| &secret.0);
    let mut found: Vec<&Entry> = entries
        .filter(|entry| matches_host(&entry.host, domain) && is_beneath(&entry.path, path))
        .collect();
    // Stable: of equals the Secret that is named first comes first.
    found.sort_by_key(|entry| {
        let length = entry.host.len().saturating_add(entry.path.len());
        std::cmp::Reverse(length)
    });
    found
        .into_iter()
        .map(|entry| entry.credential.clone())
        .collect()
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    // Its own words would quote the content.
    serde_json::from_slice(bytes).map_err(|error| {
        format!(
            "is not JSON: line {}, column {}",
            error.line(),
            error.column()
        )
    })
}

/// With padding or without, as Go takes both.
fn decode(auth: &str) -> Option<(String, String)> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&STANDARD, config).decode(auth).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    // Docker pads the password with NUL.
    let password = password.trim_matches('\0');
    Some((user.to_owned(), password.to_owned()))
}

/// The host and the path of a name: `https://example.com/v1/`, `example.com/team`.
fn host_and_path(name: &str) -> (String, String) {
    let name = name
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    let path = path.trim_end_matches('/');
    let path = match path.split_once('/') {
        Some(("v1" | "v2", rest)) => rest,
        None if matches!(path, "v1" | "v2") => "",
        _ => path,
    };
    // What `docker login` writes for Docker Hub.
    let host = if host == "index.docker.io" {
        "docker.io"
    } else {
        host
    };
    (host.to_owned(), path.to_owned())
}

fn is_beneath(prefix: &str, path: &str) -> bool {
    prefix.is_empty()
        || path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn matches_host(pattern: &str, host: &str) -> bool {
    let split = |text: &str| match text.rsplit_once(':') {
        Some((name, port)) => (name.to_owned(), port.to_owned()),
        None => (text.to_owned(), String::new()),
    };
    let ((pattern, wanted_port), (host, port)) = (split(pattern), split(host));
    let (patterns, parts) = (pattern.split('.'), host.split('.'));
    wanted_port == port
        && patterns.clone().count() == parts.clone().count()
        && patterns
            .zip(parts)
            .all(|(pattern, part)| matches_part(pattern, part))
}

/// `*` stands for anything.
fn matches_part(pattern: &str, part: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else {
        return pattern == part;
    };
    let Some(mut left) = part.strip_prefix(begin) else {
        return false;
    };
    let mut pieces = rest.split('*').collect::<Vec<_>>();
    let end = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match left.split_once(piece) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(config: &str, domain: &str, path: &str) -> Vec<String> {
        let secret = PullSecret::of_config_json(config.as_bytes()).unwrap();
        credentials_of(&[secret], domain, path)
            .into_iter()
            .map(|credential| match credential {
                Credential::Basic { user, password } => format!("{user}:{password}"),
                Credential::IdentityToken(_) => "token".to_owned(),
            })
            .collect()
    }

    #[test]
    fn the_longest_name_that_is_a_beginning_comes_first() {
        // "dTpw" is u:p, "YTpiOmM" is a:b:c without its padding.
        let config = r#"{"auths": {
            "example.com": {"auth": "dTpw"},
            "example.com/team": {"auth": "YTpiOmM"},
            "https://index.docker.io/v1/": {"username": "hub", "password": "x"},
            "*.cloud.test": {"auth": "dTpw"},
            "a*c.other.test:5000/v2/deep": {"auth": "dTpw"},
            "empty.test": {}
        }}"#;
        for (domain, path, expected) in [
            ("example.com", "team/app", &["a:b:c", "u:p"][..]),
            ("example.com", "team", &["a:b:c", "u:p"]),
            ("example.com", "teamwork/app", &["u:p"]),
            ("example.com:443", "app", &[]),
            ("docker.io", "library/nginx", &["hub:x"]),
            ("eu.cloud.test", "app", &["u:p"]),
            ("a.eu.cloud.test", "app", &[]),
            ("abc.other.test:5000", "deep/app", &["u:p"]),
            ("abd.other.test:5000", "deep/app", &[]),
            ("abc.other.test:5000", "app", &[]),
            ("empty.test", "app", &[]),
        ] {
            assert_eq!(users(config, domain, path), expected, "{domain}/{path}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_content() {
        for (config, expected) in [
            ("{\"auths\":\n sesame", "is not JSON: line 2, column 2"),
            ("[1]", "is not a JSON object"),
            ("{\"auths\": 1}", "`auths` is not an object"),
            (
                "{\"auths\": {\"h\": \"sesame\"}}",
                "entry 1 of auths is not an object",
            ),
            (
                "{\"auths\": {\"h\": {}, \"i\": {\"auth\": \"sesame!\"}}}",
                "`auth` in entry 2 of auths is not base64 of `user:password`",
            ),
            (
                "{\"auths\": {\"h\": {\"password\": 5}}}",
                "`password` in entry 1 of auths is not a string",
            ),
        ] {
            let error = PullSecret::of_config_json(config.as_bytes()).unwrap_err();
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn no_program_of_a_secret_is_run() {
        let config = r#"{"credsStore": "evil", "credHelpers": {"example.com": "evil"}}"#;
        assert!(users(config, "example.com", "app").is_empty());
    }

    #[test]
    fn the_old_form_has_the_entries_alone() {
        let secret = PullSecret::of_config(br#"{"example.com": {"auth": "dTpw"}}"#).unwrap();
        assert_eq!(
            credentials_of(std::slice::from_ref(&secret), "example.com", "a").len(),
            1
        );
        assert_eq!(format!("{secret:?}"), "PullSecret(1)");
    }
}
