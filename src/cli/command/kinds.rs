//! Kinds of objects as they are typed.

use crate::cli::failure::Failure;
use crate::names::ObjectKind;

/// A kind as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pod,
    Object(ObjectKind),
}

/// The kind of a word, in kubectl's spellings.
///
/// # Errors
/// A usage error.
pub(crate) fn kind(word: &str) -> Result<Kind, Failure> {
    match word.to_ascii_lowercase().as_str() {
        "pod" | "pods" | "po" => Ok(Kind::Pod),
        "configmap" | "configmaps" | "cm" => Ok(Kind::Object(ObjectKind::ConfigMap)),
        "secret" | "secrets" => Ok(Kind::Object(ObjectKind::Secret)),
        "persistentvolumeclaim" | "persistentvolumeclaims" | "pvc" => {
            Ok(Kind::Object(ObjectKind::PersistentVolumeClaim))
        }
        "persistentvolume" | "persistentvolumes" | "pv" => {
            Ok(Kind::Object(ObjectKind::PersistentVolume))
        }
        "service" | "services" | "svc" => Ok(Kind::Object(ObjectKind::Service)),
        "endpoints" | "ep" => Ok(Kind::Object(ObjectKind::Endpoints)),
        "endpointslice" | "endpointslices" => Ok(Kind::Object(ObjectKind::EndpointSlice)),
        _ => Err(
            Failure::with_code(2, format!("`{}` is not a kind", word.escape_debug())).hinted(
                "pods, services, endpoints, endpointslices, configmaps, secrets, \
                 persistentvolumeclaims and persistentvolumes can be shown",
            ),
        ),
    }
}

/// Kinds of objects, and the names that are wanted of each; all where there are none.
pub(super) type Wanted = Vec<(Kind, Vec<String>)>;

/// `KIND[,KIND…] [NAME…]`, or `KIND/NAME…`.
///
/// # Errors
/// A usage error.
pub(super) fn wanted(words: &[String]) -> Result<Wanted, Failure> {
    let first = words.first().map(String::as_str).unwrap_or_default();
    let mut wanted = Wanted::new();
    if first.contains('/') {
        for word in words {
            let Some((kind_word, name)) = word.split_once('/') else {
                let message = format!("`{}` is not KIND/NAME", word.escape_debug());
                return Err(Failure::with_code(2, message)
                    .hinted("name each object so, or all of one kind after it"));
            };
            let kind = kind(kind_word)?;
            match wanted.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, names)) => names.push(name.to_owned()),
                None => wanted.push((kind, vec![name.to_owned()])),
            }
        }
        return Ok(wanted);
    }
    let names: Vec<String> = words.iter().skip(1).cloned().collect();
    for word in first.split(',') {
        // kubectl's category, of what there is here.
        let kinds = match word {
            "all" => vec![Kind::Pod, Kind::Object(ObjectKind::Service)],
            _ => vec![kind(word)?],
        };
        for kind in kinds {
            if !wanted.iter().any(|(known, _)| *known == kind) {
                wanted.push((kind, names.clone()));
            }
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Wanted, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        wanted(&words).map_err(|failure| failure.message)
    }

    #[test]
    fn kinds_are_named_with_commas_or_with_each_name() {
        let service = Kind::Object(ObjectKind::Service);
        let endpoints = Kind::Object(ObjectKind::Endpoints);
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        for (words, expected) in [
            (vec!["po"], vec![(Kind::Pod, names(&[]))]),
            (
                vec!["services,endpoints,svc", "a", "b"],
                vec![
                    (service, names(&["a", "b"])),
                    (endpoints, names(&["a", "b"])),
                ],
            ),
            (
                vec!["pod/a", "svc/b", "pod/c"],
                vec![(Kind::Pod, names(&["a", "c"])), (service, names(&["b"]))],
            ),
            (
                vec!["all"],
                vec![(Kind::Pod, names(&[])), (service, names(&[]))],
            ),
        ] {
            assert_eq!(of(&words), Ok(expected), "{words:?}");
        }
        for (words, message) in [
            (vec!["pods,"], "`` is not a kind"),
            (vec!["pods,cars"], "`cars` is not a kind"),
            (vec!["pod/a", "b"], "`b` is not KIND/NAME"),
        ] {
            assert_eq!(of(&words).unwrap_err(), message, "{words:?}");
        }
    }
}
