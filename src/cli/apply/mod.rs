//! From checked objects to running pods: what `up` and `run` have in common.
//!
//! Everything is decided before the first process exists: images are present, plans are made,
//! ports are open. Then old pods go, new ones start together, and either all stay or none.

pub(crate) mod facts;
pub(crate) mod filters;
pub(crate) mod follow;
pub(crate) mod images;
pub(crate) mod launch;
pub(crate) mod limits;
pub(crate) mod network;
mod node_ports;
mod notes;
mod objects;
mod own_directories;
mod ports;
pub(crate) mod pull_secrets;
pub(crate) mod services;
pub(crate) mod storage;
pub(crate) mod update;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::PodSpec;

use crate::cli::apply::filters::Filters;
use crate::cli::apply::launch::{Fleet, Interrupts, Reserved};
use crate::cli::apply::limits::Control;
use crate::cli::apply::network::{Joining, PodNetwork};
use crate::cli::apply::services::Services;
use crate::cli::apply::storage::Storage;
use crate::cli::failure::{Failure, INVALID};
use crate::cli::options::{Global, Input};
use crate::cli::{input, render};
use crate::manifest::{CheckedPod, Manifest, Object, Severity, Source};
use crate::names::{Namespace, ObjectName, PodUid};
use crate::net::address;
use crate::plan::{self, HostFacts, PodPlan, PresentImage, PublishedPort};
use crate::runtime::idmap::IdMap;
use crate::runtime::spawn::Ahead;
use crate::store::{self, PodDir, PodRecord, RECORD_VERSION, Record, Store};

/// One Pod of the files.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) namespace: Namespace,
    pub(crate) name: ObjectName,
    checked: CheckedPod,
    digest: String,
}

/// What is to be done about a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is new.
    Create,
    /// It has changed, or its supervisor is dead.
    Replace,
    /// It is as the file says.
    Keep,
}

/// Each of the files' objects, with what is to be done about it.
type Changes<T> = Vec<(T, Change)>;

/// Everything that was decided.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) store: Store,
    pub(crate) ids: IdMap,
    pub(crate) sources: Vec<Source>,
    pub(crate) pods: Changes<Wanted>,
    pub(crate) objects: Changes<store::Object>,
    images: BTreeMap<String, PresentImage>,
    host: HostFacts,
    /// As it was when this was decided; read again under the lock.
    storage: Storage,
    /// As they were, too.
    services: Services,
    /// What is stored of the Services and endpoints that are replaced.
    before: Vec<store::Object>,
    publish: Vec<PublishedPort>,
    back_off: plan::BackOff,
    filters: Filters,
    control: Control<&'static str>,
    /// Until it is known whether there is a pod network.
    joining: Option<Joining>,
    network: Option<PodNetwork>,
}

