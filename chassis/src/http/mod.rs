//! The HTTP server and client of every process: server loop, layers, extractors, HAL, circuit breaker.

mod base_url;
mod body;
pub mod breaker;
pub mod client;
mod conditions;
mod connection;
mod context;
pub mod event_stream;
mod extract;
mod fields;
pub mod hal;
mod handshake_filter;
mod head;
mod json_error;
mod language;
mod layers;
mod name;
mod principal;
mod query;
pub mod queue;
mod request_log;
mod server;
mod server_span;
pub mod serving;
mod socket;
mod stream_end;
mod surface;

pub use base_url::BaseUrl;
pub(crate) use body::BodyMemory;
pub use conditions::{Conditions, EntityTag, precondition_failed};
pub use connection::PeerAddr;
pub use extract::bad_query;
pub use extract::{Body, Id, Uuid};
pub use fields::{Fields, Validate};
pub(crate) use fields::{Rule, rules};
pub use name::Name;
pub use query::Query;
pub use server_span::distrust_trace;
pub use surface::Surface;

pub(crate) use context::{Context, Dependencies, Exposure};
pub(crate) use head::HeadLimits;
pub(crate) use layers::{management, public};
pub(crate) use server::serve;
