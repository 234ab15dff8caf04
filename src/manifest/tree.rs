//! YAML (and with it JSON) as a tree in which everything knows its place. Aliases are expanded
//! here, within a budget: nobody after this has to think of bombs.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::MAX_SOURCE;
use super::problem::{Place, Problem, Severity};

/// The most nodes of one source, expanded aliases among them.
const MAX_NODES: usize = 250_000;

/// The deepest nesting.
const MAX_DEPTH: usize = 128;

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Scalar {
        text: String,
        is_plain: bool,
        tag: Option<String>,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// A mapping's value.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.content {
            Content::Mapping(entries) => entries.iter().find_map(|(name, value)| {
                matches!(&name.content, Content::Scalar { text, .. } if text == key)
                    .then_some(value)
            }),
            Content::Scalar { .. } | Content::Sequence(_) => None,
        }
    }

    /// A scalar's text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            Content::Sequence(_) | Content::Mapping(_) => None,
        }
    }

    fn size(&self) -> usize {
        match &self.content {
            Content::Scalar { .. } => 1,
            Content::Sequence(items) => items
                .iter()
                .fold(1, |sum, item| sum.saturating_add(item.size())),
            Content::Mapping(entries) => entries.iter().fold(1, |sum, (key, value)| {
                sum.saturating_add(key.size()).saturating_add(value.size())
            }),
        }
    }

    fn depth(&self) -> usize {
        let deepest = match &self.content {
            Content::Scalar { .. } => 0,
            Content::Sequence(items) => items.iter().map(Self::depth).max().unwrap_or(0),
            Content::Mapping(entries) => entries
                .iter()
                .map(|(_, value)| value.depth())
                .max()
                .unwrap_or(0),
        };
        deepest.saturating_add(1)
    }
}

/// Finds bytes for the parser's characters.
struct Offsets<'a> {
    text: &'a str,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
    /// The line that was asked for last, with a column of it and that column's byte. Questions come
    /// in the text's order: a file of one long line is gone through once, not once for each node.
    last: Cell<(usize, usize, usize)>,
}

impl<'a> Offsets<'a> {
    fn new(text: &'a str) -> Self {
        let mut lines = vec![0];
        lines.extend(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at.saturating_add(1)));
        Self {
            text,
            lines,
            last: Cell::new((0, 0, 0)),
        }
    }

    fn byte(&self, line: usize, column: usize) -> usize {
        let Some(start) = self.lines.get(line.saturating_sub(1)).copied() else {
            return self.text.len();
        };
        let (last_line, last_column, last_byte) = self.last.get();
        let (known_column, known) = if last_line == line && last_column <= column {
            (last_column, last_byte)
        } else {
            (0, start)
        };
        let rest = self.text.get(known..).unwrap_or_default();
        let byte = rest
            .char_indices()
            .nth(column.saturating_sub(known_column))
            .map_or(self.text.len(), |(offset, _)| known.saturating_add(offset));
        self.last.set((line, column, byte));
        byte
    }

    fn place(&self, span: Span) -> Place {
        let start = self.byte(span.start.line(), span.start.col());
        let end = self.byte(span.end.line(), span.end.col()).max(start);
        // An excerpt shows the first line of what is wrong.
        let line_end = memchr::memchr(
            b'\n',
            self.text.as_bytes().get(start..end).unwrap_or_default(),
        )
        .map_or(end, |length| start.saturating_add(length));
        Place {
            span: start..line_end,
            line: span.start.line(),
            column: span.start.col().saturating_add(1),
        }
    }
}

fn error(source: usize, place: Place, message: impl Into<String>, hint: Option<&str>) -> Problem {
    Problem {
        severity: Severity::Error,
        source,
        span: place.span,
        line: place.line.max(1),
        column: place.column.max(1),
        path: String::new(),
        message: message.into(),
        hint: hint.map(str::to_owned),
        is_secret: false,
    }
}

const START: Place = Place {
    span: Range { start: 0, end: 0 },
    line: 1,
    column: 1,
};

/// Parses all documents of a source; empty ones are left out.
pub(super) fn parse(source: usize, bytes: &[u8]) -> (Vec<Node>, Vec<Problem>) {
    if bytes.len() > MAX_SOURCE {
        let message = format!("is larger than {} MiB", MAX_SOURCE / (1024 * 1024));
        return (Vec::new(), vec![error(source, START, message, None)]);
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let problem = error(source, START, "is UTF-16", Some("save it as UTF-8"));
        return (Vec::new(), vec![problem]);
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(utf8) => {
            let before = bytes.get(..utf8.valid_up_to()).unwrap_or_default();
            let line = memchr::memchr_iter(b'\n', before).count().saturating_add(1);
            let place = Place {
                span: 0..0,
                line,
                column: 1,
            };
            let problem = error(source, place, "is not UTF-8", Some("save it as UTF-8"));
            return (Vec::new(), vec![problem]);
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(at) = memchr::memchr(0, text.as_bytes()) {
        let before = text.as_bytes().get(..at).unwrap_or_default();
        let line = memchr::memchr_iter(b'\n', before).count().saturating_add(1);
        let place = Place {
            span: at..at,
            line,
            column: 1,
        };
        return (
            Vec::new(),
            vec![error(source, place, "contains a NUL byte", None)],
        );
    }
    Builder {
        source,
        offsets: Offsets::new(text),
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        documents: Vec::new(),
        problems: Vec::new(),
    }
    .run(text)
}

/// A collection that is being read.
struct Open {
    place: Place,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>, Option<Node>),
}

struct Builder<'a> {
    source: usize,
    offsets: Offsets<'a>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    documents: Vec<Node>,
    problems: Vec<Problem>,
}

