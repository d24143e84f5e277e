//! Signing in and out, in a browser.

use crate::common::Shop;
use crate::driver::Browser;
use crate::pictures::take;
use crate::sound::{is_sound, is_sound_in_both_themes, violations};
use chaos::proxy::{NetworkCondition, Proxy};
use std::time::Duration;

async fn choose(browser: &Browser, account: &str) {
    browser.click(&format!("button[value='{account}']")).await;
}

/// Signs in as the MD, and puts something on sale.
async fn put_on_sale(browser: &Browser) {
    browser.open("/shop").await;
    browser.says(".tools", "로그인").await;
    assert_eq!(browser.count(".tabs a[href='/md']").await, 0);
    browser.click(".tools a[href^='/sign-in']").await;
    browser.says("h1", "계정을 골라 주세요").await;
    choose(browser, "md").await;
    browser.says(".who", "박엠디").await;
    browser.click(".tabs a[href='/md']").await;
    for (field, value) in [("name", "카페라떼"), ("availableQuantity", "20"), ("price", "5000")]
    {
        browser.fill(&format!("form[action='/md/gifticons'] [name='{field}']"), value).await;
    }
    browser.click("form[action='/md/gifticons'] button").await;
    browser.says("main", "카페라떼").await;
}

/// Signs out, if somebody is signed in, and in.
async fn sign_in(browser: &Browser, account: &str, name: &str) {
    browser.open("/shop").await;
    if browser.count(".account").await == 1 {
        browser.click(".account button").await;
        browser.says(".tools", "로그인").await;
    }
    browser.open("/sign-in?to=/shop").await;
    choose(browser, account).await;
    browser.says(".who", name).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_page_says_when_its_account_is_not_signed_in_any_more() {
    let shop = Shop::with(|config| config.auth.auth_issuer = Some("dev".into())).await;
    let network = Proxy::start(1).unwrap();
    network.set_backends(vec![shop.web.base.trim_start_matches("http://").parse().unwrap()]);
    let browser = Browser::start(&network.url(), "ko").await;
    put_on_sale(&browser).await;
    sign_in(&browser, "hana", "김하나").await;
    browser.open("/shop").await;
    browser.is_live().await;
    let first = browser.new_tab().await;

    // Somebody else signs in, in another tab, and changes a price: the page of before shows nothing more, and says why.
    sign_in(&browser, "md", "박엠디").await;
    browser.open("/md").await;
    browser.fill("#g-1 [name='price']", "7000").await;
    browser.click("#g-1 form button").await;
    browser.says("#g-1", "7,000원").await;
    browser.to_tab(&first).await;
    browser.says("#state", "로그인 상태가 바뀌었어요").await;
    browser.says("#g-1", "5,000원").await;
    assert_eq!(violations(&browser).await, Vec::<String>::new());
    browser.click("#state a").await;
    browser.says(".who", "박엠디").await;
    browser.says("#g-1", "7,000원").await;

    // The session ends, and then the stream: both tabs say so, and none tries for ever.
    for path in ["/me", "/live"] {
        sign_in(&browser, "duri", "이두리").await;
        browser.open(path).await;
        browser.is_live().await;
        browser.mark().await;
        let first = browser.new_tab().await;
        browser.open(path).await;
        browser.is_live().await;
        browser.mark().await;
        browser.run_until("fetch('/sign-out', { method: 'POST' }).then(arguments[0])").await;
        network.set(NetworkCondition::Refuse);
        browser.says("#state", "다시 연결하는 중").await;
        network.set(NetworkCondition::Normal);
        browser.says("#state", "로그인 상태가 바뀌었어요").await;
        let said = "window.said = [];
            new MutationObserver(() => said.push(document.getElementById('state').innerText))
                .observe(document.getElementById('state'), { childList: true, characterData: true, subtree: true })";
        browser.run(said, &[]).await;
        let second = browser.to_other_tab(&first).await;
        browser.says("#state", "로그인 상태가 바뀌었어요").await;
        browser.was_not_reloaded().await;
        tokio::time::sleep(Duration::from_secs(4)).await; // one that tries again would have said so
        browser.to_tab(&second).await;
        assert_eq!(browser.run("return said", &[]).await, serde_json::json!([]));
        browser.was_not_reloaded().await;
    }

    // A form of that account buys nothing.
    sign_in(&browser, "duri", "이두리").await;
    browser.open("/shop").await;
    let first = browser.new_tab().await;
    sign_in(&browser, "hana", "김하나").await;
    browser.to_tab(&first).await;
    browser.click("#g-1 .buy button.primary").await;
    browser.says("h1", "로그인이 만료됐어요").await;
    is_sound_in_both_themes(&browser, "a form of an account that is gone").await;
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_customer_and_an_md_sign_in_and_out() {
    let shop = Shop::with(|config| config.auth.auth_issuer = Some("dev".into())).await;
    let browser = Browser::start(&shop.web.base, "ko").await;

    // The MD puts something on sale, and is led back to where they came from.
    put_on_sale(&browser).await;
    browser.click(".tabs a[href='/me']").await;
    browser.says("h1", "이 계정으로는 볼 수 없어요").await;
    is_sound_in_both_themes(&browser, "a page for other accounts").await;
    browser.click(".account button").await;
    browser.says(".tools", "로그인").await;

    // A customer is asked to sign in where it is needed, buys, and sees it paid without a reload.
    browser.open("/shop").await;
    browser.says("#g-1 .buy", "로그인하고 담기").await;
    let still = "return performance.getEntriesByType('resource').filter(one => one.name.includes('/live/stream')).length";
    assert_eq!(browser.run(still, &[]).await, 0, "a stream is not asked for in vain");
    browser.click("#g-1 .buy a").await;
    choose(&browser, "hana").await;
    browser.says(".who", "김하나").await;
    browser.click("#g-1 .buy button.primary").await;
    browser.says("#g-1 .notice", "결제 완료").await;
    browser.open("/me").await;
    browser.is_live().await;
    browser.says("#c-1 .chip", "결제 완료").await;
    browser.click(".account button").await;
    browser.says(".tools", "로그인").await;

    // Another customer sees none of it.
    browser.open("/me").await;
    browser.says("h1", "로그인이 필요해요").await;
    browser.click("main a.button").await;
    choose(&browser, "duri").await;
    browser.says(".who", "이두리").await;
    assert_eq!(browser.count("#c-1").await, 0);
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn the_pages_of_signing_in_are_sound() {
    let shop = Shop::with(|config| config.auth.auth_issuer = Some("dev".into())).await;
    for lang in ["ko", "en"] {
        let browser = Browser::start(&shop.web.base, lang).await;
        for (width, is_phone) in [(1200, false), (320, true)] {
            browser.viewport(width, 900, is_phone).await;
            for scheme in ["light", "dark"] {
                browser.prefers("prefers-color-scheme", scheme).await;
                let place = format!("{lang} {scheme} {width}");
                browser.open("/me").await;
                is_sound(&browser, &format!("asked to sign in, {place}")).await;
                browser.open("/sign-in?to=/me").await;
                let state = "return new URLSearchParams(location.search).get('state')";
                let state = browser.run(state, &[]).await;
                let denied = format!("error=access_denied&state={}", state.as_str().unwrap());
                browser.open(&format!("/sign-in/done?{denied}")).await;
                is_sound(&browser, &format!("a sign-in that was refused, {place}")).await;
                browser.open("/sign-in/done?state=x").await;
                is_sound(&browser, &format!("a sign-in that is over, {place}")).await;
                browser.open("/sign-in?to=/me").await;
                is_sound(&browser, &format!("the accounts, {place}")).await;
                if lang == "ko" {
                    let name = if is_phone { "accounts-phone" } else { "accounts" };
                    take(&browser, &format!("{name}-{scheme}"), false).await;
                }
                choose(&browser, "hana").await;
                browser.says(".who", "김하나").await;
                is_sound(&browser, &format!("signed in, {place}")).await;
                if lang == "ko" && is_phone && scheme == "light" {
                    take(&browser, "me-signed-in-phone", false).await;
                }
                browser.click(".account button").await;
                browser
                    .until("the sign-out", async || {
                        (browser.count(".tools a[href^='/sign-in']").await == 1).then_some(())
                    })
                    .await;
            }
        }
        browser.has_no_complaints().await;
    }
    shop.stop().await;
}
