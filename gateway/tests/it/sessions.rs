//! How a session goes on, and how it ends.

use crate::common::{header_values, is_problem, mirror, with_sign_in, with_sign_in_by};
use crate::visitor::{Browser, OURS, expiring, start, tokens};
use chassis::base::config::Guests;
use chassis::testing::{Algorithm, TestIssuer, eventually, signing_key};
use gateway::{SessionToken, SignInConfig};
use reqwest::Response;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Signs in with an access token that expires in `seconds`.
async fn sign_in_for(browser: &Browser, issuer: &TestIssuer, seconds: u64) {
    sign_in_with(browser, issuer, seconds, |_| ()).await;
}

/// Does the same, after `change` changed what the issuer gives.
async fn sign_in_with(
    browser: &Browser,
    issuer: &TestIssuer,
    seconds: u64,
    change: impl FnOnce(&mut Value),
) {
    let answer = browser
        .sign_in(issuer, |nonce| {
            let mut tokens = tokens(issuer, "hana", nonce);
            tokens["access_token"] = expiring(issuer, "hana", seconds).into();
            change(&mut tokens);
            tokens
        })
        .await;
    assert_eq!(answer.status(), 303);
}

fn renewed(token: &str) -> Value {
    json!({ "access_token": token, "token_type": "bearer", "refresh_token": "hana-2" })
}

#[tokio::test]
async fn a_token_that_expires_is_renewed_once_for_all_requests() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    sign_in_for(&browser, &issuer, 5).await;
    let fresh = issuer.token("hana", &["customer"]);
    issuer.will_answer(200, renewed(&fresh));
    let seen = (0..5).map(|_| browser.json(browser.get("/carts")));
    for seen in futures_util::future::join_all(seen).await {
        assert_eq!(header_values(&seen, "authorization"), [format!("Bearer {fresh}")]);
    }
    let requests = issuer.token_requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert!(requests[1].contains("grant_type=refresh_token") && requests[1].contains("hana-1"));
    // The new session is in the browser.
    let seen = browser.json(browser.get("/carts")).await;
    assert_eq!(header_values(&seen, "authorization"), [format!("Bearer {fresh}")]);
    assert_eq!(issuer.token_requests().len(), 2);
}

#[tokio::test]
async fn a_session_that_the_issuer_ended_is_over_and_one_that_it_cannot_say_stays() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    sign_in_for(&browser, &issuer, 0).await;
    issuer.will_answer(400, json!({ "error": "invalid_grant" }));
    let seen = browser.json(browser.get("/carts")).await;
    assert!(header_values(&seen, "authorization").is_empty());
    assert!(!browser.has_session());

    let browser = Browser::new(&gateway);
    sign_in_with(&browser, &issuer, 0, |tokens| tokens["refresh_token"] = "away".into()).await;
    // Nothing is told what to answer: 503. The token is good for the seconds that clocks may differ by.
    let seen = browser.json(browser.get("/carts")).await;
    assert_eq!(header_values(&seen, "authorization").len(), 1);
    assert!(browser.has_session());

    // The gateway has a wrong secret, say: nobody is signed out for that.
    let browser = Browser::new(&gateway);
    sign_in_with(&browser, &issuer, 0, |tokens| tokens["refresh_token"] = "wrong secret".into())
        .await;
    issuer.will_answer(401, json!({ "error": "invalid_client" }));
    let seen = browser.json(browser.get("/carts")).await;
    assert_eq!(header_values(&seen, "authorization").len(), 1);
    assert!(browser.has_session());
}

#[tokio::test]
async fn a_session_that_cannot_be_renewed_lasts_as_long_as_its_token() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    sign_in_with(&browser, &issuer, 10, |tokens| {
        tokens.as_object_mut().unwrap().remove("refresh_token");
    })
    .await;
    let seen = browser.json(browser.get("/carts")).await;
    assert_eq!(header_values(&seen, "authorization").len(), 1);
    assert!(browser.has_session());
    assert_eq!(issuer.token_requests().len(), 1);
}

