//! The objects of the files, compared with what is stored.

use crate::cli::apply::{Change, services, storage};
use crate::cli::failure::{Failure, INVALID};
use crate::manifest::CheckedData;
use crate::names::{Namespace, ObjectKind};
use crate::store::{Object, Store};

/// One object of the files, with what is to be done about it.
///
/// # Errors
/// A change that the object does not allow.
pub(super) fn wanted(
    store: &Store,
    data: CheckedData,
    namespace: &Namespace,
) -> Result<(Object, Change), Failure> {
    let kind = data.kind;
    let namespace = if kind.is_namespaced() {
        data.namespace.unwrap_or_else(|| namespace.clone())
    } else {
        Object::namespace_of_none()
    };
    let mut value = data.value;
    if kind.is_namespaced()
        && let Some(metadata) = value
            .get_mut("metadata")
            .and_then(serde_json::Value::as_object_mut)
    {
        metadata.insert("namespace".to_owned(), namespace.as_str().into());
    }
    let old = store
        .object(kind, &namespace, &data.name)
        .map_err(Failure::internal)?;
    if kind == ObjectKind::Service
        && data.name.as_str() == "kubernetes"
        && namespace == Namespace::default()
    {
        // Clients look for an API server under its name, and should not find something else.
        let message = format!(
            "service/{} of namespace default is the API server's",
            data.name
        );
        return Err(Failure::with_code(INVALID, message).hinted("give it another name"));
    }
    if storage::is_storage(kind) || services::is_network(kind) {
        let old = old.as_ref().map(|old| &old.value);
        let (value, change) = if storage::is_storage(kind) {
            storage::merged(kind, &data.name, old, value)?
        } else {
            services::merged(kind, &data.name, old, value)?
        };
        let object = Object {
            kind,
            namespace,
            name: data.name,
            value,
        };
        return Ok((object, change));
    }
    let is_immutable = |value: &serde_json::Value| {
        value.get("immutable").and_then(serde_json::Value::as_bool) == Some(true)
    };
    let change = match &old {
        None => Change::Create,
        Some(old) if old.value == value => Change::Keep,
        Some(old) if is_immutable(&old.value) => {
            return Err(Failure::with_code(
                INVALID,
                format!(
                    "{}/{} is immutable and would change",
                    kind.word(),
                    data.name
                ),
            )
            .hinted(format!(
                "remove it first: `podrun rm {}/{}`",
                kind.word(),
                data.name
            )));
        }
        Some(_) => Change::Replace,
    };
    Ok((
        Object {
            kind,
            namespace,
            name: data.name,
            value,
        },
        change,
    ))
}
