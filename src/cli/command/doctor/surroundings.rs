//! The variables that say where things are (XDG base directory specification).

use std::path::Path;

use super::Outcome;

/// One variable as this process has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variable<'a> {
    pub(super) name: &'static str,
    pub(super) value: Option<&'a str>,
    /// It names a directory of this user's that nobody else may write to.
    pub(super) is_own_directory: bool,
}

/// What podrun makes of them; `HOME` is judged with the store, which needs it.
pub(super) fn check(is_root: bool, has_root_option: bool, variables: &[Variable<'_>]) -> Outcome {
    if has_root_option {
        return Outcome::Pass("--root or PODRUN_ROOT says where everything is".to_owned());
    }
    if is_root {
        return Outcome::Pass("root's directories are the machine's".to_owned());
    }
    let mut wrong = Vec::new();
    for variable in variables {
        let name = variable.name;
        let value = variable.value.unwrap_or_default();
        // A relative value is to be ignored.
        if !value.is_empty() && !Path::new(value).is_absolute() {
            wrong.push(format!("{name} is relative and ignored"));
        } else if name == "XDG_RUNTIME_DIR" && value.is_empty() {
            wrong.push(format!(
                "{name} is not set: sockets are beside the pods' records"
            ));
        } else if name == "XDG_RUNTIME_DIR" && !variable.is_own_directory {
            wrong.push(format!(
                "{name} is not a directory of this user's alone: sockets are beside the pods' records"
            ));
        }
    }
    if wrong.is_empty() {
        return Outcome::Pass("the variables are usable".to_owned());
    }
    Outcome::Limited(
        wrong.join("; "),
        "log in with a session (PAM sets XDG_RUNTIME_DIR), or export an absolute path".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_used_is_said() {
        let variable = |name, value, is_own_directory| Variable {
            name,
            value,
            is_own_directory,
        };
        let runtime = |value, is_own| variable("XDG_RUNTIME_DIR", value, is_own);
        let good = runtime(Some("/run/user/1000"), true);
        for (variables, words) in [
            (vec![good], None),
            (vec![good, variable("XDG_DATA_HOME", None, false)], None),
            (
                vec![good, variable("XDG_DATA_HOME", Some("/data"), false)],
                None,
            ),
            (
                vec![good, variable("XDG_DATA_HOME", Some("data"), true)],
                Some("XDG_DATA_HOME is relative and ignored"),
            ),
            (
                vec![runtime(None, false)],
                Some("XDG_RUNTIME_DIR is not set"),
            ),
            (
                vec![runtime(Some(""), false)],
                Some("XDG_RUNTIME_DIR is not set"),
            ),
            (
                vec![runtime(Some("run"), false)],
                Some("XDG_RUNTIME_DIR is relative and ignored"),
            ),
            (
                vec![runtime(Some("/run/user/0"), false)],
                Some("XDG_RUNTIME_DIR is not a directory of this user's alone"),
            ),
        ] {
            match (check(false, false, &variables), words) {
                (Outcome::Pass(_), None) => {}
                (Outcome::Limited(text, _), Some(words)) => assert!(text.contains(words), "{text}"),
                (outcome, _) => panic!("{variables:?}: {outcome:?}"),
            }
            assert!(matches!(check(true, false, &variables), Outcome::Pass(_)));
            assert!(matches!(check(false, true, &variables), Outcome::Pass(_)));
        }
    }
}
