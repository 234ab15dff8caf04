//! Finding and executing a command.

use std::ffi::CString;

use crate::sys::process;
use crate::wire::{Failure, Step};

/// Searched when the environment has no PATH, as `execvp(3)` would.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Executes `argv[0]`, searched in the container's PATH when it has no slash; returns what failed.
pub fn execute(argv: &[String], env: &[(String, String)]) -> Failure {
    let Some(name) = argv.first() else {
        return Failure {
            step: Step::CommandNotFound,
            object: String::new(),
            errno: libc::ENOENT,
        };
    };
    let not_text = || Failure {
        step: Step::Execute,
        object: name.clone(),
        errno: libc::EINVAL,
    };
    let Ok(arguments) = argv
        .iter()
        .map(|a| CString::new(a.as_str()))
        .collect::<Result<Vec<_>, _>>()
    else {
        return not_text();
    };
    let Ok(environment) = env
        .iter()
        .map(|(name, value)| CString::new(format!("{name}={value}")))
        .collect::<Result<Vec<_>, _>>()
    else {
        return not_text();
    };
    let path = env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(DEFAULT_PATH, |(_, value)| value.as_str());

    let mut refused = None;
    for candidate in candidates(name, path) {
        let Ok(candidate) = CString::new(candidate) else {
            return not_text();
        };
        let error = process::execute(&candidate, &arguments, &environment);
        match error.raw_os_error() {
            // Look further; but a file that is there and may not be executed is the better news.
            Some(libc::ENOENT | libc::ENOTDIR) => {
                if refused.is_none()
                    && std::fs::exists(candidate.to_string_lossy().as_ref()).unwrap_or(false)
                {
                    refused = Some(libc::ENOENT);
                }
            }
            Some(errno @ libc::EACCES) => refused = Some(errno),
            errno => {
                return Failure {
                    step: Step::Execute,
                    object: name.clone(),
                    errno: errno.unwrap_or(0),
                };
            }
        }
    }
    match refused {
        Some(errno) => Failure {
            step: Step::Execute,
            object: name.clone(),
            errno,
        },
        None => Failure {
            step: Step::CommandNotFound,
            object: name.clone(),
            errno: libc::ENOENT,
        },
    }
}

fn candidates(name: &str, path: &str) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    if name.is_empty() {
        return Vec::new();
    }
    path.split(':')
        // An empty element means the working directory (environ(7)).
        .map(|dir| if dir.is_empty() { "." } else { dir })
        .map(|dir| format!("{dir}/{name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slash_is_not_searched() {
        assert_eq!(candidates("./a", "/bin"), ["./a"]);
    }

    #[test]
    fn a_plain_name_is_searched_in_order() {
        assert_eq!(candidates("a", "/x::/y"), ["/x/a", "./a", "/y/a"]);
    }

    #[test]
    fn an_empty_name_is_found_nowhere() {
        assert!(candidates("", "/bin").is_empty());
    }
}
