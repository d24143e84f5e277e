//! Who may use a route, and the layer that sees to it.

use crate::auth::{Authenticator, Denied, Principal, Role};
use crate::base::config::SharedSecrets;
use crate::base::i18n::Text;
use crate::base::problem::{Kind, Problem, kind};
use crate::http::same_origin::check_operator;
use crate::http::write_rate::WriteRate;
use anyhow::anyhow;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The secret by which services know each other. The gateway never passes it on.
pub const SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-service-token");

/// Who may use a route, with an issuer. In open mode everybody may use all but those for services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// A customer, or a guest where guests are allowed.
    Customer,
    /// A customer or a guest, each for what is theirs; an MD and an operator, for all.
    Reader,
    /// An MD.
    Md,
    /// An operator.
    Operator,
    /// Other services of the shop.
    Service,
}

impl Access {
    /// Returns true if somebody may use such a route.
    pub fn includes(self, principal: &Principal) -> bool {
        let has = |roles: &[Role]| roles.iter().any(|role| principal.has(*role));
        match self {
            Self::Public => true,
            Self::Customer => has(&[Role::Customer]),
            Self::Reader => has(&[Role::Customer, Role::Md, Role::Operator]),
            Self::Md => has(&[Role::Md]),
            Self::Operator => has(&[Role::Operator]),
            Self::Service => false,
        }
    }
}

