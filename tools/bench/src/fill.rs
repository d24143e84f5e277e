//! Fills the tables of a shop that is not running: a catalogue, and carts with all that follows from them.

use crate::growth::INSERT_VIEWS;
use crate::seed;
use crate::storage::Storage;
use crate::workloads::STOCK;
use chassis::storage::Schema;

/// Name and schema of each service.
fn schemas() -> [(&'static str, Schema); 4] {
    [
        ("gifticon", gifticon::store::schema()),
        ("cart", cart::store::schema()),
        ("payment", payment::store::schema()),
        ("mypage", mypage::store::schema()),
    ]
}

/// Returns SQL of a UUID of version 7 for the number `n.i`, from before all that the shop makes now.
fn uuid(kind: u8) -> String {
    format!("'01900000-0000-7000-800{kind}-' || substr(cast(1000000000000 + n.i as text), 2)")
}

/// Inserts the gifticons 1 to `count` with their numbers as ids. Carts hold `held` units of the first.
pub(crate) async fn catalogue(storage: &Storage, count: i64, held: i64) -> anyhow::Result<()> {
    let insert = format!(
        "insert into gifticons (id, gifticon_id, name, available, held, price, version) \
         select n.i, n.i, 'Americano', {STOCK}, case n.i when 1 then {held} else 0 end, 5000, 1"
    );
    let counted =
        format!("update counters set last_id = {count}, live = {count} where name = 'gifticons'");
    let schema = gifticon::store::schema();
    seed::rows(&storage.database("gifticon")?, &schema, &insert, (1, count), &counted).await
}

/// Inserts `rows` carts of gifticon 1 that were added and paid: the cart, its reservation, its payment, its view, and a row
/// in the inbox of each service.
pub(crate) async fn carts(storage: &Storage, rows: i64) -> anyhow::Result<()> {
    catalogue(storage, 1, rows).await?;
    let counted =
        |name| format!("update counters set last_id = {rows}, live = {rows} where name = '{name}'");
    let reservation = uuid(0);
    let reservations = format!(
        "insert into reservations (id, gifticon_id, quantity, name, price, left_over, status, changed_at) \
         select {reservation}, 1, 1, 'Americano', 5000, {STOCK} - n.i, 'Held', 1795532602886"
    );
    let carts = format!(
        "insert into carts (id, gifticon_id, quantity, reservation_id, name, price, status, added_at, changed_at) \
         select n.i, 1, 1, {reservation}, 'Americano', 5000, 'PaymentApproved', 1795532602886, 1795532602886"
    );
    let payments = "insert into payments (cart_id, id, amount, status, cancel_wanted, changed_at) \
                    select n.i, n.i, 5000, 'PaymentApproved', 0, 1795532602886";
    let inbox = format!("insert into inbox (event_id, minute) select {}, 0", uuid(1));
    let nothing = "select 1".to_owned();
    for (service, schema) in schemas() {
        let (insert, after) = match service {
            "gifticon" => (reservations.as_str(), nothing.clone()),
            "cart" => (carts.as_str(), counted("carts")),
            "payment" => (payments, counted("payments")),
            _ => (INSERT_VIEWS, counted("mypages")),
        };
        let url = storage.database(service)?;
        seed::rows(&url, &schema, insert, (1, rows), &after).await?;
        seed::rows(&url, &schema, &inbox, (1, rows), &nothing).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};

    #[tokio::test]
    async fn every_table_of_a_cart_is_filled() {
        sqlx::any::install_default_drivers();
        let storage = Storage::new(false).unwrap();
        carts(&storage, 10).await.unwrap();
        for (service, query) in [
            ("gifticon", "select count(*) from gifticons where held = 10"),
            ("gifticon", "select count(*) from reservations where status = 'Held'"),
            ("cart", "select count(*) from carts"),
            ("cart", "select live from counters where name = 'carts'"),
            ("payment", "select count(*) from payments where id = cart_id"),
            ("mypage", "select count(*) from views where payment_id = cart_id"),
            ("mypage", "select count(*) from inbox where length(event_id) = 36"),
        ] {
            let url = storage.database(service).unwrap();
            let mut connection = AnyConnection::connect(url.as_str()).await.unwrap();
            let row = sqlx::query(AssertSqlSafe(query)).fetch_one(&mut connection).await.unwrap();
            let expected = if query.contains("gifticons") { 1 } else { 10 };
            assert_eq!(row.get::<i64, _>(0), expected, "{query}");
        }
    }

    #[tokio::test]
    async fn a_catalogue_has_the_numbers_as_ids() {
        let storage = Storage::new(false).unwrap();
        sqlx::any::install_default_drivers();
        catalogue(&storage, 100, 0).await.unwrap();
        let url = storage.database("gifticon").unwrap();
        let mut connection = AnyConnection::connect(url.as_str()).await.unwrap();
        let query = "select count(*) from gifticons where id = gifticon_id and held = 0";
        let row = sqlx::query(query).fetch_one(&mut connection).await.unwrap();
        assert_eq!(row.get::<i64, _>(0), 100);
    }
}
