//! What every page has: language, theme, headers, assets, and the manners of the server.

use crate::common::Shop;
use crate::visitor::{HTML, Visitor, form};
use reqwest::Method;

const PAGES: [&str; 5] = ["/", "/shop", "/me", "/md", "/live"];

#[tokio::test]
async fn each_page_is_there_in_both_languages_and_loads_only_its_own_files() {
    let shop = Shop::with_a_paid_cart().await;
    for (language, lang, title) in [("ko-KR,ko;q=0.9", "ko", "기프티콘"), ("en", "en", "Gifticon")]
    {
        let visitor = Visitor { shop: &shop, language };
        for path in PAGES {
            let page = visitor.open(path).await;
            assert_eq!(page.status, 200, "{path}");
            page.says(&[&format!("<html lang=\"{lang}\""), title, "<main id=\"main\""]);
            page.lacks(&["<style", " style=", "onclick", "http://", "https://"]);
            for (name, value) in [
                ("content-type", "text/html; charset=utf-8"),
                ("content-language", lang),
                ("cache-control", "no-store"),
                ("referrer-policy", "same-origin"),
                ("cross-origin-opener-policy", "same-origin-allow-popups"),
                ("x-content-type-options", "nosniff"),
            ] {
                assert_eq!(page.headers[name], value, "{path}");
            }
            let policy = page.headers["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
            assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
            // Each script is a file of ours.
            for script in page.text.split("<script").skip(1) {
                assert!(script.starts_with(" type=\"module\" src=\"/assets/"), "{script:.60}");
            }
        }
    }
    shop.stop().await;
}

#[tokio::test]
async fn the_root_is_a_page_for_browsers_and_hal_for_everybody_else() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "en" };
    visitor.open("/").await.says(&["<html", "Gift vouchers on sale"]);
    for accept in ["*/*", "application/json", "application/hal+json, text/html;q=0.5"] {
        let url = format!("{}/", shop.web.base);
        let answer = shop.web.client.get(url).header("accept", accept).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        let hal: serde_json::Value = answer.json().await.unwrap();
        let links: Vec<_> = hal["_links"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(links, ["carts", "gifticons", "mypages", "payments"]);
    }
    shop.stop().await;
}

#[tokio::test]
async fn language_and_theme_are_remembered_without_scripts() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "en" };
    let page = visitor.open("/me?lang=ko").await;
    page.says(&["<html lang=\"ko\" data-theme=\"auto\"", "마이페이지"]);
    let cookie = page.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("gifticon_lang=ko; Path=/; "), "{cookie}");
    assert!(cookie.contains("SameSite=Lax; HttpOnly") && !cookie.contains("Secure"), "{cookie}");
    let remembered = [("cookie", "x=1; gifticon_lang=ko; gifticon_theme=dark")];
    let page = visitor.ask(Method::GET, "/md", &remembered, None).await;
    page.says(&["<html lang=\"ko\" data-theme=\"dark\""]);
    // What a cookie has is not believed.
    let forged = [("cookie", "gifticon_lang=\"><script>; gifticon_theme=x")];
    let page = visitor.ask(Method::GET, "/md", &forged, None).await;
    page.says(&["<html lang=\"en\" data-theme=\"auto\""]);
    // The switch.
    let page = visitor.send("/shop/theme", &[("theme", "dark"), ("back", "/me")]).await;
    assert_eq!(page.location(), "/me");
    assert!(page.headers["set-cookie"].to_str().unwrap().starts_with("gifticon_theme=dark; "));
    let page = visitor.send("/shop/theme", &[("theme", "dark"), ("back", "//evil.example")]).await;
    assert_eq!(page.location(), "/shop");
    shop.stop().await;
}

#[tokio::test]
async fn language_and_theme_keep_the_page_of_a_list_and_nothing_else() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "en" };
    for id in 1..=25 {
        visitor.register(id, "Latte", 10, 5_000).await;
    }
    let page = visitor.open("/shop?page=1&bought=1").await;
    page.says(&["href=\"/shop?page=1&#38;lang=ko\"", "name=\"page\" value=\"1\""]);
    visitor.open("/shop?page=1&lang=ko").await.says(&["<html lang=\"ko\"", "2쪽 중 2쪽"]);
    let page = visitor.send("/shop/carts", &[("gifticonId", "1"), ("page", "1")]).await;
    page.says(&["Choose a quantity", "href=\"/shop?page=1&#38;lang=ko\""]);
    // What a form has led to is over, and what is no page is none.
    for query in
        ["", "?cancelled=1", "?page=0", "?page=-1", "?page=%22%3E%3Cb", "?page=x&page=", "?x=1"]
    {
        visitor.open(&format!("/me{query}")).await.says(&["href=\"/me?lang=ko\""]);
    }
    let theme = [("theme", "dark"), ("back", "/shop")];
    for (number, to) in [("1", "/shop?page=1"), ("0", "/shop"), ("//x", "/shop")] {
        let fields = [&theme[..], &[("page", number)]].concat();
        assert_eq!(visitor.send("/shop/theme", &fields).await.location(), to);
    }
    shop.stop().await;
}

