//! The promises of a ledger, and their check over HTTP.

use crate::account::Identity;
use crate::{ShopClient, owners};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How far a check found everything in order. Customers do not touch earlier carts again.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// The highest ids.
    pub(super) cart: i64,
    payment: i64,
    view: i64,
    /// Units that live carts up to these ids hold, by gifticon.
    held: BTreeMap<i64, i64>,
}

/// What customers were answered.
#[derive(Clone, Default)]
pub(super) struct Promises {
    /// Units that were registered, by gifticon.
    pub(super) registered: BTreeMap<i64, i64>,
    /// Carts that were answered 201, with whom they belong to.
    pub(super) added: BTreeMap<i64, Arc<str>>,
    /// Carts that were cancelled with 204.
    pub(super) cancelled: BTreeSet<i64>,
    /// Carts whose cancel was not answered.
    pub(super) maybe_cancelled: BTreeSet<i64>,
    /// The requests with idempotency keys.
    pub(super) keys: BTreeMap<String, Keyed>,
    /// Violations that no later state can repair.
    pub(super) broken: Vec<String>,
    /// All requests.
    pub(super) requests: u64,
    /// Requests that were not answered, or with 502, 503 or 504.
    pub(super) failed: Vec<String>,
}

/// A request with an idempotency key.
#[derive(Clone)]
pub(super) struct Keyed {
    pub(super) gifticon_id: i64,
    pub(super) quantity: i64,
    /// Who made it: each owner has keys of their own.
    pub(super) identity: Identity,
    /// The cart that it was answered with, if it was.
    pub(super) cart: Option<i64>,
}

impl Promises {
    /// Returns the promises about carts whose ids are above `cart`.
    pub(super) fn since(&self, cart: i64) -> Self {
        let after = |ids: &BTreeSet<i64>| ids.range(cart + 1..).copied().collect();
        let added = self.added.range(cart + 1..).map(|(id, owner)| (*id, Arc::clone(owner)));
        Self {
            registered: self.registered.clone(),
            added: added.collect(),
            cancelled: after(&self.cancelled),
            maybe_cancelled: after(&self.maybe_cancelled),
            broken: self.broken.clone(),
            ..Self::default()
        }
    }

    /// Returns the latest cart that belongs to somebody else than `owner`.
    pub(super) fn latest_of_another(&self, owner: &str) -> Option<i64> {
        Some(*self.added.iter().rev().find(|(_, of)| &***of != owner)?.0)
    }

    /// Checks once what came after `before`.
    pub(super) async fn check(
        &self,
        web: &ShopClient,
        before: &Checkpoint,
    ) -> Result<Checkpoint, String> {
        if let Some(broken) = self.broken.first() {
            return Err(broken.clone());
        }
        let carts = by_unique(web.all_after("carts", before.cart).await?, "id")?;
        let payments = by_unique(web.all_after("payments", before.payment).await?, "cartId")?;
        let views = by_unique(web.all_after("mypages", before.view).await?, "cartId")?;
        let gifticons = by_unique(web.all_after("gifticons", 0).await?, "gifticonId")?;

        let mut held = before.held.clone();
        for cart in carts.values() {
            *held.entry(number(cart, "gifticonId")?).or_default() += number(cart, "quantity")?;
        }
        for (id, registered) in &self.registered {
            let gifticon = gifticons.get(id).ok_or(format!("gifticon {id} is gone"))?;
            let available = number(gifticon, "availableQuantity")?;
            let held = held.get(id).copied().unwrap_or_default();
            if available < 0 || available + held != *registered {
                return Err(format!(
                    "G1: gifticon {id}: {available} available, {held} in carts, {registered} registered"
                ));
            }
        }
        if let Some(id) = self
            .added
            .keys()
            .filter(|id| !self.cancelled.contains(id) && !self.maybe_cancelled.contains(id))
            .find(|id| !carts.contains_key(id))
        {
            return Err(format!("G2: cart {id} was answered with 201 and is not there"));
        }
        if let Some(id) = self.cancelled.iter().find(|id| carts.contains_key(id)) {
            return Err(format!("G2: cart {id} was cancelled with 204 and is still there"));
        }
        for id in carts.keys().chain(self.added.keys()) {
            let live = carts.contains_key(id);
            let wanted = if live { "PaymentApproved" } else { "PaymentCanceled" };
            for (what, found) in [("payment", payments.get(id)), ("view", views.get(id))] {
                let status = found.and_then(|row| row["status"].as_str());
                if status != Some(wanted) {
                    return Err(format!("G2: the {what} of cart {id} is {status:?}, not {wanted}"));
                }
            }
        }
        if web.identity.is_known() {
            for (what, rows) in [("cart", &carts), ("payment", &payments), ("view", &views)] {
                owners::agree(what, rows, &payments, &self.added)?;
            }
        }
        let of_payments: BTreeSet<_> = payments.keys().collect();
        let of_views: BTreeSet<_> = views.keys().collect();
        if of_payments != of_views {
            let differ: Vec<_> = of_payments.symmetric_difference(&of_views).take(3).collect();
            return Err(format!("G6: payments and views are of different carts: {differ:?}"));
        }
        let last = |rows: &BTreeMap<i64, Value>, before: i64| {
            rows.values().filter_map(|row| row["id"].as_i64()).fold(before, i64::max)
        };
        Ok(Checkpoint {
            // Only the payment shows that there was a cart which is cancelled.
            cart: payments.keys().copied().fold(last(&carts, before.cart), i64::max),
            payment: last(&payments, before.payment),
            view: last(&views, before.view),
            held,
        })
    }
}

/// Returns rows by a field. Fails if two rows have the same value (G3).
fn by_unique(rows: Vec<Value>, field: &str) -> Result<BTreeMap<i64, Value>, String> {
    let mut map = BTreeMap::new();
    for row in rows {
        let key = number(&row, field)?;
        if let Some(other) = map.insert(key, row.clone()) {
            return Err(format!("G3: two rows of {field} {key}: {other} and {row}"));
        }
    }
    Ok(map)
}

fn number(row: &Value, field: &str) -> Result<i64, String> {
    row[field].as_i64().ok_or(format!("no {field} in {row}"))
}
