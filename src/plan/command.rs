//! A container's command line and environment: entrypoint and arguments, `$(VAR)`.

use super::ImageConfig;

/// Searched when neither the image nor the pod says where commands are.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As [`expand`], for what makes no sense with a name that is not known.
///
/// # Errors
/// The first name that is not known.
pub(super) fn expand_all(text: &str, variables: &[(String, String)]) -> Result<String, String> {
    let mut unknown = None;
    let result = expand_noting(text, variables, &mut unknown);
    unknown.map_or(Ok(result), Err)
}

/// Replaces `$(NAME)` by the value of a variable of the pod; `$$` is a dollar, a name that is not
/// known stays as it is written (`third_party/forked/golang/expansion`).
pub(super) fn expand(text: &str, variables: &[(String, String)]) -> String {
    expand_noting(text, variables, &mut None)
}

/// [`expand`], noting the first name that is not known.
fn expand_noting(
    text: &str,
    variables: &[(String, String)],
    unknown: &mut Option<String>,
) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        result.push_str(before);
        let after = from.strip_prefix('$').unwrap_or(from);
        if let Some(escaped) = after.strip_prefix('$') {
            result.push('$');
            rest = escaped;
        } else if let Some((name, tail)) = after
            .strip_prefix('(')
            .and_then(|inside| inside.split_once(')'))
        {
            if let Some((_, value)) = variables.iter().rev().find(|(known, _)| known == name) {
                result.push_str(value);
            } else {
                unknown.get_or_insert_with(|| name.to_owned());
                result.push_str("$(");
                result.push_str(name);
                result.push(')');
            }
            rest = tail;
        } else {
            result.push('$');
            rest = after;
        }
    }
    result.push_str(rest);
    result
}

/// The environment of the process: the image's, what runtimes add, the pod's.
pub(super) fn environment(
    image: &ImageConfig,
    hostname: &str,
    declared: &[(String, String)],
) -> Vec<(String, String)> {
    let mut result = Vec::new();
    for line in &image.env {
        if let Some((name, value)) = line.split_once('=')
            && !name.is_empty()
            && !line.contains('\0')
        {
            set(&mut result, name, value.to_owned());
        }
    }
    if !result.iter().any(|(name, _)| name == "PATH") {
        result.insert(0, ("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    }
    set(&mut result, "HOSTNAME", hostname.to_owned());
    for (name, value) in declared {
        set(&mut result, name, value.clone());
    }
    result
}

/// Sets a variable where it is, or at the end.
pub(super) fn set(env: &mut Vec<(String, String)>, name: &str, value: String) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => env.push((name.to_owned(), value)),
    }
}

/// The command line. `command` replaces the entrypoint and drops the image's arguments; `args`
/// alone replaces the arguments only.
pub(super) fn argv(
    image: &ImageConfig,
    command: Option<&[String]>,
    args: Option<&[String]>,
    variables: &[(String, String)],
) -> Vec<String> {
    let expanded = |list: &[String]| list.iter().map(|text| expand(text, variables)).collect();
    let given = |list: Option<&[String]>| -> Option<Vec<String>> {
        list.filter(|list| !list.is_empty()).map(expanded)
    };
    match (given(command), given(args)) {
        (Some(mut command), args) => {
            command.extend(args.unwrap_or_default());
            command
        }
        (None, Some(args)) => image.entrypoint.iter().cloned().chain(args).collect(),
        (None, None) => image.entrypoint.iter().chain(&image.cmd).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn references_are_replaced_as_the_kubelet_does() {
        let known = pairs(&[("A", "1"), ("B", "$(A)")]);
        for (text, result) in [
            ("$(A)", "1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(NO)", "$(NO)"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("x$", "x$"),
            ("$(B)", "$(A)"),
            ("$()", "$()"),
            ("é$(A)é", "é1é"),
        ] {
            assert_eq!(expand(text, &known), result, "{text}");
        }
    }

    #[test]
    fn the_images_environment_is_not_visible_to_references() {
        let image = ImageConfig {
            env: strings(&["I=1", "=x", "noequals"]),
            ..ImageConfig::default()
        };
        let env = environment(&image, "web", &pairs(&[("A", "$(I)")]));
        assert_eq!(
            env,
            pairs(&[
                ("PATH", DEFAULT_PATH),
                ("I", "1"),
                ("HOSTNAME", "web"),
                ("A", "$(I)")
            ])
        );
    }

    #[test]
    fn command_and_args_combine_in_four_ways() {
        let image = ImageConfig {
            entrypoint: strings(&["/ep"]),
            cmd: strings(&["c"]),
            ..ImageConfig::default()
        };
        let command = strings(&["/x"]);
        let args = strings(&["y"]);
        assert_eq!(argv(&image, None, None, &[]), ["/ep", "c"]);
        assert_eq!(argv(&image, Some(&command), None, &[]), ["/x"]);
        assert_eq!(argv(&image, None, Some(&args), &[]), ["/ep", "y"]);
        assert_eq!(argv(&image, Some(&command), Some(&args), &[]), ["/x", "y"]);
    }
}
