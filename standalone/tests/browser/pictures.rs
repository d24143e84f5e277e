//! Takes the pictures of the book. They are written to `docs/images` if `TEST_PICTURES` says so, and else beside the test.

use crate::common::Shop;
use crate::driver::Browser;
use crate::register;
use chassis::testing::eventually;
use serde_json::json;
use std::path::PathBuf;

/// Returns where pictures go.
fn folder() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "the pictures of the book are taken on demand")]
    let wanted = std::env::var("TEST_PICTURES").is_ok_and(|wanted| wanted == "docs");
    let folder = if wanted {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/images")
    } else {
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pictures")
    };
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub(crate) async fn take(browser: &Browser, name: &str, whole: bool) {
    take_at(browser, "main", name, whole).await;
}

/// Takes a picture with what `css` selects at its top.
async fn take_at(browser: &Browser, css: &str, name: &str, whole: bool) {
    let script =
        "document.activeElement.blur(); document.querySelector(arguments[0]).scrollIntoView()";
    browser.run(script, &[json!(css)]).await;
    let picture = browser.picture(whole).await;
    assert!(picture.starts_with(b"\x89PNG"), "{name}");
    std::fs::write(folder().join(format!("{name}.png")), picture).unwrap();
}

/// Waits until all views of carts have a status that lasts.
async fn settled(shop: &Shop, carts: usize) {
    eventually("the carts to settle", async || {
        let views = shop.web.get("/mypages").await["_embedded"]["mypages"].as_array()?.clone();
        let lasts = |status: &str| {
            ["PaymentApproved", "PaymentDeclined", "PaymentCanceled"].contains(&status)
        };
        let done = views.iter().filter(|view| view["status"].as_str().is_some_and(lasts)).count();
        (done == carts).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn the_pictures_of_the_book() {
    let shop = Shop::with(|config| config.limit.payment_limit = Some(1_000_000)).await;
    for (id, name, quantity, price) in [
        (1, "아이스 아메리카노", 1_200, 4_500),
        (2, "카페라떼", 96, 5_000),
        (3, "딸기 생크림 케이크", 5, 32_000),
        (4, "후라이드 치킨", 120, 21_000),
        (5, "수제 버거 세트", 12, 9_800),
        (6, "영화 관람권", 57, 14_000),
        (7, "편의점 금액권 1만 원", 240, 10_000),
        (8, "바닐라 아이스크림", 2, 3_900),
    ] {
        register(&shop, id, name, quantity, price).await;
    }
    for (id, quantity) in [(8, 2), (7, 40), (6, 20), (5, 3), (4, 2), (1, 260), (3, 2)] {
        shop.web.add(id, quantity, None).await.unwrap();
    }
    settled(&shop, 7).await;
    shop.web.cancel(5).await.unwrap();
    eventually("the cancel", async || {
        (shop.web.get("/mypages/5").await["status"] == "PaymentCanceled").then_some(())
    })
    .await;
    let browser = Browser::start(&shop.web.base, "ko").await;
    browser.open("/shop").await;
    browser.click("#g-2 [data-step='1']").await;
    browser.click("#g-2 .buy button.primary").await;
    browser.says("#g-2 .notice", "결제 완료").await;
    browser.is_live().await;
    for theme in ["light", "dark"] {
        browser.prefers("prefers-color-scheme", theme).await;
        browser.viewport(1200, 900, false).await;
        browser.open("/shop?bought=8").await;
        browser.is_live().await;
        take(&browser, &format!("shop-{theme}"), true).await;
        browser.open("/me").await;
        browser.is_live().await;
        take(&browser, &format!("me-{theme}"), false).await;
        browser.open("/md").await;
        take(&browser, &format!("md-{theme}"), false).await;
        browser.open("/live").await;
        browser.is_live().await;
        browser.says("[data-number='carts']", "0.0").await;
        browser.click(".slow").await;
        shop.web.add(2, 1, None).await.unwrap();
        browser
            .until("an event on its way", async || {
                (browser.count("#dots .event").await > 1).then_some(())
            })
            .await;
        take(&browser, &format!("live-{theme}"), true).await;
    }
    browser.prefers("prefers-color-scheme", "light").await;
    browser.viewport(390, 844, true).await;
    let phone = [("shop", "main"), ("me", "main"), ("md", "#list-title"), ("live", ".stage")];
    for (page, css) in phone {
        browser.open(&format!("/{page}")).await;
        if page != "md" {
            browser.is_live().await;
        }
        take_at(&browser, css, &format!("{page}-phone"), false).await;
    }
    browser.open("/shop?lang=en").await;
    browser.viewport(1200, 900, false).await;
    browser.is_live().await;
    take(&browser, "shop-english", false).await;
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}
