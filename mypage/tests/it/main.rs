//! The mypage service. One program, since each takes its time to link.

mod api;
mod common;
mod faults;
mod owners;
mod progress;
mod rebuilt_table;
mod store;
mod streams;
