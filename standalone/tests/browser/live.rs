//! What is live: cancelling, two tabs on one stream, a gateway that restarts, and the picture.

use crate::common::Shop;
use crate::driver::Browser;
use crate::{gateway, register};
use chassis::testing::eventually;
use gateway::services::Upstreams;
use std::net::SocketAddr;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_cancel_is_asked_about_and_seen_to_its_end_without_a_reload() {
    let shop = Shop::with_a_paid_cart().await;
    let browser = Browser::start(&shop.web.base, "ko").await;
    browser.open("/me").await;
    browser.says("#c-1 .chip", "결제 완료").await;
    browser.click("#c-1 .cancel summary").await;
    browser.says("#c-1 .cancel", "5,000원을 돌려받고").await;
    browser.click("#c-1 .cancel button").await;
    browser.says("#c-1 .notice", "취소했어요").await;
    browser.mark().await;
    browser.says("#c-1 .chip", "취소 완료").await;
    browser.says("#c-1 .steps", "결제 취소").await;
    browser.was_not_reloaded().await;
    assert_eq!(browser.count("#c-1 .cancel").await, 0);
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}

/// Returns the streams that are open at the gateway.
async fn open_streams(shop: &Shop) -> Option<u64> {
    let gateway = &shop.management["gateway"];
    let answer = gateway.client.get(format!("{}/metrics", gateway.base)).send().await.ok()?;
    let text = answer.text().await.ok()?;
    let line = text.lines().find(|line| line.starts_with("event_streams_open"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn tabs_share_one_stream_and_hand_it_on() {
    let shop = Shop::with_a_paid_cart().await;
    let browser = Browser::start(&shop.web.base, "ko").await;
    browser.open("/me").await;
    browser.is_live().await;
    let first = browser.new_tab().await;
    browser.open("/me").await;
    browser.is_live().await;
    assert_eq!(open_streams(&shop).await, Some(1));
    shop.web.add(1, 1, None).await.unwrap();
    browser.says("#c-2 .chip", "결제 완료").await;
    browser.to_tab(&first).await;
    browser.says("#c-2 .chip", "결제 완료").await;
    // The tab with the stream goes elsewhere; the other one takes over.
    browser.mark().await;
    browser.open("/md").await;
    browser.back().await;
    browser.is_live().await;
    shop.web.add(1, 1, None).await.unwrap();
    browser.says("#c-3 .chip", "결제 완료").await;
    eventually("one stream", async || (open_streams(&shop).await == Some(1)).then_some(())).await;
    browser.has_no_complaints().await;
    drop(browser);
    eventually("no stream", async || (open_streams(&shop).await == Some(0)).then_some(())).await;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_stream_resumes_when_the_gateway_is_back() {
    let shop = Shop::with_a_paid_cart().await;
    let upstreams = || Upstreams::new(|service| shop.direct[service.name].base.clone());
    let running = gateway(SocketAddr::from(([127, 0, 0, 1], 0)), upstreams());
    let base = running.url();
    let addr = base.trim_start_matches("http://").parse().unwrap();
    let browser = Browser::start(&base, "ko").await;
    browser.open("/me").await;
    browser.is_live().await;
    browser.mark().await;
    running.stop(Duration::from_secs(10)).await;
    browser.says("#state", "다시 연결하는 중").await;
    shop.web.add(1, 2, None).await.unwrap(); // by the other gateway
    let running = gateway(addr, upstreams());
    browser.is_live().await;
    browser.says("#c-2 .chip", "결제 완료").await;
    shop.web.add(1, 3, None).await.unwrap();
    browser.says("#c-3 .chip", "결제 완료").await;
    browser.was_not_reloaded().await;
    browser.has_no_complaints().await;
    drop(browser);
    running.stop(Duration::from_secs(10)).await;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn events_walk_and_are_told_in_words() {
    let shop = Shop::start().await;
    register(&shop, 1, "카페라떼", 20, 5_000).await;
    let browser = Browser::start(&shop.web.base, "en").await;
    browser.open("/live").await;
    browser.is_live().await;
    browser.says("#numbers [data-number='stock']", "20").await;
    browser.says("#numbers [data-number='breaker']", "closed").await;
    browser.says("#numbers [data-number='lag']", "0").await;
    browser.click(".slow").await;
    shop.web.add(1, 2, None).await.unwrap();
    browser.says("#happened", "Cart 1: 2 × 카페라떼 added").await;
    browser.says("#happened", "Cart 1: payment approved").await;
    browser.says("#happened", "카페라떼: 18 left").await;
    browser
        .until("dots to walk", async || (browser.count("#dots circle").await > 0).then_some(()))
        .await;
    browser.says("#numbers [data-number='stock']", "18").await;
    shop.web.cancel(1).await.unwrap();
    browser.says("#happened", "Cart 1: the money went back").await;
    browser
        .until("dots to arrive", async || (browser.count("#dots circle").await == 0).then_some(()))
        .await;

    // Who prefers less motion reads the same.
    browser.prefers("prefers-reduced-motion", "reduce").await;
    shop.web.add(1, 1, None).await.unwrap();
    browser.says("#happened", "Cart 2: payment approved").await;
    assert_eq!(browser.count("#dots circle").await, 0);
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_purchase_that_is_refused_is_seen_and_told() {
    let shop = Shop::start().await;
    register(&shop, 1, "카페라떼", 3, 5_000).await;
    let refuse = async || assert_eq!(shop.web.add(1, 4, None).await.unwrap().0, 409);
    refuse().await; // before anybody watches
    let browser = Browser::start(&shop.web.base, "en").await;
    browser.open("/live").await;
    browser.is_live().await;
    browser.says("#numbers [data-number='lag']", "0").await;
    browser.click(".slow").await;
    refuse().await;
    refuse().await;
    browser.says("#happened", "Refused, not enough are left: ").await;
    browser
        .until("the call to walk", async || {
            (browser.count("#dots .SoldOut").await > 0).then_some(())
        })
        .await;
    browser
        .until("gifticon to refuse", async || {
            (browser.count("#node-gifticon.is-refusing").await == 1).then_some(())
        })
        .await;
    let told = "return [...document.querySelectorAll('#happened .SoldOut')]
        .reduce((sum, one) => sum + Number(one.innerText.split(': ')[1]), 0)";
    assert_eq!(browser.run(told, &[]).await, 2, "that before is not told");
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}
