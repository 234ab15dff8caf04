//! `podrun rm` and `podrun down`: graceful removal.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cgroup;
use crate::cli::apply::storage;
use crate::cli::failure::{Failure, NOT_FOUND};
use crate::cli::options::{Down, Global, Removal, Rm};
use crate::cli::selector::Selector;
use crate::cli::{input, render};
use crate::manifest::{Object, PodName};
use crate::names::{Namespace, ObjectKind, ObjectName};
use crate::runtime::client::Connection;
use crate::runtime::control_socket;
use crate::runtime::idmap::IdMap;
use crate::runtime::inside;
use crate::store::{self, Liveness, PodRecord, Store};
use crate::sys::process;
use crate::wire::{Reply, Request};

/// What is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Pod(Namespace, ObjectName),
    Object(ObjectKind, Namespace, ObjectName),
}

/// A stored object.
type Stored = (ObjectKind, Namespace, ObjectName);

/// Performs `rm`.
///
/// # Errors
/// A name that is not there (4), after all others were removed.
pub(crate) fn run(global: &Global, options: &Rm) -> Result<u8, Failure> {
    let namespace = input::namespace(global)?;
    let store = input::open_store(global)?;
    let mut targets = Vec::new();
    for name in &options.names {
        targets.push(parse_target(name, &namespace)?);
    }
    if options.all || options.selector.is_some() {
        let selector = Selector::parse(options.selector.as_deref())?;
        for pod in store.pods().map_err(Failure::internal)? {
            let labels = super::get::labels(&pod);
            if pod.record.namespace == namespace && selector.fits(&labels) {
                targets.push(Target::Pod(namespace.clone(), pod.record.name.clone()));
            }
        }
    } else if options.names.is_empty() {
        return Err(Failure::with_code(2, "nothing was named")
            .hinted("name pods, or use --all or -l SELECTOR"));
    }
    remove_all(&store, targets, &options.removal)
}

/// Performs `down`.
///
/// # Errors
/// Files that are no manifests.
pub(crate) fn down(global: &Global, options: &Down) -> Result<u8, Failure> {
    let namespace = input::namespace(global)?;
    let sources = input::read(&options.files)?;
    let manifest = input::names(&sources)?;
    let store = input::open_store(global)?;
    let targets = manifest
        .objects
        .into_iter()
        .filter_map(|object| match object {
            Object::Pod(pod) => match pod.name {
                PodName::Given(name) => Some(Target::Pod(
                    pod.namespace.unwrap_or_else(|| namespace.clone()),
                    name,
                )),
                // What a generated name became is not in the file.
                PodName::Generated(_) => None,
            },
            Object::Data(data) => {
                // Data stays until it is told to go.
                if storage::is_storage(data.kind) && !options.removal.volumes {
                    return None;
                }
                let namespace = if data.kind.is_namespaced() {
                    data.namespace.unwrap_or_else(|| namespace.clone())
                } else {
                    store::Object::namespace_of_none()
                };
                Some(Target::Object(data.kind, namespace, data.name))
            }
        })
        .collect();
    remove_all(&store, targets, &options.removal)
}

/// Removes claims with their data.
///
/// # Errors
/// As [`run`].
pub(super) fn claims(
    global: &Global,
    names: &[String],
    ignore_not_found: bool,
) -> Result<u8, Failure> {
    let namespace = input::namespace(global)?;
    let store = input::open_store(global)?;
    let word = ObjectKind::PersistentVolumeClaim.word();
    let targets = names
        .iter()
        .map(|name| parse_target(&format!("{word}/{name}"), &namespace))
        .collect::<Result<_, _>>()?;
    let removal = Removal {
        ignore_not_found,
        ..Removal::default()
    };
    remove_all(&store, targets, &removal)
}

fn parse_target(text: &str, namespace: &Namespace) -> Result<Target, Failure> {
    let (kind, name) = text.split_once('/').unwrap_or(("pod", text));
    let name = ObjectName::new(name).map_err(|error| {
        Failure::with_code(
            2,
            format!("`{}` is not a name: {error}", text.escape_debug()),
        )
    })?;
    match super::kinds::kind(kind)? {
        super::kinds::Kind::Pod => Ok(Target::Pod(namespace.clone(), name)),
        super::kinds::Kind::Object(kind) if kind.is_namespaced() => {
            Ok(Target::Object(kind, namespace.clone(), name))
        }
        super::kinds::Kind::Object(kind) => Ok(Target::Object(
            kind,
            store::Object::namespace_of_none(),
            name,
        )),
    }
}

