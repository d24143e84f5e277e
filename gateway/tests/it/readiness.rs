//! When the gateway says that it is ready.

use crate::common::{mirror, with_sign_in};
use chassis::testing::{TestIssuer, eventually};

#[tokio::test]
async fn the_gateway_is_ready_once_it_has_read_the_keys_of_the_issuer() {
    let issuer = TestIssuer::start().await;
    issuer.is_away(true);
    let gateway = with_sign_in(&mirror().await, issuer.auth());
    let health = format!("{}/actuator/health", gateway.url());
    let status =
        async |path: &str| reqwest::get(format!("{health}{path}")).await.unwrap().status().as_u16();
    assert_eq!((status("/liveness").await, status("/readiness").await), (200, 503));
    issuer.is_away(false);
    eventually("the keys", async || (status("/readiness").await == 200).then_some(())).await;
    issuer.is_away(true);
    assert_eq!((status("/readiness").await, status("").await), (200, 200), "its keys are known");
}