/// Reads, checks and resolves: after this only the machine can say no.
///
/// # Errors
/// Invalid files, missing images, plans that cannot be made.
pub(crate) fn prepare(
    global: &Global,
    options: &Input,
    ids: IdMap,
    starts: bool,
) -> Result<Prepared, Failure> {
    let namespace = input::namespace(global)?;
    let publish = options
        .publish
        .iter()
        .map(|text| ports::parse_publish(text))
        .collect::<Result<Vec<_>, _>>()?;
    let back_off = facts::back_off()?;
    let sources = input::read(&options.files)?;
    let manifest = input::check(&sources, options.validate)?;
    let store = input::open_store(global)?;
    let (pods, objects) = wanted(&store, manifest, &namespace, &publish)?;
    if !publish.is_empty() && pods.len() != 1 {
        return Err(Failure::with_code(
            2,
            "--publish needs files with exactly one Pod",
        ));
    }
    let mut changed = pods.iter().filter(|(_, change)| *change != Change::Keep);
    let is_wanted = changed.any(|(wanted, _)| {
        let spec = wanted.checked.pod.spec.as_ref();
        spec.is_some_and(network::is_wanted)
    });
    let joining = if starts && is_wanted {
        Some(Joining::start(&store, &ids)?)
    } else {
        None
    };
    let storage = if uses_storage(&pods, &objects) {
        Storage::load(&store, &objects)?
    } else {
        Storage::default()
    };
    let mut host = facts::host_facts(store.state_dir(), ids.id_count());
    host.cluster_dns = is_wanted.then(network::resolver);
    let mut specs = pods
        .iter()
        .filter_map(|(wanted, _)| wanted.checked.pod.spec.as_ref());
    if specs.any(plan::asks_for_huge_pages) {
        host.huge_pages = facts::huge_pages();
    }
    let mut prepared = Prepared {
        storage,
        services: Services::load(&store, &objects)?,
        before: services::before(&store, &objects)?,
        host,
        filters: Filters::new(store.data_dir()),
        store,
        ids,
        sources,
        pods,
        objects,
        images: BTreeMap::new(),
        publish,
        back_off,
        control: Control::default(),
        joining,
        network: None,
    };
    let needed = prepared
        .pods
        .iter()
        .filter(|(_, change)| *change != Change::Keep);
    let mut wanted = Vec::new();
    for (pod, _) in needed {
        let secrets = prepared.pull_secrets(pod)?;
        let spec = pod.checked.pod.spec.iter();
        wanted.extend(spec.flat_map(|spec| images::Wanted::of_pod(spec, &secrets)));
    }
    prepared.images = images::all_present(
        prepared.store.data_dir(),
        &prepared.ids,
        wanted.into_iter(),
        options.pull,
    )?;
    // Once before anything exists; the real plans differ in uid and address only.
    let plans = prepared.trial_plans()?;
    notes::warn_about_omissions(&plans);
    prepared.check_ports(&plans)?;
    prepared.control = Control::of(&plans, options.strict_limits)?;
    Ok(prepared)
}

fn wanted(
    store: &Store,
    manifest: Manifest,
    namespace: &Namespace,
    publish: &[PublishedPort],
) -> Result<(Changes<Wanted>, Changes<store::Object>), Failure> {
    let mut pods: Changes<Wanted> = Vec::new();
    let mut objects = Vec::new();
    for object in manifest.objects {
        match object {
            Object::Data(data) => objects.push(objects::wanted(store, *data, namespace)?),
            Object::Pod(checked) => {
                let mut checked = *checked;
                let name = checked
                    .complete_name(&facts::name_suffix()?)
                    .map_err(Failure::internal)?;
                let namespace = checked
                    .namespace
                    .clone()
                    .unwrap_or_else(|| namespace.clone());
                checked.pod.metadata.namespace = Some(namespace.to_string());
                let again = pods
                    .iter()
                    .any(|(known, _)| known.name == name && known.namespace == namespace);
                if again {
                    let message = format!("pod/{name} is in these files more than once");
                    return Err(Failure::with_code(INVALID, message));
                }
                let digest = facts::digest(&checked.pod, &namespace, publish)?;
                let wanted = Wanted {
                    namespace,
                    name,
                    checked,
                    digest,
                };
                let change = wanted.change(existing(store, &wanted)?.as_ref());
                pods.push((wanted, change));
            }
        }
    }
    Ok((pods, objects))
}

/// Whether there is anything about claims: what there is of them need not be read otherwise.
fn uses_storage(pods: &Changes<Wanted>, objects: &Changes<store::Object>) -> bool {
    let mut specs = pods
        .iter()
        .filter_map(|(wanted, _)| Some((wanted.checked.pod.spec.as_ref()?, &wanted.name)));
    objects
        .iter()
        .any(|(object, _)| storage::is_storage(object.kind))
        || specs.any(|(spec, name)| !plan::named_claims(spec, name.as_str()).is_empty())
}

fn existing(store: &Store, wanted: &Wanted) -> Result<Option<PodRecord>, Failure> {
    store
        .pod(&wanted.namespace, &wanted.name)
        .map_err(Failure::internal)
}

