//! The pages.

mod figures;
mod frame;
pub(crate) mod live;
pub(crate) mod md;
pub(crate) mod me;
pub(crate) mod pager;
pub(crate) mod shop;
pub(crate) mod sign_in;
pub(crate) mod theme;
pub(crate) mod trouble;
mod way_back;

pub(crate) use frame::{Frame, Summary};
pub use way_back::{PATHS, WayBack};
