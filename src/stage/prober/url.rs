//! The URLs of probes: made from a manifest's fields, and from the redirects of servers.

use std::fmt;

use super::connection::join_host_port;

/// An absolute `http` or `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    /// Whether it is `https`.
    pub(super) tls: bool,
    /// An address or a name, without brackets.
    pub(super) host: String,
    /// None where it is the scheme's own and not written.
    pub(super) port: Option<u16>,
    /// Path and query, escaped, with a leading slash.
    pub(super) target: String,
}

impl Url {
    /// As `formatURL` of pkg/probe/http: the path is one with a query, and a path as it is where it
    /// cannot be read as that.
    pub(super) fn new(tls: bool, host: &str, port: u16, path: &str) -> Self {
        let readable = has_only_whole_escapes(path) && !path.chars().any(char::is_control);
        let target = if readable {
            escaped(path.split('#').next().unwrap_or_default(), b"%?")
        } else {
            escaped(path, b"")
        };
        Self {
            tls,
            host: host.to_owned(),
            port: Some(port),
            target: with_slash(target),
        }
    }

    /// Host and port as they are written.
    pub(super) fn authority(&self) -> String {
        match self.port {
            Some(port) => join_host_port(&self.host, port),
            None if self.host.contains(':') => format!("[{}]", self.host),
            None => self.host.clone(),
        }
    }

    /// Where a `Location` leads (RFC 3986, 5.2). User names and fragments are dropped.
    pub(super) fn join(&self, location: &str) -> Result<Self, String> {
        let location = location.split('#').next().unwrap_or_default();
        let (tls, rest) = match location.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => {
                let tls = match scheme.to_ascii_lowercase().as_str() {
                    "http" => false,
                    "https" => true,
                    other => return Err(format!("unsupported protocol scheme {other:?}")),
                };
                (tls, rest)
            }
            _ => match location.strip_prefix("//") {
                Some(rest) => (self.tls, rest),
                None => {
                    return Ok(Self {
                        target: self.join_path(location),
                        ..self.clone()
                    });
                }
            },
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let (host, port) = split_authority(authority).ok_or("failed to parse Location header")?;
        Ok(Self {
            tls,
            host,
            port,
            target: without_dots(&with_slash(escaped(path, b"%?"))),
        })
    }

    fn join_path(&self, reference: &str) -> String {
        let reference = escaped(reference, b"%?");
        let path = self.target.split('?').next().unwrap_or_default();
        if reference.is_empty() {
            return self.target.clone();
        }
        let joined = match reference.as_bytes().first() {
            Some(b'/') => reference,
            Some(b'?') => format!("{path}{reference}"),
            _ => {
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{reference}")
            }
        };
        without_dots(&joined)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target)
    }
}

/// Whether a reference names its scheme and so its host.
pub(super) fn is_absolute(reference: &str) -> bool {
    reference
        .split_once("://")
        .is_some_and(|(scheme, _)| is_scheme(scheme))
}

/// Whether it is a scheme by its letters (RFC 3986, 3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn split_authority(authority: &str) -> Option<(String, Option<u16>)> {
    let place = authority.rsplit('@').next()?;
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        (host, port.strip_prefix(':').unwrap_or(port))
    } else {
        place.split_once(':').unwrap_or((place, ""))
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if host.is_empty() || !host.chars().all(is_host) {
        return None;
    }
    let port = if port.is_empty() {
        None
    } else {
        Some(port.parse().ok()?)
    };
    Some((host.to_owned(), port))
}

fn with_slash(target: String) -> String {
    if target.starts_with('/') {
        target
    } else {
        format!("/{target}")
    }
}

/// Whether each `%` has its two digits.
fn has_only_whole_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2).unwrap_or_default();
        digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit)
    })
}

/// Escapes what a path does not have (RFC 3986, 3.3), and some other bytes not.
fn escaped(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || b"-._~!$&'()*+,;=:@/".contains(&byte)
            || kept.contains(&byte)
        {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for half in [byte >> 4, byte & 0x0f] {
                let digit = char::from_digit(half.into(), 16).unwrap_or('0');
                out.push(digit.to_ascii_uppercase());
            }
        }
    }
    out
}

/// Resolves `.` and `..` in a path (RFC 3986, 5.2.4); the query stays.
fn without_dots(target: &str) -> String {
    let (path, query) = match target.find('?') {
        Some(at) => target.split_at(at),
        None => (target, ""),
    };
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let ends_in_folder = path.ends_with("/.") || path.ends_with("/..");
    if ends_in_folder {
        kept.push("");
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(path: &str) -> String {
        Url::new(false, "10.0.0.5", 8080, path).to_string()
    }

    #[test]
    fn a_path_is_escaped_as_the_kubelet_does_it() {
        assert_eq!(url("/a/b?c=d&e#f"), "http://10.0.0.5:8080/a/b?c=d&e");
        assert_eq!(
            url("/a b/%20\u{e9}"),
            "http://10.0.0.5:8080/a%20b/%20%C3%A9"
        );
        assert_eq!(url("/100%?x"), "http://10.0.0.5:8080/100%25%3Fx");
        assert_eq!(url("healthz"), "http://10.0.0.5:8080/healthz");
        assert_eq!(
            url("/a\r\nHost: b"),
            "http://10.0.0.5:8080/a%0D%0AHost:%20b"
        );
        assert_eq!(
            Url::new(true, "fd00::1", 443, "/").to_string(),
            "https://[fd00::1]:443/"
        );
    }

    #[test]
    fn redirects_lead_where_the_standard_says() {
        let base = Url::new(false, "10.0.0.5", 8080, "/a/b?q=1");
        let join = |location: &str| base.join(location).map(|url| url.to_string());
        for (location, expected) in [
            ("/x", "http://10.0.0.5:8080/x"),
            ("x", "http://10.0.0.5:8080/a/x"),
            ("?y=2", "http://10.0.0.5:8080/a/b?y=2"),
            ("../../../x/./y/..", "http://10.0.0.5:8080/x/"),
            ("//10.0.0.6/x", "http://10.0.0.6/x"),
            ("https://10.0.0.5", "https://10.0.0.5/"),
            ("HTTP://u:p@[::1]:81?x#y", "http://[::1]:81/?x"),
            ("/x\r\ny", "http://10.0.0.5:8080/x%0D%0Ay"),
            (
                "x?to=http://other/",
                "http://10.0.0.5:8080/a/x?to=http://other/",
            ),
        ] {
            assert_eq!(join(location).as_deref(), Ok(expected), "{location}");
        }
        assert_eq!(
            join("ftp://10.0.0.5/").unwrap_err(),
            "unsupported protocol scheme \"ftp\""
        );
        for location in ["http://", "http://a:99999/", "http://a b/", "http://[::1/"] {
            assert!(join(location).is_err(), "{location}");
        }
    }
}
