//! `-o`: json, yaml, name, wide, jsonpath.

use serde_json::Value;

use crate::cli::failure::Failure;
use crate::cli::render::jsonpath::Template;
use crate::names;

/// How objects are printed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Format {
    /// A table.
    Table,
    /// A table with more columns.
    Wide,
    /// JSON, indented by four as kubectl does.
    Json,
    /// YAML.
    Yaml,
    /// `pod/web`
    Name,
    /// A template.
    JsonPath(Template),
}

impl Format {
    /// The format of an option.
    ///
    /// # Errors
    /// A usage error.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Failure> {
        Ok(match text {
            None | Some("") => Self::Table,
            Some("wide") => Self::Wide,
            Some("json") => Self::Json,
            Some("yaml") => Self::Yaml,
            Some("name") => Self::Name,
            Some(other) => match other.strip_prefix("jsonpath=") {
                Some(template) => Self::JsonPath(
                    Template::parse(template)
                        .map_err(|error| Failure::with_code(2, format!("jsonpath: {error}")))?,
                ),
                None => {
                    return Err(Failure::with_code(
                        2,
                        format!("`{}` is not an output format", other.escape_debug()),
                    )
                    .hinted("json, yaml, wide, name or jsonpath=TEMPLATE"));
                }
            },
        })
    }
}

/// A time as the API writes it: whole seconds.
pub(crate) fn rfc3339(at: jiff::Timestamp) -> String {
    let whole = jiff::Timestamp::from_second(at.as_second()).unwrap_or(at);
    whole.to_string()
}

/// JSON with four spaces, as kubectl; what would steer a terminal is escaped, which changes no value.
///
/// # Errors
/// Never for JSON values.
pub(crate) fn json(value: &Value) -> Result<String, Failure> {
    use serde::Serialize;
    use std::fmt::Write;
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value
        .serialize(&mut serializer)
        .map_err(Failure::internal)?;
    let text = String::from_utf8(bytes).map_err(Failure::internal)?;
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // The writer has escaped C0, all but its own line ends; the others are of one UTF-16 unit.
        if c != '\n' && names::steers_terminals(c) {
            write!(shown, "\\u{:04x}", u32::from(c)).map_err(Failure::internal)?;
        } else {
            shown.push(c);
        }
    }
    Ok(shown)
}

/// YAML that every reader takes for the same values.
///
/// # Errors
/// Never for JSON values.
pub(crate) fn yaml(value: &Value) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(Failure::internal)
}
