//! The supervisor: one process per pod, one thread, one loop. It turns what the kernel and the
//! commands tell it into events of the lifecycle machine and performs the machine's actions.
//!
//! It is the parent (as a subreaper) of every container, so exit codes are exact; it holds the
//! lock on the pod's directory, so everybody knows that the pod lives; and when it ends, in
//! whatever way, pause ends, and with pause's pid namespace everything in the pod.

mod attach;
mod cgroups;
mod container;
mod control;
mod enter;
mod exec;
mod last_words;
mod pod;
mod processes;
mod sandbox;
mod sweep;
mod users;
mod watch;

pub use enter::enter;
pub use pod::run;
