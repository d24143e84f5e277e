//! `/md`: what a merchandiser does: put on sale, restock, reprice.

mod change;
mod list;
mod register;

pub(crate) use change::change;
pub(crate) use list::page;
pub(crate) use register::register;
