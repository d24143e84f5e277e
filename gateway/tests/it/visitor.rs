//! A browser whose visitor signs in, at an issuer that answers what each test tells it.

use crate::common::{mirror, with_sign_in};
use chassis::Running;
use chassis::testing::{PageClient, TestIssuer};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const OURS: (&str, &str) = ("sec-fetch-site", "same-origin");

/// A browser at the pages.
pub(crate) struct Browser(pub(crate) PageClient);

impl Browser {
    pub(crate) fn new(gateway: &Running) -> Self {
        Self(PageClient::new(gateway.url()))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.0.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.0.request(Method::POST, path).json(&json!({}))
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Response {
        self.0.send(request).await
    }

    pub(crate) async fn json(&self, request: RequestBuilder) -> Value {
        self.send(request).await.json().await.unwrap()
    }

    pub(crate) fn has_session(&self) -> bool {
        self.0.has_cookie("gifticon_session")
    }

    /// Begins to sign in. Returns what the issuer is asked.
    pub(crate) async fn begin(&self, path: &str) -> BTreeMap<String, String> {
        let url = self.0.led_to(self.get(path)).await;
        reqwest::Url::parse(&url).unwrap().query_pairs().into_owned().collect()
    }

    /// Signs in as `subject` with the tokens that `tokens` makes of the question.
    pub(crate) async fn sign_in(
        &self,
        issuer: &TestIssuer,
        tokens: impl FnOnce(&str) -> Value,
    ) -> Response {
        let asked = self.begin("/sign-in?to=/me").await;
        issuer.will_answer(200, tokens(&asked["nonce"]));
        self.send(self.get(&format!("/sign-in/done?code=c&state={}", asked["state"]))).await
    }
}

/// Returns the tokens of a customer for a sign-in with this nonce.
pub(crate) fn tokens(issuer: &TestIssuer, subject: &str, nonce: &str) -> Value {
    let mut identity = issuer.claims(subject, &[]);
    identity["aud"] = "pages".into();
    identity["nonce"] = nonce.into();
    identity["name"] = "김하나".into();
    json!({
        "access_token": issuer.token(subject, &["customer"]), "token_type": "Bearer",
        "id_token": issuer.key().sign(&identity), "refresh_token": format!("{subject}-1"),
    })
}

/// Returns an access token of `subject` that expires in `seconds`.
pub(crate) fn expiring(issuer: &TestIssuer, subject: &str, seconds: u64) -> String {
    let mut claims = issuer.claims(subject, &["customer"]);
    claims["exp"] = (claims["iat"].as_u64().unwrap() + seconds).into();
    issuer.key().sign(&claims)
}

pub(crate) async fn start() -> (TestIssuer, Running) {
    let issuer = TestIssuer::start().await;
    let gateway = with_sign_in(&mirror().await, issuer.auth());
    (issuer, gateway)
}
