//! From checked objects to a [`PodPlan`]: everything the runtime needs, nothing left to decide.

mod image_config;
mod pod_plan;

pub use image_config::*;
pub use pod_plan::*;
