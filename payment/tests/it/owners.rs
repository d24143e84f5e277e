//! What belongs to others is as if it were not there.

use chassis::testing::{
    TestDb, answer, carry_out, client_as, peer, principal, with_principals, without_path,
};
use common_events::CartId;
use payment::app::PaymentModel;
use payment::domain::{Command, Verdict};
use payment::{api, store};
use serde_json::json;

/// The carts of alice, bob and a guest, which are paid in this order.
const CARTS: [(i64, &str); 3] = [(11, "alice"), (12, "bob"), (13, "guest")];

/// The service with these payments, for requests by anybody. Returns its URL.
async fn serve(db: &TestDb) -> String {
    let db = db.open(&store::schema()).await;
    for (cart, name) in CARTS {
        let cart_id = CartId(cart);
        let owner = principal(name).owner().clone();
        let request = Command::Request { cart_id, owner, amount: 5_000, trace: None };
        let commands = [request, Command::Decide { cart_id, verdict: Verdict::Approved }];
        carry_out(&db, &PaymentModel, &commands).await.unwrap();
    }
    peer(with_principals(api::routes(db)))
}

#[tokio::test]
async fn everybody_sees_their_own_payments_and_an_md_sees_all() {
    let db = TestDb::sqlite();
    let url = serve(&db).await;
    let get = |path: &str, name: &str| client_as(name).get(format!("{url}{path}"));
    for name in ["alice", "bob", "guest"] {
        for (id, (cart, owner)) in (1..).zip(CARTS) {
            for (path, missing) in [
                (format!("/payments/{id}"), "/payments/99".to_owned()),
                (
                    format!("/payments/search/findByCartId?cartId={cart}"),
                    "/payments/search/findByCartId?cartId=99".to_owned(),
                ),
            ] {
                let (status, shown) = answer(get(&path, name)).await;
                if owner == name {
                    assert_eq!((status, &shown["id"]), (200, &json!(id)), "{name}: {path}");
                    assert_eq!(shown.get("owner"), None, "{shown}");
                    continue;
                }
                let (_, absent) = answer(get(&missing, name)).await;
                assert_eq!(
                    (status, without_path(shown)),
                    (404, without_path(absent)),
                    "{name}: {path}"
                );
                for condition in ["if-none-match", "if-match"] {
                    let conditional = get(&path, name).header(condition, "*");
                    assert_eq!(answer(conditional).await.0, 404, "{name}: {path}, {condition}");
                }
            }
        }
        for query in ["", "?sort=cartId", "?owner=guest", "?owner=https://id.example%23bob"] {
            let (status, page) = answer(get(&format!("/payments{query}"), name)).await;
            let items = page["_embedded"]["payments"].as_array().unwrap();
            let carts: Vec<i64> = items.iter().map(|one| one["cartId"].as_i64().unwrap()).collect();
            let own = CARTS.iter().filter(|(_, owner)| *owner == name).map(|(cart, _)| *cart);
            assert_eq!((status, carts), (200, own.collect()), "{name}: {query}");
            assert_eq!(page["page"]["totalElements"], 1, "{name}: {query}");
        }
    }
    for name in ["md", "operator"] {
        for (query, count) in [("", 3), ("?owner=guest", 1), ("?owner=https://id.example%23bob", 1)]
        {
            let (_, page) = answer(get(&format!("/payments{query}"), name)).await;
            assert_eq!(page["page"]["totalElements"], count, "{name}: {query}");
        }
        let (status, shown) = answer(get("/payments/2", name)).await;
        assert_eq!((status, &shown["owner"]), (200, &json!("https://id.example#bob")), "{name}");
    }
}
