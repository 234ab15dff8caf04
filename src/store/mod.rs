//! The user's own directories: who is here, what it is, what it said.
//!
//! ```text
//! runtime  $XDG_RUNTIME_DIR/podrun   (root: /run/podrun)           <uid>.sock           disposable
//! state    $XDG_STATE_HOME/podrun    (root: /var/lib/podrun/state)
//!            lock                                          serialises names and addresses
//!            objects/<namespace>/<kind>/<name>.json        fsync'ed
//!            claims/<namespace>/<claim>/                   data of claims
//!            pods/<namespace>_<name>_<uid>/                flock on it: its supervisor lives
//!              record.json    who it is; the first file made, the last one removed
//!              pod.json       the v1.Pod
//!              status.json    the v1.PodStatus, rewritten at each change
//!              identity.json  the supervisor's process
//!              events.json    what happened, rewritten with the status
//!              deletion.json  since when it is being deleted
//!              containers/<c>/<attempt>/{upper,work,merged}  containers/<c>/<attempt>.message
//!              volumes/<v>  etc  shm  empty
//!              logs/<c>/<attempt>.log[.<time>]
//! data     $XDG_DATA_HOME/podrun     (root: /var/lib/podrun/data)  images
//! ```
//! Everything is 0700. A record is written to a temporary name and renamed; a pod's own files
//! belong to one boot and are not synced, because its start must not wait for a disk.

mod atomic;
mod claims;
mod error;
mod events;
mod identity;
pub mod log;
mod objects;
mod pod_dir;
mod record;
mod roots;

pub use atomic::{Durability, atomic_write, read_bounded};
pub use error::StoreError;
pub use events::{EventLog, EventRecord};
pub use identity::{Identity, boot_id};
pub use log::{Line, LogCursor, LogLimits, LogWriter, Stream, attempts};
pub use objects::Object;
pub use pod_dir::{Deletion, Liveness, PodDir};
pub use record::{PodRecord, RECORD_VERSION, Record};
pub use roots::{Environment, Store, StoreLock};
