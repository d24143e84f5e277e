//! Signing in on the pages, at an issuer that answers what each test tells it.

use crate::common::{header_values, is_problem};
use crate::visitor::{Browser, OURS, start, tokens};
use chassis::auth::base64url;
use chassis::testing::{Algorithm, signing_key};
use serde_json::Value;
use std::collections::BTreeMap;

/// Makes tokens for a sign-in with a nonce.
type Made<'a> = dyn Fn(&str) -> Value + 'a;

#[tokio::test]
async fn who_signed_in_is_known_to_the_services_by_their_token() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    let asked = browser.begin("/sign-in?to=/me").await;
    assert_eq!(asked["redirect_uri"], format!("{}/sign-in/done", gateway.url()));
    assert_eq!((&*asked["client_id"], &*asked["scope"]), ("pages", "openid profile"));
    let answer = tokens(&issuer, "hana", &asked["nonce"]);
    issuer.will_answer(200, answer.clone());
    let done = format!("/sign-in/done?code=a%2Fcode&state={}&iss={}", asked["state"], issuer.url);
    let back = browser.send(browser.get(&done)).await;
    assert_eq!(back.status(), 303);
    assert_eq!(back.headers()["location"], format!("{}/me", gateway.url()));

    // The code is redeemed with the verifier whose hash was asked with.
    let redeemed = issuer.token_requests().remove(0);
    let form: BTreeMap<_, _> =
        redeemed.split('&').filter_map(|pair| pair.split_once('=')).collect();
    assert_eq!((form["grant_type"], form["code"]), ("authorization_code", "a%2Fcode"));
    let hash = ring::digest::digest(&ring::digest::SHA256, form["code_verifier"].as_bytes());
    assert_eq!(asked["code_challenge"], base64url(hash.as_ref()));

    let seen = browser.json(browser.get("/carts")).await;
    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    assert_eq!(header_values(&seen, "authorization"), [bearer]);
    assert!(header_values(&seen, "cookie").is_empty(), "a service saw the session");
    let answer = browser.send(browser.get("/carts")).await;
    assert_eq!(answer.headers()["cache-control"], "private, no-cache");

    // Nobody else is.
    let stranger = Browser::new(&gateway);
    assert!(
        header_values(&stranger.json(stranger.get("/carts")).await, "authorization").is_empty()
    );
    let replayed = stranger.send(stranger.get(&done)).await;
    assert_eq!((replayed.status().as_u16(), stranger.has_session()), (400, false));
}

/// Returns a page, and the account that it says it was shown to.
async fn live_page(browser: &Browser) -> (String, String) {
    let page = browser.send(browser.get("/live").header("accept", "text/html")).await;
    let page = page.text().await.unwrap();
    let (_, rest) = page.split_once("data-account=\"").unwrap();
    let account = rest.split_once('"').unwrap().0.to_owned();
    (page, account)
}

/// Tabs share a stream by what the page says of the account.
#[tokio::test]
async fn accounts_of_the_same_name_are_told_apart_in_a_page() {
    let (issuer, gateway) = start().await;
    let key = async |subject: Option<&str>| {
        let browser = Browser::new(&gateway);
        if let Some(subject) = subject {
            browser.sign_in(&issuer, |nonce| tokens(&issuer, subject, nonce)).await;
        }
        let (page, account) = live_page(&browser).await;
        assert_eq!(page.contains("김하나"), subject.is_some(), "{page}");
        account
    };
    let (hana, other) = (key(Some("hana")).await, key(Some("another hana")).await);
    assert_ne!(hana, other);
    assert_eq!(key(Some("hana")).await, hana, "her tabs share a stream");
    assert!(hana.len() >= 16 && !hana.contains("hana"), "{hana}");
    assert_eq!(key(None).await, "", "nobody is signed in");
}

/// A page asks for its parts, and for its stream, in the name of the account that it was shown to.
#[tokio::test]
async fn a_page_gets_nothing_of_an_account_that_signed_in_since() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    let status = async |account: &str| {
        let asked = browser.get(&format!("/carts?a=1&for-account={account}"));
        browser.send(asked).await.status().as_u16()
    };
    assert_eq!((status("").await, status("x").await), (200, 412), "nobody is signed in");
    let mut before = String::new();
    for subject in ["hana", "duri"] {
        browser.sign_in(&issuer, |nonce| tokens(&issuer, subject, nonce)).await;
        let (_, now) = live_page(&browser).await;
        assert_eq!((status(&now).await, status("").await), (200, 412), "{subject}");
        assert_eq!(status(&before).await, 412, "{subject}");
        before = now;
    }
    let refused = browser.send(browser.get("/carts?for-account=x")).await;
    is_problem(refused, 412, "precondition-failed").await;
    assert!(browser.has_session(), "it is still signed in");
    // A page of another site cannot try who is signed in.
    for account in ["x", before.as_str()] {
        let asked = browser.get(&format!("/carts?for-account={account}"));
        let answer = browser.send(asked.header("sec-fetch-site", "same-site")).await;
        assert_eq!(answer.status(), 200, "{account}");
    }
}

