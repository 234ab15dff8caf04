//! From text to checked objects: every problem at once, each with its place. Pure.
//!
//! ```text
//! text ─parser events─▶ tree with spans ─scalars (YAML 1.1)─▶ values
//!                                        └─fields (verdicts)─▶ Kubernetes' types ─rules─▶ objects
//! ```
#![warn(
    clippy::wildcard_enum_match_arm,
    clippy::arithmetic_side_effects,
    reason = "manifests come from anywhere"
)]

mod amounts;
mod capability;
mod check;
mod data;
mod defaults;
mod endpoints;
mod fields;
mod kinds;
mod pod;
mod problem;
mod quantity;
mod render;
mod rules;
mod scalar;
mod service;
mod storage;
mod tree;

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;

use crate::names::{Namespace, ObjectKind, ObjectName};

pub use amounts::{Amounts, Part, huge_pages_name, page_size_of_medium};
pub use capability::Capability;
pub(crate) use pod::env::subscript;
pub use pod::sysctl_path;
pub(crate) use pod::{MAX_NAMESERVERS, MAX_SEARCH_CHARS, MAX_SEARCHES};
pub use problem::{Positions, Problem, Severity};
pub use quantity::{bytes_text, millicores_text, parse_quantity, parse_thousandths};
pub use render::render;
pub use service::NODE_PORTS;

/// The largest text that is read.
pub const MAX_SOURCE: usize = 10 * 1024 * 1024;

/// One file, or standard input.
#[derive(Debug, Clone)]
pub struct Source {
    /// As it is shown to the user.
    pub name: String,
    /// Its content.
    pub text: Vec<u8>,
    /// The folder it is in, for relative host paths.
    pub folder: Option<PathBuf>,
}

/// What `--validate` says about fields that are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// They are errors.
    Strict,
    /// They are warnings.
    Warn,
    /// They are dropped.
    Ignore,
}

/// Everything that was read.
#[derive(Debug, Default)]
pub struct Manifest {
    /// The objects without errors.
    pub objects: Vec<Object>,
    /// All problems, in the order of the text.
    pub problems: Vec<Problem>,
}

impl Manifest {
    /// Whether something keeps it from being used.
    pub fn has_errors(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }
}

/// A checked object.
#[derive(Debug)]
pub enum Object {
    /// `v1.Pod`
    Pod(Box<CheckedPod>),
    /// Every other kind that is kept.
    Data(Box<CheckedData>),
}

impl Object {
    /// Which source it is from.
    pub fn source(&self) -> usize {
        match self {
            Self::Pod(pod) => pod.positions.source(),
            Self::Data(data) => data.source,
        }
    }

    /// Its kind and name as commands take them: `pod/web`; a name that is still to be generated
    /// ends with `…`.
    pub fn title(&self) -> String {
        match self {
            Self::Pod(pod) => match &pod.name {
                PodName::Given(name) => format!("pod/{name}"),
                PodName::Generated(beginning) => format!("pod/{beginning}…"),
            },
            Self::Data(data) => format!("{}/{}", data.kind.word(), data.name),
        }
    }
}

/// A Pod that follows the rules, with its defaults.
#[derive(Debug)]
pub struct CheckedPod {
    /// `metadata.name`, or `metadata.generateName` to be completed.
    pub name: PodName,
    /// `metadata.namespace`, if it is given.
    pub namespace: Option<Namespace>,
    /// The Pod, without what a server sets.
    pub pod: Pod,
    /// The folder of its file.
    pub folder: Option<PathBuf>,
    /// Where its fields are.
    pub positions: Positions,
}

/// A name, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodName {
    /// `metadata.name`
    Given(ObjectName),
    /// `metadata.generateName`
    Generated(String),
}

/// The longest beginning of a generated name (`names.SimpleNameGenerator`: 63 less 5).
const MAX_GENERATED: usize = 58;

impl CheckedPod {
    /// The name, a generated one completed with `suffix`, which becomes the Pod's own.
    ///
    /// # Errors
    /// A beginning that makes no name.
    pub fn complete_name(&mut self, suffix: &str) -> Result<ObjectName, crate::names::NameError> {
        let name = match &self.name {
            PodName::Given(name) => name.clone(),
            PodName::Generated(base) => {
                let base: String = base.chars().take(MAX_GENERATED).collect();
                ObjectName::new(format!("{base}{suffix}"))?
            }
        };
        self.pod.metadata.name = Some(name.to_string());
        self.name = PodName::Given(name.clone());
        Ok(name)
    }
}

/// An object beside Pods that follows the rules.
#[derive(Debug)]
pub struct CheckedData {
    /// Which kind.
    pub kind: ObjectKind,
    /// `metadata.name`
    pub name: ObjectName,
    /// `metadata.namespace`, if it is given.
    pub namespace: Option<Namespace>,
    /// The whole object; a Secret's `stringData` is merged into its `data`.
    pub value: serde_json::Value,
    /// Which source it is from.
    pub source: usize,
}

/// Reads all sources.
pub fn read(sources: &[Source], strictness: Strictness) -> Manifest {
    let mut manifest = Manifest::default();
    for (index, source) in sources.iter().enumerate() {
        let (documents, problems) = tree::parse(index, &source.text);
        manifest.problems.extend(problems);
        for document in documents {
            let mut context = kinds::Context {
                source: index,
                folder: source.folder.as_ref(),
                strictness,
                manifest: &mut manifest,
            };
            kinds::take(&mut context, &document, "");
        }
    }
    manifest
        .problems
        .sort_by_key(|problem| (problem.source, problem.span.start));
    manifest
}
