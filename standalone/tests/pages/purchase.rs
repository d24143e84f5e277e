//! Buying and cancelling.

use crate::common::Shop;
use crate::visitor::Visitor;
use chassis::testing::eventually;

#[tokio::test]
async fn a_form_buys_and_my_page_tells_the_story() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "ko" };
    visitor.open("/shop").await.says(&["아직 판매 중인 상품이 없어요", "기프티콘 등록하기"]);
    visitor.open("/me").await.says(&["아직 담은 기프티콘이 없어요", "쇼핑하러 가기"]);
    visitor.register(7, "카페라떼", 20, 5_000).await;
    visitor.open("/shop").await.says(&["카페라떼", "5,000원", "20개 남음", "카페라떼 담기"]);

    let page = visitor.buy(7, &[("quantity", "2")]).await;
    assert_eq!(page.location(), "/shop?bought=1#g-7");
    visitor.open("/shop?bought=1").await.says(&[
        "담았어요",
        "2개 · 10,000원",
        "18개 남음",
        "/me#c-1",
    ]);
    let page = eventually("the cart to be paid", async || {
        let page = visitor.open("/me").await;
        page.text.contains("결제 완료").then_some(page)
    })
    .await;
    page.says(&[
        "카페라떼",
        "10,000원",
        "장바구니에 담음",
        "결제 승인",
        "<time datetime=\"2",
        "네, 취소할게요",
    ]);

    page.says(&["name=\"page\" value=\"0\""]);
    let page = visitor.send("/me/cancel", &[("cartId", "1"), ("page", "3")]).await;
    assert_eq!(page.location(), "/me?page=3&cancelled=1#c-1");
    visitor.open("/me?cancelled=1").await.lacks(&["네, 취소할게요"]);
    let page = eventually("the money to come back", async || {
        let page = visitor.open("/me").await;
        page.text.contains("취소 완료").then_some(page)
    })
    .await;
    page.says(&["장바구니에서 뺌", "결제 취소"]).lacks(&["네, 취소할게요"]);
    let page = visitor.send("/me/cancel", &[("cartId", "1")]).await;
    assert_eq!(page.status, 404);
    page.says(&["이미 취소된 장바구니예요", "autofocus"]);
    eventually("the stock to come back", async || {
        visitor.open("/shop").await.text.contains("20개 남음").then_some(())
    })
    .await;
    visitor.open("/shop?bought=1").await.says(&["취소된 장바구니예요"]);
    shop.stop().await;
}

#[tokio::test]
async fn a_form_that_is_sent_twice_is_one_cart() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "en" };
    visitor.register(1, "Americano", 10, 4_500).await;
    let key = "0190a5b0-0000-4000-8000-000000000001";
    let form = [("key", key)];
    let (first, second) = tokio::join!(visitor.buy(1, &form), visitor.buy(1, &form));
    let third = visitor.buy(1, &form).await;
    for page in [first, second, third] {
        assert_eq!(page.location(), "/shop?bought=1#g-1");
    }
    visitor.open("/shop").await.says(&["Only 9 left"]);
    // The form of a page that is opened again has another key.
    assert_eq!(visitor.buy(1, &[]).await.location(), "/shop?bought=2#g-1");
    assert_eq!(visitor.buy(1, &[]).await.location(), "/shop?bought=3#g-1");
    shop.stop().await;
}

#[tokio::test]
async fn a_name_is_text_wherever_it_is_shown() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "en" };
    let name = "<script>alert('x')</script>\"&amp;";
    visitor.register(1, name, 3, 1).await;
    visitor.buy(1, &[]).await.location();
    eventually("the view to have it", async || {
        visitor.open("/me").await.text.contains("alert").then_some(())
    })
    .await;
    for path in ["/", "/shop", "/shop?bought=1", "/me", "/md", "/live"] {
        visitor.open(path).await.lacks(&["<script>alert", "alert('x')"]);
    }
    let sold_out = visitor.buy(1, &[("quantity", "3")]).await;
    assert_eq!(sold_out.status, 409);
    sold_out.says(&["alert"]).lacks(&["<script>alert"]);
    let page =
        visitor.open("/shop?bought=%22%3E%3Cscript%3Ealert&page=%3Cscript%3E&lang=%3Cb").await;
    page.lacks(&["<script>", "lang=\"<"]);
    shop.stop().await;
}
