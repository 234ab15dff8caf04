//! The pod's state machine: events and time in, actions and a `v1.PodStatus` out. Pure: it has no
//! clock, starts nothing and never fails; the supervisor performs what it says.
#![warn(
    clippy::wildcard_enum_match_arm,
    clippy::arithmetic_side_effects,
    reason = "an unforeseen event or an overflow must not end a supervisor"
)]

mod back_off;
mod conditions;
mod container;
mod event;
pub mod kubectl;
mod lost;
mod machine;
mod order;
mod probing;
mod progress;
mod runs;
mod status;
mod stop;

pub use event::{Action, Event, Hook, Now, PodEvent, ProbeKind, ProbeVerdict, RunId};
pub use lost::{Lost, lost_status};
pub use machine::Machine;
pub use progress::{Progress, Wait, exit_code_of_first_failed, progress};
