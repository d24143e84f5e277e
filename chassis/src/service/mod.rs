//! Builds, runs and stops a service.

mod admin;
mod builder;
mod gauges;
pub mod launch;
mod outbox_age;
mod ports;
mod process;
mod running;
mod setting_files;
mod writing_replicas;

pub use builder::Chassis;
pub use process::{HEALTH_PATH, PublicAddress, serve_bare, serve_management};
pub use running::Running;
