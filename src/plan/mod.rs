//! From checked objects to a [`PodPlan`]: everything the runtime needs, nothing left to decide.

mod build;
mod command;
mod dns;
mod env_file;
mod files;
mod image_config;
mod life;
mod mounts;
mod objects;
mod pod_plan;
mod resources;
mod security;
mod signal;
mod storage;
mod user;

pub use crate::manifest::{Amounts, NODE_PORTS};
pub use build::{
    HostFacts, Input, PlanProblem, asks_for_huge_pages, build, build_ephemeral, host_ports,
    projected_volumes,
};
pub use dns::CLUSTER_DOMAIN;
pub use env_file::{EnvFile, MAX_ENV_FILE, value_in};
pub use image_config::*;
pub use life::*;
pub use mounts::{BindOptions, Propagation};
pub use objects::{ObjectData, Objects, named_objects, objects_of_volumes};
pub use pod_plan::*;
pub use resources::{InForce, QosClass, Resources};
pub use security::{AppArmor, DEFAULT_CAPABILITIES, Filter, Filters, Seccomp, SecurityPlan};
pub use signal::name as signal_name;
pub use storage::{Binding, BoundClaim, Claims, bind, named_claims};
pub use user::{ResolvedUser, UserError, resolve_user};
