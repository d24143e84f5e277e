//! Without JavaScript, by keyboard alone, in both languages, on a phone, and for those who see little or nothing.

use crate::common::Shop;
use crate::driver::Browser;
use crate::input::{ENTER, SPACE};
use crate::sound::is_sound;
use crate::{carts, register};
use chassis::testing::eventually;
use serde_json::Value;

const PAGES: [&str; 4] = ["/shop", "/me", "/md", "/live"];

/// Waits until a cart is paid.
async fn is_paid(shop: &Shop, view: i64) {
    eventually("the cart to be paid", async || {
        let views = shop.web.get("/mypages").await["_embedded"]["mypages"].as_array()?.clone();
        let is_paid = |one: &Value| one["id"] == view && one["status"] == "PaymentApproved";
        views.iter().any(is_paid).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn everything_works_without_javascript() {
    let shop = Shop::start().await;
    let browser = Browser::start(&shop.web.base, "ko").await;
    browser.without_scripts().await;
    browser.open("/").await;
    browser.click(".empty a").await;
    browser.fill("#new-name", "카페라떼").await;
    browser.fill("#new-price", "5,000").await;
    browser.fill("#new-stock", "20").await;
    browser.click(".fields button").await;
    browser.shows("main > .notice", "등록했어요").await;
    browser.click(".tabs a[href='/shop']").await;
    browser.fill("#q-1", "3").await;
    browser.click("#g-1 .buy button.primary").await;
    browser.shows("#g-1 .notice", "3개 · 15,000원").await;
    is_paid(&shop, 1).await;
    browser.click("#g-1 .notice a").await;
    browser.shows("#c-1 .chip", "결제 완료").await;
    browser.click("#c-1 .cancel summary").await;
    browser.click("#c-1 .cancel button").await;
    browser.shows("#c-1 .notice", "취소했어요").await;
    browser.click(".tabs a[href='/md']").await;
    browser.fill("#restock-1", "-5").await;
    browser.click(".inline button").await;
    browser.shows("#g-1 .legend", "남음 15").await;
    browser.click(".tabs a[href='/live']").await;
    browser.shows("[data-number='stock']", "15").await;
    browser.shows("noscript", "지금 상태예요").await;
    browser.shows(".happened", "자바스크립트를 켜야 여기에 나타나요").await;
    assert!(
        !browser.text(".happened").await.contains("아직 없어요"),
        "it happened, and is not shown"
    );
    // The theme and the language are forms and links.
    browser.click("button.tool").await;
    browser.shows("h1", "라이브").await;
    browser.click("a.tool").await;
    browser.shows("h1", "Live").await;
    browser.has_no_complaints().await;
    // The browser would complain: without scripts too it keeps to the Content-Security-Policy.
    browser.insert("<img src='http://127.0.0.1:9/none.png'>").await;
    browser
        .until("a complaint", async || {
            let complaints = browser.complaints().await;
            complaints.iter().any(|one| one.contains("Content Security Policy")).then_some(())
        })
        .await;
    drop(browser);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_keyboard_is_enough() {
    let shop = Shop::start().await;
    let browser = Browser::start(&shop.web.base, "ko").await;
    // The merchandiser.
    browser.open("/md").await;
    for (field, value) in [("name", "카페라떼"), ("price", "5000"), ("stock", "20")] {
        browser.tab_to(&format!("#new-{field}")).await;
        browser.press(value).await;
    }
    browser.tab_to(".fields button").await;
    browser.press(ENTER).await;
    browser.says(".notice", "등록했어요").await;
    browser.tab_to("#restock-1").await;
    browser.press("-5").await;
    browser.press(ENTER).await;
    browser.says(".notice", "저장했어요").await;
    browser.says("#g-1 .legend", "남음 15").await;
    // The customer.
    browser.open("/shop").await;
    assert_eq!(browser.tab_to(".skip").await, 1, "the first is the way past the bar");
    browser.press(ENTER).await;
    assert!(browser.tab_to("#g-1 [data-step='1']").await <= 3);
    browser.press(SPACE).await;
    browser.tab_to("#g-1 .buy button.primary").await;
    browser.press(ENTER).await;
    browser.says("#g-1 .notice", "2개 · 10,000원").await;
    browser.tab_to("#g-1 .notice a").await;
    browser.press(ENTER).await;
    browser.says("#c-1 .chip", "결제 완료").await;
    browser.tab_to("#c-1 summary").await;
    browser.press(ENTER).await;
    browser.tab_to("#c-1 .cancel button").await;
    browser.press(ENTER).await;
    browser.says("#c-1 .chip", "취소 완료").await;
    assert_eq!(carts(&shop).await, 0);
    // What has the focus is seen.
    browser.open("/shop").await;
    browser.tab_to(".tabs a[href='/me']").await;
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.run(outline, &[]).await, "solid");
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn language_and_theme_follow_the_visitor() {
    let shop = Shop::with_a_paid_cart().await;
    let browser = Browser::start(&shop.web.base, "en").await;
    let theme = "return getComputedStyle(document.body).backgroundColor";
    browser.open("/me").await;
    browser.says("#c-1 .chip", "Paid").await;
    let light = browser.run(theme, &[]).await;
    browser.click("a.tool").await;
    browser.says("#c-1 .chip", "결제 완료").await;
    browser.says("#c-1 time", "월 ").await;
    browser.click(".tabs a[href='/shop']").await;
    browser.says("h1", "지금 살 수 있는 기프티콘").await;
    browser.click("button.tool").await;
    browser.says("h1", "지금 살 수 있는 기프티콘").await;
    let dark = browser.run(theme, &[]).await;
    assert_ne!(dark, light);
    browser.open("/me").await;
    assert_eq!(browser.run(theme, &[]).await, dark, "it is remembered");
    browser.prefers("prefers-color-scheme", "light").await;
    assert_eq!(browser.run(theme, &[]).await, dark, "what was chosen counts");
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn axe_finds_nothing_and_nothing_is_cut_on_a_phone() {
    let shop = Shop::with_a_paid_cart().await;
    register(
        &shop,
        2,
        "아주 긴 이름의 딸기 생크림 케이크와 따뜻한 아메리카노 두 잔 세트 기프티콘",
        5,
        132_000,
    )
    .await;
    register(
        &shop,
        3,
        "Supercalifragilisticexpialidocious-voucher-without-a-break",
        0,
        1_000_000_000,
    )
    .await;
    shop.web.add(2, 1, None).await.unwrap();
    is_paid(&shop, 2).await;
    shop.web.cancel(2).await.unwrap();
    let browser = Browser::start(&shop.web.base, "ko").await;
    let wrong = "/shop/carts";
    let both = |scheme| ["ko", "en"].map(|lang| (lang, scheme));
    for (lang, scheme) in [both("light"), both("dark")].concat() {
        browser.prefers("prefers-color-scheme", scheme).await;
        for (width, is_phone) in [(1200, false), (320, true)] {
            browser.viewport(width, 900, is_phone).await;
            for page in PAGES.into_iter().chain(["/shop?bought=1", "/shop/none", wrong]) {
                if page == wrong {
                    browser.open("/shop").await;
                    browser.run("document.querySelector('#g-2 form').noValidate = true", &[]).await;
                    browser.fill("#q-2", "99").await;
                    browser.click("#g-2 .buy button.primary").await;
                    browser.says(".summary", "5").await;
                    let said = browser.run("return document.documentElement.lang", &[]).await;
                    assert_eq!(said, lang, "the language is remembered");
                } else {
                    browser
                        .open(&format!(
                            "{page}{}lang={lang}",
                            if page.contains('?') { '&' } else { '?' }
                        ))
                        .await;
                }
                let place = format!("{page} {lang} {scheme} {width}");
                let dark = "return matchMedia('(prefers-color-scheme: dark)').matches";
                assert_eq!(browser.run(dark, &[]).await, scheme == "dark", "{place}");
                is_sound(&browser, &place).await;
            }
        }
    }
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}
