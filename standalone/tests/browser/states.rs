//! What a phone shows while a shop is empty, refuses, is busy or cannot be reached: all of it is sound, and can be tried again.

use crate::common::Shop;
use crate::driver::Browser;
use crate::sound::{is_sound, is_sound_in_both_themes};
use crate::{carts, gateway, register};
use chaos::proxy::{NetworkCondition, Proxy};
use gateway::services::Upstreams;
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// A visitor with a phone, at a gateway that can lose each service.
struct Visit {
    lang: &'static str,
    browser: Browser,
    gateway: chassis::Running,
    networks: BTreeMap<&'static str, Proxy>,
    shop: Shop,
}

impl Visit {
    async fn start(lang: &'static str) -> Self {
        let shop = Shop::start().await;
        let network = |(name, service): (&&'static str, &crate::common::ShopClient)| {
            let proxy = Proxy::start(1).unwrap();
            proxy.set_backends(vec![service.base.trim_start_matches("http://").parse().unwrap()]);
            (*name, proxy)
        };
        let networks: BTreeMap<_, _> = shop.direct.iter().map(network).collect();
        let upstreams = Upstreams::new(|service| networks[service.name].url());
        let gateway = gateway(SocketAddr::from(([127, 0, 0, 1], 0)), upstreams);
        let browser = Browser::start(&gateway.url(), lang).await;
        browser.viewport(320, 900, true).await;
        browser.touches().await;
        Self { lang, browser, gateway, networks, shop }
    }

    /// Cuts the gateway off a service.
    fn lose(&self, service: &str) {
        self.networks[service].set(NetworkCondition::Refuse);
    }

    /// Connects the gateway with a service again.
    fn find(&self, service: &str) {
        self.networks[service].set(NetworkCondition::Normal);
    }

    /// Waits until what `css` selects says the text in the visitor's language, and checks the page. Its colours are the same in
    /// both languages.
    async fn sees(&self, css: &str, korean: &str, english: &str) {
        let is_korean = self.lang == "ko";
        let text = if is_korean { korean } else { english };
        self.browser.says(css, text).await;
        let place = format!("{css} says {text:?}");
        if is_korean {
            is_sound_in_both_themes(&self.browser, &place).await;
        } else {
            is_sound(&self.browser, &place).await;
        }
    }

    async fn stop(self) {
        self.browser.has_no_complaints().await;
        drop(self.browser);
        self.gateway.stop(Duration::from_secs(10)).await;
        self.shop.stop().await;
    }
}

async fn a_customer_is_told(lang: &'static str) {
    let visit = Visit::start(lang).await;
    let (browser, shop) = (&visit.browser, &visit.shop);
    browser.open("/shop").await;
    visit.sees(".empty", "아직 판매 중인 상품이 없어요", "Nothing is on sale yet").await;
    browser.open("/me").await;
    visit.sees(".empty", "아직 담은 기프티콘이 없어요", "There is nothing here yet").await;
    browser.open("/live").await;
    visit.sees("#nothing", "아직 없어요", "Nothing yet").await;

    // The page has no stream, so that its form is of before.
    register(shop, 1, "케이크", 3, 30_000).await;
    register(shop, 2, "카페라떼", 20, 5_000).await;
    visit.lose("mypage");
    browser.open("/shop").await;
    visit.sees("#state", "다시 연결하는 중", "Connecting again").await;
    let price = Some(json!({ "price": 31_000 }));
    shop.web.ask(Method::PATCH, "/gifticons/1", price).await.unwrap();
    browser.tap("#g-1 .buy button.primary").await;
    visit.sees(".summary", "30,000원에서 31,000원으로", "from ₩30,000 to ₩31,000").await;
    shop.web.add(1, 3, None).await.unwrap();
    browser.tap("#g-1 .buy button.primary").await;
    visit.sees(".summary", "방금 품절됐어요", "has just sold out").await;
    browser.open("/me").await;
    visit.sees("h1", "지금은 불러올 수 없어요", "We cannot reach a part of the shop").await;
    visit.find("mypage");

    visit.lose("cart");
    browser.tap(".tabs a[href='/shop']").await;
    browser.tap("#g-2 .buy button.primary").await;
    visit.sees(".summary", "주문이 몰리고 있어요", "Many people are shopping at once").await;
    visit.find("cart");
    browser.tap(".summary button").await;
    visit.sees("#g-2 .notice", "담았어요", "It is yours").await;
    assert_eq!(carts(shop).await, 2);

    browser.tap("#g-2 .notice a").await;
    browser.tap("#c-2 .cancel summary").await;
    visit.lose("cart");
    browser.tap("#c-2 .cancel button").await;
    visit.sees(".summary", "아직 취소하지 못했어요", "It is not cancelled yet").await;
    assert_eq!(carts(shop).await, 2);
    visit.find("cart");
    browser.tap(".summary button").await;
    browser.says("#c-2 .chip", if lang == "ko" { "취소 완료" } else { "Cancelled" }).await;
    visit.sees("#c-2 .notice", "취소했어요", "The money and the stock go back").await;
    assert_eq!(carts(shop).await, 1);

    // What holds for a part is not told as if it held for the whole.
    browser.open("/live").await;
    let numbers = ["[data-number='lag'] dd", "[data-number='outbox'] dd"];
    for number in numbers {
        browser.says(number, "0").await;
    }
    visit.lose("payment");
    for number in numbers {
        visit.sees(number, "알 수 없음", "unknown").await;
    }
    visit.find("payment");
    for number in numbers {
        browser.says(number, "0").await;
    }

    for service in ["gifticon", "cart", "payment", "mypage"] {
        visit.lose(service);
    }
    browser.open("/live").await;
    visit.sees(".picture", "응답 없음", "no answer").await;
    visit.stop().await;
}

async fn a_merchandiser_is_told(lang: &'static str) {
    let visit = Visit::start(lang).await;
    let browser = &visit.browser;
    browser.open("/md").await;
    visit
        .sees("main", "위 양식으로 첫 기프티콘을", "Put the first gift voucher on sale with")
        .await;
    let fill = async |number: &str| {
        let fields = [("name", "카페라떼"), ("price", "5000"), ("stock", "20"), ("number", number)];
        for (field, value) in fields {
            browser.fill(&format!("#new-{field}"), value).await;
        }
    };
    fill("1").await;
    browser.tap(".fields button").await;
    visit.sees(".notice", "등록했어요", "It is on sale now").await;
    fill("1").await;
    browser.tap(".fields button").await;
    visit.sees(".summary", "1번은 이미 있어요", "Number 1 is in use").await;
    browser.fill("#restock-1", "x").await;
    browser.tap(".inline button").await;
    visit.sees(".summary", "50이나 -10 같은 숫자", "a whole number, such as 50 or -10").await;
    browser.open("/md").await;
    browser.fill("#restock-1", "5").await;
    visit.lose("gifticon");
    browser.tap(".inline button").await;
    visit.sees(".summary", "응답이 없어 저장됐는지", "No answer came").await;
    visit.find("gifticon");
    browser.tap(".summary button").await;
    visit.sees(".notice", "저장했어요", "Saved").await;
    browser.says("#g-1 .legend", "25").await;
    visit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_customer_is_told_in_korean() {
    a_customer_is_told("ko").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_customer_is_told_in_english() {
    a_customer_is_told("en").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn a_merchandiser_is_told_in_both_languages() {
    for lang in ["ko", "en"] {
        a_merchandiser_is_told(lang).await;
    }
}