/// A route with who may use it.
pub type RouteAccess = (Method, &'static str, Access);

/// What stands before the routes of a server.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Rules>);

struct Rules {
    authenticator: Authenticator,
    routes: Routes,
}

/// Which routes there are.
enum Routes {
    /// Those of a service. The tokens of other services, if they need one, as SHA-256.
    /// `rate` bounds the writes of each client.
    Declared {
        access: &'static [RouteAccess],
        service_tokens: Vec<[u8; 32]>,
        rate: Option<WriteRate>,
    },
    /// Those of the services behind a gateway, which decide themselves, and few of its own.
    Forwarded(&'static [RouteAccess]),
    /// Those for operators below `/admin`. Others are for whoever reaches the address.
    Management { everybody: bool, loopback: bool },
}

impl Gate {
    /// Returns the gate before the routes of a service.
    pub(crate) fn of_service(
        authenticator: Authenticator,
        access: &'static [RouteAccess],
        service_tokens: Option<&SharedSecrets>,
        rate: Option<WriteRate>,
    ) -> Self {
        let hashes = service_tokens.into_iter().flat_map(SharedSecrets::each).map(hash);
        let service_tokens = hashes.collect();
        let routes = Routes::Declared { access, service_tokens, rate };
        Self(Arc::new(Rules { authenticator, routes }))
    }

    /// Returns the gate before the routes that a gateway forwards, and its own of `own`.
    fn of_gateway(authenticator: Authenticator, own: &'static [RouteAccess]) -> Self {
        Self(Arc::new(Rules { authenticator, routes: Routes::Forwarded(own) }))
    }

    /// Returns the gate before management routes. On a loopback address everybody is an operator: whoever is on the machine
    /// can read the databases as well. Where no token is asked for, requests of other sites' pages are refused.
    pub(crate) fn of_management(authenticator: Authenticator, loopback: bool) -> Self {
        let everybody = loopback || authenticator.is_open();
        Self(Arc::new(Rules { authenticator, routes: Routes::Management { everybody, loopback } }))
    }

    /// Returns who makes a request, if they are known. Refuses it if they may not make it.
    async fn admit(&self, request: &Parts) -> Result<Option<Principal>, Problem> {
        let Rules { authenticator, routes } = &*self.0;
        let route = request.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let Some(route) = route else { return Ok(None) }; // there is nothing to protect at this path
        let access = match routes {
            Routes::Declared { access, service_tokens, .. } => {
                let method =
                    if request.method == Method::HEAD { &Method::GET } else { &request.method };
                let mut declared = access.iter().filter(|(_, path, _)| *path == route).peekable();
                if declared.peek().is_none() {
                    return Err(Problem::internal(anyhow!("{route} does not say who may use it")));
                }
                let Some((.., access)) = declared.find(|(declared, ..)| declared == method) else {
                    // The router answers OPTIONS. It may have a handler for another method, which nobody declared.
                    let is_options = *method == Method::OPTIONS;
                    return if is_options { Ok(None) } else { Err(Problem::of(kind::METHOD)) };
                };
                if *access == Access::Service {
                    return is_service(&request.headers, service_tokens).map(|()| None);
                }
                *access
            }
            Routes::Forwarded(own) => {
                let access = own.iter().find(|(_, path, _)| *path == route);
                access.map_or(Access::Public, |(_, _, access)| *access)
            }
            Routes::Management { .. } if !route.contains("/admin/") => return Ok(None),
            Routes::Management { everybody: true, loopback } => {
                check_operator(&request.headers, *loopback)?;
                Access::Public
            }
            Routes::Management { everybody: false, .. } => Access::Operator,
        };
        let principal = authenticator.principal(&request.headers).await.map_err(refused)?;
        if let Routes::Declared { rate: Some(rate), .. } = routes {
            rate.check(request, principal.as_ref())?;
        }
        match principal {
            Some(principal) if access.includes(&principal) => Ok(Some(principal)),
            Some(principal) if principal.is_guest() => Err(not_signed_in()),
            Some(_) => Err(forbidden()),
            None if access == Access::Public => Ok(Some(match routes {
                Routes::Management { .. } => Principal::open(),
                _ => Principal::nobody(),
            })),
            None => Err(not_signed_in()),
        }
    }
}

/// Returns the routes that a gateway forwards, and its own of `own`, behind a gate that checks their tokens.
pub fn behind_gateway_gate(
    authenticator: Authenticator,
    own: &'static [RouteAccess],
    routes: Router,
) -> Router {
    let gate = Gate::of_gateway(authenticator, own);
    routes.layer(axum::middleware::from_fn_with_state(gate, guarded))
}

/// Lets a request through the gate, with who makes it in its extensions.
pub(crate) async fn guarded(
    State(gate): State<Gate>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    if let Some(principal) = gate.admit(&parts).await? {
        parts.extensions.insert(principal);
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// Refuses a request that does not come from a service, if services need a token.
fn is_service(headers: &HeaderMap, tokens: &[[u8; 32]]) -> Result<(), Problem> {
    let mut sent = headers.get_all(SERVICE_TOKEN).iter().filter_map(|token| token.to_str().ok());
    // Hashes are compared: how long that takes says nothing about the tokens.
    if tokens.is_empty() || sent.any(|sent| tokens.contains(&hash(sent))) {
        return Ok(());
    }
    Err(forbidden())
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn refused(denied: Denied) -> Problem {
    match denied {
        Denied::InvalidToken | Denied::UnknownKey => invalid_token(),
        Denied::IssuerAway => Problem::unavailable(Text::fixed(
            "tokens cannot be checked now; try again shortly",
            "지금은 로그인을 확인할 수 없습니다. 잠시 후 다시 시도해 주세요",
        )),
    }
}

/// Returns the 401 for a request without a token (RFC 6750).
fn not_signed_in() -> Problem {
    let text = Text::fixed("sign in, or send a token", "로그인하거나 토큰을 보내 주세요");
    challenged(kind::UNAUTHENTICATED, text, "Bearer")
}

/// Returns the 401 for a token that is not accepted. It does not say why.
fn invalid_token() -> Problem {
    let text = Text::fixed(
        "this token is not accepted; sign in again",
        "이 토큰은 쓸 수 없습니다. 다시 로그인해 주세요",
    );
    challenged(kind::UNAUTHENTICATED, text, "Bearer error=\"invalid_token\"")
}

fn forbidden() -> Problem {
    let text = Text::fixed("your account has no right to do this", "이 계정에는 권한이 없습니다");
    challenged(kind::FORBIDDEN, text, "Bearer error=\"insufficient_scope\"")
}

fn challenged(kind: Kind, text: Text, challenge: &'static str) -> Problem {
    let challenge = HeaderValue::from_static(challenge);
    Problem::new(kind, text).header(header::WWW_AUTHENTICATE, challenge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_route_that_does_not_say_who_may_use_it_is_open_to_nobody() {
        const ACCESS: &[RouteAccess] = &[(Method::GET, "/declared", Access::Public)];
        let gate = Gate::of_service(Authenticator::open(), ACCESS, None, None);
        let routes = Router::new()
            .route("/declared", get(async || "x").post(async || "x"))
            .route("/forgotten", get(async || "x"))
            .layer(axum::middleware::from_fn_with_state(gate, guarded));
        for (method, path, wanted) in [
            (Method::GET, "/declared", 200),
            (Method::HEAD, "/declared", 200),
            (Method::POST, "/declared", 405),
            (Method::OPTIONS, "/declared", 405),
            (Method::GET, "/forgotten", 500),
            (Method::POST, "/forgotten", 500),
            (Method::GET, "/nothing", 404),
        ] {
            let request = Request::builder().method(&method).uri(path).body(Body::empty()).unwrap();
            let response = routes.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), wanted, "{method} {path}");
        }
    }
}
