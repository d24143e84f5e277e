//! What the shop promises, and whether it keeps it.
//!
//! [`ledger::Ledger`] notes what customers were answered and checks it from outside; `standalone`'s
//! kill tests use it too. The binary runs the five services as processes, two of each, on a real
//! Kafka and a real Postgres, and has something go wrong.

pub mod cluster;
mod cpu;
pub mod customers;
pub mod dice;
pub mod fault;
pub mod inside;
pub mod ledger;
pub mod proxy;
pub mod servers;
pub mod shop;
pub mod story;
pub mod web;

pub use cpu::cpu;
pub use dice::Dice;
pub use web::Web;