impl Builder<'_> {
    fn run(mut self, text: &str) -> (Vec<Node>, Vec<Problem>) {
        let mut parser = Parser::new_from_str(text);
        while let Some(next) = parser.next_event() {
            let step = match next {
                Ok((event, span)) => self.take(event, span),
                Err(scan) => {
                    let marker = *scan.marker();
                    let place = self.offsets.place(Span::empty(marker));
                    let message = format!("is not YAML: {}", scan.info());
                    Err(error(self.source, place, message, None))
                }
            };
            if let Err(problem) = step {
                self.problems.push(problem);
                break;
            }
        }
        let documents = self
            .documents
            .into_iter()
            .filter(|node| !is_empty(node))
            .collect();
        (documents, self.problems)
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let place = self.offsets.place(span);
                let content = Content::Scalar {
                    text: text.into_owned(),
                    is_plain: style == ScalarStyle::Plain,
                    tag: tag.map(|tag| tag.suffix.clone()),
                };
                self.add(Node { place, content }, anchor, 1)
            }
            Event::Alias(anchor) => {
                let place = self.offsets.place(span);
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(error(
                        self.source,
                        place,
                        "refers to an unknown anchor",
                        None,
                    ));
                };
                if node.depth().saturating_add(self.open.len()) > MAX_DEPTH {
                    return Err(self.too_deep(place));
                }
                let size = node.size();
                self.add(Node { place, ..node }, 0, size)
            }
            Event::SequenceStart(anchor, _) => self.begin(span, anchor, Kind::Sequence(Vec::new())),
            Event::MappingStart(anchor, _) => {
                self.begin(span, anchor, Kind::Mapping(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open {
                    place,
                    anchor,
                    kind,
                }) => {
                    let content = match kind {
                        Kind::Sequence(items) => Content::Sequence(items),
                        Kind::Mapping(entries, _) => Content::Mapping(entries),
                    };
                    self.add(Node { place, content }, anchor, 1)
                }
                None => Ok(()),
            },
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {
                Ok(())
            }
        }
    }

    fn too_deep(&self, place: Place) -> Problem {
        error(
            self.source,
            place,
            format!("is nested more than {MAX_DEPTH} levels deep"),
            None,
        )
    }

    fn begin(&mut self, span: Span, anchor: usize, kind: Kind) -> Result<(), Problem> {
        let place = self.offsets.place(span);
        if self.open.len() >= MAX_DEPTH {
            return Err(self.too_deep(place));
        }
        self.open.push(Open {
            place,
            anchor,
            kind,
        });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(size);
        if self.nodes > MAX_NODES {
            let message = format!("has more than {MAX_NODES} values once its aliases are expanded");
            return Err(error(self.source, node.place, message, None));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open {
                kind: Kind::Sequence(items),
                ..
            }) => items.push(node),
            Some(Open {
                kind: Kind::Mapping(entries, key @ None),
                ..
            }) => {
                let text = node.text();
                let again = text.is_some()
                    && entries.len() < 4096
                    && entries.iter().any(|(known, _)| known.text() == text);
                if again {
                    let message = format!("key `{}` is here twice", text.unwrap_or_default());
                    self.problems
                        .push(error(self.source, node.place.clone(), message, None));
                }
                *key = Some(node);
            }
            Some(Open {
                kind: Kind::Mapping(entries, key),
                ..
            }) => {
                if let Some(key) = key.take() {
                    entries.push((key, node));
                }
            }
        }
        Ok(())
    }
}

/// A document of comments only is a null.
fn is_empty(node: &Node) -> bool {
    matches!(&node.content, Content::Scalar { text, is_plain: true, .. }
        if text.is_empty() || text == "~" || text == "null")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `jq -c` makes of a large `ConfigMap`. With a question's cost in its column's size this
    /// would go on for minutes.
    #[test]
    fn a_long_file_of_one_line_is_gone_through_once() {
        let entries: Vec<String> = (0..40_000).map(|n| format!("\"k{n}\": \"ü\"")).collect();
        let text = format!("{{{}}}", entries.join(", "));
        let (documents, problems) = parse(0, text.as_bytes());
        assert!(problems.is_empty());
        let [document] = &documents[..] else {
            panic!("{} documents", documents.len());
        };
        let Content::Mapping(entries) = &document.content else {
            panic!("{:?}", document.content);
        };
        let (_, last) = entries.last().unwrap();
        assert_eq!(&text[last.place.span.clone()], "\"ü\"");
        let (second, _) = &entries[1];
        assert_eq!(&text[second.place.span.clone()], "\"k1\"");
    }
}
