//! Extractors, which reject invalid requests with a [`Problem`].

use crate::base::i18n::Text;
use crate::base::problem::{Problem, kind};
use crate::http::fields::{Validate, validated};
use crate::http::json_error::{self, malformed};
use crate::http::{body, surface};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

/// A JSON body. Rejects with 415 for another type, 400 if it cannot be read, 422 if a field is invalid.
pub struct Body<T>(pub T);

impl<T, S> FromRequest<S> for Body<T>
where
    T: DeserializeOwned + Validate,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        // An empty body needs no content type: it gets its own message.
        let empty = http_body::Body::is_end_stream(request.body());
        if !empty && !is_json(request.headers()) {
            return Err(Problem::new(
                kind::MEDIA_TYPE,
                Text::fixed(
                    "send the body with content-type: application/json",
                    "content-type: application/json 으로 보내 주세요",
                ),
            ));
        }
        let bytes = body::bytes(request.into_body()).await?;
        if bytes.is_empty() {
            return Err(malformed(Text::fixed(
                "the body is empty; a JSON object is wanted",
                "본문이 비어 있습니다. JSON 객체를 보내 주세요",
            )));
        }
        // serde_json does not check that skipped strings are UTF-8, and serde also reads structs from arrays.
        let text = std::str::from_utf8(&bytes).map_err(|error| json_error::not_utf_8(&error))?;
        if !text.trim_start().starts_with('{') {
            return Err(malformed(Text::fixed(
                "a JSON object is wanted, as {\"name\": \"value\"}",
                "본문은 {\"name\": \"value\"} 같은 JSON 객체여야 합니다",
            )));
        }
        let value: T =
            serde_json::from_str(text).map_err(|error| json_error::problem::<T>(text, &error))?;
        validated(value).map(Self)
    }
}

/// Returns true for one `Content-Type` header with a JSON type.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json"
        || essence.starts_with("application/") && essence.ends_with("+json")
}

/// The id in a path. Rejects anything but a whole number with 404.
pub struct Id(pub i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let digits = |id: &String| id.bytes().all(|byte| byte.is_ascii_digit());
        segment(parts, state)
            .await
            .filter(digits)
            .and_then(|id| id.parse().ok())
            .map(Self)
            .ok_or_else(surface::not_an_id)
    }
}

/// The UUID in a path. Rejects anything else with 404.
pub struct Uuid(pub uuid::Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Uuid {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        segment(parts, state).await.and_then(|id| id.parse().ok()).map(Self).ok_or_else(not_a_uuid)
    }
}

/// Returns the only parameter of the path.
async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Option<String> {
    #[expect(clippy::disallowed_types, reason = "the extractors in this file replace it")]
    let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
    path.ok().map(|path| path.0)
}

fn not_a_uuid() -> Problem {
    Problem::new(
        kind::NOT_FOUND,
        Text::fixed(
            "the last part of this path is a UUID, as 018f0000-0000-7000-8000-000000000000",
            "이 경로의 마지막 부분은 018f0000-0000-7000-8000-000000000000 같은 UUID여야 합니다",
        ),
    )
}

/// Returns 400 for an invalid query.
pub fn bad_query(en: String, ko: String) -> Problem {
    Problem::new(kind::MALFORMED, Text::new(en, ko))
}
