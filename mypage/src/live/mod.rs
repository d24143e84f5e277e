//! What those see who watch: the views that change, and what happens in the shop.
//!
//! One task a process reads each, while somebody watches, and hands it to the streams in bounded queues.

mod budget;
mod event_streams;
pub mod events;
mod missed;
mod sample;
pub(crate) mod shown;
mod stock;
mod view_streams;
pub mod views;
mod watchers;
