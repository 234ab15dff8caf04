//! The commands, one a file.

pub(crate) mod attach;
pub(crate) mod changes;
pub(crate) mod completion;
pub(crate) mod condition;
pub(crate) mod cp;
pub(crate) mod debug;
pub(crate) mod describe;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod exec_streams;
pub(crate) mod get;
pub(crate) mod image;
pub(crate) mod kinds;
pub(crate) mod logs;
mod objects;
pub(crate) mod port_forward;
pub(crate) mod prune;
pub(crate) mod restart;
pub(crate) mod rm;
pub(crate) mod run;
mod services;
pub(crate) mod top;
pub(crate) mod up;
pub(crate) mod validate;
pub(crate) mod volume;
pub(crate) mod wait;
