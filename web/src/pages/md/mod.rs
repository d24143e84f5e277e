//! `/md`: what a merchandiser does: put on sale, restock, reprice.

mod carts;
mod change;
mod forms;
mod list;
mod register;
mod row;

pub(crate) use change::change;
pub(crate) use list::page;
pub(crate) use register::register;
