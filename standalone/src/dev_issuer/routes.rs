//! The documents, the page and the token requests of the issuer.

use super::grants::{Grant, Grants};
use super::{ACCOUNTS, Account, CLIENT_ID, Claims};
use anyhow::Context;
use askama::Template;
use axum::extract::{Request, State};
use axum::http::uri::{Authority, Uri};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chassis::Running;
use chassis::auth::{Authenticator, SigningKey};
use chassis::base::config::{Listen, TlsFiles};
use chassis::base::i18n::Lang;
use chassis::base::metrics::Metrics;
use chassis::base::span::Tracer;
use chassis::base::uri::{encoded, is_loopback};
use chassis::http::{Query, Surface};
use chassis::service::{PublicAddress, serve_bare};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long an access token is good. Short: a session renews it.
const TOKEN_LIFETIME: Duration = Duration::from_mins(10);
/// What the page may load: its style. It has no scripts.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The fields of a question that the page hands on with the account that was chosen.
const HANDED_ON: [&str; 7] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
];

struct Shared {
    key: SigningKey,
    /// Known once the listener has its port.
    claims: OnceLock<Claims>,
    grants: Grants,
}

type Issuer = State<Arc<Shared>>;

/// The words of the page.
struct Words {
    lang: &'static str,
    title: &'static str,
    lead: &'static str,
    roles: [(&'static str, &'static str); 3],
}

const ENGLISH: Words = Words {
    lang: "en",
    title: "Choose an account",
    lead: "Sample accounts of a shop on your own machine. They have no passwords.",
    roles: [
        ("customer", "Customer: buys, and sees what is their own"),
        ("md", "MD: decides what is on sale"),
        ("operator", "Operator: looks after events and the view"),
    ],
};

const KOREAN: Words = Words {
    lang: "ko",
    title: "계정을 골라 주세요",
    lead: "내 컴퓨터에서 써 보는 연습용 계정이에요. 비밀번호는 없어요.",
    roles: [
        ("customer", "고객: 상품을 사고 내 내역을 봐요"),
        ("md", "MD: 판매할 상품을 정해요"),
        ("operator", "운영자: 이벤트와 조회 화면을 관리해요"),
    ],
};

#[derive(Template)]
#[template(path = "accounts.html")]
struct AccountsPage {
    t: &'static Words,
    fields: Vec<(&'static str, String)>,
    accounts: Vec<(Account, &'static str)>,
}

/// Starts the issuer at `address`. `claims` are told its URL. Returns what runs.
pub(crate) fn start(
    address: SocketAddr,
    key: SigningKey,
    claims: impl FnOnce(String) -> Claims,
) -> anyhow::Result<Running> {
    let shared = Arc::new(Shared { key, claims: OnceLock::new(), grants: Grants::default() });
    let routes = Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/.well-known/jwks.json", get(keys))
        .route("/authorize", get(accounts).post(choose))
        .route("/token", post(token))
        .route("/revoke", post(revoke))
        .route("/sign-out", get(sign_out))
        .route("/style.css", get(async || ([(header::CONTENT_TYPE, "text/css")], web::STYLE)))
        .with_state(Arc::clone(&shared))
        .layer(axum::middleware::from_fn(here_alone));
    let bodies =
        &[(Method::POST, "/authorize"), (Method::POST, "/token"), (Method::POST, "/revoke")];
    let paths = vec!["/.well-known/openid-configuration", "/authorize"];
    let surface = Surface { paths, bodies, access: &[] };
    let listen = Listen { listen_addr: address, management_addr: None };
    let tls = TlsFiles::default();
    let public = PublicAddress { listen: &listen, tls: &tls };
    let (metrics, open) = (Arc::new(Metrics::default()), Authenticator::open());
    let running =
        serve_bare("issuer", public, metrics, Tracer::default(), open, surface, routes, |all| all)?;
    shared.claims.set(claims(running.url())).ok().context("the issuer has its URL once")?;
    Ok(running)
}

/// Refuses a request for another host than this machine. A page of the internet can make its own name mean this machine, and
/// would then read codes and tokens as its own.
async fn here_alone(headers: HeaderMap, request: Request, next: Next) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    if host.is_some_and(|host| is_loopback(host.host())) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, "this issuer is for its own machine\n").into_response()
}

impl Shared {
    fn claims(&self) -> &Claims {
        self.claims.wait()
    }
}

async fn discovery(State(shared): Issuer) -> Json<Value> {
    let url = &shared.claims().issuer;
    Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/.well-known/jwks.json"),
        "revocation_endpoint": format!("{url}/revoke"),
        "end_session_endpoint": format!("{url}/sign-out"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "authorization_response_iss_parameter_supported": true,
        "scopes_supported": ["openid", "profile"],
    }))
}

async fn keys(State(shared): Issuer) -> Json<Value> {
    Json(json!({ "keys": [shared.key.jwk()] }))
}

