//! Who makes a request of a test.

use crate::auth::{Principal, Role};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::map_request;
use common_events::Owner;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;

/// The header of [`with_principals`].
const AS: HeaderName = HeaderName::from_static("as");

/// Returns somebody by their name: `guest` is the guest of open mode. The others are as the issuer `https://id.example` knows
/// them: `md` and `operator` have that role, and anybody else is a customer.
pub fn principal(name: &str) -> Principal {
    let role = match name {
        "guest" => return Principal::open(),
        "md" => Role::Md,
        "operator" => Role::Operator,
        _ => Role::Customer,
    };
    Principal::new(Owner::of_subject("https://id.example", name), [role])
}

/// Returns `routes` for requests whose header `as` has the name of who makes them: see [`principal`]. Others are of the guest.
pub fn with_principals(routes: Router) -> Router {
    routes.layer(map_request(async |mut request: Request| {
        let name = request.headers().get(AS).and_then(|name| name.to_str().ok());
        let somebody = principal(name.unwrap_or("guest"));
        request.extensions_mut().insert(somebody);
        request
    }))
}

/// Returns a client whose requests somebody makes: see [`with_principals`].
///
/// # Panics
/// Panics if `name` cannot be in a header.
pub fn client_as(name: &str) -> Client {
    let name = HeaderValue::from_str(name).expect("a name is visible ASCII");
    let headers = HeaderMap::from_iter([(AS, name)]);
    Client::builder().no_proxy().default_headers(headers).build().expect("a client can be built")
}

/// Sends a request, and returns the status and the JSON of its response; `null` if it has none.
///
/// # Panics
/// Panics if there is no response.
pub async fn answer(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("there is a response");
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

/// Returns the problem without the path that it names.
pub fn without_path(mut problem: Value) -> Value {
    problem["instance"] = Value::Null;
    problem
}
