//! What is sold and in payment, as live carts tell it.

use crate::pages::pager::Collection;
use crate::visit::Visit;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Carts that are counted. No service keeps these sums, and a page reads no table to its end.
pub(super) const COUNTED_CARTS_MAX: i64 = 1_000;

/// A live cart, as its service shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cart {
    gifticon_id: i64,
    quantity: i64,
    status: String,
}

/// `_embedded` of the list of carts.
#[derive(Debug, Deserialize)]
struct Carts {
    carts: Vec<Cart>,
}

/// Units of a gifticon in live carts.
#[derive(Clone, Copy, Default)]
pub(super) struct Units {
    pub(super) sold: i64,
    pub(super) held: i64,
}

/// Live carts, counted.
#[derive(Default)]
pub(super) struct Counted {
    /// By the number of the gifticon.
    units: BTreeMap<i64, Units>,
    pub(super) carts: i64,
    pub(super) in_payment: i64,
    /// True if there are more than were counted.
    pub(super) is_part: bool,
}

impl Counted {
    /// Counts the newest live carts, or returns `None` if they cannot be read.
    pub(super) async fn of(visit: &Visit) -> Option<Self> {
        let path = format!("/carts?size={COUNTED_CARTS_MAX}&sort=id,desc");
        let list = visit.client.get::<Collection<Carts>>(&path).await.ok()?;
        let mut counted = Self {
            carts: list.page.total_elements,
            is_part: list.page.total_elements > COUNTED_CARTS_MAX,
            ..Self::default()
        };
        for cart in list.embedded.carts {
            let units = counted.units.entry(cart.gifticon_id).or_default();
            if cart.status == "PaymentApproved" {
                units.sold += cart.quantity;
            } else {
                units.held += cart.quantity;
                counted.in_payment += 1;
            }
        }
        Some(counted)
    }

    /// Returns the units of the gifticon with this number.
    pub(super) fn units(&self, gifticon_id: i64) -> Units {
        self.units.get(&gifticon_id).copied().unwrap_or_default()
    }
}
