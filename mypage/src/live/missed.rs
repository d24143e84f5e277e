//! What a client of `/mypages/stream` missed while it was away.

use crate::projection::View;
use crate::store;
use chassis::http::event_stream::write_event;
use chassis::storage::Db;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Changes that are read at once.
pub(super) const CHANGES_READ: i64 = 128;
/// Views that are read at once. A client that missed the changes of more begins anew.
pub(super) const VIEWS_READ: usize = 1_000;

/// Returns the change `last` with the carts whose views changed between it and `position`, each with its last change. `None`
/// if that is not known, or if they are too many.
pub(super) async fn changed_since(
    db: &Db,
    last: Option<i64>,
    position: i64,
) -> sqlx::Result<Option<(i64, BTreeMap<i64, i64>)>> {
    let Some(last) = last else { return Ok(None) };
    let (mut read, mut changed) = (last, BTreeMap::new());
    if last > position {
        // Another replica has told it already, or it is from another database.
        let known = last <= store::last_change(db).await?;
        return Ok(known.then_some((last, changed)));
    }
    while read < position {
        let next = store::changes_after(db, read, CHANGES_READ).await?;
        if next.is_empty() {
            return Ok(None);
        }
        for change in next {
            let carts = change.carts().filter(|_| change.seq == read + 1);
            let Some(carts) = carts else { return Ok(None) };
            read = change.seq;
            changed.extend(carts.into_iter().map(|cart| (cart, read)));
        }
        if changed.len() > VIEWS_READ {
            return Ok(None);
        }
    }
    Ok(Some((last, changed)))
}

/// Writes an event for each view that a client missed, in the order of their last changes. So it gets on, also if its
/// stream breaks off before the last one, which leads to the position `to`.
pub(super) fn write_missed(
    text: &mut String,
    render: impl Fn(&View) -> String,
    views: &[View],
    changed: &BTreeMap<i64, i64>,
    to: i64,
) {
    let seq = |view: &&View| changed.get(&view.cart_id.0).copied().unwrap_or(to);
    let mut views: Vec<&View> = views.iter().collect();
    views.sort_by_key(seq);
    for (index, view) in views.iter().enumerate() {
        let (seq, next) = (seq(view), views.get(index + 1).map(seq));
        let id = match next {
            None => to,
            Some(next) if next == seq => seq - 1, // this change has more views
            Some(_) => seq,
        };
        write_event(text, &id.to_string(), "mypage", &render(view));
    }
    if views.is_empty() {
        let _ = write!(text, "id: {to}\n\n");
    }
}
