//! What the sweeper does while gifticon takes calls and answers none.

use crate::common::{Cart, Does};
use chassis::testing::eventually;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row, query};

/// As many as a round takes: one after the other in turns of 16 they would take more than a minute.
const ABANDONED: usize = 500;

#[tokio::test]
async fn a_round_ends_soon_while_gifticon_stands_still() {
    let cart = Cart::start().await;
    cart.gifticon.does(Does::StandsStill);
    let mut connection = AnyConnection::connect(cart.db.url.as_str()).await.unwrap();
    let left = format!(
        "with recursive counts(n) as (select 1 union all select n + 1 from counts where n < {ABANDONED}) \
         insert into intents (reservation_id, gifticon_id, quantity, status) \
         select format('00000000-0000-0000-0000-%012x', n), 1, 1, 'Abandoned' from counts; \
         insert into intents (reservation_id, gifticon_id, quantity, status) \
         values ('ffffffff-0000-0000-0000-000000000000', 1, 1, 'Pending')"
    );
    connection.execute(AssertSqlSafe(left)).await.unwrap();
    // It is stale after some seconds, and given up by the round that begins then.
    eventually("a round after that with the releases", async || {
        let pending = query("select count(*) from intents where status = 'Pending'");
        let pending: i64 = pending.fetch_one(&mut connection).await.unwrap().get(0);
        (pending == 0).then_some(())
    })
    .await;
    cart.gifticon.does(Does::Reserves);
    cart.settles(0).await;
    assert_eq!(cart.gifticon.0.lock().unwrap().released.len(), ABANDONED + 1, "all are released");
}
