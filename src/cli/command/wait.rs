//! `podrun wait`.

use std::time::Instant;

use serde_json::Value;

use crate::cli::command::changes::Changes;
use crate::cli::command::get;
use crate::cli::failure::{FAILED, Failure, TIMED_OUT};
use crate::cli::options::{Global, WaitFor};
use crate::cli::render::jsonpath::Template;
use crate::cli::{duration, input, render};
use crate::lifecycle::exit_code_of_first_failed;
use crate::names::ObjectName;
use crate::store::{PodRecord, Store};

/// What is waited for.
enum Condition {
    /// A condition of the status, with the value it is to have.
    Status(String, String),
    /// The pod has ended.
    Done,
    /// The pod is gone.
    Delete,
    /// An expression, with the value it is to have.
    Expression(Template, Option<String>),
}

/// How far one pod is.
enum Verdict {
    Pending,
    Met(u8),
    Never(String),
}

/// Performs the command.
///
/// # Errors
/// The end of the time (124), a condition that can never be true (1), no such pod (4).
pub(crate) fn run(global: &Global, options: &WaitFor) -> Result<u8, Failure> {
    let condition = parse(&options.condition)?;
    let timeout = duration::of_option("--timeout", &options.timeout)?;
    let store = input::open_store(global)?;
    let deadline = Instant::now().checked_add(timeout);
    let changes = Changes::watch(&store)?;
    let mut code = 0;
    for name in &options.names {
        let found = wait_one(global, &store, &changes, &condition, name, deadline)?;
        if code == 0 {
            code = found;
        }
    }
    Ok(code)
}

fn parse(text: &str) -> Result<Condition, Failure> {
    if let Some(condition) = text.strip_prefix("condition=") {
        let (name, value) = condition.split_once('=').unwrap_or((condition, "True"));
        return Ok(Condition::Status(name.to_owned(), value.to_owned()));
    }
    if let Some(expression) = text.strip_prefix("jsonpath=") {
        let (expression, value) = match expression.rsplit_once("}=") {
            Some((expression, value)) => (format!("{expression}}}"), Some(value)),
            None => match expression
                .split_once('=')
                .filter(|_| !expression.contains('{'))
            {
                Some((expression, value)) => (expression.to_owned(), Some(value)),
                None => (expression.to_owned(), None),
            },
        };
        let template = Template::parse(&expression)
            .map_err(|error| Failure::with_code(2, format!("--for: jsonpath: {error}")))?;
        let value = value.map(|value| value.trim_matches(['\'', '"']).to_owned());
        return Ok(Condition::Expression(template, value));
    }
    match text {
        "done" => Ok(Condition::Done),
        "delete" => Ok(Condition::Delete),
        _ => Err(Failure::with_code(
            2,
            format!("--for: `{}` is not a condition", text.escape_debug()),
        )
        .hinted("condition=Ready, done, delete, or jsonpath='{.status.phase}'=Running")),
    }
}

fn wait_one(
    global: &Global,
    store: &Store,
    changes: &Changes,
    condition: &Condition,
    name: &str,
    deadline: Option<Instant>,
) -> Result<u8, Failure> {
    loop {
        let pod = match get::find_pod(global, store, name) {
            Ok(pod) => pod,
            Err(_) if matches!(condition, Condition::Delete) => return done(name, "deleted"),
            Err(failure) => return Err(failure),
        };
        changes.add(&pod);
        // Again, after the watch: what changed in between would not be told.
        let Ok(pod) = get::find_pod(global, store, name) else {
            continue;
        };
        match judge(condition, &pod)? {
            Verdict::Pending => {}
            Verdict::Met(code) => {
                done(pod.record.name.as_str(), "condition met")?;
                return Ok(code);
            }
            Verdict::Never(why) => {
                return Err(Failure::with_code(
                    FAILED,
                    format!("pod/{}: {why}", pod.record.name),
                ));
            }
        }
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if !changes.wait(std::slice::from_ref(&pod), left)? {
            return Err(Failure::with_code(
                TIMED_OUT,
                format!("pod/{}: the condition was not met in time", pod.record.name),
            ));
        }
    }
}

fn done(name: &str, what: &str) -> Result<u8, Failure> {
    let name = name.strip_prefix("pod/").unwrap_or(name);
    let name = ObjectName::new(name).map_err(Failure::internal)?;
    render::line(&format!("pod/{name} {what}"))?;
    Ok(0)
}

fn judge(condition: &Condition, pod: &PodRecord) -> Result<Verdict, Failure> {
    let status = pod.status();
    let phase = status.phase.as_deref().unwrap_or("Pending");
    let has_ended = matches!(phase, "Succeeded" | "Failed");
    Ok(match condition {
        Condition::Done if phase == "Succeeded" => Verdict::Met(0),
        Condition::Done if has_ended => {
            let code = exit_code_of_first_failed(&status).and_then(|code| u8::try_from(code).ok());
            Verdict::Met(code.filter(|code| *code != 0).unwrap_or(FAILED))
        }
        Condition::Done | Condition::Delete => Verdict::Pending,
        Condition::Status(name, value) => {
            let is = status.conditions.iter().flatten().any(|c| {
                c.type_.eq_ignore_ascii_case(name) && c.status.eq_ignore_ascii_case(value)
            });
            if is {
                Verdict::Met(0)
            } else if has_ended {
                Verdict::Never(format!(
                    "{name} can never be {value}: the pod has ended ({phase})"
                ))
            } else {
                Verdict::Pending
            }
        }
        Condition::Expression(template, value) => {
            let whole: Value = get::whole(pod)?;
            let found = template.print(&whole);
            let is = match value {
                Some(value) => found == *value,
                None => !found.is_empty(),
            };
            if is {
                Verdict::Met(0)
            } else if has_ended {
                Verdict::Never(format!(
                    "the pod has ended ({phase}) and the value is `{found}`"
                ))
            } else {
                Verdict::Pending
            }
        }
    })
}
