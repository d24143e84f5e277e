//! The cart service. One program, since each takes its time to link. `clocks.rs` has its own: it holds the
//! clock of the process.

#[path = "../common/mod.rs"]
mod common;

mod api;
mod blocks;
mod calls;
mod gone;
mod keys;
mod owners;
mod pages;
mod protocol;
mod settings;
mod stock;
mod store;
mod store_blocks;
mod store_keys;
mod sweeper;
