//! Drills that break something on purpose, and the audit of what the shop promised.
//!
//! - [`customers`] shop, and [`ledger`] records what they were answered and checks it over HTTP.
//! - [`account`] has who they are, where there is an issuer of tokens.
//! - [`audit`] checks the databases and the topic, and [`owners`] whose everything is.
//! - [`cluster`] runs two replicas of each process behind a [`proxy`], on the Kafka and Postgres of
//!   [`servers`]; [`fault`] injects faults into it.
//! - [`open_page`] follows the event streams through all of it.
//! - [`progress`] says how far a run is.
//! - [`shop`] puts these together. [`story`] is the purchase of the original sample.
//!
//! The tests of `standalone` use the ledger, the customers and the story too.

pub mod account;
pub mod audit;
pub mod client;
pub mod cluster;
mod cpu;
pub mod customers;
pub mod dice;
pub mod fault;
pub mod ledger;
pub mod open_page;
pub mod owners;
pub mod progress;
pub mod proxy;
pub mod servers;
pub mod shop;
pub mod story;

pub use client::ShopClient;
pub use cpu::cpu_time;
pub use dice::Dice;
