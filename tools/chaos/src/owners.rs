//! Checks whose everything is: in the answers, in the databases, and that nobody sees or changes what belongs to others.

use crate::ShopClient;
use crate::account::{Identity, People};
use crate::servers::Servers;
use anyhow::{Context, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Owners by cart.
type Owners = BTreeMap<i64, Arc<str>>;

/// The tables whose rows have an owner: service, what a row is, and the query.
const TABLES: [(&str, &str, &str); 3] = [
    ("payment", "payment", "select cart_id, owner from payments"),
    ("cart", "cart", "select id, owner from carts"),
    ("mypage", "view", "select cart_id, owner from views"),
];

/// The collections whose items have an owner, each with the field that names the cart.
const COLLECTIONS: [(&str, &str); 3] =
    [("carts", "id"), ("payments", "cartId"), ("mypages", "cartId")];

/// Checks rows by cart: each has the owner that its payment has, and whom the cart was promised to.
pub(crate) fn agree(
    what: &str,
    rows: &BTreeMap<i64, Value>,
    payments: &BTreeMap<i64, Value>,
    promised: &Owners,
) -> Result<(), String> {
    for (cart, row) in rows {
        let owner = row["owner"].as_str().ok_or(format!("owners: no owner in {row}"))?;
        let of_payment = payments.get(cart).and_then(|payment| payment["owner"].as_str());
        for other in [of_payment, promised.get(cart).map(|owner| &**owner)].into_iter().flatten() {
            if owner != other {
                return Err(format!(
                    "owners: the {what} of cart {cart} is of {owner}, not {other}"
                ));
            }
        }
    }
    Ok(())
}

/// Checks the rows of the databases, those of cancelled carts too: each has the owner of its payment, and whom the cart was
/// promised to.
pub async fn check_databases(servers: &Servers, promised: &Owners) -> anyhow::Result<()> {
    let mut known = promised.clone();
    for (service, what, query) in TABLES {
        let mut connection = AnyConnection::connect(&servers.database(service)).await?;
        for row in sqlx::query(query).fetch_all(&mut connection).await? {
            let (cart, owner): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
            let wanted = known.entry(cart).or_insert_with(|| owner.as_str().into());
            ensure!(
                **wanted == *owner,
                "owners: the {what} of cart {cart} is of {owner} in the database, not {wanted}"
            );
        }
    }
    check_reservations(servers, &known).await
}

/// Checks that the reservation of each cart has the owner of the cart. Those of attempts that came to nothing have no cart.
async fn check_reservations(servers: &Servers, known: &Owners) -> anyhow::Result<()> {
    let mut gifticon = AnyConnection::connect(&servers.database("gifticon")).await?;
    let query = "select id, owner from reservations where gifticon_id is not null";
    let mut owners = BTreeMap::new();
    for row in sqlx::query(query).fetch_all(&mut gifticon).await? {
        owners.insert(row.try_get(0)?, row.try_get(1)?);
    }
    let owners: BTreeMap<String, String> = owners;
    let mut cart = AnyConnection::connect(&servers.database("cart")).await?;
    for row in sqlx::query("select id, reservation_id from carts").fetch_all(&mut cart).await? {
        let (cart, reservation): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        let (owner, wanted) = (owners.get(&reservation), known.get(&cart));
        ensure!(
            owner.map(String::as_str) == wanted.map(|owner| &**owner),
            "owners: the reservation of cart {cart} is of {owner:?}, not {wanted:?}"
        );
    }
    Ok(())
}

/// Checks what each owner, nobody, and the bearer of a bad token may see and do. Nobody may shop meanwhile.
pub async fn check_access(web: &ShopClient, people: &People) -> anyhow::Result<()> {
    let everything = web.by(people.operator());
    let mut seen = BTreeMap::new();
    for (collection, field) in COLLECTIONS {
        let all = owned(&everything, collection, field).await?;
        for owner in people.owners() {
            let theirs: BTreeSet<i64> =
                all.iter().filter(|(_, of)| **of == *owner.owner()).map(|(id, _)| *id).collect();
            let listed = listed(&web.by(owner.clone()), collection, field).await?;
            ensure!(
                listed == theirs,
                "owners: {collection} of {} are {:?} other than the operator's",
                owner.owner(),
                listed.symmetric_difference(&theirs).take(3).collect::<Vec<_>>()
            );
        }
        seen.insert(collection, all);
    }
    let owners: Vec<Identity> = people.owners().collect();
    let mut asked = 0;
    for (owner, other) in owners.iter().zip(owners.iter().cycle().skip(1)) {
        let of = |collection: &str| {
            let mut all = seen[collection].iter();
            all.find(|(_, of)| **of == *owner.owner()).map(|(cart, _)| *cart)
        };
        let (web, mut paths) = (web.by(other.clone()), Vec::new());
        if let Some(cart) = of("carts") {
            paths.extend(
                [Method::GET, Method::DELETE].map(|method| (method, format!("/carts/{cart}"))),
            );
        }
        for collection in ["payments", "mypages"] {
            let path = |cart| format!("/{collection}/search/findByCartId?cartId={cart}");
            paths.extend(of(collection).map(|cart| (Method::GET, path(cart))));
        }
        for (method, path) in paths {
            refused(&web, method, &path, None, StatusCode::NOT_FOUND, "another owner").await?;
            asked += 1;
        }
    }
    ensure!(asked > 0, "owners: nobody has a cart, so nobody was kept from another's");
    check_strangers(web, people).await
}

/// Checks that nobody without a good token of the right role may do anything.
async fn check_strangers(web: &ShopClient, people: &People) -> anyhow::Result<()> {
    let cart = || Some(json!({ "gifticonId": 1, "quantity": 1 }));
    let nobody = web.by(Identity::default());
    for (collection, _) in COLLECTIONS {
        let path = format!("/{collection}");
        refused(&nobody, Method::GET, &path, None, StatusCode::UNAUTHORIZED, "nobody").await?;
    }
    refused(&nobody, Method::POST, "/carts", cart(), StatusCode::UNAUTHORIZED, "nobody").await?;
    let change = || Some(json!({ "restock": 1 }));
    for (somebody, status) in
        [(nobody, StatusCode::UNAUTHORIZED), (web.by(people.customer(0)), StatusCode::FORBIDDEN)]
    {
        let who = somebody.identity.owner();
        refused(&somebody, Method::PATCH, "/gifticons/1", change(), status, &who).await?;
    }
    refused(&web.by(people.md()), Method::POST, "/carts", cart(), StatusCode::FORBIDDEN, "the MD")
        .await?;
    for (wrong, token) in people.bad_tokens() {
        let request = web.client.post(format!("{}/carts", web.base)).bearer_auth(token);
        let status = request.json(&cart()).send().await?.status();
        ensure!(
            status == StatusCode::UNAUTHORIZED,
            "owners: POST /carts with {wrong} answered {status}"
        );
    }
    Ok(())
}

async fn refused(
    web: &ShopClient,
    method: Method,
    path: &str,
    body: Option<Value>,
    wanted: StatusCode,
    who: &str,
) -> anyhow::Result<()> {
    let (status, body) = web.ask(method.clone(), path, body).await?;
    ensure!(
        status == wanted,
        "owners: {method} {path} by {who} answered {status}, not {wanted}: {body}"
    );
    Ok(())
}

/// Returns the carts of all items, each with its owner.
async fn owned(
    web: &ShopClient,
    collection: &str,
    field: &str,
) -> anyhow::Result<BTreeMap<i64, String>> {
    let items = web.all(collection).await.map_err(anyhow::Error::msg)?;
    let owned =
        items.iter().map(|item| Some((item[field].as_i64()?, item["owner"].as_str()?.to_owned())));
    owned.collect::<Option<_>>().with_context(|| format!("{collection} have no owners"))
}

/// Returns the carts of the items that somebody sees. Owners are not told to customers.
async fn listed(web: &ShopClient, collection: &str, field: &str) -> anyhow::Result<BTreeSet<i64>> {
    let items = web.all(collection).await.map_err(anyhow::Error::msg)?;
    ensure!(
        items.iter().all(|item| item["owner"].is_null()),
        "owners: {collection} tell customers who owns them"
    );
    items.iter().map(|item| item[field].as_i64().context("an item names its cart")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_owner_of_their_payment_and_of_the_promise() {
        let rows = |owner: &str| BTreeMap::from([(7, json!({ "cartId": 7, "owner": owner }))]);
        let promised = |owner: &str| Owners::from([(7, owner.into())]);
        let (alice, bob) = (rows("alice"), rows("bob"));
        assert_eq!(agree("view", &alice, &alice, &promised("alice")), Ok(()));
        assert_eq!(agree("view", &alice, &alice, &Owners::new()), Ok(()), "its answer was lost");
        for (rows, payments, promised) in [
            (&alice, &bob, promised("alice")),
            (&alice, &alice, promised("bob")),
            (&BTreeMap::from([(7, json!({ "cartId": 7 }))]), &alice, promised("alice")),
        ] {
            let error = agree("view", rows, payments, &promised).unwrap_err();
            assert!(error.contains("owner"), "{error}");
        }
    }
}
