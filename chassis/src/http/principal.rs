//! The extractor of who makes a request.

use crate::auth::Principal;
use crate::base::problem::Problem;
use anyhow::anyhow;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// Takes who makes the request, as the gate found out. Rejects with 500 where no gate was: nobody is taken for somebody by
/// mistake.
impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let known = parts.extensions.get().cloned();
        known.ok_or_else(|| {
            Problem::internal(anyhow!("a route asks who makes a request, and no gate knows"))
        })
    }
}
