//! A problem as people read it: what, where, the line itself, and what would be right.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Problem, Severity, Source};
use crate::names;

/// The most characters of a line that are shown.
const MAX_WIDTH: usize = 160;

/// Words a problem with its excerpt.
pub fn render(problem: &Problem, sources: &[Source], color: bool) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = if problem.path.is_empty() {
        visible(&problem.message)
    } else {
        visible(&format!("{}: {}", problem.path, problem.message))
    };
    let source = sources.get(problem.source);
    let name = source.map_or("<unknown>", |source| source.name.as_str());
    let name = format!("{}:{}:{}", visible(name), problem.line, problem.column);
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let (excerpt, span) = excerpt(problem, source);
    let shown = excerpt.clone();
    // A note is one line: it says what has no effect, and nothing has to be looked for.
    let text = if problem.severity == Severity::Note || excerpt.is_empty() {
        format!("{}: {title} ({name})", problem.severity.word())
    } else {
        let snippet = Snippet::source(shown)
            .line_start(problem.line)
            .path(
                name.rsplit_once(':')
                    .and_then(|(rest, _)| rest.rsplit_once(':'))
                    .map_or(name.clone(), |(file, _)| file.to_owned()),
            )
            .annotation(AnnotationKind::Primary.span(span));
        let group: Group<'_> = level.primary_title(title).element(snippet);
        renderer.render(&[group])
    };
    match &problem.hint {
        Some(hint) => format!("{text}\nhint: {}", visible(hint)),
        None => text,
    }
}

/// The problem's line, cut to what a terminal shows, and where in it the problem is.
fn excerpt(problem: &Problem, source: Option<&Source>) -> (String, std::ops::Range<usize>) {
    let nothing = (String::new(), 0..0);
    let Some(source) = source.filter(|_| !problem.is_secret) else {
        return nothing;
    };
    let Ok(text) = std::str::from_utf8(&source.text) else {
        return nothing;
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Some(line) = text.lines().nth(problem.line.saturating_sub(1)) else {
        return nothing;
    };
    let skipped = problem
        .column
        .saturating_sub(1)
        .saturating_sub(MAX_WIDTH / 2);
    let shown: String = line
        .chars()
        .skip(skipped)
        .take(MAX_WIDTH)
        .map(|c| {
            if names::steers_terminals(c) && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    let column = problem.column.saturating_sub(1).saturating_sub(skipped);
    let start = shown
        .char_indices()
        .nth(column)
        .map_or(shown.len(), |(at, _)| at);
    let width = text
        .get(problem.span.clone())
        .map_or(0, |part| part.chars().count())
        .max(1);
    let end = shown
        .char_indices()
        .nth(column.saturating_add(width))
        .map_or(shown.len(), |(at, _)| at);
    (shown, start..end.max(start))
}

/// Text without what would act on the reader's terminal.
fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped: Vec<char> = if names::steers_terminals(c) {
                c.escape_default().collect()
            } else {
                vec![c]
            };
            escaped
        })
        .collect()
}
