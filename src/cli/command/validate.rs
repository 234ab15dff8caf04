//! `podrun validate`: everything `up` checks in the files before it acts, and nothing else.

use serde_json::json;

use crate::cli::failure::{Failure, INVALID};
use crate::cli::options::{Validate, ValidateOutput};
use crate::cli::render::format;
use crate::cli::{input, render};
use crate::manifest::{self, Problem, Severity, Source};

/// Performs the command.
///
/// # Errors
/// Files that cannot be read; invalid ones are exit code 3.
pub(crate) fn run(options: &Validate) -> Result<u8, Failure> {
    let sources = input::read(&options.files)?;
    let manifest = manifest::read(&sources, input::strictness(options.strictness));
    let in_github = std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
    match options.output {
        ValidateOutput::Json => {
            let problems: Vec<_> = manifest
                .problems
                .iter()
                .map(|problem| as_json(problem, &sources))
                .collect();
            let valid = !manifest.has_errors();
            render::line(&format::json(
                &json!({"valid": valid, "problems": problems}),
            )?)?;
        }
        ValidateOutput::Text => {
            for problem in &manifest.problems {
                render::problem(problem, &sources);
                if in_github {
                    render::line(&annotation(problem, &sources))?;
                }
            }
        }
    }
    if manifest.has_errors() {
        return Ok(INVALID);
    }
    if options.output == ValidateOutput::Text {
        for object in &manifest.objects {
            let file = sources
                .get(object.source())
                .map_or("", |source| source.name.as_str());
            render::line(&format!("{file}: {} is valid", object.title()))?;
        }
    }
    Ok(0)
}

fn name<'a>(problem: &Problem, sources: &'a [Source]) -> &'a str {
    sources
        .get(problem.source)
        .map_or("", |source| source.name.as_str())
}

fn as_json(problem: &Problem, sources: &[Source]) -> serde_json::Value {
    json!({
        "severity": problem.severity.word(),
        "file": name(problem, sources),
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    })
}

/// A workflow command of GitHub's: it puts the problem beside the line in a pull request.
fn annotation(problem: &Problem, sources: &[Source]) -> String {
    let escape = |text: &str| {
        text.replace('%', "%25")
            .replace('\r', "%0D")
            .replace('\n', "%0A")
    };
    let property = |text: &str| escape(text).replace(':', "%3A").replace(',', "%2C");
    let command = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    format!(
        "::{command} file={},line={},col={}::{}",
        property(name(problem, sources)),
        problem.line,
        problem.column,
        escape(&format!("{}: {}", problem.path, problem.message))
    )
}
