//! What services rely on. One program, since each takes its time to link. What holds the clock, keeps both
//! cores busy or measures short waits has a program of its own.

#[path = "../common/mod.rs"]
mod common;

mod dead_letters;
mod hostile_issuer;
mod inbox;
mod kafka;
mod log_lines;
mod outbox;
mod owned_pages;
mod pages;
mod pooler;
mod postgres_tls;
mod readers;
mod tokens;
mod writer;