impl Wanted {
    fn change(&self, existing: Option<&PodRecord>) -> Change {
        match existing {
            None => Change::Create,
            Some(pod) if pod.record.digest != self.digest => Change::Replace,
            // A pod that was lost with its supervisor is started again.
            Some(pod) => match pod.liveness {
                store::Liveness::Alive => Change::Keep,
                store::Liveness::Dead | store::Liveness::Rebooted => {
                    let ended = pod.dir.read_status().and_then(|status| status.phase);
                    match ended.as_deref() {
                        Some("Succeeded" | "Failed") => Change::Keep,
                        _ => Change::Replace,
                    }
                }
            },
        }
    }
}

impl Prepared {
    /// The objects that a Pod names: those of these files, and of the others what is stored.
    fn objects_of(&self, spec: &PodSpec, namespace: &Namespace) -> Result<plan::Objects, Failure> {
        let mut found = plan::Objects::new();
        for (kind, name) in plan::named_objects(spec) {
            let Ok(object_name) = ObjectName::new(name.as_str()) else {
                continue;
            };
            let mut ours = self.objects.iter().map(|(object, _)| object);
            let data = match ours.find(|object| {
                object.kind == kind && object.namespace == *namespace && object.name == object_name
            }) {
                Some(object) => Some(plan::ObjectData::of(kind, &object.value)),
                None => self
                    .store
                    .object(kind, namespace, &object_name)
                    .map_err(Failure::internal)?
                    .map(|object| plan::ObjectData::of(kind, &object.value)),
            };
            found.extend(data.map(|data| ((kind, name), data)));
        }
        Ok(found)
    }

    fn plan(
        &self,
        wanted: &Wanted,
        uid: &PodUid,
        address: Ipv4Addr,
        storage: &Storage,
        services: &Services,
    ) -> Result<PodPlan, Failure> {
        let host = HostFacts {
            pod_addresses: facts::pod_addresses(Some(address)),
            ..self.host.clone()
        };
        let (objects, claims) = match &wanted.checked.pod.spec {
            Some(spec) => (
                self.objects_of(spec, &wanted.namespace)?,
                storage.claims_of(&self.store, spec, &wanted.namespace, &wanted.name),
            ),
            None => (plan::Objects::new(), plan::Claims::new()),
        };
        let input = plan::Input {
            pod: &wanted.checked.pod,
            namespace: &wanted.namespace,
            name: &wanted.name,
            uid,
            folder: wanted.checked.folder.as_deref(),
            images: &self.images,
            objects: &objects,
            claims: &claims,
            services: &services.of(&wanted.namespace),
            host: &host,
            publish: &self.publish,
            back_off: self.back_off,
            filters: &self.filters,
        };
        let planned = plan::build(&input).and_then(|plan| {
            let problems = own_directories::problems(&self.store, &plan);
            if problems.is_empty() {
                Ok(plan)
            } else {
                Err(problems)
            }
        });
        planned.map_err(|problems| {
            for problem in &problems {
                let placed = wanted.checked.positions.problem(
                    Severity::Error,
                    &problem.path,
                    problem.message.clone(),
                    problem.hint.clone(),
                );
                render::problem(&placed, &self.sources);
            }
            Failure::with_code(INVALID, format!("pod/{} cannot run here", wanted.name))
        })
    }

    /// Says once what a rootless pod without id ranges cannot do, what a privileged one can, and which
    /// limits are not in force.
    pub(crate) fn warn_about_this_user(&self) {
        self.note_privileged();
        self.note_resolver();
        self.warn_about_limits();
        if let IdMap::Single { why } = &self.ids
            && self.pods.iter().any(|(_, change)| *change != Change::Keep)
        {
            render::warn(&format!(
                "only user id 0 exists in the pods: {why}; images that switch users, chown or use groups will fail"
            ));
        }
    }

