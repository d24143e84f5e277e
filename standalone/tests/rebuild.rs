//! A rebuild of the view from the topic, while customers shop, gives the same view.

mod common;

use chaos::customers::Customers;
use chaos::ledger::Ledger;
use common::Shop;
use reqwest::Method;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Returns every view and its history as text, by cart.
async fn everything(shop: &Shop) -> BTreeMap<i64, (String, String)> {
    let mut all = BTreeMap::new();
    for view in shop.direct["mypage"].all("mypages").await.unwrap() {
        let history = shop.direct["mypage"].get(&format!("/mypages/{}/history", view["id"])).await;
        all.insert(view["cartId"].as_i64().unwrap(), (view.to_string(), history.to_string()));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_from_a_log_that_forgot_events_changes_nothing() {
    let shop = Shop::with(|config| config.event_log_messages = Some(20)).await;
    let ledger = Arc::new(Ledger::default());
    shop.web.register(1, 100_000, 5000).await;
    ledger.register(1, 100_000);
    let shopper = Customers::start(&shop.web, &ledger, 1, 1, "customer", common::seed());
    let log = shop.log.clone().unwrap();
    chassis::testing::eventually("a log that forgot events", async || {
        let history = log.history().await.unwrap();
        history.first().is_some_and(|oldest| oldest.position.offset > 50).then_some(())
    })
    .await;
    shopper.stop().await;
    ledger.audit(&shop.web).await;
    let before = everything(&shop).await;

    let rebuild = shop.management["mypage"].ask(Method::POST, "/admin/rebuild", None);
    assert_eq!(rebuild.await.unwrap().0, 200);
    assert_eq!(everything(&shop).await, before);
    let audit = shop.management["mypage"].ask(Method::GET, "/admin/audit", None).await.unwrap().1;
    assert_eq!((audit[0]["action"].as_str(), audit[1].as_str()), (Some("rebuild"), None));
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuilt_view_equals_the_old_one_and_misses_nothing_meanwhile() {
    let shop = Shop::start().await;
    let ledger = Arc::new(Ledger::default());
    for gifticon_id in 1..=2 {
        shop.web.register(gifticon_id, 100_000, 5000).await;
        ledger.register(gifticon_id, 100_000);
    }
    let seed = common::seed();
    let customer = |name, seed| Customers::start(&shop.web, &ledger, 1, 2, name, seed);
    let shopper = customer("before", seed);
    chassis::testing::eventually("some carts", async || {
        (ledger.carts_promised() > 60).then_some(())
    })
    .await;
    shopper.stop().await;
    ledger.audit(&shop.web).await;
    let before = everything(&shop).await;
    let rebuild =
        async || shop.management["mypage"].ask(Method::POST, "/admin/rebuild", None).await.unwrap();

    let (status, answer) = rebuild().await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["events"].as_i64().unwrap() > 120, "{answer}");
    assert!(answer["seconds"].is_u64() && answer["perSecond"].as_i64().unwrap() > 0, "{answer}");
    let none_runs = shop.management["mypage"].get("/admin/rebuild").await;
    assert_eq!(none_runs, serde_json::json!({ "running": false }));
    assert_eq!(everything(&shop).await, before);

    // And while carts are added and cancelled.
    let shopper = customer("meanwhile", seed + 1);
    for _ in 0..3 {
        assert_eq!(rebuild().await.0, 200);
    }
    shopper.stop().await;
    ledger.audit(&shop.web).await;
    let live = everything(&shop).await;
    assert_eq!(rebuild().await.0, 200);
    assert_eq!(everything(&shop).await, live);
    for (cart, view) in before {
        let same_id = |view: &str| view.split("\"_links\"").nth(1).map(str::to_owned);
        assert_eq!(same_id(&view.0), same_id(&live[&cart].0), "the links to cart {cart} stay");
    }
    shop.stop().await;
}
