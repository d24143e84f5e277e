//! The gifticon service. One program, since each takes its time to link.

mod api;
mod common;
mod many_reservations;
mod rates;
mod requests;
mod store;