#[tokio::test]
async fn who_signs_out_is_forgotten_here_and_at_the_issuer() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    browser.sign_in(&issuer, |nonce| tokens(&issuer, "hana", nonce)).await;
    let out = browser.send(browser.post("/sign-out").header(OURS.0, OURS.1)).await;
    assert_eq!((out.status().as_u16(), browser.has_session()), (200, false));
    let page = out.text().await.unwrap();
    assert!(page.contains(&format!("{}/sign-out?client_id=pages", issuer.url)), "{page}");
    assert!(page.contains("id_token_hint="));
    assert!(!page.contains("김하나"), "the page still knows them");
    assert_eq!(browser.send(browser.get("/sign-out")).await.status(), 405);
}

/// Returns the names of the cookies that a response removes.
fn removed(answer: &Response) -> Vec<&str> {
    let set = answer.headers().get_all("set-cookie").iter().map(|set| set.to_str().unwrap());
    set.filter(|set| set.contains("Max-Age=0")).filter_map(|set| set.split('=').next()).collect()
}

/// A cache that kept the answer would sign in everybody who gets it.
#[tokio::test]
async fn no_cache_keeps_an_answer_that_changes_a_session() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    sign_in_for(&browser, &issuer, 5).await;
    let page = Browser::new(&gateway).0.page("/nothing").await;
    let style = page.split('"').find(|text| text.starts_with("/assets/style-")).unwrap();
    issuer.will_answer(200, renewed(&issuer.token("hana", &["customer"])));
    let answer = browser.send(browser.get(style)).await;
    assert!(answer.headers().contains_key("set-cookie"));
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let answer = browser.send(browser.get(style)).await;
    assert!(!answer.headers().contains_key("set-cookie"));
    assert_eq!(answer.headers()["cache-control"], "public, max-age=31536000, immutable");
}