#[tokio::test]
async fn assets_may_be_kept_for_ever_under_their_hash() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "en" };
    let page = visitor.open("/live").await;
    let assets: Vec<_> = page.text.split('"').filter(|text| text.starts_with("/assets/")).collect();
    assert!(assets.len() >= 4, "{assets:?}");
    for path in assets {
        let asset = visitor.open(path).await;
        assert_eq!(asset.status, 200, "{path}");
        assert_eq!(asset.headers["cache-control"], "public, max-age=31536000, immutable");
        asset.lacks(&["http://127", "https://cdn", "@import"]);
        // A page of another build asks for another hash.
        let (name, extension) = path.rsplit_once('.').unwrap();
        let (name, _) = name.rsplit_once('-').unwrap();
        let other = visitor.open(&format!("{name}-0123456789abcdef.{extension}")).await;
        assert_eq!((other.status.as_u16(), &other.text), (200, &asset.text));
        assert_eq!(other.headers["cache-control"], "no-cache");
    }
    for path in ["/assets/x.js", "/assets/", "/assets/..%2fCargo.toml", "/assets/style"] {
        assert_eq!(visitor.open(path).await.status, 404, "{path}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn a_form_of_another_site_is_refused_and_changes_nothing() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "ko" };
    visitor.register(1, "아메리카노", 10, 4_500).await;
    let fields = form(&[("gifticonId", "1"), ("quantity", "1"), ("price", "4500")]);
    let paths = ["/shop/carts", "/me/cancel", "/md/gifticons", "/md/gifticons/1", "/shop/theme"];
    for other in [
        [("sec-fetch-site", "cross-site"), ("accept", "*/*")],
        [("origin", "https://evil.example"), ("accept", "*/*")],
        [("origin", "null"), ("accept", "*/*")],
    ] {
        for path in paths {
            let url = format!("{}{path}", shop.web.base);
            let mut request = shop.web.client.post(url).body(fields.clone());
            request = request.header("content-type", "application/x-www-form-urlencoded");
            for (name, value) in other {
                request = request.header(name, value);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 403, "{path} {other:?}");
            let problem: serde_json::Value = answer.json().await.unwrap();
            assert_eq!(problem["type"], "/problems/cross-site");
        }
    }
    let page = visitor.ask(Method::POST, "/shop/carts", &[("origin", "null")], Some(&fields)).await;
    assert_eq!(page.status, 403);
    page.says(&["<html lang=\"ko\"", "다른 사이트에서 보낸 요청이에요"]);
    assert_eq!(shop.web.get("/carts").await["page"]["totalElements"], 0);
    // A program that is no browser names no origin.
    let page = visitor.ask(Method::POST, "/shop/carts", &[], Some(&fields)).await;
    assert_eq!(page.location(), "/shop?bought=1#g-1");
    shop.stop().await;
}

#[tokio::test]
async fn pages_have_the_manners_of_every_route() {
    let shop = Shop::start().await;
    let visitor = Visitor { shop: &shop, language: "en" };
    let head = visitor.ask(Method::HEAD, "/shop", &[], None).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    for (method, path, status, slug) in [
        (Method::DELETE, "/shop", 405, "method-not-allowed"),
        (Method::GET, "/shop/carts", 405, "method-not-allowed"),
        (Method::GET, "/shop/nothing", 404, "not-found"),
        (Method::POST, "/md/gifticons/x", 404, "not-found"),
    ] {
        let page = visitor.ask(method, path, &[("accept", "*/*")], None).await;
        assert_eq!(page.status, status, "{path}");
        page.says(&[&format!("/problems/{slug}")]);
    }
    let page = visitor.ask(Method::GET, "/nothing", &[("accept", "*/*")], None).await;
    page.says(&["/shop, /me, /md, /live"]);
    let large = form(&[("name", &"x".repeat(70_000))]);
    let page = visitor.ask(Method::POST, "/md/gifticons", &[], Some(&large)).await;
    assert_eq!(page.status, 413);
    let url = format!("{}/shop/carts", shop.web.base);
    let json = shop.web.client.post(url).header("content-type", "application/json").body("{}");
    assert_eq!(json.header("accept", HTML).send().await.unwrap().status(), 415);
    shop.stop().await;
}
