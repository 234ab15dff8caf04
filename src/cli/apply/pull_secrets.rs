//! `spec.imagePullSecrets`: the Secrets of a Pod that its images are pulled with.

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;

use crate::cli::apply::{Prepared, Wanted};
use crate::cli::failure::{Failure, INVALID};
use crate::cli::render;
use crate::image::{DOCKER_CONFIG, DOCKER_CONFIG_JSON, PullSecret};
use crate::manifest::Severity;
use crate::names::{ObjectKind, ObjectName};
use crate::plan::ObjectData;

/// The credentials of the Secrets that `find` finds; what is wrong with one is said by its index.
/// One that is missing is a warning, as the kubelet goes on and tries without.
///
/// # Errors
/// The first Secret that is no credential, with its index.
pub(crate) fn read(
    pod: &str,
    spec: &PodSpec,
    find: impl Fn(&ObjectName) -> Result<Option<Value>, Failure>,
) -> Result<Vec<PullSecret>, (usize, Failure)> {
    let mut secrets = Vec::new();
    let mut missing = Vec::new();
    for (index, reference) in spec.image_pull_secrets.iter().flatten().enumerate() {
        let found = match ObjectName::new(reference.name.as_str()) {
            Ok(name) => find(&name).map_err(|failure| (index, failure))?,
            Err(_) => None,
        };
        let Some(secret) = found else {
            missing.push(reference.name.as_str());
            continue;
        };
        let read = of_secret(&secret).map_err(|why| {
            let message = format!("secret `{}` {why}", reference.name.escape_debug());
            (index, Failure::with_code(INVALID, message))
        })?;
        secrets.push(read);
    }
    if !missing.is_empty() {
        render::warn(&format!(
            "FailedToRetrieveImagePullSecret: pod/{pod}: Unable to retrieve some image pull secrets \
             ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        ));
    }
    Ok(secrets)
}

fn of_secret(secret: &Value) -> Result<PullSecret, String> {
    let kind = secret
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or("Opaque");
    let data = ObjectData::of(ObjectKind::Secret, secret).data;
    let content = |key: &str| data.get(key).map(Vec::as_slice).unwrap_or_default();
    let ((new, new_key), (old, old_key)) = (DOCKER_CONFIG_JSON, DOCKER_CONFIG);
    if kind == new {
        PullSecret::of_config_json(content(new_key)).map_err(|why| format!("{new_key}: {why}"))
    } else if kind == old {
        PullSecret::of_config(content(old_key)).map_err(|why| format!("{old_key}: {why}"))
    } else {
        Err(format!(
            "is of type {} and not of {new}",
            kind.escape_debug()
        ))
    }
}

impl Prepared {
    /// The credentials of a Pod of these files, whose Secrets are in these files or stored.
    ///
    /// # Errors
    /// A Secret that is no credential, shown with its place.
    pub(super) fn pull_secrets(&self, wanted: &Wanted) -> Result<Vec<PullSecret>, Failure> {
        let Some(spec) = &wanted.checked.pod.spec else {
            return Ok(Vec::new());
        };
        let secrets = read(wanted.name.as_str(), spec, |name| {
            let mut ours = self.objects.iter().map(|(object, _)| object);
            let ours = ours.find(|object| {
                object.kind == ObjectKind::Secret
                    && object.namespace == wanted.namespace
                    && object.name == *name
            });
            if let Some(object) = ours {
                return Ok(Some(object.value.clone()));
            }
            let stored = self
                .store
                .object(ObjectKind::Secret, &wanted.namespace, name);
            Ok(stored
                .map_err(Failure::internal)?
                .map(|object| object.value))
        });
        secrets.map_err(|(index, failure)| {
            let problem = wanted.checked.positions.problem(
                Severity::Error,
                &format!("spec.imagePullSecrets[{index}].name"),
                failure.to_string(),
                None,
            );
            render::problem(&problem, &self.sources);
            Failure::with_code(INVALID, format!("pod/{} cannot run here", wanted.name))
        })
    }
}
