//! What the agent knows of pods and Services: read from the store, and again when it changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use crate::controller::{self, Given};
use crate::names::ObjectKind;
use crate::net::names;
use crate::net::nft::{Affinity, ServicePort};
use crate::node::ports::NodePort;
use crate::store::{Liveness, PodDir, PodRecord, Store};

/// Room for events: many at once cost one system call.
const EVENTS: usize = 16 * 1024;

/// The kinds that matter here.
const KINDS: [ObjectKind; 3] = [
    ObjectKind::Service,
    ObjectKind::Endpoints,
    ObjectKind::EndpointSlice,
];

/// What a watched directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Watched {
    /// The pods'.
    Pods,
    /// That of one pod.
    Pod(OsString),
    /// One of objects.
    Objects,
}

/// The store as it was read last.
#[derive(Debug)]
pub(super) struct World {
    store: Store,
    inotify: OwnedFd,
    watched: HashMap<i32, Watched>,
    /// By the names of their directories.
    pods: BTreeMap<OsString, Pod>,
    services: Vec<Service>,
    endpoints: Vec<Endpoints>,
    slices: Vec<EndpointSlice>,
    /// What has changed and was not read since.
    stale_pods: BTreeSet<OsString>,
    are_objects_stale: bool,
}

/// What follows from it.
#[derive(Debug)]
pub(super) struct View {
    pub(super) services: Vec<names::Service>,
    pub(super) pods: Vec<names::Pod>,
    pub(super) ports: Vec<ServicePort>,
    pub(super) node_ports: Vec<NodePort>,
}

impl World {
    /// Watches a store; nothing is read yet.
    ///
    /// # Errors
    /// As `inotify_init1(2)` and `inotify_add_watch(2)`.
    pub(super) fn watch(store: Store) -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let mut world = Self {
            inotify: inotify::init(flags)?,
            store,
            watched: HashMap::new(),
            pods: BTreeMap::new(),
            services: Vec::new(),
            endpoints: Vec::new(),
            slices: Vec::new(),
            stale_pods: BTreeSet::new(),
            are_objects_stale: true,
        };
        let pods = world.store.pods_dir();
        world.add(&pods, Watched::Pods)?;
        world.all_pods_stale();
        Ok(world)
    }

    fn add(&mut self, path: &Path, what: Watched) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW;
        let watch = inotify::add_watch(&self.inotify, path, flags)?;
        self.watched.insert(watch, what);
        Ok(())
    }

    /// Looks at every pod again: one may have died, which no file tells.
    pub(super) fn all_pods_stale(&mut self) {
        let entries = std::fs::read_dir(self.store.pods_dir());
        let names = entries.into_iter().flatten().flatten();
        self.stale_pods.extend(names.map(|entry| entry.file_name()));
        self.stale_pods.extend(self.pods.keys().cloned());
    }

    /// Takes the kernel's events; says whether anything is stale.
    pub(super) fn take_events(&mut self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); EVENTS];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut is_overrun = false;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => break,
            };
            is_overrun |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            if event.events().contains(ReadFlags::IGNORED) {
                self.watched.remove(&event.wd());
                continue;
            }
            match self.watched.get(&event.wd()) {
                Some(Watched::Pods) => {
                    let name = event.file_name().map(|name| name.to_bytes().to_vec());
                    self.stale_pods.extend(name.map(OsString::from_vec));
                }
                Some(Watched::Pod(name)) => {
                    self.stale_pods.insert(name.clone());
                }
                Some(Watched::Objects) => self.are_objects_stale = true,
                None => {}
            }
        }
        if is_overrun {
            self.all_pods_stale();
            self.are_objects_stale = true;
        }
        self.is_stale()
    }

    /// Whether there is something to read.
    pub(super) fn is_stale(&self) -> bool {
        self.are_objects_stale || !self.stale_pods.is_empty()
    }

    /// Reads what has changed and says what follows.
    pub(super) fn refresh(&mut self) -> View {
        if std::mem::take(&mut self.are_objects_stale) {
            self.read_objects();
        }
        for name in std::mem::take(&mut self.stale_pods) {
            let path = self.store.pods_dir().join(&name);
            // Before it is read: what is written later is told.
            let is_watched = self
                .watched
                .values()
                .any(|it| *it == Watched::Pod(name.clone()));
            if !is_watched {
                self.add(&path, Watched::Pod(name.clone())).ok();
            }
            match read_pod(&path) {
                Some(pod) => {
                    self.pods.insert(name, pod);
                }
                None => {
                    self.pods.remove(&name);
                }
            }
        }
        self.view()
    }

    fn read_objects(&mut self) {
        let root = self.store.objects_dir();
        // Before they are read, as above. A directory that is watched already keeps its number.
        self.add(&root, Watched::Objects).ok();
        for namespace in std::fs::read_dir(&root).into_iter().flatten().flatten() {
            self.add(&namespace.path(), Watched::Objects).ok();
            for kind in KINDS {
                let path = namespace.path().join(kind.word());
                self.add(&path, Watched::Objects).ok();
            }
        }
        self.services = objects(&self.store, ObjectKind::Service);
        self.endpoints = objects(&self.store, ObjectKind::Endpoints);
        self.slices = objects(&self.store, ObjectKind::EndpointSlice);
    }

    fn view(&self) -> View {
        let pods: Vec<Pod> = self.pods.values().cloned().collect();
        let mut view = View {
            services: Vec::new(),
            pods: pods.iter().filter_map(named).collect(),
            ports: Vec::new(),
            node_ports: Vec::new(),
        };
        let given = Given {
            endpoints: &self.endpoints,
            slices: &self.slices,
        };
        for service in &self.services {
            let endpoints = controller::endpoints(service, &pods, given);
            view.ports.extend(forwarded(service, &endpoints));
            view.node_ports.extend(node_ports(service, &endpoints));
            view.services.extend(resolved(service, &endpoints));
        }
        view
    }
}

