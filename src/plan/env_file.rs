//! Values of an environment that a file of a volume holds when the container starts
//! (`fileKeyRef`, KEP-3721).
//!
//! Until then a mark stands for each value, wherever the value goes: in the variable itself, in later
//! ones and in the command line that name it with `$(VAR)`.

use serde::{Deserialize, Serialize};

use super::ContainerPlan;
use crate::names::VolumeName;

/// The largest file that is read, in bytes (`maxEnvFileSize` of KEP-3721).
pub const MAX_ENV_FILE: u64 = 64 * 1024;

/// One variable from a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvFile {
    /// The variable's name.
    pub name: String,
    /// An emptyDir of the pod's; the container need not mount it.
    pub volume: VolumeName,
    /// Relative to the volume, without `..`.
    pub path: String,
    /// The name of the value in the file.
    pub key: String,
    /// Whether the container starts without the file or the key.
    pub optional: bool,
    /// What the variable is without it: the value of the same name before it.
    pub otherwise: Option<String>,
}

/// What stands for the value of the `index`th file until the container starts. No text of a manifest
/// and no environment has a NUL byte.
pub(super) fn mark(index: usize) -> String {
    format!("\0{index}\0")
}

/// Whether a text depends on a file.
pub(super) fn is_marked(text: &str) -> bool {
    text.contains('\0')
}

impl ContainerPlan {
    /// The plan with the values that were found, one for each of [`ContainerPlan::env_files`].
    #[must_use]
    pub fn with_values(&self, found: &[Option<String>]) -> Self {
        let mut plan = self.clone();
        let values: Vec<(String, &EnvFile, Option<String>)> = self
            .env_files
            .iter()
            .zip(found)
            .enumerate()
            .map(|(index, (file, found))| {
                let value = found.clone().or_else(|| file.otherwise.clone());
                (mark(index), file, value)
            })
            .collect();
        // A variable without a value is not there; who names it has its name.
        plan.env.retain(|(_, text)| {
            let mut values = values.iter();
            !values.any(|(mark, _, value)| value.is_none() && text == mark)
        });
        let fill = |text: &mut String| {
            if is_marked(text) {
                // From the last: an earlier value that was kept may itself have a mark before it.
                for (mark, file, value) in values.iter().rev() {
                    let name = format!("$({})", file.name);
                    *text = text.replace(mark.as_str(), value.as_deref().unwrap_or(&name));
                }
            }
        };
        plan.env.iter_mut().for_each(|(_, text)| fill(text));
        plan.argv.iter_mut().for_each(fill);
        plan
    }
}

/// The value of a key in a file of lines `KEY='value'`: everything between the quotes is the value,
/// line breaks as well; blank lines and those that begin with `#` are passed over. Nothing when there
/// is no such key; of a key that is there twice, the later value.
///
/// # Errors
/// What is wrong with the file, with its line.
pub fn value_in(text: &str, key: &str) -> Result<Option<String>, String> {
    let mut found = None;
    let mut rest = text;
    let mut line: usize = 1;
    while !rest.is_empty() {
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = first.trim_start();
        if trimmed.trim_end().is_empty() || trimmed.starts_with('#') {
            rest = after;
            line = line.saturating_add(1);
            continue;
        }
        let wrong = |why: &str| Err(format!("line {line}: {why}"));
        let Some((name, _)) = trimmed.split_once('=') else {
            return wrong("expected KEY='value'");
        };
        if name.is_empty() || name.len() > 128 || name.contains(char::is_whitespace) {
            return wrong("a key is 1 to 128 characters without spaces");
        }
        // The quotes may close on a later line.
        let begin = rest.find('=').map_or(rest.len(), |at| at.saturating_add(1));
        let value = rest.get(begin..).unwrap_or_default();
        let Some(value) = value.strip_prefix('\'') else {
            return wrong("a value must be in single quotes");
        };
        let Some((value, tail)) = value.split_once('\'') else {
            return wrong("the quote is not closed");
        };
        let (end, after) = tail.split_once('\n').unwrap_or((tail, ""));
        if !end.trim().is_empty() {
            return wrong("something follows the closing quote");
        }
        if value.contains('\0') {
            return wrong("a value has a NUL byte");
        }
        if name == key {
            found = Some(value.to_owned());
        }
        line = line
            .saturating_add(value.matches('\n').count())
            .saturating_add(1);
        rest = after;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_is_between_single_quotes() {
        let file =
            "# a comment\n\nA='1'\n  B='two $x \"y\" # z'  \nC='three\nlines\n'\nA='again'\nD=''";
        for (key, value) in [
            ("A", Some("again")),
            ("B", Some("two $x \"y\" # z")),
            ("C", Some("three\nlines\n")),
            ("D", Some("")),
            ("E", None),
        ] {
            assert_eq!(value_in(file, key).unwrap().as_deref(), value, "{key}");
        }
    }

    #[test]
    fn everything_else_is_an_error_with_its_line() {
        for (file, error) in [
            ("A=1", "line 1: a value must be in single quotes"),
            ("A='1'\nB=\"2\"", "line 2: a value must be in single quotes"),
            ("A='1\n2'\nB='x", "line 3: the quote is not closed"),
            ("A='1''2'", "line 1: something follows the closing quote"),
            ("A='1' # no", "line 1: something follows the closing quote"),
            (
                "export A='1'",
                "line 1: a key is 1 to 128 characters without spaces",
            ),
            (
                "A ='1'",
                "line 1: a key is 1 to 128 characters without spaces",
            ),
            (
                "='1'",
                "line 1: a key is 1 to 128 characters without spaces",
            ),
            ("\n\nwords", "line 3: expected KEY='value'"),
        ] {
            assert_eq!(value_in(file, "A").unwrap_err(), error, "{file}");
        }
    }
}
