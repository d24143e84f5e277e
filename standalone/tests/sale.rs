//! Many customers at the same time: nothing is oversold, leaked or done twice.

mod common;

use chaos::ledger::Ledger;
use common::audit;
use common::{Dice, Shop};
use reqwest::StatusCode;
use std::sync::Arc;
use tokio::task::JoinSet;

#[tokio::test]
async fn two_hundred_customers_for_the_last_ten_units_buy_exactly_ten() {
    let shop = Shop::start().await;
    shop.web.register(1, 10, 5000).await;
    let mut customers = JoinSet::new();
    for _ in 0..200 {
        let web = shop.web.clone();
        customers.spawn(async move { web.add(1, 1, None).await.unwrap().0 });
    }
    let answers = customers.join_all().await;
    let count = |status| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!(count(StatusCode::CREATED), 10, "{answers:?}");
    assert_eq!(count(StatusCode::CONFLICT), 190, "{answers:?}");
    assert_eq!(shop.web.get("/gifticons/1").await["availableQuantity"], 0);
    assert_eq!(shop.web.get("/carts").await["page"]["totalElements"], 10);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_adds_and_cancels_of_64_customers_keep_the_guarantees() {
    let shop = Shop::start().await;
    let (ledger, seed) = (Arc::new(Ledger::default()), common::seed());
    for gifticon_id in 1..=3 {
        shop.web.register(gifticon_id, 150, 1000 * gifticon_id).await;
        ledger.register(gifticon_id, 150);
    }
    let mut customers = JoinSet::new();
    for customer in 0..64 {
        let (web, ledger) = (shop.web.clone(), Arc::clone(&ledger));
        let mut dice = Dice::new(seed + customer);
        customers.spawn(async move {
            let mut mine = Vec::new();
            for step in 0..15 {
                if mine.is_empty() || dice.roll(10) < 6 {
                    let (gifticon, quantity) = (dice.roll(3) + 1, dice.roll(5) + 1);
                    let key = (dice.roll(2) == 0).then(|| format!("{customer}-{step}"));
                    let (gifticon, quantity) = (gifticon.cast_signed(), quantity.cast_signed());
                    mine.extend(ledger.add(&web, gifticon, quantity, key.as_deref()).await);
                } else {
                    let one = usize::try_from(dice.roll(mine.len() as u64)).unwrap();
                    let id = mine.swap_remove(one);
                    // Two cancels at the same time: one of them is answered with 404.
                    tokio::join!(ledger.cancel(&web, id), ledger.cancel(&web, id));
                }
            }
        });
    }
    customers.join_all().await;
    ledger.replay_keys(&shop.web).await;
    ledger.audit(&shop.web).await;
    audit::settled(shop.dir.path()).await;
    shop.stop().await;
}