    /// Takes names and addresses, opens ports and makes the directories of the pods that are to be
    /// started.
    ///
    /// # Errors
    /// A name that is taken meanwhile, a port that is in use; nothing is left then.
    pub(crate) fn reserve(&self) -> Result<Vec<Reserved>, Failure> {
        let lock = self.store.lock().map_err(Failure::internal)?;
        let services = self.store_network(&lock)?;
        let storage = self
            .store_storage(&lock)
            .inspect_err(|_| self.undo_network())?;
        let mut reserved = Vec::new();
        let result = self.reserve_all(&mut reserved, &storage, &services);
        drop(lock);
        if result.is_err() {
            for pod in &reserved {
                pod.dir.remove().ok();
            }
            self.undo_stored();
        }
        result.map(|()| reserved)
    }

    fn reserve_all(
        &self,
        reserved: &mut Vec<Reserved>,
        storage: &Storage,
        services: &Services,
    ) -> Result<(), Failure> {
        let (mut used, mut last) = facts::addresses(&self.store)?;
        for (wanted, _) in self
            .pods
            .iter()
            .filter(|(_, change)| *change != Change::Keep)
        {
            if existing(&self.store, wanted)?.is_some() {
                return Err(Failure::with_code(
                    INVALID,
                    format!(
                        "pod/{} was started by another command meanwhile",
                        wanted.name
                    ),
                ));
            }
            let address = address::next_address(&used, last)
                .ok_or_else(|| Failure::internal("all addresses of the pod network are in use"))?;
            used.insert(address);
            last = Some(address);
            let uid = facts::new_uid()?;
            let mut plan = self.plan(wanted, &uid, address, storage, services)?;
            let listeners = ports::open_ports(&mut plan)?;
            let record = Record {
                version: RECORD_VERSION,
                namespace: wanted.namespace.clone(),
                name: wanted.name.clone(),
                uid: uid.clone(),
                digest: wanted.digest.clone(),
                address: matches!(plan.network, plan::Network::Pod { .. }).then_some(address),
                is_in_network: self.network.is_some()
                    && matches!(plan.network, plan::Network::Pod { .. }),
                layers: plan.layers(),
                created: jiff::Timestamp::now(),
                boot_id: store::boot_id().map_err(Failure::internal)?,
                podrun: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let mut pod = wanted.checked.pod.clone();
            pod.metadata.uid = Some(uid.to_string());
            pod.metadata.creation_timestamp = Some(
                k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(record.created),
            );
            let dir =
                PodDir::create(&self.store.pods_dir(), &record, &pod).map_err(Failure::internal)?;
            reserved.push(Reserved {
                plan,
                dir,
                listeners,
            });
        }
        Ok(())
    }

    /// Starts the reserved pods.
    ///
    /// # Errors
    /// The first that cannot be started; nothing is left then.
    pub(crate) fn start(
        &mut self,
        reserved: Vec<Reserved>,
        interrupts: Interrupts,
        ahead: Option<Ahead>,
    ) -> Result<Fleet, Failure> {
        let runtime_dir = self.store.open_runtime_dir().map_err(Failure::internal)?;
        // Its cgroup is the one that this process has left.
        let ahead = ahead.filter(|_| !self.control.has_moved);
        let network = self.network.as_mut();
        Fleet::start(
            &self.ids,
            reserved,
            &runtime_dir,
            interrupts,
            ahead,
            network,
        )
        .inspect_err(|_| self.undo_stored())
    }

    /// Stores the objects: the last step, when nothing can fail any more but the disk.
    ///
    /// # Errors
    /// As `write(2)`.
    pub(crate) fn store_objects(&self) -> Result<(), Failure> {
        for (object, change) in &self.objects {
            // Claims and Services were stored before the pods started.
            let is_stored = storage::is_storage(object.kind) || services::is_network(object.kind);
            if *change != Change::Keep && !is_stored {
                self.store.put_object(object).map_err(Failure::internal)?;
            }
        }
        Ok(())
    }
}
