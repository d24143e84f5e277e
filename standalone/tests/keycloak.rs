//! The shop with a real Keycloak, whose realm `gifticon` has a client and accounts. `.ci/run keycloak` starts it.

mod common;

use chassis::base::config::Auth;
use chassis::http::client;
use chassis::testing::{PageClient, eventually};
use common::Shop;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long tokens of a new key may be refused.
const ROTATION_TIME_MAX: Duration = Duration::from_secs(10);

fn keycloak() -> String {
    #[expect(clippy::disallowed_methods, reason = "the gate says where it is")]
    std::env::var("TEST_KEYCLOAK").expect("TEST_KEYCLOAK is the base URL of a Keycloak")
}

async fn start() -> Shop {
    Shop::with(|config| {
        config.auth = Auth::with_issuer(format!("{}/realms/gifticon", keycloak()));
        config.sign_in.oidc_client_id = Some("gifticon-web".into());
    })
    .await
}

/// Returns an access token by the password of an account, as a program gets it.
async fn token(realm: &str, client: &str, account: &str) -> String {
    let url = format!("{}/realms/{realm}/protocol/openid-connect/token", keycloak());
    let form =
        format!("grant_type=password&client_id={client}&username={account}&password={account}");
    let request = client::new()
        .unwrap()
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded");
    let answer: Value = request.body(form).send().await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
}

/// Returns how many sessions the account with this id has in which the pages are signed in.
async fn clients_of(id: &str) -> usize {
    let admin = token("master", "admin-cli", "admin").await;
    let url = format!("{}/admin/realms/gifticon/users/{id}/sessions", keycloak());
    let request = client::new().unwrap().get(url).bearer_auth(admin);
    let sessions: Vec<Value> = request.send().await.unwrap().json().await.unwrap();
    let clients = sessions.iter().filter_map(|session| session["clients"].as_object());
    clients.flat_map(|clients| clients.values()).filter(|client| *client == "gifticon-web").count()
}

/// Types name and password into Keycloak's page. Returns where it leads, or the page if it was refused.
async fn type_in(browser: &PageClient, account: &str, password: &str) -> Result<String, String> {
    let page = browser.led_to(browser.get("/sign-in?to=/me")).await;
    let page = browser.page(&page).await;
    let action = page.split("action=\"").nth(1).and_then(|rest| rest.split('"').next());
    let action = action.unwrap_or_else(|| panic!("no form: {page}")).replace("&amp;", "&");
    let form = browser.form(&action, &[("username", account), ("password", password)]);
    let answer = browser.send(form).await;
    match answer.headers().get("location") {
        Some(url) => Ok(url.to_str().unwrap().to_owned()),
        None => Err(answer.text().await.unwrap()),
    }
}

