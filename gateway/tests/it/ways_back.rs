//! Where the links to sign in lead back to: the page of the list that they are on.

use crate::common::with_sign_in;
use crate::visitor::{Browser, OURS, start, tokens};
use axum::routing::get;
use axum::{Json, Router};
use chassis::Running;
use chassis::testing::{TestIssuer, peer};
use serde_json::json;

/// Returns how often a page has a link to sign in that leads back to `page`, and to anything else.
fn links(text: &str, page: &str) -> (usize, usize) {
    let (href, link) = ("href=\"/sign-in", format!("href=\"/sign-in?to={page}\""));
    let back = text.matches(&link).count();
    (back, text.matches(href).count() - back)
}

async fn status_and_text(answer: reqwest::Response) -> (u16, String) {
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Starts a shop with two pages of a list.
async fn shop() -> (TestIssuer, Running) {
    let latte = json!({ "id": 1, "gifticonId": 7, "name": "Latte", "availableQuantity": 9, "price": 5_000 });
    let list = json!({
        "_embedded": { "gifticons": [&latte] },
        "page": { "size": 24, "totalElements": 25, "totalPages": 2, "number": 1 },
    });
    let services = Router::new()
        .route("/gifticons", get(async move || Json(list)))
        .route("/gifticons/{id}", get(async move || Json(latte)));
    let issuer = TestIssuer::start().await;
    let gateway = with_sign_in(&peer(services), issuer.auth());
    (issuer, gateway)
}

#[tokio::test]
async fn who_signs_in_to_buy_comes_back_to_the_same_page_of_the_list() {
    let (issuer, gateway) = shop().await;
    let browser = Browser::new(&gateway);
    let (status, page) = status_and_text(browser.send(browser.0.get("/shop?page=1")).await).await;
    assert_eq!((status, links(&page, "/shop?page=1")), (200, (2, 0)), "bar and card: {page}");
    // A script has the card rendered once more.
    let card = browser.send(browser.0.get("/shop/gifticons/1?page=1")).await.text().await.unwrap();
    assert_eq!(links(&card, "/shop?page=1"), (1, 0), "{card}");

    let asked = browser.begin("/sign-in?to=/shop?page=1").await;
    issuer.will_answer(200, tokens(&issuer, "hana", &asked["nonce"]));
    let back = format!("/sign-in/done?code=c&state={}", asked["state"]);
    let back = browser.send(browser.get(&back)).await;
    assert_eq!(back.headers()["location"], format!("{}/shop?page=1", gateway.url()));
    let card = browser.send(browser.0.get("/shop/gifticons/1?page=1")).await.text().await.unwrap();
    assert!(card.contains("name=\"page\" value=\"1\""), "{card}");
}

#[tokio::test]
async fn a_page_that_asks_to_sign_in_is_come_back_to() {
    let (_issuer, gateway) = start().await;
    let stranger = Browser::new(&gateway);
    for page in ["/me?page=2", "/me", "/md?page=3", "/live"] {
        let answer = stranger.send(stranger.0.get(page)).await;
        let (status, text) = status_and_text(answer).await;
        assert_eq!((status, links(&text, page)), (401, (2, 0)), "{page}: {text}");
    }
    let form = stranger.0.form("/shop/carts", &[("quantity", "1"), ("page", "4")]);
    let (status, text) = status_and_text(stranger.send(form).await).await;
    assert_eq!((status, links(&text, "/shop?page=4")), (401, (2, 0)), "{text}");
}

#[tokio::test]
async fn a_form_whose_session_is_over_leads_back_to_its_page() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    let url = gateway.url();
    // The session is of another secret.
    for (path, from, page) in [
        ("/md/gifticons/7", format!("{url}/md?page=2&done=changed"), "/md?page=2"),
        ("/md/gifticons", format!("{url}/md"), "/md"),
        ("/me/cancel", format!("{url}/me?page=1"), "/me?page=1"),
        ("/shop/carts", format!("{url}/shop?page=3"), "/shop?page=3"),
        ("/shop/carts", format!("{url}/md?page=3"), "/shop"),
        ("/shop/carts", "https://evil.example/?page=3".to_owned(), "/shop"),
        ("/carts", format!("{url}/shop?page=3"), "/shop"),
    ] {
        let form = browser.0.form(path, &[("quantity", "1")]).header(OURS.0, OURS.1);
        let form = form.header("cookie", "gifticon_session=x").header("referer", &from);
        let (status, text) = status_and_text(browser.send(form).await).await;
        assert_eq!((status, links(&text, page)), (401, (2, 0)), "{path} from {from}: {text}");
    }
    // Somebody else signed in, in another tab: the page knows that they are signed in.
    browser.sign_in(&issuer, |nonce| tokens(&issuer, "duri", nonce)).await;
    let form = browser.0.form("/shop/carts", &[("account", "hers"), ("page", "3")]);
    let (status, text) = status_and_text(browser.send(form).await).await;
    assert_eq!((status, links(&text, "/shop?page=3")), (401, (1, 0)), "{text}");
}

#[tokio::test]
async fn a_sign_in_that_failed_is_tried_again_for_the_same_page() {
    let (_issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    let asked = browser.begin("/sign-in?to=/me?page=2").await;
    let denied = format!("/sign-in/done?error=access_denied&state={}", asked["state"]);
    let (status, text) = status_and_text(browser.send(browser.get(&denied)).await).await;
    assert_eq!((status, links(&text, "/me?page=2")), (403, (2, 0)), "{text}");
    // Nobody knows any more what it was for.
    let (status, text) = status_and_text(browser.send(browser.get(&denied)).await).await;
    assert_eq!((status, links(&text, "/shop")), (400, (2, 0)), "{text}");
    let (issuer, gateway) = start().await;
    issuer.is_away(true);
    let stranger = Browser::new(&gateway);
    let answer = stranger.send(stranger.get("/sign-in?to=/md?page=1")).await;
    let (status, text) = status_and_text(answer).await;
    assert_eq!((status, links(&text, "/md?page=1")), (503, (2, 0)), "{text}");
}
