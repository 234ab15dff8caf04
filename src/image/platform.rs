//! Platforms: which manifest of an index fits the machine.

use serde::{Deserialize, Serialize};

/// `os/architecture[/variant]` in the image specification's (Go's) words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`, `arm64` …
    pub architecture: String,
    /// `v8`, `v7` …; empty when it does not matter.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// The machine this binary was built for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", "v8"),
            "x86" => ("386", ""),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            same => (same, ""),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// How well `offered` fits: `None` does not run here, a larger number is better.
    pub fn fit(&self, offered: &Self) -> Option<u32> {
        if offered.os != self.os || offered.architecture != self.architecture {
            return None;
        }
        let level = |variant: &str| {
            variant
                .strip_prefix('v')
                .and_then(|n| n.parse::<u32>().ok())
        };
        match (level(&self.variant), level(&offered.variant)) {
            _ if offered.variant == self.variant => Some(1000),
            (_, None) => Some(500),
            // A newer core runs code for an older one; amd64 without a level is level 1.
            (Some(ours), Some(theirs)) => (theirs <= ours).then_some(theirs),
            (None, Some(_)) => None,
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(architecture: &str, variant: &str) -> Platform {
        Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    #[test]
    fn a_machine_takes_its_own_architecture_and_older_variants_only() {
        let v7 = platform("arm", "v7");
        assert!(v7.fit(&platform("arm", "v6")) < v7.fit(&platform("arm", "v7")));
        assert!(v7.fit(&platform("arm", "v6")).is_some());
        assert_eq!(v7.fit(&platform("arm", "v8")), None);
        assert_eq!(v7.fit(&platform("arm64", "")), None);
        let amd64 = platform("amd64", "");
        assert!(amd64.fit(&platform("amd64", "")).is_some());
        assert_eq!(amd64.fit(&platform("amd64", "v3")), None);
    }
}
