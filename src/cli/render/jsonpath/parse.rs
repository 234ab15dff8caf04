//! Reading a template.

use serde_json::Value;

use super::{Comparison, MAX_DEPTH, Operand, Part, Step};

pub(super) struct Parser {
    pub(super) chars: Vec<char>,
    pub(super) at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at = self.at.saturating_add(1);
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        let matches = text
            .chars()
            .enumerate()
            .all(|(offset, c)| self.chars.get(self.at.saturating_add(offset)) == Some(&c));
        if matches {
            self.at = self.at.saturating_add(text.chars().count());
        }
        matches
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at = self.at.saturating_add(1);
        }
    }

    /// Text and expressions until the end, or until `{end}` inside of a range.
    pub(super) fn parts(&mut self, depth: usize) -> Result<Vec<Part>, String> {
        if depth > MAX_DEPTH {
            return Err("is nested too deep".to_owned());
        }
        let mut parts = Vec::new();
        let mut text = String::new();
        loop {
            match self.next() {
                None if depth > 0 => return Err("`range` has no `end`".to_owned()),
                None => break,
                Some('{') => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    self.blanks();
                    if self.eat("end") {
                        self.close()?;
                        if depth == 0 {
                            return Err("`end` has no `range`".to_owned());
                        }
                        return Ok(parts);
                    }
                    if self.eat("range") {
                        self.blanks();
                        let steps = self.steps()?;
                        self.close()?;
                        parts.push(Part::Range(steps, self.parts(depth.saturating_add(1))?));
                    } else if let Some(quote @ ('"' | '\'')) = self.peek() {
                        self.at = self.at.saturating_add(1);
                        parts.push(Part::Text(self.quoted(quote)?));
                        self.close()?;
                    } else {
                        parts.push(Part::Path(self.steps()?));
                        self.close()?;
                    }
                }
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(c) => text.push(c),
                    None => text.push('\\'),
                },
                Some(c) => text.push(c),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(parts)
    }

    fn close(&mut self) -> Result<(), String> {
        self.blanks();
        match self.next() {
            Some('}') => Ok(()),
            Some(c) => Err(format!("unexpected `{}`", c.escape_debug())),
            None => Err("a `}` is missing".to_owned()),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(format!("a closing {quote} is missing")),
                Some(c) if c == quote => return Ok(text),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(c) => text.push(c),
                    None => return Err("ends in a backslash".to_owned()),
                },
                Some(c) => text.push(c),
            }
        }
    }

    fn steps(&mut self) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        loop {
            match self.peek() {
                Some('$') => {
                    self.at = self.at.saturating_add(1);
                    steps.push(Step::Root);
                }
                Some('@') => self.at = self.at.saturating_add(1),
                Some('.') => {
                    self.at = self.at.saturating_add(1);
                    if self.peek() == Some('.') {
                        self.at = self.at.saturating_add(1);
                        steps.push(Step::Recursive);
                    }
                    match self.peek() {
                        Some('*') => {
                            self.at = self.at.saturating_add(1);
                            steps.push(Step::Wildcard);
                        }
                        Some('[') => {}
                        _ => {
                            let name = self.name();
                            if !name.is_empty() {
                                steps.push(Step::Field(name));
                            }
                        }
                    }
                }
                Some('[') => {
                    self.at = self.at.saturating_add(1);
                    steps.push(self.bracket()?);
                }
                Some(c) if steps.is_empty() && (c.is_alphanumeric() || c == '_') => {
                    steps.push(Step::Field(self.name()));
                }
                _ => return Ok(steps),
            }
        }
    }

    /// A field's name; a backslash takes the next character as it is (`metadata.labels.a\.b`).
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if c == '\\' {
                self.at = self.at.saturating_add(1);
                name.extend(self.next());
            } else if ".[]{}()=!<>,' \"\t\n$@".contains(c) {
                break;
            } else {
                name.push(c);
                self.at = self.at.saturating_add(1);
            }
        }
        name
    }

    fn bracket(&mut self) -> Result<Step, String> {
        self.blanks();
        if self.eat("?(") {
            let left = self.operand()?;
            self.blanks();
            let comparison = [
                ("==", Comparison::Equal),
                ("!=", Comparison::Different),
                ("<=", Comparison::LessOrEqual),
                (">=", Comparison::GreaterOrEqual),
                ("<", Comparison::Less),
                (">", Comparison::Greater),
            ]
            .into_iter()
            .find(|(text, _)| self.eat(text))
            .map(|(_, comparison)| comparison);
            let rest = match comparison {
                Some(comparison) => Some((comparison, self.operand()?)),
                None => None,
            };
            self.blanks();
            if !self.eat(")]") {
                return Err("a filter ends in `)]`".to_owned());
            }
            return Ok(Step::Filter(left, rest));
        }
        let mut steps = Vec::new();
        loop {
            self.blanks();
            steps.push(match self.peek() {
                Some('*') => {
                    self.at = self.at.saturating_add(1);
                    Step::Wildcard
                }
                Some(quote @ ('\'' | '"')) => {
                    self.at = self.at.saturating_add(1);
                    Step::Field(self.quoted(quote)?)
                }
                _ => self.index()?,
            });
            self.blanks();
            match self.next() {
                Some(']') => break,
                Some(',') => {}
                _ => return Err("a `]` is missing".to_owned()),
            }
        }
        let only = (steps.len() == 1).then(|| steps.pop()).flatten();
        Ok(only.unwrap_or(Step::Union(steps)))
    }

    fn number(&mut self) -> Option<i64> {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_ascii_digit() || *c == '-') {
            text.push(c);
            self.at = self.at.saturating_add(1);
        }
        text.parse().ok()
    }

    fn index(&mut self) -> Result<Step, String> {
        let first = self.number();
        if self.peek() != Some(':') {
            return first
                .map(Step::Index)
                .ok_or_else(|| "an index is missing".to_owned());
        }
        self.at = self.at.saturating_add(1);
        let second = self.number();
        let third = if self.peek() == Some(':') {
            self.at = self.at.saturating_add(1);
            self.number()
        } else {
            None
        };
        Ok(Step::Slice(first, second, third))
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.blanks();
        match self.peek() {
            Some('@' | '$' | '.') => Ok(Operand::Path(self.steps()?)),
            Some(quote @ ('\'' | '"')) => {
                self.at = self.at.saturating_add(1);
                Ok(Operand::Literal(Value::String(self.quoted(quote)?)))
            }
            _ => {
                let mut text = String::new();
                while let Some(c) = self
                    .peek()
                    .filter(|c| !c.is_whitespace() && !")=!<>".contains(*c))
                {
                    text.push(c);
                    self.at = self.at.saturating_add(1);
                }
                serde_json::from_str(&text)
                    .map(Operand::Literal)
                    .map_err(|_| format!("`{}` is not a value", text.escape_debug()))
            }
        }
    }
}
