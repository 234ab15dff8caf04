//! Runs the real binary on the real kernel, each test with a state directory of its own.
//!
//! The same binary runs as root, as an ordinary user with subuid ranges and as one without: what
//! differs between the three is asked of [`harness::mode`]. `PODRUN_MUST_RUN=1` makes a test that
//! cannot run here fail instead of skip.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and its scratch files need no atomic writer"
)]

/// Skips the test with a reason; under `PODRUN_MUST_RUN=1` that is a failure.
macro_rules! require {
    ($condition:expr, $reason:expr) => {
        if !$condition {
            let reason = $reason;
            assert!(
                std::env::var_os("PODRUN_MUST_RUN").is_none_or(|value| value.is_empty()),
                "this machine cannot run the test: {reason}"
            );
            eprintln!("skipped: {reason}");
            return;
        }
    };
}

#[path = "suite/census.rs"]
mod census;
#[path = "suite/debian.rs"]
mod debian;
#[path = "suite/forge.rs"]
mod forge;
#[path = "suite/harness.rs"]
mod harness;
#[path = "suite/registry.rs"]
mod registry;
#[path = "suite/story.rs"]
mod story;
#[path = "suite/terminal.rs"]
mod terminal;

#[path = "suite/budgets.rs"]
mod budgets;
#[path = "suite/claims.rs"]
mod claims;
#[path = "suite/command_line.rs"]
mod command_line;
#[path = "suite/copy.rs"]
mod copy;
#[path = "suite/copy_hostile.rs"]
mod copy_hostile;
#[path = "suite/die_together.rs"]
mod die_together;
#[path = "suite/doctor.rs"]
mod doctor;
#[path = "suite/env_files.rs"]
mod env_files;
#[path = "suite/environment.rs"]
mod environment;
#[path = "suite/everyday.rs"]
mod everyday;
#[path = "suite/exec.rs"]
mod exec;
#[path = "suite/exit_codes.rs"]
mod exit_codes;
#[path = "suite/fs_group.rs"]
mod fs_group;
#[path = "suite/generated.rs"]
mod generated;
#[path = "suite/hostile_images.rs"]
mod hostile_images;
#[path = "suite/isolation.rs"]
mod isolation;
#[path = "suite/layers.rs"]
mod layers;
#[path = "suite/life_ending.rs"]
mod life_ending;
#[path = "suite/life_hooks.rs"]
mod life_hooks;
#[path = "suite/life_order.rs"]
mod life_order;
#[path = "suite/life_probes.rs"]
mod life_probes;
#[path = "suite/life_restarts.rs"]
mod life_restarts;
#[path = "suite/limits.rs"]
mod limits;
#[path = "suite/logs.rs"]
mod logs;
#[path = "suite/looking.rs"]
mod looking;
#[path = "suite/machine.rs"]
mod machine;
#[path = "suite/network.rs"]
mod network;
#[path = "suite/network_outside.rs"]
mod network_outside;
#[path = "suite/nginx.rs"]
mod nginx;
#[path = "suite/node_agent.rs"]
mod node_agent;
#[path = "suite/node_ports.rs"]
mod node_ports;
#[path = "suite/own_users.rs"]
mod own_users;
#[path = "suite/port_forward.rs"]
mod port_forward;
#[path = "suite/ports.rs"]
mod ports;
#[path = "suite/pulls.rs"]
mod pulls;
#[path = "suite/readme.rs"]
mod readme;
#[path = "suite/restarts.rs"]
mod restarts;
#[path = "suite/sandbox.rs"]
mod sandbox;
#[path = "suite/services.rs"]
mod services;
#[path = "suite/sharing.rs"]
mod sharing;
#[path = "suite/threats.rs"]
mod threats;
#[path = "suite/threats_given.rs"]
mod threats_given;
#[path = "suite/threats_kept.rs"]
mod threats_kept;
#[path = "suite/threats_refused.rs"]
mod threats_refused;
#[path = "suite/threats_streams.rs"]
mod threats_streams;
#[path = "suite/threats_users.rs"]
mod threats_users;
#[path = "suite/top.rs"]
mod top;
#[path = "suite/transactions.rs"]
mod transactions;
#[path = "suite/users.rs"]
mod users;
#[path = "suite/volume_files.rs"]
mod volume_files;
#[path = "suite/volume_mounts.rs"]
mod volume_mounts;
#[path = "suite/volumes.rs"]
mod volumes;
#[path = "suite/volumes_sub_path.rs"]
mod volumes_sub_path;
