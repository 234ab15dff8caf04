//! Kernel interfaces: the only module with unsafe code, one file per subject.
//!
//! What `rustix` and `nix` wrap safely is called where it is needed; this module holds the calls
//! they lack and the few pieces of protocol around descriptors that everything shares.

pub mod children;
pub mod credentials;
pub mod inheritance;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod process;
pub mod seccomp;
pub mod seqpacket;
pub mod signal;
pub mod terminal;
pub mod tree;
