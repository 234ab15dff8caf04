//! Label selectors: equality and sets (`k8s.io/apimachinery/pkg/labels`).

use std::collections::BTreeMap;

use crate::cli::failure::Failure;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Equals(String, String),
    Differs(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// All requirements of `-l`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector(Vec<Requirement>);

impl Selector {
    /// Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    ///
    /// # Errors
    /// A usage error that names the part.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let requirements = split(text)
            .into_iter()
            .map(|part| {
                requirement(part.trim()).ok_or_else(|| {
                    Failure::with_code(
                        2,
                        format!("`{}` is not a label selector", part.escape_debug()),
                    )
                    .hinted("write `app=web`, `app!=web`, `app in (a,b)`, `app` or `!app`")
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self(requirements))
    }

    /// Whether these labels fit.
    pub(crate) fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::Equals(key, value) => labels.get(key) == Some(value),
            Requirement::Differs(key, value) => labels.get(key) != Some(value),
            Requirement::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
        })
    }
}

/// At commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut depth = 0_u32;
    let mut start = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at.saturating_add(1);
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

fn requirement(part: &str) -> Option<Requirement> {
    let key = |text: &str| {
        let text = text.trim();
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        (!text.is_empty() && text.chars().all(fits)).then(|| text.to_owned())
    };
    let value = |text: &str| {
        let text = text.trim();
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        text.chars().all(fits).then(|| text.to_owned())
    };
    let set = |text: &str| -> Option<Vec<String>> {
        text.trim()
            .strip_prefix('(')?
            .strip_suffix(')')?
            .split(',')
            .map(value)
            .collect()
    };
    if let Some((left, right)) = part.split_once(" notin ") {
        return Some(Requirement::NotIn(key(left)?, set(right)?));
    }
    if let Some((left, right)) = part.split_once(" in ") {
        return Some(Requirement::In(key(left)?, set(right)?));
    }
    if let Some((left, right)) = part.split_once("!=") {
        return Some(Requirement::Differs(key(left)?, value(right)?));
    }
    if let Some((left, right)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::Equals(key(left)?, value(right)?));
    }
    if let Some(absent) = part.strip_prefix('!') {
        return Some(Requirement::Absent(key(absent)?));
    }
    Some(Requirement::Exists(key(part)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_compare_labels_as_kubectl_does() {
        let labels = BTreeMap::from([
            ("app".to_owned(), "web".to_owned()),
            ("t".to_owned(), "1".to_owned()),
        ]);
        for (text, fits) in [
            ("app=web", true),
            ("app==web,t=1", true),
            ("app!=web", false),
            ("x!=y", true),
            ("app in (db,web)", true),
            ("app notin (db, web)", false),
            ("app", true),
            ("!app", false),
            ("!x,app", true),
        ] {
            assert_eq!(
                Selector::parse(Some(text)).unwrap().fits(&labels),
                fits,
                "{text}"
            );
        }
        for text in ["", "a=b c", "a in b", "=x", "a b"] {
            assert!(Selector::parse(Some(text)).is_err(), "{text}");
        }
    }
}
