//! A gifticon on the page, with its form.

use super::carts::Units;
use super::forms::ChangeForm;
use crate::format::{count, won};
use crate::pages::shop::Gifticon;
use crate::visit::Visit;
use crate::voucher;
use crate::words::{Words, fill};

/// Width of a bar.
const BAR_WIDTH: i64 = 1_000;

/// A gifticon with its form.
pub(super) struct Row {
    pub(super) id: i64,
    /// The number by which shops and carts know it, or `None` if it cannot be read.
    pub(super) gifticon_id: Option<i64>,
    pub(super) name: String,
    pub(super) art: String,
    pub(super) price_text: String,
    /// The price that the form shows first.
    pub(super) seen_price: String,
    pub(super) etag: String,
    pub(super) is_unsure: bool,
    /// What is left, or `None` if it cannot be read.
    pub(super) split: Option<Split>,
    pub(super) price: String,
    pub(super) restock: String,
    pub(super) save_name: String,
    pub(super) price_error: Option<&'static str>,
    pub(super) restock_error: Option<&'static str>,
    pub(super) is_saved: bool,
}

/// How the units of a gifticon are split.
pub(super) struct Split {
    pub(super) sold: String,
    pub(super) held: String,
    pub(super) available: String,
    /// The bar, or `None` if the carts cannot be read.
    pub(super) bar: Option<Bar>,
}

/// The widths of the parts of a bar.
pub(super) struct Bar {
    pub(super) text: String,
    pub(super) sold: i64,
    pub(super) held: i64,
    pub(super) available: i64,
}

impl Row {
    /// Returns the row of a gifticon, with what was typed into its form if that was refused.
    pub(super) fn new(
        visit: &Visit,
        (gifticon, etag): (Gifticon, String),
        units: Option<Units>,
        change: Option<&ChangeForm>,
    ) -> Self {
        let change = change.filter(|change| change.id == gifticon.id);
        let saved = visit.query.get(&["id"]).and_then(|id| id.parse().ok());
        let row = Self {
            gifticon_id: Some(gifticon.gifticon_id),
            split: Some(Split::new(visit.words(), units, gifticon.available_quantity)),
            is_saved: saved == Some(gifticon.id) && change.is_none(),
            ..Self::showing(visit, gifticon.id, &gifticon.name, Some(gifticon.price), etag)
        };
        match change {
            Some(change) => row.with(change),
            None => row,
        }
    }

    /// Returns the row of a gifticon that cannot be read, as its form was sent.
    pub(super) fn unread(visit: &Visit, change: &ChangeForm) -> Self {
        let name = Some(&*change.seen_name).filter(|name| !name.is_empty());
        let name = name.unwrap_or(visit.words().unknown_name);
        Self::showing(visit, change.id, name, change.seen_price, String::new()).with(change)
    }

    fn showing(visit: &Visit, id: i64, name: &str, price: Option<i64>, etag: String) -> Self {
        let t = visit.words();
        let seen_price = price.map(|price| price.to_string()).unwrap_or_default();
        Self {
            id,
            gifticon_id: None,
            name: name.to_owned(),
            art: voucher::draw(name),
            price_text: price.map_or_else(|| t.unknown.to_owned(), |price| won(price, visit.lang)),
            price: seen_price.clone(),
            seen_price,
            etag,
            is_unsure: false,
            split: None,
            restock: String::new(),
            save_name: fill(t.md_save_named, &[("name", name)]),
            price_error: None,
            restock_error: None,
            is_saved: false,
        }
    }

    /// Returns the row with what was typed into its form. One that may have been saved keeps its version, and so does one of which
    /// no newer is known.
    fn with(mut self, change: &ChangeForm) -> Self {
        if change.is_unsure || self.etag.is_empty() {
            self.etag.clone_from(&change.etag);
        }
        self.is_unsure = change.is_unsure;
        self.price.clone_from(&change.price);
        self.restock.clone_from(&change.restock);
        self.price_error = change.price_error;
        self.restock_error = change.restock_error;
        self
    }
}

impl Split {
    fn new(t: &'static Words, units: Option<Units>, available: i64) -> Self {
        let known = |units: Option<i64>| units.map_or_else(|| t.unknown.to_owned(), count);
        let sold = known(units.map(|units| units.sold));
        let held = known(units.map(|units| units.held));
        let available_text = count(available);
        let bar = units.map(|Units { sold: sold_units, held: held_units }| {
            let all = (sold_units + held_units + available).max(1);
            let width = |part: i64| part * BAR_WIDTH / all;
            let texts = [("sold", &*sold), ("held", &*held), ("available", &*available_text)];
            Bar {
                text: fill(t.md_split, &texts),
                sold: width(sold_units),
                held: width(held_units),
                available: width(available),
            }
        });
        Self {
            sold: fill(t.md_sold, &[("n", &sold)]),
            held: fill(t.md_held, &[("n", &held)]),
            available: fill(t.md_available, &[("n", &available_text)]),
            bar,
        }
    }
}