fn grace_ms(removal: &Removal) -> Option<u64> {
    if removal.force {
        Some(0)
    } else if removal.now {
        Some(1_000)
    } else {
        // A second at least: the kubelet takes a smaller one for that.
        removal
            .grace_period
            .map(|seconds| seconds.saturating_mul(1_000).max(1_000))
    }
}

fn remove_all(store: &Store, targets: Vec<Target>, removal: &Removal) -> Result<u8, Failure> {
    let grace = grace_ms(removal);
    let mut missing = Vec::new();
    let mut pods = Vec::new();
    let mut objects: Vec<Stored> = Vec::new();
    for target in targets {
        match target {
            Target::Pod(namespace, name) => {
                match store.pod(&namespace, &name).map_err(Failure::internal)? {
                    Some(pod) => pods.push(pod),
                    None => missing.push(format!("pod/{name}")),
                }
            }
            Target::Object(kind, namespace, name) => objects.push((kind, namespace, name)),
        }
    }
    if removal.volumes {
        // Which they are is read now: the pods' records go with them.
        let claims = claims_of(&pods, &objects);
        objects.extend(claims);
    }
    // All are asked before the first is waited for, so that their grace periods run together.
    let asked: Vec<_> = pods.iter().map(|pod| ask(store, pod, grace)).collect();
    for (pod, asked) in pods.iter().zip(asked) {
        finish(store, pod, asked, grace)?;
        render::line(&format!("pod/{} deleted", pod.record.name))?;
    }
    // After the pods, which use them; a volume after the claim that is bound to it.
    objects.sort_by_key(|(kind, _, _)| *kind == ObjectKind::PersistentVolume);
    let mut failed = None;
    for (kind, namespace, name) in objects {
        let removed = match kind {
            ObjectKind::PersistentVolumeClaim => {
                storage::remove_claim(store, &namespace, &name, false)
            }
            ObjectKind::PersistentVolume => storage::remove_volume(store, &name),
            ObjectKind::ConfigMap
            | ObjectKind::Secret
            | ObjectKind::Service
            | ObjectKind::Endpoints
            | ObjectKind::EndpointSlice => store
                .remove_object(kind, &namespace, &name)
                .map_err(Failure::internal),
        };
        let shown = format!("{}/{name}", kind.word());
        match removed {
            Ok(true) => render::line(&format!("{shown} deleted"))?,
            Ok(false) => missing.push(shown),
            // One that is in use keeps no other from being removed.
            Err(failure) => failed = failed.or(Some(failure)),
        }
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    if missing.is_empty() || removal.ignore_not_found {
        return Ok(0);
    }
    Err(Failure::with_code(
        NOT_FOUND,
        format!("{} not found", missing.join(", ")),
    ))
}

/// The claims of these pods that are not named yet.
fn claims_of(pods: &[PodRecord], named: &[Stored]) -> Vec<Stored> {
    let kind = ObjectKind::PersistentVolumeClaim;
    let mut found: Vec<Stored> = Vec::new();
    for pod in pods {
        for claim in storage::claims_of_pod(pod) {
            let stored = (kind, pod.record.namespace.clone(), claim);
            if !named.contains(&stored) && !found.contains(&stored) {
                found.push(stored);
            }
        }
    }
    found
}

/// Removes one pod.
///
/// # Errors
/// What keeps it here.
pub(crate) fn remove_pod(
    store: &Store,
    pod: &PodRecord,
    grace: Option<u64>,
) -> Result<(), Failure> {
    let asked = ask(store, pod, grace);
    finish(store, pod, asked, grace)
}

/// Asks the supervisor to end the pod; nothing when there is none that hears.
fn ask(store: &Store, pod: &PodRecord, grace: Option<u64>) -> Option<Connection> {
    if pod.liveness != Liveness::Alive {
        return None;
    }
    let runtime_dir = store.open_runtime_dir().ok()?;
    let connection = Connection::open(runtime_dir.as_fd(), &pod.record.uid).ok()?;
    connection
        .send(
            &Request::Delete {
                grace_period_ms: grace,
            },
            &[],
        )
        .ok()?;
    Some(connection)
}

fn finish(
    store: &Store,
    pod: &PodRecord,
    asked: Option<Connection>,
    grace: Option<u64>,
) -> Result<(), Failure> {
    if let Some(connection) = asked {
        if !answers_within(&connection, patience(pod, grace)) {
            // It is stopped, or hangs: its end is the end of the whole pod.
            end_by_signal(pod, Some(0))?;
        }
        match connection.receive() {
            Ok(Some((Reply::Refused { message, .. }, _))) => {
                return Err(Failure::internal(format!(
                    "pod/{}: {message}",
                    pod.record.name
                )));
            }
            Ok(Some((Reply::Deleted, _))) => {}
            // It was killed, or was ending already and did not hear: it may still be removing.
            Ok(_) | Err(_) => await_end(pod),
        }
    } else if pod.liveness == Liveness::Alive {
        end_by_signal(pod, grace)?;
    }
    // The supervisor has removed everything, unless it was killed.
    if let Ok(runtime_dir) = store.open_runtime_dir() {
        control_socket::remove(runtime_dir.as_fd(), &pod.record.uid);
        cgroup::sweep(runtime_dir).ok();
    }
    let Err(error) = pod.dir.remove() else {
        return Ok(());
    };
    if error.kind() != std::io::ErrorKind::PermissionDenied {
        return Err(Failure::internal(format!(
            "{} cannot be removed: {error}",
            pod.dir.path().display()
        )));
    }
    // Files of the pod's other users: only its own ids may remove them.
    inside::remove(&IdMap::of_this_user(), pod.dir.path())
        .map_err(|error| Failure::internal(format!("pod/{}: {error}", pod.record.name)))
}

/// How long a supervisor may take to end its pod: the grace period, the runtime's two seconds after
/// it, and more than what is left to do takes on a machine that is busy.
fn patience(pod: &PodRecord, grace: Option<u64>) -> Duration {
    let of_spec = || {
        let value = pod.dir.read_pod().unwrap_or_default();
        value
            .pointer("/spec/terminationGracePeriodSeconds")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(30)
            .saturating_mul(1_000)
    };
    let slack = if grace == Some(0) { 5_000 } else { 12_000 };
    Duration::from_millis(grace.unwrap_or_else(of_spec).saturating_add(slack))
}

/// Whether an answer, or the end of the connection, comes within this time.
fn answers_within(connection: &Connection, time: Duration) -> bool {
    let time = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    let answer = poll(&mut [PollFd::new(connection, PollFlags::IN)], Some(&time));
    !matches!(answer, Ok(0))
}

/// Waits until the pod's supervisor has ended.
fn await_end(pod: &PodRecord) {
    let identity = pod.dir.read_identity();
    if let Some(pidfd) = identity.and_then(|identity| identity.open_verified()) {
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).ok();
    }
}

/// A supervisor whose socket is gone (the runtime directory was cleaned) still takes signals.
///
/// # Errors
/// When the pod lives and its record names a process that is not its supervisor: neither is that one
/// ended nor the pod forgotten.
fn end_by_signal(pod: &PodRecord, grace: Option<u64>) -> Result<(), Failure> {
    let Some(identity) = pod.dir.read_identity() else {
        return Ok(());
    };
    let Some(pidfd) = identity.open_verified() else {
        if !identity.is_anothers() || pod.dir.liveness(&pod.record) != Liveness::Alive {
            return Ok(());
        }
        return Err(Failure::internal(format!(
            "pod/{} does not answer, and process {} of its record is another one's",
            pod.record.name, identity.pid
        ))
        .hinted("end the pod's processes, then remove it"));
    };
    let signal = if grace == Some(0) {
        libc::SIGKILL
    } else {
        libc::SIGTERM
    };
    if process::signal(&pidfd, signal).is_ok() {
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).ok();
    }
    Ok(())
}
