//! `/shop`: what is on sale, and the form that adds it to the cart.

mod buy;
mod list;

pub(crate) use buy::{buy, find};
pub(crate) use list::{Gifticon, Gifticons, card, page};
