//! What a read costs as the table grows: the same, or something scans.

use crate::load::Requests;
use crate::report::Report;
use crate::seed;
use crate::shop::{Ground, Shop};
use crate::wire::request;
use crate::workloads::open;
use std::sync::Arc;
use std::time::Duration;

/// Reads a second: far below what the service can do, so that the time of one shows.
const RATE: f64 = 1_000.0;

const VIEWS: &str = "insert into views (id, cart_id, gifticon_id, name, price, quantity, amount, payment_id, status, \
    created_at, updated_at) select n.i, n.i, 1, 'Americano', 5000, 1, 5000, n.i, 'PaymentApproved', \
    1795532602886, 1795532602886";

/// Measures reads of a view of a thousand rows, of a hundred thousand, and of `most`.
pub(crate) async fn run(
    real: bool,
    most: i64,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (ground, schema) = (Ground::new(real)?, mypage::store::schema());
    let mut there = 0;
    for rows in [1_000, 100_000, most] {
        if rows <= there {
            continue;
        }
        let counted =
            format!("update counters set last_id = {rows}, live = {rows} where name = 'mypages'");
        seed::rows(&ground.database("mypage")?, &schema, VIEWS, (there + 1, rows), &counted)
            .await?;
        there = rows;
        let shop = Shop::alone("mypage", &ground).await?;
        for (what, requests) in [
            ("by id", reads(rows, |id| format!("/mypages/{id}"))),
            ("by cart", reads(rows, |id| format!("/mypages/search/findByCartId?cartId={id}"))),
            ("20 after an id", reads(rows, |id| format!("/mypages?size=20&after={id}"))),
            ("last 20", reads(rows, move |_| format!("/mypages?size=20&page={}", rows / 20 - 1))),
        ] {
            open(&shop, "mypage", "warm", RATE, time / 4, Arc::clone(&requests)).await?;
            let name = format!("GET {what} of {rows} rows, open loop");
            report.add(open(&shop, "mypage", &name, RATE, time, requests).await?, None);
        }
    }
    Ok(())
}

fn reads(rows: i64, path: impl Fn(u64) -> String + Send + Sync + 'static) -> Requests {
    Arc::new(move |dice| request("GET", &path(dice.roll(rows.unsigned_abs()) + 1), ""))
}
