//! The pages, by HTTP alone: what a browser without scripts sends and gets.

mod common;

#[path = "pages/errors.rs"]
mod errors;
#[path = "pages/frame.rs"]
mod frame;
#[path = "pages/md.rs"]
mod md;
#[path = "pages/purchase.rs"]
mod purchase;
#[path = "pages/visitor.rs"]
mod visitor;
