//! Measures `POST /carts` with tokens of an issuer beside the same without.

use crate::measure::{ClosedLoop, in_turns};
use crate::report::Report;
use crate::shop::Shop;
use crate::wire::authorized;
use crate::workloads::{GIFTICONS, hot, hot_request, register};
use chaos::Dice;
use chassis::test_issuer::{Algorithm, TestIssuer, signing_key};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The rate with tokens by the rate without that is wanted at least.
const GOAL: f64 = 0.95;

/// Measures `POST /carts` of one gifticon without an issuer, and with tokens of so many owners, signed by RS256 and by ES256, in
/// turns.
pub(crate) async fn run(
    real: bool,
    owners: u64,
    repeat: usize,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let open = Shop::start(real).await?;
    register(&open, 1..=GIFTICONS).await?;
    let mut shops = vec![("no issuer".to_owned(), open, hot())];
    for algorithm in [Algorithm::RS256, Algorithm::ES256] {
        let issuer = TestIssuer::with(vec![signing_key("bench", algorithm)]).await;
        let tokens: Vec<String> = (0..owners).map(|number| token(&issuer, number)).collect();
        let length = tokens.iter().map(String::len).sum::<usize>() / tokens.len();
        let shop = Shop::with_issuer(real, issuer).await?;
        register(&shop, 1..=GIFTICONS).await?;
        let requests: Vec<_> =
            tokens.iter().map(|token| authorized(hot_request(), token)).collect();
        let pick = move |dice: &mut Dice| dice.pick(&requests).clone();
        let name = format!("{algorithm:?}, {owners} owners with tokens of {length} bytes");
        shops.push((name, shop, Arc::new(pick)));
    }
    let loops: Vec<_> = shops
        .iter()
        .map(|(name, shop, requests)| {
            let name = format!("POST /carts, one gifticon, {name}");
            ClosedLoop::at(shop, "gateway", &name, Arc::clone(requests))
        })
        .collect();
    let rows = in_turns(&loops, repeat, time).await?;
    report.add(rows[0].clone(), None);
    for row in &rows[1..] {
        report.add(row.clone(), Some(&rows[0]));
        let ratio = row.rate / rows[0].rate;
        let verdict = if ratio >= GOAL { "met" } else { "missed" };
        report.fact(
            &format!("{}, by the rate without; goal: 95 %", row.name),
            format!("{:.1} %, {verdict}", 100.0 * ratio),
        );
    }
    Ok(())
}

/// Returns a token of a customer as issuers make them: Keycloak puts as much into one.
fn token(issuer: &TestIssuer, number: u64) -> String {
    let subject = uuid::Uuid::from_u64_pair(number, number);
    let roles = ["default-roles-gifticon", "offline_access", "uma_authorization", "customer"];
    let mut claims = issuer.claims(&subject.to_string(), &roles);
    let further = json!({
        "auth_time": claims["iat"],
        "jti": format!("onrtac:{subject}"),
        "typ": "Bearer",
        "azp": "gifticon-web",
        "sid": subject,
        "acr": "1",
        "allowed-origins": ["https://shop.example"],
        "resource_access": { "account": { "roles": ["manage-account", "manage-account-links", "view-profile"] } },
        "scope": "openid email profile",
        "email_verified": true,
        "name": format!("Customer {number}"),
        "preferred_username": format!("customer-{number}"),
        "given_name": "Customer",
        "family_name": number.to_string(),
        "email": format!("customer-{number}@shop.example"),
    });
    for (name, value) in further.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    issuer.key().sign(&claims)
}
