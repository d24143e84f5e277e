//! The issuer `dev`: sample accounts on the page, and tokens from the command line.

mod common;

use chassis::http::client;
use chassis::testing::{PageClient, eventually};
use common::Shop;
use common::process::Process;
use serde_json::json;
use standalone::dev_issuer::ACCOUNTS;
use std::net::SocketAddr;
use std::process::Command;

async fn start() -> Shop {
    Shop::with(|config| config.auth.auth_issuer = Some("dev".into())).await
}

/// Signs in as one of the accounts, as a browser does.
async fn sign_in(browser: &PageClient, subject: &str) {
    let chooser = browser.led_to(browser.get("/sign-in?to=/me")).await;
    let page = browser.page(&chooser).await;
    assert!(page.contains(&format!("value=\"{subject}\"")), "{page}");
    let query = reqwest::Url::parse(&chooser).unwrap();
    let mut fields: Vec<_> = query.query_pairs().into_owned().collect();
    fields.push(("account".into(), subject.into()));
    let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    let chosen = format!("{}/authorize", query.origin().ascii_serialization());
    let done = browser.led_to(browser.form(&chosen, &fields)).await;
    let home = browser.led_to(browser.get(&done)).await;
    assert!(home.ends_with("/me"), "{home}");
}

/// Returns the account that the shop's page was shown to, as its forms have it.
async fn account_of(browser: &PageClient) -> String {
    let page = browser.page("/shop").await;
    let (_, rest) = page.split_once(r#"name="account" value=""#).expect("a form names its account");
    rest.split('"').next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_sees_its_own_pages() {
    let shop = start().await;
    for account in ACCOUNTS {
        let browser = PageClient::new(shop.web.base.clone());
        assert!(browser.page("/me").await.contains("/sign-in?to=/me"));
        sign_in(&browser, account.subject).await;
        let (is_customer, is_md) = (account.role == "customer", account.role == "md");
        assert!(browser.page("/shop").await.contains(account.name));
        for (path, may) in [("/shop", true), ("/me", is_customer), ("/md", is_md)] {
            let status = browser.send(browser.get(path)).await.status();
            assert_eq!(status, if may { 200 } else { 403 }, "{path} of {}", account.subject);
        }
    }
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_account_buys_another_does_not_see() {
    let shop = start().await;
    let accounts = ["hana", "duri", "md"].map(|_| PageClient::new(shop.web.base.clone()));
    let [hana, duri, md] = &accounts;
    for (browser, subject) in [(hana, "hana"), (duri, "duri"), (md, "md")] {
        sign_in(browser, subject).await;
    }
    let gifticon =
        [("gifticonId", "1"), ("name", "카페라떼"), ("availableQuantity", "5"), ("price", "5,000")];
    let registered = md.led_to(md.form("/md/gifticons", &gifticon)).await;
    assert!(registered.contains("done=registered"), "{registered}");
    let (of_hana, of_duri) = (account_of(hana).await, account_of(duri).await);
    assert!(!of_hana.is_empty() && of_hana != of_duri, "{of_hana} and {of_duri}");
    let purchase =
        [("gifticonId", "1"), ("quantity", "2"), ("price", "5000"), ("account", &*of_hana)];
    let by_another = duri.send(duri.form("/shop/carts", &purchase)).await;
    assert_eq!(by_another.status(), 401, "duri bought with hana's page");
    let bought = hana.led_to(hana.form("/shop/carts", &purchase)).await;
    assert!(bought.contains("bought=1"), "{bought}");
    eventually("hana's cart is in her page", async || {
        hana.page("/me").await.contains("카페라떼").then_some(())
    })
    .await;
    assert!(!duri.page("/me").await.contains("카페라떼"));
    let theft = duri.send(duri.form("/me/cancel", &[("cartId", "1")])).await;
    assert_eq!(theft.status(), 404);

    // A customer may not sell, and who signed out may not buy.
    let forged = duri.send(duri.form("/md/gifticons", &gifticon)).await;
    assert_eq!(forged.status(), 403);
    hana.send(hana.form("/sign-out", &[])).await;
    let again = hana.send(hana.form("/shop/carts", &purchase)).await;
    assert_eq!(again.status(), 401);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_was_revoked_renews_nothing() {
    let shop = start().await;
    let (issuer, browser) = (shop.issuer.clone().unwrap(), PageClient::new(shop.web.base.clone()));
    let discovery = browser.page(&format!("{issuer}/.well-known/openid-configuration")).await;
    assert!(discovery.contains(&format!("\"revocation_endpoint\":\"{issuer}/revoke\"")));
    let redirect = format!("{}/sign-in/done", shop.web.base);
    let question = [
        ("account", "hana"),
        ("client_id", "gifticon-pages"),
        ("redirect_uri", &*redirect),
        ("response_type", "code"),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"), // RFC 7636, appendix B
        ("code_challenge_method", "S256"),
    ];
    let back = browser.led_to(browser.form(&format!("{issuer}/authorize"), &question)).await;
    let back = reqwest::Url::parse(&back).unwrap();
    let code = back.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let send = async |path: &str, client: &str, fields: &[(&str, &str)]| {
        let fields = [&[("client_id", client)][..], fields].concat();
        let answer = browser.send(browser.form(&format!("{issuer}/{path}"), &fields)).await;
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(json!({})))
    };
    let ours = "gifticon-pages";
    let code = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", &*redirect),
        ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    ];
    let (_, tokens) = send("token", ours, &code).await;
    let token = tokens["refresh_token"].as_str().unwrap().to_owned();
    let renewal = [("grant_type", "refresh_token"), ("refresh_token", &*token)];
    let revocation = [("token", &*token), ("token_type_hint", "refresh_token")];
    assert_eq!(send("token", ours, &renewal).await.0, 200);
    assert_eq!(send("revoke", "another", &revocation).await.0, 400);
    assert_eq!(send("revoke", ours, &[]).await.0, 400);
    assert_eq!(send("token", ours, &renewal).await.0, 200);
    assert_eq!(send("revoke", ours, &revocation).await.0, 200);
    assert_eq!(send("token", ours, &renewal).await.0, 400);
    assert_eq!(send("revoke", ours, &revocation).await.0, 200, "it is revoked already");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_command_line_is_good() {
    let shop = start().await;
    let issuer = shop.issuer.clone().unwrap();
    let token = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_standalone"));
        command
            .env_clear()
            .arg("token")
            .args(["--dev-issuer-addr", issuer.trim_start_matches("http://")]);
        command.arg("--data-dir").arg(shop.dir.path()).args(arguments).output().unwrap()
    };
    let ask = async |token: &str| {
        let url = format!("{}/gifticons", shop.web.base);
        let body = json!({ "gifticonId": 7, "name": "라떼", "availableQuantity": 1, "price": 1 });
        client::new()
            .unwrap()
            .post(url)
            .bearer_auth(token)
            .json(&body)
            .send()
            .await
            .unwrap()
            .status()
    };
    let md = token(&["--subject", "demo", "--role", "md", "--ttl", "8h"]);
    let md = String::from_utf8(md.stdout).unwrap();
    assert_eq!(ask(md.trim()).await, 201);
    let customer = token(&["--subject", "demo", "--role", "customer"]);
    let customer = String::from_utf8(customer.stdout).unwrap();
    assert_eq!(ask(customer.trim()).await, 403);
    for wrong in
        [&["--subject", "demo", "--role", "king"][..], &["--subject", "demo", "--ttl", "8"], &[]]
    {
        let output = token(wrong);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{wrong:?}");
    }
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_somebody_points_at_this_machine_is_refused() {
    let shop = start().await;
    let issuer = shop.issuer.clone().unwrap();
    for (host, status) in [("evil.example:8087", 421), ("127.0.0.1:8087", 200), ("localhost", 200)]
    {
        let url = format!("{issuer}/.well-known/openid-configuration");
        let request = client::new().unwrap().get(url).header("host", host);
        assert_eq!(request.send().await.unwrap().status(), status, "{host}");
    }
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_without_passwords_are_for_this_machine_alone() {
    let dir = tempfile::tempdir().unwrap();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let open: [fn(&mut standalone::Listeners, SocketAddr); 3] = [
        |listeners, address| listeners.gateway_addr = address,
        |listeners, address| listeners.cart_addr = address,
        |listeners, address| listeners.dev_issuer_addr = address,
    ];
    for open in open {
        let mut config = common::config(dir.path(), None);
        config.auth.auth_issuer = Some("dev".into());
        open(&mut config.listeners, everywhere);
        let refused = standalone::start(config).await.err().unwrap();
        let text = format!("{refused:#}");
        assert!(text.contains("AUTH_ISSUER") && text.contains("loopback"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_has_a_token_or_a_session() {
    const SECRETS: [(&str, &str); 2] = [
        ("SERVICE_TOKEN", "service-token-that-nobody-may-see-0123456789"),
        ("SESSION_SECRET", "session-secret-that-nobody-may-see-0123456789"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let more = [("AUTH_ISSUER", "dev"), ("DEV_ISSUER_ADDR", "127.0.0.1:0"), ("RUST_LOG", "trace")];
    let (process, log) = Process::start_logged(dir.path(), &[&SECRETS[..], &more[..]].concat());
    let browser = PageClient::new(process.web.base.clone());
    sign_in(&browser, "hana").await;
    let mut secrets: Vec<String> = browser.cookies();
    assert!(secrets.iter().any(|cookie| cookie.len() > 500), "there is a session");
    let md = PageClient::new(process.web.base.clone());
    sign_in(&md, "md").await;
    let fields =
        [("gifticonId", "9"), ("name", "Cake"), ("availableQuantity", "5"), ("price", "5000")];
    assert_eq!(md.send(md.form("/md/gifticons", &fields)).await.status(), 303);
    let cart = browser.form("/shop/carts", &[("gifticonId", "9"), ("quantity", "1")]);
    assert_eq!(browser.send(cart).await.status(), 303, "token and SERVICE_TOKEN went along");
    secrets.extend(md.cookies());
    let bad = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
    let answer = browser.send(PageClient::new(&process.web.base).get("/carts").bearer_auth(bad));
    assert_eq!(answer.await.status(), 401);
    browser.send(browser.form("/sign-out", &[])).await;
    assert!(process.terminate().await.success());

    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("TRACE") && log.len() > 50_000, "{} bytes", log.len());
    secrets.extend(SECRETS.map(|(_, secret)| secret.to_owned()));
    secrets.push("eyJ".into()); // how each token begins
    for secret in secrets.iter().filter(|secret| *secret == "eyJ" || secret.len() > 20) {
        assert!(!log.contains(&secret[..secret.len().min(60)]), "the log has {secret}");
    }
}