impl AsFd for World {
    /// Readable when [`World::take_events`] has something to take.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn objects<T: DeserializeOwned>(store: &Store, kind: ObjectKind) -> Vec<T> {
    let objects = store.objects(kind).unwrap_or_default().into_iter();
    objects
        .filter_map(|object| serde_json::from_value(object.value).ok())
        .collect()
}

/// A pod that lives, with its status.
fn read_pod(path: &Path) -> Option<Pod> {
    let dir = PodDir::open(path.to_owned()).ok()?;
    let record = dir.read_record().ok()?;
    let liveness = dir.liveness(&record);
    let known = PodRecord {
        dir,
        record,
        liveness,
    };
    known.pod().filter(|_| liveness == Liveness::Alive)
}

/// A pod with an address of its own.
fn named(pod: &Pod) -> Option<names::Pod> {
    if pod.spec.as_ref()?.host_network == Some(true) {
        return None;
    }
    let ips = pod.status.as_ref()?.pod_ips.iter().flatten();
    Some(names::Pod {
        namespace: pod.metadata.namespace.clone()?,
        addresses: ips.filter_map(|ip| ip.ip.parse().ok()).collect(),
    })
}

/// The addresses of a Service, none of a headless one.
fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let spec = service.spec.as_ref();
    let listed = spec.and_then(|spec| spec.cluster_ips.clone());
    let single = spec.and_then(|spec| spec.cluster_ip.clone());
    let ips = listed.unwrap_or_else(|| single.into_iter().collect());
    ips.iter().filter_map(|ip| ip.parse().ok()).collect()
}

fn resolved(service: &Service, endpoints: &controller::Endpoints) -> Option<names::Service> {
    let spec = service.spec.as_ref()?;
    let addresses = cluster_ips(service);
    let reach = match (&spec.external_name, spec.type_.as_deref()) {
        (Some(name), Some("ExternalName")) => names::Reach::ExternalName(name.clone()),
        _ if addresses.is_empty() => names::Reach::Endpoints,
        _ => names::Reach::ClusterIps(addresses),
    };
    let port = |port: &controller::Port, number| names::Port {
        name: Some(port.name.clone()).filter(|name| !name.is_empty()),
        protocol: port.protocol,
        port: number,
    };
    let mut found = Vec::new();
    for (index, host) in endpoints.hosts.iter().enumerate() {
        if !host.is_ready {
            continue;
        }
        let ports = endpoints.ports.iter().flat_map(|one| {
            let targets = one.targets.iter().filter(|target| target.host == index);
            targets.map(|target| port(one, target.port))
        });
        let ports: Vec<names::Port> = ports.collect();
        found.extend(host.addresses.iter().map(|address| names::Endpoint {
            address: *address,
            hostname: host.hostname.clone(),
            ports: ports.clone(),
        }));
    }
    Some(names::Service {
        namespace: service.metadata.namespace.clone()?,
        name: service.metadata.name.clone()?,
        reach,
        ports: endpoints.ports.iter().map(|it| port(it, it.port)).collect(),
        endpoints: found,
    })
}

fn affinity(service: &Service) -> Affinity {
    let spec = service.spec.as_ref();
    match spec.and_then(|spec| spec.session_affinity.as_deref()) {
        Some("ClientIP") => Affinity::ClientIp,
        _ => Affinity::None,
    }
}

/// Where a port leads now.
fn ready(endpoints: &controller::Endpoints, port: &controller::Port) -> Vec<SocketAddr> {
    let all = endpoints.ready(port).flat_map(|(host, number)| {
        let addresses = host.addresses.iter();
        addresses.map(move |address| SocketAddr::new(*address, number))
    });
    all.collect()
}

fn forwarded(service: &Service, endpoints: &controller::Endpoints) -> Vec<ServicePort> {
    let mut forwarded = Vec::new();
    for port in &endpoints.ports {
        let targets = ready(endpoints, port);
        forwarded.extend(cluster_ips(service).into_iter().map(|address| ServicePort {
            address,
            protocol: port.protocol,
            port: port.port,
            endpoints: targets.clone(),
            affinity: affinity(service),
        }));
    }
    forwarded
}

fn node_ports(service: &Service, endpoints: &controller::Endpoints) -> Vec<NodePort> {
    let addresses = cluster_ips(service);
    let is_of_family = |endpoint: &SocketAddr| {
        let mut families = addresses.iter();
        families.any(|address| address.is_ipv4() == endpoint.is_ipv4())
    };
    let all = endpoints.ports.iter().filter_map(|port| {
        let mut targets = ready(endpoints, port);
        targets.retain(is_of_family);
        Some(NodePort {
            port: port.node_port?,
            protocol: port.protocol,
            endpoints: targets,
            affinity: affinity(service),
        })
    });
    all.collect()
}