/// Handles `GET /authorize`: shows the accounts.
async fn accounts(uri: Uri, headers: HeaderMap) -> Response {
    let query = Query::of(&uri);
    if question(&query).is_none() {
        return not_asked();
    }
    let t = match Lang::of(&headers) {
        Lang::English => &ENGLISH,
        Lang::Korean => &KOREAN,
    };
    let role = |account: Account| {
        let role = t.roles.iter().find(|(role, _)| *role == account.role);
        (account, role.map_or("", |(_, words)| *words))
    };
    let field = |name| Some((name, query.get(&[name])?.to_owned()));
    let page = AccountsPage {
        t,
        fields: HANDED_ON.into_iter().filter_map(field).collect(),
        accounts: ACCOUNTS.map(role).into(),
    };
    match page.render() {
        Ok(html) => {
            let headers = [
                (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, Html(html)).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Handles `POST /authorize`: sends the browser back with a code for the account that was chosen.
async fn choose(State(shared): Issuer, form: String) -> Response {
    let form = Query::parse(&form).unwrap_or_default();
    let account = form.get(&["account"]).and_then(Account::named);
    let (Some(account), Some((redirect, challenge))) = (account, question(&form)) else {
        return not_asked();
    };
    let nonce = form.get(&["nonce"]).map(ToOwned::to_owned);
    let (state, issuer) = (form.get(&["state"]).unwrap_or_default(), &shared.claims().issuer);
    let code = shared.grants.code(Grant { account, redirect: redirect.clone(), challenge, nonce });
    let answer = [("code", &*code), ("state", state), ("iss", issuer)];
    let answer = answer.map(|(name, value)| format!("{name}={}", encoded(value))).join("&");
    see(&format!("{redirect}?{answer}"))
}

/// Returns where the answer to a question goes, and the hash of its verifier. `None` for a question that is not of the pages.
fn question(query: &Query) -> Option<(String, String)> {
    let is = |name: &str, value: &str| query.get(&[name]) == Some(value);
    let is_asked = is("client_id", CLIENT_ID)
        && is("response_type", "code")
        && is("code_challenge_method", "S256");
    let redirect = query.get(&["redirect_uri"]).filter(|url| is_ours(url))?;
    let challenge = query.get(&["code_challenge"]).filter(|hash| !hash.is_empty())?;
    is_asked.then(|| (redirect.to_owned(), challenge.to_owned()))
}

/// Returns true for an address of the pages on this machine. Others would get codes.
fn is_ours(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    let is_web = matches!(url.scheme_str(), Some("http" | "https"));
    let host = url.authority().map(Authority::host).unwrap_or_default();
    let is_here = is_loopback(host);
    let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
    is_web && is_here && !has_user && matches!(url.path(), "/sign-in/done" | "/shop")
}

/// Handles `POST /token`.
async fn token(State(shared): Issuer, form: String) -> Response {
    let form = Query::parse(&form).unwrap_or_default();
    let text = |name: &str| form.get(&[name]).unwrap_or_default();
    if text("client_id") != CLIENT_ID {
        return refused("invalid_client");
    }
    let (account, nonce) = match text("grant_type") {
        "authorization_code" => {
            let (code, verifier) = (text("code"), text("code_verifier"));
            match shared.grants.redeem(code, verifier, text("redirect_uri")) {
                Some(grant) => (grant.account, grant.nonce),
                None => return refused("invalid_grant"),
            }
        }
        "refresh_token" => match shared.grants.refresh(text("refresh_token")) {
            Some(account) => (account, None),
            None => return refused("invalid_grant"),
        },
        _ => return refused("unsupported_grant_type"),
    };
    let (claims, key) = (shared.claims(), &shared.key);
    let Account { subject, name, role } = account;
    let mut identity = claims.of(subject, CLIENT_ID, TOKEN_LIFETIME);
    identity["name"] = name.into();
    if let Some(nonce) = nonce {
        identity["nonce"] = nonce.into();
    }
    let refresh_token = match text("refresh_token") {
        "" => shared.grants.refresh_token(account),
        same => same.to_owned(),
    };
    let tokens = json!({
        "access_token": claims.access_token(key, subject, &[role.to_owned()], TOKEN_LIFETIME),
        "token_type": "Bearer",
        "expires_in": TOKEN_LIFETIME.as_secs(),
        "refresh_token": refresh_token,
        "id_token": key.sign(&identity),
    });
    ([(header::CACHE_CONTROL, "no-store")], Json(tokens)).into_response()
}

/// Handles `POST /revoke` (RFC 7009): forgets a refresh token. One that is not known is forgotten already, and access tokens cannot be.
async fn revoke(State(shared): Issuer, form: String) -> Response {
    let form = Query::parse(&form).unwrap_or_default();
    if form.get(&["client_id"]) != Some(CLIENT_ID) {
        return refused("invalid_client");
    }
    let Some(token) = form.get(&["token"]) else { return refused("invalid_request") };
    shared.grants.revoke(token);
    StatusCode::OK.into_response()
}

/// Handles `GET /sign-out`. Nobody is signed in here: each sign-in asks for the account.
async fn sign_out(uri: Uri) -> Response {
    match Query::of(&uri).get(&["post_logout_redirect_uri"]).filter(|url| is_ours(url)) {
        Some(url) => see(url),
        None => not_asked(),
    }
}

/// Returns the refusal of a token request (RFC 6749, section 5.2).
fn refused(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
}

/// Returns the refusal of a visit that the pages of the shop did not lead to.
fn not_asked() -> Response {
    (StatusCode::BAD_REQUEST, "sign in on the page of the shop: it leads here\n").into_response()
}

fn see(url: &str) -> Response {
    let location = HeaderValue::try_from(url).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_to_this_machine_alone() {
        for url in [
            "http://127.0.0.1:8088/sign-in/done",
            "http://localhost/sign-in/done",
            "https://[::1]:1/sign-in/done",
        ] {
            assert!(is_ours(url), "{url}");
        }
        for url in [
            "http://shop.example/sign-in/done",
            "http://127.0.0.1.example/sign-in/done",
            "http://127.0.0.1@evil.example/sign-in/done",
            "http://evil.example@127.0.0.1/sign-in/done",
            "http://127.0.0.1/else",
            "//127.0.0.1/sign-in/done",
            "javascript:alert(1)",
            "",
        ] {
            assert!(!is_ours(url), "{url}");
        }
    }
}
