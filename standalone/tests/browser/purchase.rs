//! Buying, in a browser: twice, from two tabs, at another price, sold out, and back.

use crate::common::Shop;
use crate::driver::Browser;
use crate::sound::violations;
use crate::{carts, register};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

const BUY: &str = "#g-1 .buy button.primary";
/// Returns the price that a form has.
const FORM_PRICE: &str = "return document.querySelector('#g-1 [name=price]').value";

/// Changes the gifticon, as a merchandiser does.
async fn change(shop: &Shop, change: Value) {
    shop.web.ask(Method::PATCH, "/gifticons/1", Some(change)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_purchase_is_seen_paid_without_a_reload() {
    let shop = Shop::start().await;
    register(&shop, 1, "카페라떼", 20, 5_000).await;
    let browser = Browser::start(&shop.web.base, "ko").await;
    browser.open("/shop").await;
    browser.click("#g-1 [data-step='1']").await;
    browser.click(BUY).await;
    browser.says("#g-1 .notice", "2개 · 10,000원").await;
    browser.mark().await;
    browser.says("#g-1 .notice", "결제 완료").await;
    browser.says("#g-1 .stock", "18개 남음").await;
    browser.was_not_reloaded().await;

    // My page, while others buy.
    browser.click("#g-1 .notice a").await;
    browser.says("#c-1 .chip", "결제 완료").await;
    browser.is_live().await;
    browser.mark().await;
    shop.web.add(1, 3, None).await.unwrap();
    browser.says("#c-2", "15,000원").await;
    browser.says("#c-2 .chip", "결제 완료").await;
    browser.says("#c-2 .steps", "결제 승인").await;
    browser.says("#announce", "장바구니 2번: 결제 완료").await;
    browser.was_not_reloaded().await;
    let first = browser.run("return document.querySelector('#carts > li').id", &[]).await;
    assert_eq!(first, "c-2", "the newest is first");
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_payment_that_is_declined_is_told() {
    let shop = Shop::with(|config| config.limit.payment_limit = Some(10_000)).await;
    register(&shop, 1, "케이크", 12, 30_000).await;
    let browser = Browser::start(&shop.web.base, "ko").await;
    browser.open("/shop").await;
    browser.click(BUY).await;
    // At the card, or above all of them if it was declined before the page came.
    browser.says("main", "거절").await;
    browser.has_no_complaints().await;
    browser.open("/me").await;
    browser.says("#c-1 .chip", "결제 거절").await;
    browser.has_no_complaints().await;
    browser.open("/shop?bought=1").await;
    browser.says("main > .notice", "결제가 거절되었거나 취소된").await;
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_purchase_in_english_and_one_on_a_phone() {
    let shop = Shop::start().await;
    register(&shop, 1, "Latte", 20, 5_000).await;
    let browser = Browser::start(&shop.web.base, "en").await;
    browser.open("/shop").await;
    browser.says("#g-1 .stock", "20 left").await;
    browser.click("#g-1 [data-step='1']").await;
    browser.click(BUY).await;
    browser.says("#g-1 .notice", "It is yours 2 for ₩10,000").await;
    browser.mark().await;
    browser.says("#g-1 .notice", "Paid").await;
    browser.says("#g-1 .stock", "18 left").await;
    browser.was_not_reloaded().await;
    browser.click("#g-1 .notice a").await;
    browser.says("#c-1 .chip", "Paid").await;
    browser.says("#c-1 .steps", "Payment approved").await;

    // Each tap hits what is on top there.
    browser.viewport(360, 740, true).await;
    browser.touches().await;
    browser.tap("a.tool").await;
    browser.says("h1", "마이페이지").await;
    browser.tap(".tabs a[href='/shop']").await;
    browser.says("#g-1 .stock", "18개 남음").await;
    browser.tap("#g-1 [data-step='1']").await;
    browser.tap("#g-1 [data-step='1']").await;
    browser.tap(BUY).await;
    browser.says("#g-1 .notice", "3개 · 15,000원").await;
    browser.says("#g-1 .notice", "결제 완료").await;
    browser.tap("#g-1 .notice a").await;
    browser.says("#c-2 .chip", "결제 완료").await;
    browser.tap("#c-2 .cancel summary").await;
    browser.tap("#c-2 .cancel button").await;
    browser.says("#c-2 .chip", "취소 완료").await;
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn what_sells_out_while_a_customer_looks_says_so() {
    let shop = Shop::start().await;
    register(&shop, 1, "케이크", 12, 30_000).await;
    let browser = Browser::start(&shop.web.base, "ko").await;
    browser.open("/shop").await;
    browser.says("#g-1 .stock", "12개 남음").await;
    browser.is_live().await;
    browser.mark().await;
    shop.web.add(1, 9, None).await.unwrap();
    browser.says("#g-1 .stock", "3개만 남았어요").await;
    shop.web.add(1, 3, None).await.unwrap();
    browser.says("#g-1 button.primary", "품절").await;
    assert_eq!(browser.count("#g-1 button.primary:disabled").await, 1);
    shop.web.cancel(1).await.unwrap();
    browser.says("#g-1 .stock", "9개만 남았어요").await;
    assert_eq!(browser.count("#g-1 button.primary:disabled").await, 0);
    browser.was_not_reloaded().await;

    // A form that asks for more than there are: the summary takes the focus, and what was typed stays.
    browser.fill("#q-1", "9").await;
    shop.web.add(1, 5, None).await.unwrap();
    browser.says("#g-1 .stock", "4개만 남았어요").await; // and so has its `max`
    browser.run("document.querySelector('#q-1').removeAttribute('max')", &[]).await;
    browser.click(BUY).await;
    browser.says(".summary", "4개 남았어요. 4개 이하로 골라 주세요").await;
    let focus = browser.run("return document.activeElement.className", &[]).await;
    assert_eq!(focus, "summary");
    assert_eq!(browser.run("return document.querySelector('#q-1').value", &[]).await, "9");
    browser.click(".summary a").await;
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_double_click_is_one_cart_and_going_back_begins_anew() {
    let shop = Shop::start().await;
    register(&shop, 1, "아메리카노", 20, 4_500).await;
    let browser = Browser::start(&shop.web.base, "ko").await;
    browser.open("/shop").await;
    browser.double_click(BUY).await;
    browser.says("#g-1 .notice", "1개 · 4,500원").await;
    assert_eq!(carts(&shop).await, 1);
    // Also for a browser whose scripts do not stop the second click: the form has one key.
    browser.run("document.querySelector('#g-1 form').removeAttribute('data-once')", &[]).await;
    browser.double_click(BUY).await;
    browser.until("the second cart", async || (carts(&shop).await == 2).then_some(())).await;
    browser.says("#g-1 .notice", "담았어요").await;
    assert_eq!(carts(&shop).await, 2);

    browser.open("/me").await;
    browser.back().await;
    browser.says("#g-1 .stock", "18개 남음").await;
    browser.click(BUY).await;
    browser.until("the third cart", async || (carts(&shop).await == 3).then_some(())).await;
    browser.says("#g-1 .notice", "담았어요").await;
    browser.back().await;
    browser.says("#g-1 .stock", "17개 남음").await;
    browser.click(BUY).await;
    browser.until("the fourth cart", async || (carts(&shop).await == 4).then_some(())).await;
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_price_that_changes_while_a_customer_looks_is_seen() {
    let shop = Shop::start().await;
    register(&shop, 1, "카페라떼", 20, 5_000).await;
    let browser = Browser::start(&shop.web.base, "ko").await;
    browser.open("/shop").await;
    browser.is_live().await;
    browser.says("#g-1 .price", "5,000원").await;
    browser.mark().await;
    browser.fill("#q-1", "2").await; // and the focus stays there
    change(&shop, json!({ "price": 6_000, "name": "카페모카" })).await;
    browser.says("#g-1 .price", "6,000원").await;
    // A click in this moment meant the price before.
    assert_eq!(browser.run(FORM_PRICE, &[]).await, "5000");
    browser.says("#g-1 .price s", "5,000원").await;
    browser.says("#g-1 h2", "카페모카").await;
    browser.says("#announce", "카페모카 가격이 6,000원으로 바뀌었어요").await;
    let kept = "const one = document.activeElement;
        return [one.id, one.value, one.getAttribute('aria-label')].join()";
    assert_eq!(browser.run(kept, &[]).await, "q-1,2,카페모카 수량");
    assert_eq!(violations(&browser).await, Vec::<String>::new());
    browser
        .until("the form to have the price", async || {
            (browser.run(FORM_PRICE, &[]).await == "6000").then_some(())
        })
        .await;
    browser.was_not_reloaded().await;
    browser.click(BUY).await;
    browser.says("#g-1 .notice", "2개 · 12,000원").await;

    // A stream that is out of date has the whole page asked for.
    browser.is_live().await;
    let first = browser.new_tab().await;
    browser.open("/shop").await;
    browser.is_live().await;
    // What the first tab has kept is older than the page, so that the card is asked for once.
    let asked = "return performance.getEntriesByType('resource').filter(one => one.name.includes('/shop/gifticons/1')).length";
    browser
        .until("the card to be asked for", async || {
            (browser.run(asked, &[]).await == 1).then_some(())
        })
        .await;
    browser.run("document.querySelector('#g-1 .price').dataset.price = 1", &[]).await;
    let second = browser.new_tab().await;
    browser.to_tab(&first).await;
    let reset =
        "new BroadcastChannel('gifticon /live/stream').postMessage({ name: 'reset', data: {} })";
    browser.run(reset, &[]).await;
    browser.to_tab(&second).await;
    browser.says("#announce", "6,000원").await;

    // Who may not buy has no form, and sees it as well.
    browser.run("document.querySelector('#g-1 form').remove()", &[]).await;
    change(&shop, json!({ "price": 7_000 })).await;
    browser.says("#g-1 .price", "7,000원").await;
    sleep(Duration::from_secs(2)).await; // until the form would have it
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_form_with_an_old_price_is_asked_about() {
    let shop = Shop::start().await;
    register(&shop, 1, "카페라떼", 20, 5_000).await;
    let browser = Browser::start(&shop.web.base, "ko").await;
    browser.without_scripts().await; // with them the form would have the new price
    browser.open("/shop").await;
    assert!(browser.text("#g-1 .price").await.contains("5,000원"));
    // The merchandiser, in another tab of the same browser.
    let customer = browser.new_tab().await;
    browser.open("/md").await;
    browser.fill("#price-1", "6,000").await;
    browser.click(".inline button").await;
    assert!(browser.text(".notice").await.contains("저장했어요"));
    browser.to_tab(&customer).await;
    browser.click(BUY).await;
    let asked = browser.text(".summary").await;
    assert!(asked.contains("카페라떼 가격이 5,000원에서 6,000원으로 바뀌었어요"), "{asked}");
    assert_eq!(carts(&shop).await, 0);
    browser.click(BUY).await;
    assert!(browser.text("#g-1 .notice").await.contains("1개 · 6,000원"));
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_merchandiser_is_warned_of_the_change_of_another() {
    let shop = Shop::start().await;
    register(&shop, 1, "카페라떼", 20, 5_000).await;
    let browser = Browser::start(&shop.web.base, "ko").await;
    browser.open("/md").await;
    browser.fill("#restock-1", "30").await;
    change(&shop, json!({ "price": 5_500 })).await;
    browser.click(".inline button").await;
    browser.says(".summary", "그사이 다른 사람이 카페라떼 상품을 바꿨어요").await;
    browser.fill("#price-1", "5500").await;
    browser.click(".inline button").await;
    browser.says(".notice", "저장했어요").await;
    browser.says("#g-1 .legend", "남음 50").await;
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}
