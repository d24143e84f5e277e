//! What goes wrong when buying, in words that help.

use crate::common::Shop;
use crate::visitor::Visitor;
use chassis::testing::eventually;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn who_asks_for_too_many_is_told_how_many_are_left() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "ko" };
    visitor.register(1, "케이크", 3, 30_000).await;
    let key = "0190a5b0-0000-4000-8000-000000000001";
    let page = visitor.buy(1, &[("quantity", "5"), ("key", key)]).await;
    assert_eq!(page.status, 409);
    page.says(&[
        "담지 못했어요",
        "3개 남았어요. 3개 이하로 골라 주세요",
        "href=\"#q-1\"",
        "autofocus",
    ]);
    page.says(&["aria-invalid=\"true\" aria-describedby=\"qe-1\""]);
    assert_eq!(page.value("id=\"g-1\"", "quantity"), "5", "what was typed is kept");
    assert_ne!(page.value("id=\"g-1\"", "key"), key, "the old key stands for the refusal");

    visitor.buy(1, &[("quantity", "3")]).await.location();
    visitor.open("/shop").await.says(&["품절", "disabled", "취소되면 다시 살 수 있어요"]);
    // A page that was opened before.
    let fields = [("gifticonId", "1"), ("quantity", "1"), ("price", "30000"), ("key", "")];
    let page = visitor.send("/shop/carts", &fields).await;
    assert_eq!(page.status, 409);
    page.says(&["케이크, 방금 품절됐어요"]);
    let english = Visitor { shop: &shop, language: "en" };
    english.send("/shop/carts", &fields).await.says(&["케이크 has just sold out"]);
    shop.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_quantity_is_refused_at_its_field() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "en" };
    visitor.register(1, "Cake", 3, 30_000).await;
    for quantity in ["0", "-1", "x", "", "1.5", "99999999999999999999"] {
        let page = visitor.buy(1, &[("quantity", quantity)]).await;
        assert_eq!(page.status, 422, "{quantity}");
        page.says(&["Choose a quantity of 1 or more", "href=\"#q-1\"", "id=\"qe-1\""]);
    }
    let page = visitor.send("/shop/carts", &[("gifticonId", "9"), ("quantity", "1")]).await;
    assert_eq!(page.status, 404);
    page.says(&["It is no longer on sale"]);
    assert_eq!(visitor.send("/shop/carts", &[]).await.status, 422);
    assert_eq!(shop.web.get("/carts").await["page"]["totalElements"], 0);
    shop.stop().await;
}

#[tokio::test]
async fn a_path_that_leads_nowhere_is_a_page_to_a_browser() {
    let shop = Shop::start().await;
    for (language, title, link) in
        [("ko", "없는 페이지예요", "쇼핑하러 가기"), ("en", "There is no such page", "To the shop")]
    {
        let visitor = Visitor { shop: &shop, language };
        for path in ["/nothing", "/me/nothing", "/assets/x/y"] {
            let page = visitor.open(path).await;
            assert_eq!(page.status, 404, "{path}");
            page.says(&[title, link, "href=\"/shop\""]);
        }
    }
    let (status, problem) = shop.web.ask(Method::GET, "/nothing", None).await.unwrap();
    assert_eq!((status.as_u16(), &problem["type"]), (404, &json!("/problems/not-found")));
    shop.stop().await;
}

#[tokio::test]
async fn a_page_beyond_the_last_one_of_a_list_is_missing_and_not_empty() {
    let shop = Shop::start().await;
    let ko = Visitor { shop: &shop, language: "ko" };
    let en = Visitor { shop: &shop, language: "en" };
    let empty = ["아직 판매 중인 상품이 없어요", "아직 담은 기프티콘이 없어요", "첫 기프티콘을"];
    for (path, empty) in ["/shop", "/me", "/md"].into_iter().zip(empty) {
        let page = ko.open(&format!("{path}?page=99")).await;
        assert_eq!(page.status, 200, "{path}");
        page.says(&[empty]).lacks(&["없는 페이지예요"]);
    }
    for id in 1..=25 {
        ko.register(id, "카페라떼", 10, 5_000).await;
    }
    ko.buy(25, &[]).await.location();
    eventually("the view to have it", async || {
        ko.open("/me").await.text.contains("c-1").then_some(())
    })
    .await;
    for (path, last, of) in
        [("/shop", "/shop?page=1", 2), ("/me", "/me", 1), ("/md", "/md?page=1", 2)]
    {
        for number in [of, 99, 1_000_000] {
            let page = ko.open(&format!("{path}?page={number}")).await;
            assert_eq!(page.status, 404, "{path} {number}");
            let ends = format!("이 목록은 {of}쪽까지 있어요");
            let link = format!("href=\"{last}\">마지막 쪽으로 가기</a>");
            page.says(&["없는 페이지예요", &ends, &link]).lacks(&empty);
            page.lacks(&["이전</a>", "다음</a>", &format!("{of}쪽 중")]);
        }
        let page = en.open(&format!("{path}?page=99")).await;
        let ends = format!("The list ends at page {of}.");
        page.says(&["There is no such page", &ends, "To the last page"]);
        let page = en.open(last).await;
        assert_eq!(page.status, 200, "{last}");
        page.lacks(&["There is no such page"]);
    }
    // What was bought is told also where its card moved to another page meanwhile.
    let page = ko.open("/shop?page=1&bought=1").await;
    page.says(&["data-bought=\"1\"", "담았어요"]);
    ko.open("/shop?page=99&bought=1").await.says(&["data-bought=\"1\"", "담았어요"]);
    // A form of a page that is gone says what is wrong with it all the same.
    let page = en.send("/shop/carts", &[("gifticonId", "1"), ("page", "99")]).await;
    assert_eq!(page.status, 422);
    page.says(&["Choose a quantity", "There is no such page"]);
    shop.stop().await;
}

#[tokio::test]
async fn nobody_pays_a_price_that_the_page_did_not_show() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "ko" };
    visitor.register(1, "카페라떼", 30, 5_000).await;
    let fields = [("gifticonId", "1"), ("quantity", "1"), ("price", "5000"), ("key", "")];
    let change = json!({ "price": 6_000 });
    shop.web.ask(reqwest::Method::PATCH, "/gifticons/1", Some(change)).await.unwrap();
    let page = visitor.send("/shop/carts", &fields).await;
    assert_eq!(page.status, 409);
    page.says(&["카페라떼 가격이 5,000원에서 6,000원으로 바뀌었어요", "6,000원</p>"]);
    assert_eq!(page.value("id=\"g-1\"", "price"), "6000", "the form has the new price");
    assert_eq!(shop.web.get("/carts").await["page"]["totalElements"], 0);
    visitor.buy(1, &[]).await.location();
    shop.stop().await;
}
