//! Measures reads as the table grows: a read that slows down scans the table.

use crate::load::{self, Requests};
use crate::measure::open;
use crate::report::Report;
use crate::seed;
use crate::shop::Shop;
use crate::storage::Storage;
use crate::wire::request;
use std::sync::Arc;
use std::time::Duration;

/// Offered rate, far below the capacity of the service, so that the latency is the time of one read.
const READS_PER_SECOND: f64 = 1_000.0;

/// Inserts a view of the cart `n.i`.
pub(crate) const INSERT_VIEWS: &str = "insert into views (id, cart_id, gifticon_id, name, price, quantity, amount, payment_id, status, \
    created_at, updated_at) select n.i, n.i, 1, 'Americano', 5000, 1, 5000, n.i, 'PaymentApproved', \
    1795532602886, 1795532602886";

/// Measures reads of a table of a thousand views, of a hundred thousand, and of `most`.
pub(crate) async fn run(
    real: bool,
    most: i64,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (storage, schema) = (Storage::new(real)?, mypage::store::schema());
    let mut filled = 0;
    for rows in [1_000, 100_000, most] {
        if rows <= filled {
            continue;
        }
        let counted =
            format!("update counters set last_id = {rows}, live = {rows} where name = 'mypages'");
        seed::rows(
            &storage.database("mypage")?,
            &schema,
            INSERT_VIEWS,
            (filled + 1, rows),
            &counted,
        )
        .await?;
        filled = rows;
        let shop = Shop::alone("mypage", &storage).await?;
        for (what, requests) in [
            ("by id", reads(rows, |id| format!("/mypages/{id}"))),
            ("by cart", reads(rows, |id| format!("/mypages/search/findByCartId?cartId={id}"))),
            ("20 after an id", reads(rows, |id| format!("/mypages?size=20&after={id}"))),
            ("last 20", reads(rows, move |_| format!("/mypages?size=20&page={}", rows / 20 - 1))),
        ] {
            let addr = shop.addr("mypage");
            load::open(addr, READS_PER_SECOND, time / 4, Arc::clone(&requests)).await;
            let name = format!("GET {what} of {rows} rows, open loop");
            report.add(open(&shop, "mypage", &name, READS_PER_SECOND, time, requests).await?, None);
        }
    }
    Ok(())
}

fn reads(rows: i64, path: impl Fn(u64) -> String + Send + Sync + 'static) -> Requests {
    Arc::new(move |dice| request("GET", &path(dice.roll(rows.unsigned_abs()) + 1), ""))
}
