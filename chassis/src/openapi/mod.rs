//! Describes the HTTP interface of a service in OpenAPI 3.1. Each service lists its operations in `api/openapi.rs`; what is
//! the same everywhere is here: items, collections, numbers, problems.
//!
//! No process builds the document while it runs: a test builds it, and compares it with `docs/openapi.json`, which the gateway
//! has in its binary.

mod api;
mod document;
mod numbers;
mod operation;
mod problems;
mod schemas;

pub use api::Api;
pub use document::document;
pub use operation::Operation;
