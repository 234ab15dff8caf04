//! Ports and addresses of `podrun port-forward` as they are typed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cli::failure::Failure;

/// `[LOCAL:]REMOTE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The machine's port; 0 for any that is free, nothing for the same as the other.
    pub(super) local: Option<u16>,
    pub(super) remote: Remote,
}

/// A port of a pod or Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remote {
    /// Never 0.
    Number(u16),
    Name(String),
}

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => write!(f, "`{}`", name.escape_debug()),
        }
    }
}

/// # Errors
/// A usage error.
pub(super) fn wanted(text: &str) -> Result<Wanted, Failure> {
    let bad = || {
        Failure::with_code(2, format!("`{}` is not a port", text.escape_debug()))
            .hinted("write REMOTE, LOCAL:REMOTE, or :REMOTE for any local port that is free")
    };
    let (local, remote) = match text.split_once(':') {
        None => (None, text),
        Some(("", remote)) => (Some(0), remote),
        Some((local, remote)) => (Some(number(local).ok_or_else(bad)?), remote),
    };
    let remote = match number(remote) {
        Some(0) => return Err(bad()),
        Some(number) => Remote::Number(number),
        // What has no letter was meant to be a number (IANA_SVC_NAME of Kubernetes' validation).
        None if is_port_name(remote) => Remote::Name(remote.to_owned()),
        None => return Err(bad()),
    };
    Ok(Wanted { local, remote })
}

/// Digits only: `parse` would take a sign as well.
fn number(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn is_port_name(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    /// A machine without it is no reason to refuse.
    pub(super) is_optional: bool,
}

/// The addresses of `--address`, each once.
///
/// # Errors
/// A usage error.
pub(super) fn addresses(words: &[String]) -> Result<Vec<Address>, Failure> {
    let mut all: Vec<Address> = Vec::new();
    for word in words {
        let named = match word.trim() {
            // Whatever the machine's resolver says of it.
            "localhost" => vec![
                (IpAddr::V4(Ipv4Addr::LOCALHOST), false),
                (IpAddr::V6(Ipv6Addr::LOCALHOST), true),
            ],
            word => vec![(word.parse().map_err(|_| no_address(word))?, false)],
        };
        for (ip, is_optional) in named {
            match all.iter_mut().find(|known| known.ip == ip) {
                Some(known) => known.is_optional &= is_optional,
                None => all.push(Address { ip, is_optional }),
            }
        }
    }
    Ok(all)
}

fn no_address(word: &str) -> Failure {
    Failure::with_code(
        2,
        format!("--address: `{}` is not an address", word.escape_debug()),
    )
    .hinted("write addresses of this machine or `localhost`, separated by commas")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_number_or_two_or_a_name() {
        let named = |name: &str| Remote::Name(name.to_owned());
        for (text, local, remote) in [
            ("80", None, Remote::Number(80)),
            ("8080:80", Some(8080), Remote::Number(80)),
            (":80", Some(0), Remote::Number(80)),
            ("0:80", Some(0), Remote::Number(80)),
            ("http", None, named("http")),
            ("8080:web-1", Some(8080), named("web-1")),
        ] {
            assert_eq!(wanted(text), Ok(Wanted { local, remote }), "{text}");
        }
        for bad in [
            "", ":", "80:", "0", "8080:0", "65536", "1:2:3", "a:80", "+80", "-80:80", "ht tp", "--",
        ] {
            assert_eq!(wanted(bad).unwrap_err().code, 2, "{bad}");
        }
    }

    #[test]
    fn localhost_is_both_loopback_addresses_and_each_address_counts_once() {
        let words = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
        let v4 = Address {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            is_optional: false,
        };
        let v6 = |is_optional| Address {
            ip: IpAddr::V6(Ipv6Addr::LOCALHOST),
            is_optional,
        };
        assert_eq!(addresses(&words("localhost")), Ok(vec![v4, v6(true)]));
        assert_eq!(
            addresses(&words("localhost,127.0.0.1, ::1")),
            Ok(vec![v4, v6(false)])
        );
        for bad in ["", "example.com", "127.0.0.1:80", "[::1]", "10.0.0.0/8"] {
            assert_eq!(addresses(&words(bad)).unwrap_err().code, 2, "{bad}");
        }
    }
}
