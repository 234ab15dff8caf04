//! The pod network for the pods of one command.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use k8s_openapi::api::core::v1::PodSpec;
use nix::sys::signal::SigSet;

use crate::cli::apply::{Change, Prepared};
use crate::cli::failure::Failure;
use crate::cli::render;
use crate::net::{address, node as kernel};
use crate::plan;
use crate::runtime::idmap::IdMap;
use crate::runtime::node::{self, Joined, NodeError, Start};
use crate::store::{PodRecord, Store};
use crate::wire::Begin;

/// What joins the network for one pod after the other.
#[derive(Debug)]
pub(crate) struct PodNetwork {
    pub(crate) begin: Begin,
    runtime_dir: OwnedFd,
    ids: IdMap,
    /// For the first pod.
    joined: Option<Joined>,
}

/// How long an agent, or another command that starts one, may keep this one waiting.
const PATIENCE: Duration = Duration::from_secs(8);

/// The agent is asked, or started, while files are read and plans made.
#[derive(Debug)]
pub(crate) struct Joining(Receiver<Result<PodNetwork, NodeError>>);

impl Joining {
    /// Begins.
    pub(super) fn start(store: &Store, ids: &IdMap) -> Result<Self, Failure> {
        let runtime_dir = store.open_runtime_dir().map_err(Failure::internal)?;
        let mut network = PodNetwork {
            begin: Begin {
                runtime: store.runtime_dir().to_owned(),
                state: store.state_dir().to_owned(),
                data: store.data_dir().to_owned(),
            },
            runtime_dir,
            ids: ids.clone(),
            joined: None,
        };
        let (sender, receiver) = mpsc::channel();
        #[expect(
            clippy::disallowed_methods,
            reason = "the front end clones no process; its stages are executed"
        )]
        std::thread::spawn(move || {
            // They are the main thread's to take.
            SigSet::all().thread_block().ok();
            let joined = network.join().map(|joined| {
                network.joined = Some(joined);
                network
            });
            sender.send(joined).ok();
        });
        Ok(Self(receiver))
    }

    fn wait(self) -> Result<PodNetwork, NodeError> {
        self.0.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let why = "the node agent, or another command that starts it, does not go on";
            Err(NodeError::Refused(why.to_owned()))
        })
    }
}

impl PodNetwork {
    fn join(&self) -> Result<Joined, NodeError> {
        let Begin {
            runtime,
            state,
            data,
        } = self.begin.clone();
        let store = Store::of(runtime, state, data);
        let has_pods = || {
            let pods = store.pods().unwrap_or_default();
            pods.iter().any(PodRecord::uses_network)
        };
        let start = Start::New(&self.ids);
        node::join(self.runtime_dir.as_fd(), &self.begin, start, &has_pods)
    }

    /// Joins for another pod, whose record is written: from here on whoever finds no agent waits for
    /// the pod's supervisor to start one. An agent that has died before may have a successor with
    /// another network by now.
    ///
    /// # Errors
    /// As [`NodeError`] says.
    pub(crate) fn take(&mut self) -> Result<Joined, NodeError> {
        match self.joined.take() {
            Some(joined) if joined.is_served() => Ok(joined),
            _ => self.join(),
        }
    }
}

/// Whether there is a pod network, and why not; if there is, why it has neither Services nor a way
/// out.
///
/// # Errors
/// Why there is none.
pub(crate) fn trial(store: &Store, ids: &IdMap) -> Result<Option<String>, String> {
    let joining = Joining::start(store, ids).map_err(|failure| failure.message)?;
    let network = joining.wait().map_err(|error| error.to_string())?;
    Ok(network.joined.and_then(|joined| joined.unruled))
}

/// Whether a pod has a network of its own.
pub(super) fn is_wanted(spec: &PodSpec) -> bool {
    spec.host_network != Some(true)
}

/// What plans are told of the network until it is known to be there.
pub(super) fn resolver() -> plan::Addresses {
    address::gateway(kernel::has_ipv6())
}

impl Prepared {
    /// Waits for the network. Without it each pod is alone, with one warning.
    pub(crate) fn join_network(&mut self) {
        let Some(joining) = self.joining.take() else {
            return;
        };
        match joining.wait() {
            Ok(network) => {
                let joined = network.joined.as_ref();
                if let Some(why) = joined.and_then(|joined| joined.unruled.as_ref()) {
                    render::warn(&format!(
                        "pods reach one another, but neither Services nor the outside: the rules for that (nf_tables) cannot be made: {why}"
                    ));
                }
                self.network = Some(network);
            }
            Err(error) => {
                self.host.cluster_dns = None;
                let starts = |(_, change): &(_, Change)| *change != Change::Keep;
                if self.pods.iter().any(starts) {
                    render::warn(&format!(
                        "there is no pod network: {error}; pods reach nothing but themselves and what is published; `podrun doctor` says what to change"
                    ));
                }
            }
        }
    }
}