#[tokio::test]
async fn who_was_signed_in_does_nothing_as_a_guest() {
    let issuer = TestIssuer::start().await;
    let mut auth = issuer.auth();
    auth.auth_guests = Guests::Allow;
    let gateway = with_sign_in(&mirror().await, auth);
    let (ended, duri) = (Browser::new(&gateway), Browser::new(&gateway));
    sign_in_for(&ended, &issuer, 0).await;
    duri.sign_in(&issuer, |nonce| tokens(&issuer, "duri", nonce)).await;
    // The issuer ended the session, or a replica sealed it that has a newer secret: that one is not removed.
    for (what, gone) in [("ended", &["gifticon_session"][..]), ("sealed by another", &[])] {
        let copy = || match what {
            "ended" => {
                issuer.will_answer(400, json!({ "error": "invalid_grant" }));
                Browser(ended.0.copy())
            }
            _ => Browser::new(&gateway),
        };
        let ours = |request: reqwest::RequestBuilder| match what {
            "ended" => request.header(OURS.0, OURS.1),
            _ => request.header(OURS.0, OURS.1).header("cookie", "gifticon_session=x"),
        };
        let send = async |browser: Browser, request| browser.send(ours(request)).await;
        let browser = copy();
        let request = browser.post("/carts");
        let answer = send(browser, request).await;
        assert_eq!(removed(&answer), gone, "{what}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        let cached = if gone.is_empty() { "private, no-cache" } else { "no-store" };
        assert_eq!(answer.headers()["cache-control"], cached);
        is_problem(answer, 401, "unauthenticated").await;

        let browser = copy();
        let request = browser.0.form("/shop/carts", &[("gifticonId", "1"), ("quantity", "1")]);
        let answer = send(browser, request).await;
        assert_eq!((answer.status().as_u16(), removed(&answer)), (401, gone.to_vec()), "{what}");
        let page = answer.text().await.unwrap();
        assert!(page.contains("Your sign-in has ended") && page.contains("/sign-in"), "{page}");

        // What is nobody's goes on.
        for path in ["/sign-out", "/shop/theme"] {
            let browser = copy();
            let request = browser.0.form(path, &[("theme", "dark")]);
            let answer = send(browser, request).await;
            assert!(!answer.status().is_client_error(), "{what} {path}: {}", answer.status());
            let gone = if path == "/sign-out" { &["gifticon_session"][..] } else { gone };
            assert_eq!(removed(&answer), gone, "{what} {path}");
        }
        let browser = copy();
        let request = browser.get("/carts");
        let answer = send(browser, request).await;
        assert_eq!((answer.status().as_u16(), removed(&answer)), (200, gone.to_vec()), "{what}");
    }
    let guest = Browser::new(&gateway);
    assert_eq!(guest.send(guest.post("/carts").header(OURS.0, OURS.1)).await.status(), 200);
    // A tab does not know who signed in or out in another one: the form of its page is of who saw that page.
    for (browser, account) in [(&guest, "an-account"), (&duri, "an-account"), (&duri, "")] {
        let form = browser.0.form("/shop/carts", &[("quantity", "1"), ("account", account)]);
        assert_eq!(browser.send(form).await.status(), 401, "a form of '{account}'");
    }
    for (browser, fields) in [(&guest, &[("account", "")][..]), (&guest, &[]), (&duri, &[])] {
        let form = browser.0.form("/shop/carts", fields);
        assert_ne!(browser.send(form).await.status(), 401, "{fields:?}");
    }
}

#[tokio::test]
async fn every_piece_of_a_session_that_is_over_is_removed_by_a_problem() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    let long = "x".repeat(3_000); // too long for one cookie
    sign_in_with(&browser, &issuer, 0, |tokens| tokens["refresh_token"] = long.into()).await;
    issuer.will_answer(400, json!({ "error": "invalid_grant" }));
    let answer = browser.send(browser.get("/nothing")).await;
    assert_eq!(removed(&answer), ["gifticon_session", "gifticon_session_1"]);
    is_problem(answer, 404, "not-found").await;
}