async fn sign_in(browser: &PageClient, account: &str) {
    let done = type_in(browser, account, account).await.expect("the password is right");
    let home = browser.led_to(browser.get(&done)).await;
    assert!(home.ends_with("/me"), "{home}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_KEYCLOAK"]
async fn people_sign_in_buy_and_sign_out() {
    let shop = start().await;
    let browsers = [(); 3].map(|()| PageClient::new(shop.web.base.clone()));
    let [alice, bob, minji] = &browsers;
    let refused = type_in(alice, "alice", "wrong").await.expect_err("the password is wrong");
    assert!(refused.contains("Invalid username or password"), "{refused}");
    for (browser, account) in [(alice, "alice"), (bob, "bob"), (minji, "minji")] {
        sign_in(browser, account).await;
    }
    assert!(alice.page("/shop").await.contains("Alice Kim"));
    let gifticon =
        [("gifticonId", "1"), ("name", "카페라떼"), ("availableQuantity", "5"), ("price", "5000")];
    let registered = minji.led_to(minji.form("/md/gifticons", &gifticon)).await;
    assert!(registered.contains("done=registered"), "{registered}");
    assert_eq!(alice.send(alice.form("/md/gifticons", &gifticon)).await.status(), 403);
    let purchase = [("gifticonId", "1"), ("quantity", "2"), ("price", "5000")];
    assert!(alice.led_to(alice.form("/shop/carts", &purchase)).await.contains("bought=1"));
    eventually("alice's cart is in her page", async || {
        alice.page("/me").await.contains("카페라떼").then_some(())
    })
    .await;
    assert!(!bob.page("/me").await.contains("카페라떼"));

    // Signing out revokes the refresh token at once, and ends the session at Keycloak as well: the next sign-in asks for the
    // password again.
    assert_eq!(clients_of("a11ce000-0000-4000-8000-000000000001").await, 1);
    let out = alice.send(alice.form("/sign-out", &[])).await.text().await.unwrap();
    assert_eq!(clients_of("a11ce000-0000-4000-8000-000000000001").await, 0);
    let url = out.split("url=").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let back = alice.led_to(alice.get(&url.replace("&#38;", "&"))).await;
    assert!(back.ends_with("/shop"), "{back}");
    assert!(alice.page("/me").await.contains("/sign-in?to=/me"));
    let again = alice.led_to(alice.get("/sign-in?to=/me")).await;
    assert!(alice.page(&again).await.contains("password"), "Keycloak still knows her");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_KEYCLOAK"]
async fn tokens_of_programs_have_their_rights() {
    let shop = start().await;
    let url = format!("{}/gifticons", shop.web.base);
    let body = json!({ "gifticonId": 7, "name": "라떼", "availableQuantity": 1, "price": 1 });
    for (account, status) in [("alice", 403), ("pos", 403), ("ops", 403), ("minji", 201)] {
        let token = token("gifticon", "gifticon-cli", account).await;
        let request = client::new().unwrap().post(&url).bearer_auth(token).json(&body);
        assert_eq!(request.send().await.unwrap().status(), status, "{account}");
    }
    // Of the same Keycloak, but of another realm.
    let foreign = token("master", "admin-cli", "admin").await;
    let request = client::new().unwrap().get(&url).bearer_auth(foreign);
    assert_eq!(request.send().await.unwrap().status(), 401);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_KEYCLOAK"]
async fn a_key_that_keycloak_rotates_under_load_is_taken_within_seconds() {
    let shop = start().await;
    let admin = token("master", "admin-cli", "admin").await;
    let old = token("gifticon", "gifticon-cli", "alice").await;
    let key = json!({
        "name": "rotated", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
        "config": { "priority": ["200"], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"], "keySize": ["2048"] },
    });
    let rotate = async || {
        let url = format!("{}/admin/realms/gifticon/components", keycloak());
        let request = client::new().unwrap().post(url).bearer_auth(&admin).json(&key);
        assert_eq!(request.send().await.unwrap().status(), 201);
    };
    let head = |token: &str| token.split('.').next().unwrap().to_owned();
    let status = async |token: &str| {
        let request =
            client::new().unwrap().get(format!("{}/carts", shop.web.base)).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    let load = Load::start(&shop.web.base, &old);
    let (mut refused_since, mut rotated, mut served) = (None::<Instant>, false, 0);
    let mut longest = Duration::ZERO;
    let began = Instant::now();
    while served <= 10 || began.elapsed() < ROTATION_TIME_MAX {
        assert!(began.elapsed() < Duration::from_mins(2), "served {served} times");
        if !rotated && began.elapsed() > Duration::from_secs(2) {
            rotate().await;
            rotated = true;
        }
        let fresh = token("gifticon", "gifticon-cli", "alice").await;
        load.newest.lock().unwrap().clone_from(&fresh);
        assert_eq!(status(&old).await, 200, "a token of the old key is still good");
        if status(&fresh).await == 200 {
            refused_since = None;
            served += i32::from(head(&fresh) != head(&old));
        } else {
            let since = *refused_since.get_or_insert_with(Instant::now);
            longest = longest.max(since.elapsed());
            assert!(since.elapsed() < ROTATION_TIME_MAX, "tokens of the new key are refused");
        }
    }
    assert!(refused_since.is_none());
    let (requests, refused) = load.stop().await;
    eprintln!("{requests} requests, {refused} of new tokens refused, for {longest:?} at most");
    assert!(requests > 1_000, "{requests} requests are no load");
    shop.stop().await;
}

/// Customers who ask for their carts meanwhile: half of them with an old token, half with the newest.
struct Load {
    newest: Arc<Mutex<String>>,
    done: Arc<AtomicBool>,
    customers: JoinSet<(u64, u64)>,
}

impl Load {
    fn start(base: &str, old: &str) -> Self {
        let (newest, done) = (Arc::new(Mutex::new(old.to_owned())), Arc::<AtomicBool>::default());
        let mut customers = JoinSet::new();
        for number in 0..8 {
            let (newest, done) = (Arc::clone(&newest), Arc::clone(&done));
            let (url, old) = (format!("{base}/carts"), old.to_owned());
            customers.spawn(async move {
                let client = client::new().unwrap();
                let (mut requests, mut refused) = (0, 0);
                while !done.load(Ordering::Relaxed) {
                    let is_old = number % 2 == 0;
                    let token = if is_old { old.clone() } else { newest.lock().unwrap().clone() };
                    let status = client.get(&url).bearer_auth(token).send().await.unwrap().status();
                    assert!(status == 200 || status == 401 && !is_old, "{status}");
                    requests += 1;
                    refused += u64::from(status == 401);
                    tokio::time::sleep(Duration::from_millis(2)).await; // Keycloak runs beside it
                }
                (requests, refused)
            });
        }
        Self { newest, done, customers }
    }

    /// Ends it. Returns how many requests were made, and how many of them were refused.
    async fn stop(self) -> (u64, u64) {
        self.done.store(true, Ordering::Relaxed);
        let all = self.customers.join_all().await.into_iter();
        all.fold((0, 0), |(requests, refused), (more, of_them)| {
            (requests + more, refused + of_them)
        })
    }
}
