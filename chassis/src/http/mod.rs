//! HTTP as every process serves it: one server loop, one set of layers, one way to refuse.

mod base;
mod body;
pub mod breaker;
mod conditions;
mod connection;
mod context;
mod door;
mod extract;
pub mod hal;
mod head;
mod layers;
mod name;
mod observe;
pub mod peer;
mod query;
pub mod queue;
mod server;
mod socket;
mod surface;
mod unread;

pub use base::Base;
pub(crate) use body::Memory;
pub use conditions::{Conditions, EntityTag, precondition_failed};
pub use connection::Client;
pub(crate) use extract::bad_query;
pub use extract::{Body, Id, Uuid};
pub use name::Name;
pub use query::Query;
pub use server::KEPT_ALIVE;
pub use surface::Surface;

pub(crate) use context::{Context, Dependencies, Facing, Nothing};
pub(crate) use head::HeadLimits;
pub(crate) use layers::{management, public};
pub(crate) use server::serve;
