//! kubectl's dialect of `JSONPath` (`k8s.io/client-go/util/jsonpath`): a template of text and
//! expressions in braces, with `range` and `end`.

mod parse;

use serde_json::Value;

use parse::Parser;

/// How deep `range` and filters may nest.
const MAX_DEPTH: usize = 32;

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Self>),
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// `$` inside of a range or filter: back to the whole.
    Root,
    Field(String),
    Wildcard,
    /// `..`
    Recursive,
    Index(i64),
    Slice(Option<i64>, Option<i64>, Option<i64>),
    /// `['a','b']`
    Union(Vec<Self>),
    Filter(Operand, Option<(Comparison, Operand)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Different,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Template {
    /// Parses a template; one without braces is a single expression.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        // kubectl relaxes `.a.b` and `a.b` to `{.a.b}`.
        let relaxed = if !trimmed.contains('{') && !trimmed.is_empty() {
            if trimmed.starts_with(['.', '[', '$']) {
                format!("{{{trimmed}}}")
            } else {
                format!("{{.{trimmed}}}")
            }
        } else {
            text.to_owned()
        };
        let mut parser = Parser {
            chars: relaxed.chars().collect(),
            at: 0,
        };
        let parts = parser.parts(0)?;
        Ok(Self(parts))
    }

    /// The text for a value.
    pub(crate) fn print(&self, value: &Value) -> String {
        let mut out = String::new();
        print_parts(&self.0, value, value, &mut out);
        out
    }
}

fn print_parts(parts: &[Part], root: &Value, current: &Value, out: &mut String) {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(steps) => {
                let found: Vec<String> =
                    walk(steps, root, current).into_iter().map(plain).collect();
                out.push_str(&found.join(" "));
            }
            Part::Range(steps, inner) => {
                for item in walk(steps, root, current) {
                    match item {
                        Value::Array(items) => {
                            for item in items {
                                print_parts(inner, root, item, out);
                            }
                        }
                        other => print_parts(inner, root, other, out),
                    }
                }
            }
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn walk<'a>(steps: &[Step], root: &'a Value, current: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![current];
    let mut recursive = false;
    for step in steps {
        if recursive {
            found = found.into_iter().flat_map(descendants).collect();
            recursive = false;
        }
        match step {
            Step::Recursive => recursive = true,
            Step::Root => found = vec![root],
            other => {
                found = found
                    .into_iter()
                    .flat_map(|value| apply(other, root, value))
                    .collect();
            }
        }
    }
    if recursive {
        found = found.into_iter().flat_map(descendants).collect();
    }
    found
}

fn descendants(value: &Value) -> Vec<&Value> {
    let mut all = vec![value];
    match value {
        Value::Array(items) => all.extend(items.iter().flat_map(descendants)),
        Value::Object(fields) => all.extend(fields.values().flat_map(descendants)),
        _ => {}
    }
    all
}

fn apply<'a>(step: &Step, root: &'a Value, value: &'a Value) -> Vec<&'a Value> {
    match step {
        Step::Root | Step::Recursive => vec![value],
        Step::Field(name) => value.get(name.as_str()).into_iter().collect(),
        Step::Wildcard => match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(fields) => fields.values().collect(),
            _ => Vec::new(),
        },
        Step::Index(index) => match value {
            Value::Array(items) => at(items, *index).into_iter().collect(),
            _ => Vec::new(),
        },
        Step::Slice(from, to, by) => match value {
            Value::Array(items) => slice(items, *from, *to, *by),
            _ => Vec::new(),
        },
        Step::Union(steps) => steps
            .iter()
            .flat_map(|step| apply(step, root, value))
            .collect(),
        Step::Filter(left, rest) => {
            let items: Vec<&Value> = match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(fields) => fields.values().collect(),
                _ => Vec::new(),
            };
            items
                .into_iter()
                .filter(|item| fits(left, rest.as_ref(), root, item))
                .collect()
        }
    }
}

fn position(length: usize, index: i64) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 {
        index.checked_add(length)?
    } else {
        index
    };
    usize::try_from(index).ok()
}

fn at(items: &[Value], index: i64) -> Option<&Value> {
    items.get(position(items.len(), index)?)
}

fn slice(items: &[Value], from: Option<i64>, to: Option<i64>, by: Option<i64>) -> Vec<&Value> {
    let start = position(items.len(), from.unwrap_or(0)).unwrap_or(0);
    let end = to
        .map_or(Some(items.len()), |to| position(items.len(), to))
        .unwrap_or(0);
    let by = usize::try_from(by.unwrap_or(1)).unwrap_or(1).max(1);
    let end = end.min(items.len());
    items
        .get(start.min(end)..end)
        .unwrap_or_default()
        .iter()
        .step_by(by)
        .collect()
}

fn fits(left: &Operand, rest: Option<&(Comparison, Operand)>, root: &Value, item: &Value) -> bool {
    let value = |operand: &Operand| match operand {
        Operand::Literal(value) => Some(value.clone()),
        Operand::Path(steps) => walk(steps, root, item)
            .first()
            .map(|value| (*value).clone()),
    };
    let left = value(left);
    let Some((comparison, right)) = rest else {
        return left.is_some();
    };
    let (Some(left), Some(right)) = (left, value(right)) else {
        return false;
    };
    let order = match (left.as_f64(), right.as_f64()) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        _ => plain(&left).partial_cmp(&plain(&right)),
    };
    let Some(order) = order else { return false };
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::Different => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn print(template: &str) -> String {
        let value = json!({
            "kind": "List",
            "items": [
                {"name": "a", "n": 1, "labels": {"app.kubernetes.io/x": "1"}, "tags": ["x", "y"]},
                {"name": "b", "n": 2, "ready": true},
                {"name": "c", "n": 10}
            ]
        });
        Template::parse(template).unwrap().print(&value)
    }

    #[test]
    fn templates_print_what_kubectl_prints() {
        for (template, text) in [
            ("{.kind}", "List"),
            (".kind", "List"),
            ("kind", "List"),
            ("{.items[*].name}", "a b c"),
            ("{.items[0].name}", "a"),
            ("{.items[-1].name}", "c"),
            ("{.items[0:2].name}", "a b"),
            ("{.items[::2].name}", "a c"),
            (
                "{range .items[*]}{.name}={.n}{\"\\n\"}{end}",
                "a=1\nb=2\nc=10\n",
            ),
            ("{.items[?(@.n>1)].name}", "b c"),
            ("{.items[?(@.name==\"b\")].n}", "2"),
            ("{.items[?(@.ready)].name}", "b"),
            ("{.items[?(@.ready==true)].name}", "b"),
            ("{..name}", "a b c"),
            ("{.items[0].labels.app\\.kubernetes\\.io/x}", "1"),
            ("{.items[0].labels['app.kubernetes.io/x']}", "1"),
            ("{.items[0]['name','n']}", "a 1"),
            ("{.items[0].tags}", "[\"x\",\"y\"]"),
            ("x{.nothing}y", "xy"),
            ("{range .items[*]}{$.kind} {end}", "List List List "),
        ] {
            assert_eq!(print(template), text, "{template}");
        }
    }

    #[test]
    fn malformed_templates_are_refused() {
        for template in [
            "{",
            "{.a",
            "{range .a}x",
            "{end}",
            "{.a[}",
            "{.a[?(@.b]}",
            "{'a}",
            "{.a[1}",
        ] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
        let deep = format!("{}{}", "{range .a}".repeat(100), "{end}".repeat(100));
        assert!(Template::parse(&deep).is_err());
    }
}
