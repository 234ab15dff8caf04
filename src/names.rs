//! Checked newtypes for the names that become paths, labels and host names.
//!
//! A value of one of these types has passed its Kubernetes rule, so it contains neither `/` nor
//! `..` nor control characters and may be used as one component of a path.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a name was refused; worded to follow "metadata.name: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    /// The rule that was broken, in Kubernetes' words.
    pub rule: String,
    /// What would be accepted instead, when that is easy to say.
    pub hint: Option<String>,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rule)
    }
}

impl std::error::Error for NameError {}

/// Checks an RFC 1123 label: lower case alphanumerics and `-`, at most 63 bytes.
///
/// # Errors
/// The rule in Kubernetes' words (`k8s.io/apimachinery` `validation.IsDNS1123Label`).
pub fn check_dns_label(text: &str) -> Result<(), NameError> {
    if text.len() > 63 {
        return Err(NameError {
            rule: "must be no more than 63 characters".to_owned(),
            hint: None,
        });
    }
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = |b: Option<u8>| b.is_some_and(|b| inner(b) && b != b'-');
    if edge(text.bytes().next()) && edge(text.bytes().last()) && text.bytes().all(inner) {
        return Ok(());
    }
    let lowered: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if c == '_' || c == '.' || c == ' ' {
                '-'
            } else {
                c
            }
        })
        .collect();
    let hint = (lowered != text && check_dns_label(&lowered).is_ok())
        .then(|| format!("`{lowered}` would be accepted"));
    Err(NameError {
        rule: "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character".to_owned(),
        hint,
    })
}

/// Checks an RFC 1123 subdomain: labels joined by dots, at most 253 bytes.
///
/// # Errors
/// The rule in Kubernetes' words (`validation.IsDNS1123Subdomain`).
pub fn check_dns_subdomain(text: &str) -> Result<(), NameError> {
    if text.len() > 253 {
        return Err(NameError {
            rule: "must be no more than 253 characters".to_owned(),
            hint: None,
        });
    }
    let part_is_fine = |part: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let edge = |b: Option<u8>| b.is_some_and(|b| inner(b) && b != b'-');
        edge(part.bytes().next()) && edge(part.bytes().last()) && part.bytes().all(inner)
    };
    if text.split('.').all(part_is_fine) {
        return Ok(());
    }
    let lowered = text.to_ascii_lowercase().replace(['_', ' '], "-");
    let hint = (lowered != text && lowered.split('.').all(part_is_fine))
        .then(|| format!("`{lowered}` would be accepted"));
    Err(NameError {
        rule: "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character".to_owned(),
        hint,
    })
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes the text when it follows the rule.
            ///
            /// # Errors
            /// The broken rule.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// The checked text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// `metadata.name` of a Pod, `ConfigMap` or Secret: an RFC 1123 subdomain.
    ObjectName,
    check_dns_subdomain
);
name_type!(
    /// `metadata.namespace`: an RFC 1123 label.
    Namespace,
    check_dns_label
);
impl Default for Namespace {
    /// `NamespaceDefault`: where objects go that name none.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

name_type!(
    /// `containers[].name`: an RFC 1123 label.
    ContainerName,
    check_dns_label
);
name_type!(
    /// `volumes[].name`: an RFC 1123 label.
    VolumeName,
    check_dns_label
);
name_type!(
    /// `metadata.uid`: a UUID in lower case; part of the pod's directory name.
    PodUid,
    check_uid
);

fn check_uid(text: &str) -> Result<(), NameError> {
    let shape = [8, 4, 4, 4, 12];
    let mut parts = text.split('-');
    let fits = shape.iter().all(|len| {
        parts.next().is_some_and(|p| {
            p.len() == *len
                && p.bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    });
    if fits && parts.next().is_none() {
        Ok(())
    } else {
        Err(NameError {
            rule: "must be a UUID in lower case".to_owned(),
            hint: None,
        })
    }
}

/// The kinds of objects beside Pods: kept by the store until they are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `v1.ConfigMap`
    ConfigMap,
    /// `v1.Secret`
    Secret,
    /// `v1.PersistentVolumeClaim`
    PersistentVolumeClaim,
    /// `v1.PersistentVolume`
    PersistentVolume,
    /// `v1.Service`
    Service,
    /// `v1.Endpoints`
    Endpoints,
    /// `discovery.k8s.io/v1.EndpointSlice`
    EndpointSlice,
}

impl ObjectKind {
    /// The word in names such as `configmap/web`, and the directory they are kept in.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
            Self::PersistentVolumeClaim => "persistentvolumeclaim",
            Self::PersistentVolume => "persistentvolume",
            Self::Service => "service",
            Self::Endpoints => "endpoints",
            Self::EndpointSlice => "endpointslice",
        }
    }

    /// Whether its objects belong to a namespace.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::PersistentVolume)
    }
}

/// Whether a terminal that is shown the character does something else than showing it: C0, DEL and
/// C1, and what turns the direction of text or ends lines (CVE-2021-25743).
pub fn steers_terminals(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_directory_are_refused() {
        for bad in [
            "", ".", "..", "../x", "a/b", "-rf", "a-", "A", "a_b", "a\nb", "a..b",
        ] {
            assert!(ObjectName::new(bad).is_err(), "{bad:?}");
            assert!(ContainerName::new(bad).is_err(), "{bad:?}");
        }
        assert!(ObjectName::new("a.b-c").is_ok());
        assert!(ContainerName::new("a.b").is_err());
    }

    #[test]
    fn a_refusal_offers_the_nearest_good_name() {
        let refused = ObjectName::new("My_App").unwrap_err();
        assert_eq!(refused.hint.as_deref(), Some("`my-app` would be accepted"));
    }

    #[test]
    fn a_uid_is_a_lower_case_uuid() {
        assert!(PodUid::new("1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed").is_ok());
        assert!(PodUid::new("1B9D6BCD-bbfd-4b2d-9b5d-ab8dfbbd4bed").is_err());
        assert!(PodUid::new("../../../../../../../../../../../etc").is_err());
    }
}
