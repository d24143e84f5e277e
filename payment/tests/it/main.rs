//! The payment service. One program, since each takes its time to link.

mod api;
mod owners;
mod store;
