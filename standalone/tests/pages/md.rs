//! What a merchandiser does.

use crate::common::Shop;
use crate::visitor::{Page, Visitor};
use chassis::testing::eventually;
use serde_json::json;

/// Sends the form of a gifticon as `page` has it, with another price and more units.
async fn change(visitor: &Visitor<'_>, page: &Page, id: i64, price: &str, restock: &str) -> Page {
    let row = format!("id=\"g-{id}\"");
    let [etag, price_seen, name, number] =
        ["etag", "seenPrice", "seenName", "page"].map(|name| page.value(&row, name));
    let fields = [
        ("page", &*number),
        ("etag", &*etag),
        ("seenPrice", &*price_seen),
        ("seenName", &*name),
        ("price", price),
        ("restock", restock),
    ];
    visitor.send(&format!("/md/gifticons/{id}"), &fields).await
}

#[tokio::test]
async fn a_gifticon_is_put_on_sale_restocked_and_repriced() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "ko" };
    let page = visitor.open("/md").await;
    assert_eq!(page.value("<main", "gifticonId"), "1", "a number that is free");
    let fields = [
        ("gifticonId", "1"),
        ("name", "카페라떼"),
        ("availableQuantity", "1,000"),
        ("price", "5,000"),
    ];
    let page = visitor.send("/md/gifticons", &fields).await;
    assert_eq!(page.location(), "/md?done=registered&id=1#g-1");
    let page = visitor.open("/md?done=registered&id=1").await;
    page.says(&["등록했어요", "카페라떼", "5,000원", "is-saved"]);
    assert_eq!(page.value("<main", "gifticonId"), "2");

    let page = change(&visitor, &page, 1, "6000", "-10").await;
    assert_eq!(page.location(), "/md?done=changed&id=1#g-1");
    let gifticon = shop.web.get("/gifticons/1").await;
    assert_eq!((&gifticon["price"], &gifticon["availableQuantity"]), (&json!(6_000), &json!(990)));

    shop.web.add(1, 40, None).await.unwrap();
    let page = eventually("the sale to be counted", async || {
        let page = visitor.open("/md").await;
        page.text.contains("판매 40</span>").then_some(page)
    })
    .await;
    page.says(&["판매 40개, 결제 중 0개, 남음 950개", "남음 950</span>"]);
    page.says(&["보류된 이벤트</dt><dd>0</dd>"]);
    let page = change(&visitor, &page, 1, "6000", "").await;
    assert_eq!(page.location(), "/md?done=nothing&id=1#g-1");
    shop.stop().await;
}

#[tokio::test]
async fn a_change_of_somebody_else_is_a_conflict_and_a_sale_is_none() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "en" };
    visitor.register(1, "Latte", 100, 5_000).await;
    let before = visitor.open("/md").await;
    shop.web.add(1, 1, None).await.unwrap(); // a new version, of the stock alone
    let page = change(&visitor, &before, 1, "5500", "").await;
    assert_eq!(page.location(), "/md?done=changed&id=1#g-1");

    let page = change(&visitor, &before, 1, "7000", "5").await; // as `before` has it, it costs 5,000
    assert_eq!(page.status, 412);
    page.says(&[
        "Somebody else changed Latte",
        "It costs ₩5,500 now",
        "autofocus",
        "href=\"#price-1\"",
    ]);
    assert_eq!(page.value("id=\"g-1\"", "price"), "7000", "what was typed is kept");
    assert_eq!(page.value("id=\"g-1\"", "restock"), "5");
    let gifticon = shop.web.get("/gifticons/1").await;
    assert_eq!((&gifticon["price"], &gifticon["availableQuantity"]), (&json!(5_500), &json!(99)));
    // The page shows how it is now, and its form saves.
    let page = change(&visitor, &page, 1, "7000", "5").await;
    assert_eq!(page.location(), "/md?done=changed&id=1#g-1");
    shop.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_at_its_field() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "en" };
    visitor.register(1, "Latte", 10, 5_000).await;
    let valid = [("gifticonId", "2"), ("name", "Cake"), ("availableQuantity", "1"), ("price", "1")];
    for (name, value, status, text, field) in [
        ("gifticonId", "1", 409, "Number 1 is in use", "new-number"),
        ("gifticonId", "x", 422, "Type a whole number of 1 or more", "new-number"),
        ("name", "", 422, "Type a name of 1 to 80 characters", "new-name"),
        ("name", "a\nb", 422, "Type a name of 1 to 80 characters", "new-name"),
        ("availableQuantity", "-1", 422, "Type a whole number of 0 or more", "new-stock"),
        ("price", "9999999999", 422, "Type a price from", "new-price"),
    ] {
        let fields = valid.map(|(other, typed)| (other, if other == name { value } else { typed }));
        let page = visitor.send("/md/gifticons", &fields).await;
        assert_eq!(page.status, status, "{name}={value}");
        page.says(&[text, &format!("href=\"#{field}\""), &format!("id=\"{field}-error\"")]);
        assert_eq!(page.value("<main", "availableQuantity"), fields[2].1, "what was typed is kept");
    }
    let page = visitor.open("/md").await;
    let cases = [
        ("x", "", "Type a price from"),
        ("5000", "x", "such as 50 or -10"),
        ("5000", "-11", "negative"),
    ];
    for (price, restock, text) in cases {
        let page = change(&visitor, &page, 1, price, restock).await;
        assert_eq!(page.status, 422, "{price} {restock}");
        page.says(&[text, "aria-invalid"]);
        assert_eq!(page.value("id=\"g-1\"", "restock"), restock);
    }
    assert_eq!(change(&visitor, &page, 1, "1", "").await.status, 303);
    shop.stop().await;
}

#[tokio::test]
async fn a_row_of_a_later_page_is_changed_there() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "en" };
    for id in 1..=21 {
        visitor.register(id, "Latte", 10, 5_000).await;
    }
    let page = visitor.open("/md?page=1").await;
    let wrong = change(&visitor, &page, 1, "x", "5").await;
    assert_eq!(wrong.status, 422);
    wrong.says(&["href=\"#price-1\"", "id=\"price-1\"", "Page 2 of 2"]);
    assert_eq!(wrong.value("id=\"g-1\"", "restock"), "5", "what was typed is kept");
    let saved = change(&visitor, &wrong, 1, "5500", "5").await;
    assert_eq!(saved.location(), "/md?page=1&done=changed&id=1#g-1");
    visitor.open("/md?page=1&done=changed&id=1").await.says(&["Saved.", "is-saved", "₩5,500"]);
    shop.stop().await;
}
