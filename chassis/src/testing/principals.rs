//! Who makes a request of a test.

use crate::auth::{Principal, Role};
use axum::Router;
use axum::extract::Request;
use axum::middleware::map_request;
use common_events::Owner;

/// The header of [`with_principals`].
const AS: &str = "as";

/// Returns somebody by their name, as the issuer `https://id.example` knows them: `md` and `operator` have that role, and anybody
/// else is a customer.
pub fn principal(name: &str) -> Principal {
    let role = match name {
        "md" => Role::Md,
        "operator" => Role::Operator,
        _ => Role::Customer,
    };
    Principal::new(Owner::of_subject("https://id.example", name), [role])
}

/// Returns `routes` for requests whose header `as` has the name of who makes them: see [`principal`]. Others are of the guest of open mode.
pub fn with_principals(routes: Router) -> Router {
    routes.layer(map_request(async |mut request: Request| {
        let name = request.headers().get(AS).and_then(|name| name.to_str().ok());
        let somebody = name.map_or_else(Principal::open, principal);
        request.extensions_mut().insert(somebody);
        request
    }))
}
