//! The gateway. One program, since each takes its time to link. `overload.rs` has its own: it measures how long
//! requests wait.

#[path = "../common/mod.rs"]
mod common;

mod fixed_upstreams;
mod headers;
mod md_pages;
mod pages;
mod proxy;
mod readiness;
mod refusals;
mod sessions;
mod sign_in;
mod streams;
mod tls;
mod visitor;
mod ways_back;
