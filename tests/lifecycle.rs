//! The pod's state machine against the rules of the kubelet, with a clock and a world that exist
//! only here. Tables name one rule each; `random` tries what no table thinks of.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[path = "lifecycle/checker.rs"]
mod checker;
#[path = "lifecycle/plans.rs"]
mod plans;
#[path = "lifecycle/world.rs"]
mod world;

#[path = "lifecycle/ends.rs"]
mod ends;
#[path = "lifecycle/hooks.rs"]
mod hooks;
#[path = "lifecycle/phases.rs"]
mod phases;
#[path = "lifecycle/probes.rs"]
mod probes;
#[path = "lifecycle/random.rs"]
mod random;
#[path = "lifecycle/restarts.rs"]
mod restarts;
#[path = "lifecycle/sidecars.rs"]
mod sidecars;
#[path = "lifecycle/start.rs"]
mod start;
#[path = "lifecycle/stop.rs"]
mod stop;
