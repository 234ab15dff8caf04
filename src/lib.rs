//! podrun runs Kubernetes Pods on one Linux machine.
//!
//! # Data flow
//!
//! ```text
//!  YAML/JSON ──manifest──▶ checked objects ──plan──▶ PodPlan ──runtime──▶ namespaces, mounts, processes
//!                               ▲                      │ (pure data,              │ exits, probes, timers,
//!    problems with             images                  │  nothing left to decide) ▼ requests = Events
//!    file:line:col        (pull, verify, unpack)       │                     supervisor ──lifecycle──▶ Actions
//!                                                      ▼                          │
//!                                               store: objects, status, logs ◀────┘
//!                                                      │
//!                                               cli: ps get describe logs exec wait …
//! ```
//!
//! # Modules
//!
//! | module | what it is | may use |
//! |---|---|---|
//! | [`names`] | checked newtypes for names | |
//! | [`sys`] | the only unsafe code: wrappers of kernel interfaces | |
//! | [`copy`] | trees to and from archives, for `cp`: hostile on both sides | |
//! | [`resolve`] | host names to addresses, without the C library | |
//! | [`manifest`] | text → checked objects, all problems with positions (pure) | names |
//! | [`plan`] | objects + image configs + host facts → `PodPlan` (pure) | names, manifest |
//! | [`seccomp`] | profiles of system calls → filter programs | manifest, plan |
//! | [`lifecycle`] | the pod's state machine and its `v1.PodStatus` (pure) | names, plan |
//! | [`controller`] | what follows from objects: addresses of Services and where they lead (pure) | names, plan |
//! | [`wire`] | messages between front end, supervisor and stages (pure) | names, plan |
//! | [`stage`] | code of the processes between fork and exec: pause, container init, exec, copy, unpack; the prober | sys, copy, resolve, wire, plan |
//! | [`store`] | the per-user directory: layout, locks, records, logs | sys, names, plan, lifecycle |
//! | [`image`] | reference, registry, content store, unpack | sys, resolve, names, plan, stage |
//! | [`volume`] | materialise volumes on the host side | sys, names, plan, wire |
//! | [`net`] | the pod network: namespaces, wires, forwarding, names; published ports, `port-forward` | sys, names, plan |
//! | [`cgroup`] | limits of pods and containers by the kernel's cgroups | names, plan |
//! | [`runtime`] | parent side of the stages | all above |
//! | [`supervisor`] | the loop: Event → machine → Action | all above |
//! | [`node`] | the node agent: the pods' network namespace and what serves it | all above but the supervisor |
//! | [`cli`] | the command line; the only module that prints | all above |
//!
//! `tests/layers.rs` holds the table and fails when an import points upwards, when a pure module
//! touches the outside world, or when `unsafe` appears outside `src/sys`.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod cgroup;
pub mod cli;
pub mod controller;
pub mod copy;
pub mod image;
pub mod lifecycle;
pub mod manifest;
pub mod names;
pub mod net;
pub mod node;
pub mod plan;
pub mod resolve;
pub mod runtime;
pub mod seccomp;
pub mod stage;
pub mod store;
pub mod supervisor;
#[expect(
    unsafe_code,
    reason = "the one place where kernel interfaces are wrapped"
)]
pub mod sys;
pub mod volume;
pub mod wire;
