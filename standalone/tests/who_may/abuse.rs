//! What a customer with a good token may not get by it: fields that are not theirs to set, stock that they do not pay for, and
//! any number of streams.

use super::Walk;
use chassis::testing::eventually;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Instant;
use tokio::task::JoinSet;

impl Walk {
    pub(super) async fn register(&self, units: u32, price: u32) {
        let body =
            json!({ "gifticonId": 1, "name": "Cake", "availableQuantity": units, "price": price });
        let md = self.issuer.token("minji", &["md"]);
        let url = format!("{}/gifticons", self.shop.web.base);
        let response = self.client.post(url).bearer_auth(md).json(&body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
    }

    /// Sends a request of a customer. Returns the status and the body of the response.
    pub(super) async fn ask(
        &self,
        name: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.shop.web.base));
        let request = request.bearer_auth(self.issuer.token(name, &["customer"])).json(&body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    async fn buy(&self, name: &str, quantity: u32) -> (u16, Value) {
        let body = json!({ "gifticonId": 1, "quantity": quantity });
        self.ask(name, Method::POST, "/carts", body).await
    }

    async fn available(&self) -> Value {
        self.ask("anybody", Method::GET, "/gifticons/1", json!({})).await.1["availableQuantity"]
            .clone()
    }
}

/// OWASP API3: no field of a body sets what the shop decides.
#[tokio::test]
async fn a_body_sets_no_field_that_the_shop_decides() {
    let walk = Walk::start().await;
    walk.register(5, 5_000).await;
    let greedy = json!({
        "gifticonId": 1, "quantity": 1, "id": 99, "cartId": 99, "price": 1, "amount": 1,
        "status": "PaymentApproved", "owner": format!("{}#bob", walk.issuer.url),
        "principal": "bob", "roles": ["operator"],
    });
    let (status, cart) = walk.ask("alice", Method::POST, "/carts", greedy).await;
    assert_eq!(status, 201, "{cart}");
    let shown = [&cart["id"], &cart["price"], &cart["amount"], &cart["status"]];
    assert_eq!(json!(shown), json!([1, 5_000, 5_000, "CartAdded"]));
    assert!(cart.get("owner").is_none(), "a customer sees no owners: {cart}");
    assert_eq!(walk.ask("alice", Method::GET, "/carts/1", json!({})).await.0, 200);
    assert_eq!(walk.ask("bob", Method::GET, "/carts/1", json!({})).await.0, 404);
    walk.shop.stop().await;
}

/// OWASP API6: a cart is a purchase. It holds units only while its payment is decided, so who cannot pay holds none.
#[tokio::test]
async fn who_takes_the_whole_stock_pays_for_it_or_gives_it_back() {
    let walk = Walk::with(|config| config.limit.payment_limit = Some(20_000)).await;
    walk.register(10, 5_000).await;
    for _ in 0..5 {
        let (status, cart) = walk.buy("scalper", 10).await;
        assert_eq!(status, 201, "{cart}");
        eventually("the stock to return", async || (walk.available().await == 10).then_some(()))
            .await;
    }
    assert_eq!(walk.buy("alice", 2).await.0, 201, "it is there for those who pay");
    let (_, carts) = walk.ask("scalper", Method::GET, "/carts", json!({})).await;
    assert_eq!(carts["page"]["totalElements"], 0, "{carts}");
    walk.shop.stop().await;
}

/// OWASP API6: a program that buys again and again is slowed down, and others are not.
#[tokio::test]
async fn a_program_that_buys_again_and_again_does_not_empty_the_shop() {
    let walk = Walk::start().await;
    walk.register(1_000, 1_000).await;
    let (began, body) = (Instant::now(), json!({ "gifticonId": 1, "quantity": 1 }));
    let (mut bought, mut refused) = (0, 0);
    for _ in 0..20 {
        let mut bot = JoinSet::new();
        for _ in 0..10 {
            let request = walk.client.post(format!("{}/carts", walk.shop.web.base)).json(&body);
            bot.spawn(request.bearer_auth(walk.issuer.token("bot", &["customer"])).send());
        }
        for response in bot.join_all().await {
            match response.unwrap().status().as_u16() {
                201 => bought += 1,
                429 => refused += 1,
                status => panic!("{status}"),
            }
        }
    }
    let allowed = 20 + 20 * (began.elapsed().as_secs() + 1);
    assert!(bought <= allowed && refused > 0, "{bought} of {allowed}, {refused} refused");
    assert_eq!(walk.buy("alice", 1).await.0, 201, "others buy");
    walk.shop.stop().await;
}

/// OWASP API4: the streams of one owner are bounded, those of others are not harmed.
#[tokio::test]
async fn an_owner_has_so_many_streams_and_no_more() {
    let walk = Walk::with(|config| config.client_streams.streams_per_client_max = Some(3)).await;
    let open = async |name: &str, path: &str| {
        let request = walk.client.get(format!("{}{path}", walk.shop.web.base));
        let token = walk.issuer.token(name, &["customer"]);
        request.bearer_auth(token).send().await.unwrap()
    };
    let mut held = Vec::new();
    for path in ["/mypages/stream", "/live/stream", "/mypages/stream?cartId=1"] {
        held.push(open("alice", path).await.error_for_status().unwrap());
    }
    for path in ["/mypages/stream", "/live/stream"] {
        let refused = open("alice", path).await;
        assert_eq!(
            (refused.status(), &refused.headers()["retry-after"]),
            (StatusCode::TOO_MANY_REQUESTS, &"5".parse().unwrap())
        );
        held.push(open("bob", path).await.error_for_status().unwrap());
    }
    assert_eq!(open("alice", "/mypages").await.status(), 200, "the list goes on");
    drop(held);
    walk.shop.stop().await;
}