/// The gateway looks for keys every ten seconds at most.
#[tokio::test]
async fn a_renewed_token_of_a_key_that_is_not_known_yet_ends_no_session() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    sign_in_for(&browser, &issuer, 5).await;
    let (old, new) = (issuer.key(), signing_key("second", Algorithm::ES256));
    issuer.publish(vec![new, old]);
    let fresh = issuer.token("hana", &["customer"]);
    issuer.will_answer(200, renewed(&fresh));
    let answer = browser.send(browser.post("/carts").header(OURS.0, OURS.1)).await;
    assert!(browser.has_session(), "the session is over");
    assert_eq!(answer.headers()["retry-after"], "1");
    is_problem(answer, 503, "unavailable").await;
    // A page that asks for its stream, or a part of itself, does not hear that it is of another account.
    let answer = browser.send(browser.get("/carts?for-account=hers")).await;
    is_problem(answer, 503, "unavailable").await;
    assert!(browser.has_session(), "the session is over");
    let answer = browser.send(browser.0.form("/shop/carts", &[("quantity", "1")])).await;
    assert_eq!(answer.status(), 503);
    let page = answer.text().await.unwrap();
    assert!(page.contains("We cannot check your sign-in right now"), "{page}");
    assert!(page.contains("To the shop"), "{page}");
    eventually("the new key", async || {
        let seen = browser.json(browser.get("/carts")).await;
        (header_values(&seen, "authorization") == [format!("Bearer {fresh}")]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_issuer_that_hangs_delays_nobody_whose_token_is_good() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    sign_in_for(&browser, &issuer, 25).await;
    issuer.hangs(true);
    let fresh = issuer.token("hana", &["customer"]);
    issuer.will_answer(200, renewed(&fresh));
    let began = Instant::now();
    for _ in 0..3 {
        let seen = browser.json(browser.get("/carts")).await;
        let bearer = header_values(&seen, "authorization");
        assert!(bearer.len() == 1 && bearer[0] != format!("Bearer {fresh}"));
    }
    // Each would wait for three seconds, or the first.
    assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
    issuer.hangs(false);
    eventually("the renewal", async || {
        let seen = browser.json(browser.get("/carts")).await;
        (header_values(&seen, "authorization") == [format!("Bearer {fresh}")]).then_some(())
    })
    .await;
    assert_eq!(issuer.token_requests().len(), 2, "a refresh token was sent twice");
}

#[tokio::test]
async fn who_signs_out_has_their_refresh_token_revoked() {
    let (issuer, gateway) = start().await;
    for what in ["works", "is away", "hangs"] {
        let browser = Browser::new(&gateway);
        sign_in_for(&browser, &issuer, 3_600).await;
        let before = issuer.revocations().len();
        issuer.is_away(what == "is away");
        issuer.hangs(what == "hangs");
        let began = Instant::now();
        let out = browser.send(browser.post("/sign-out").header(OURS.0, OURS.1)).await;
        assert_eq!((out.status().as_u16(), browser.has_session()), (200, false), "{what}");
        // A response of the issuer is waited for three seconds.
        assert!(began.elapsed() < Duration::from_millis(2_500), "an issuer that {what}");
        let asked = issuer.revocations();
        assert_eq!(asked.len(), before + 1, "an issuer that {what}");
        let form: Vec<_> = asked[before].split('&').collect();
        for field in ["token=hana-1", "token_type_hint=refresh_token", "client_id=pages"] {
            assert!(form.contains(&field), "{form:?}");
        }
        issuer.is_away(false);
        issuer.hangs(false);
    }
}

#[tokio::test]
async fn a_renewal_does_not_undo_a_sign_out() {
    let (issuer, gateway) = start().await;
    let browser = Browser::new(&gateway);
    sign_in_for(&browser, &issuer, 0).await;
    let stolen = Browser(browser.0.copy());
    issuer.hangs(true);
    issuer.will_answer(200, renewed(&issuer.token("hana", &["customer"])));
    let slow = browser.send(browser.get("/carts"));
    let out = async {
        eventually("the renewal", async || (issuer.token_requests().len() == 2).then_some(()))
            .await;
        let out = browser.send(browser.post("/sign-out").header(OURS.0, OURS.1)).await;
        issuer.hangs(false);
        out
    };
    let (slow, out) = tokio::join!(slow, out);
    assert_eq!((out.status().as_u16(), slow.status().as_u16()), (200, 200));
    assert!(!browser.has_session(), "the renewal signed in again");

    // A request that was under way to the gateway comes after it.
    let answer = stolen.send(stolen.get("/carts")).await;
    assert_eq!(removed(&answer), ["gifticon_session"]);
    assert_eq!(issuer.token_requests().len(), 2);
}

#[tokio::test]
async fn the_token_of_requests_is_in_no_url() {
    let issuer = TestIssuer::start().await;
    let mut auth = issuer.auth();
    auth.auth_audience = "pages".into();
    let sign_in = SignInConfig { oidc_token_type: SessionToken::Id, ..SignInConfig::default() };
    let gateway = with_sign_in_by(&mirror().await, auth, sign_in);
    let browser = Browser::new(&gateway);
    browser.sign_in(&issuer, |nonce| tokens(&issuer, "hana", nonce)).await;
    assert!(browser.has_session());
    let out = browser.send(browser.post("/sign-out").header(OURS.0, OURS.1)).await;
    let page = out.text().await.unwrap();
    assert!(page.contains("/sign-out?client_id=pages"), "{page}");
    assert!(!page.contains("id_token_hint"), "{page}");
}