#[tokio::test]
async fn a_sign_in_leads_to_our_own_pages_alone() {
    let (issuer, gateway) = start().await;
    for (to, page) in [
        ("https://evil.example", "/shop"),
        ("//evil.example", "/shop"),
        ("//evil.example?page=3", "/shop"),
        ("/\\evil.example", "/shop"),
        ("/shop?page=//evil.example", "/shop"),
        ("/shop?page=3%0d%0aset-cookie:a=b", "/shop"),
        ("/carts", "/shop"),
        ("", "/shop"),
        ("/me/../x", "/shop"),
        ("/me%3Fpage=2%26cancelled=1", "/me?page=2"),
        ("/shop?page=3&page=4", "/shop?page=3"),
    ] {
        let browser = Browser::new(&gateway);
        let asked = browser.begin(&format!("/sign-in?to={to}")).await;
        issuer.will_answer(200, tokens(&issuer, "hana", &asked["nonce"]));
        let back = format!("/sign-in/done?code=c&state={}", asked["state"]);
        let back = browser.send(browser.get(&back)).await;
        assert_eq!(back.headers()["location"], format!("{}{page}", gateway.url()), "{to}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_of_this_sign_in_begins_no_session() {
    let (issuer, gateway) = start().await;
    for (query, status) in [
        ("code=c&state=other", 400),
        ("code=c", 400),
        ("code=c&state={state}&iss=https://evil.example", 400),
        ("error=access_denied&state={state}", 403),
        ("state={state}", 403),
    ] {
        let browser = Browser::new(&gateway);
        let asked = browser.begin("/sign-in").await;
        let query = query.replace("{state}", &asked["state"]);
        let answer = browser.send(browser.get(&format!("/sign-in/done?{query}"))).await;
        assert_eq!((answer.status().as_u16(), browser.has_session()), (status, false), "{query}");
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    }
    assert!(issuer.token_requests().is_empty(), "a code was redeemed");
}

#[tokio::test]
async fn tokens_that_cannot_be_believed_begin_no_session() {
    let (issuer, gateway) = start().await;
    let stranger = signing_key("first", Algorithm::ES256);
    let with = |nonce: &str, name: &str, value: Value| {
        let mut tokens = tokens(&issuer, "hana", nonce);
        tokens[name] = value;
        tokens
    };
    let identity = |nonce: &str, name: &str, value: Value| {
        let mut claims = issuer.claims("hana", &[]);
        (claims["aud"], claims["nonce"]) = ("pages".into(), nonce.into());
        claims[name] = value;
        with(nonce, "id_token", issuer.key().sign(&claims).into())
    };
    let cases: [(&str, &Made); 8] = [
        ("another nonce", &|nonce| identity(nonce, "nonce", "other".into())),
        ("another client", &|nonce| identity(nonce, "aud", "other".into())),
        ("another party", &|nonce| identity(nonce, "azp", "other".into())),
        ("another issuer", &|nonce| identity(nonce, "iss", "https://evil.example".into())),
        ("an old one", &|nonce| identity(nonce, "exp", 1_000_000_000.into())),
        ("no ID token", &|nonce| with(nonce, "id_token", Value::Null)),
        ("the access token of another", &|nonce| {
            with(nonce, "access_token", issuer.token("duri", &["customer"]).into())
        }),
        ("a foreign key", &|nonce| {
            let foreign = stranger.sign(&issuer.claims("hana", &["customer"]));
            with(nonce, "access_token", foreign.into())
        }),
    ];
    for (case, tokens) in cases {
        let browser = Browser::new(&gateway);
        let answer = browser.sign_in(&issuer, tokens).await;
        assert_eq!((answer.status().as_u16(), browser.has_session()), (403, false), "{case}");
    }
}

#[tokio::test]
async fn other_sites_change_nothing_with_a_session() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    browser.sign_in(&issuer, |nonce| tokens(&issuer, "hana", nonce)).await;
    let ours = gateway.url();
    for (headers, is_served) in [
        (&[OURS][..], true),
        (&[("origin", &*ours)], true),
        (&[], false), // no browser
        (&[("sec-fetch-site", "cross-site")], false),
        (&[("sec-fetch-site", "same-site")], false),
        (&[("origin", "https://evil.example")], false),
        (&[("origin", "null")], false),
    ] {
        for path in ["/carts", "/gifticons", "/sign-out", "/me/cancel"] {
            let mut request = browser.post(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let copy = Browser(browser.0.copy());
            let status = copy.send(request).await.status();
            assert_eq!(status != 403, is_served, "{path} {headers:?}: {status}");
        }
    }
    // Who sends a token is no browser that was talked into it.
    let token = issuer.token("hana", &["customer"]);
    let answer = browser.send(browser.post("/carts").bearer_auth(&token)).await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn an_issuer_that_is_away_is_a_page_that_says_so() {
    let (issuer, gateway) = start().await;
    issuer.is_away(true);
    let browser = Browser::new(&gateway);
    let answer = browser.send(browser.get("/sign-in")).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    issuer.is_away(false);
    browser.begin("/sign-in").await;
}

#[tokio::test]
async fn an_address_that_tries_too_often_has_to_wait() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    let mut refused = None;
    for _ in 0..70 {
        let answer = browser.send(browser.get("/sign-in/done?code=guess&state=x")).await;
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status(), 400);
    }
    let refused = refused.expect("it may not go on for ever");
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(browser.send(browser.get("/sign-in")).await.status(), 429);
    assert!(issuer.token_requests().is_empty());
}
