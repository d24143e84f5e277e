//! Entity tags and conditional requests: RFC 9110, sections 8.8.3 and 13.

use crate::base::i18n::Text;
use crate::base::problem::{Problem, kind};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common_events::ExpectedVersions;
use serde::Serialize;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};

/// An entity tag: `"5"`, or weak `W/"5"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag {
    weak: bool,
    opaque: Vec<u8>,
}

impl EntityTag {
    /// Returns the tag of a resource with a version number.
    pub fn of_version(version: i64) -> Self {
        Self { weak: false, opaque: version.to_string().into() }
    }

    /// Returns the tag of a resource without a version number, by its content.
    ///
    /// Another build may give another tag to the same content. That costs a client one full response.
    pub fn of_content(content: &impl Serialize) -> Self {
        let mut hasher = DefaultHasher::new();
        serde_json::to_string(content).expect("content is plain data").hash(&mut hasher);
        Self { weak: false, opaque: format!("{:016x}", hasher.finish()).into() }
    }

    /// Returns the version, if the tag is one of [`EntityTag::of_version`].
    fn version(&self) -> Option<i64> {
        let text = std::str::from_utf8(&self.opaque).ok()?;
        let version = text.parse().ok()?;
        // A version has one spelling: "05" is not one of our tags.
        (Self::of_version(version).opaque == self.opaque).then_some(version)
    }

    /// Returns true if both tags are strong and equal.
    fn matches_strongly(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Returns true if the tags are equal, weak or strong.
    fn matches_weakly(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }

    fn header(&self) -> HeaderValue {
        let weak: &[u8] = if self.weak { b"W/" } else { b"" };
        let tag = [weak, b"\"", &self.opaque, b"\""].concat();
        HeaderValue::from_bytes(&tag).expect("a tag has valid header bytes")
    }

    /// Adds the tag to a response as its `ETag`.
    pub fn on(&self, response: impl IntoResponse) -> Response {
        ([(header::ETAG, self.header())], response).into_response()
    }
}

/// The value of `If-Match` or `If-None-Match`, over all its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TagList {
    /// `*`: any existing resource.
    Any,
    /// Tags. Invalid members of the list are left out: they match nothing.
    Of(Vec<EntityTag>),
}

impl TagList {
    /// Reads all lines of the header `name`. Returns `None` if there is none.
    fn of(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if lines.is_empty() {
            return None;
        }
        if lines.iter().all(|line| line.trim_ascii() == b"*") {
            return Some(Self::Any);
        }
        Some(Self::Of(lines.into_iter().flat_map(tags).collect()))
    }

    /// Returns true for `*`, or if `matches` is true for a tag.
    fn any(&self, matches: impl Fn(&EntityTag) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Of(tags) => tags.iter().any(matches),
        }
    }
}

/// Returns the tags in a line. Skips an invalid member up to the next comma.
fn tags(mut line: &[u8]) -> Vec<EntityTag> {
    let mut tags = Vec::new();
    loop {
        line = line.trim_ascii_start();
        let (found, rest) = match tag(line) {
            Some((tag, rest)) => (Some(tag), rest.trim_ascii_start()),
            None => (None, line),
        };
        // A tag counts only if it ends at a comma or at the end.
        if rest.is_empty() || rest.starts_with(b",") {
            tags.extend(found);
        }
        match rest.iter().position(|byte| *byte == b',') {
            Some(comma) => line = &rest[comma + 1..],
            None => return tags,
        }
    }
}

/// Returns the tag at the start of `text`, and the rest.
fn tag(text: &[u8]) -> Option<(EntityTag, &[u8])> {
    let (weak, quoted) = match text.strip_prefix(b"W/") {
        Some(quoted) => (true, quoted),
        None => (false, text),
    };
    let opaque = quoted.strip_prefix(b"\"")?;
    let end = opaque.iter().position(|byte| *byte == b'"')?;
    let (opaque, rest) = (&opaque[..end], &opaque[end + 1..]);
    let is_valid = opaque.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..));
    is_valid.then(|| (EntityTag { weak, opaque: opaque.to_vec() }, rest))
}

/// The conditions of a request. They are checked only for an existing resource: a request for any other gets 404.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    if_match: Option<TagList>,
    if_none_match: Option<TagList>,
}

impl Conditions {
    fn of(headers: &HeaderMap) -> Self {
        Self {
            if_match: TagList::of(headers, &header::IF_MATCH),
            if_none_match: TagList::of(headers, &header::IF_NONE_MATCH),
        }
    }

    /// Returns the response to a `GET` or `HEAD` of `item`, whose tag is `tag`: the item, or 304 if the client has it.
    ///
    /// # Errors
    /// 412 if `If-Match` does not match.
    pub fn answer(&self, tag: &EntityTag, item: impl IntoResponse) -> Result<Response, Problem> {
        let matches = |tags: &TagList| tags.any(|expected| expected.matches_strongly(tag));
        if self.if_match.as_ref().is_some_and(|tags| !matches(tags)) {
            return Err(precondition_failed(tag));
        }
        let is_known = |tags: &TagList| tags.any(|known| known.matches_weakly(tag));
        if self.if_none_match.as_ref().is_some_and(is_known) {
            return Ok(tag.on(StatusCode::NOT_MODIFIED));
        }
        Ok(tag.on(item))
    }

    /// Returns the versions that a `PATCH` or `DELETE` may change. The transaction of the change checks them, and rejects with
    /// [`precondition_failed`].
    pub fn versions(&self) -> ExpectedVersions {
        let strong_versions = |tags: &Vec<EntityTag>| {
            tags.iter().filter(|tag| !tag.weak).filter_map(EntityTag::version).collect()
        };
        let one_of = match &self.if_match {
            Some(TagList::Of(tags)) => Some(strong_versions(tags)),
            Some(TagList::Any) | None => None,
        };
        let any = self.if_match == Some(TagList::Any);
        match &self.if_none_match {
            None => ExpectedVersions { one_of, none_of: vec![], any },
            Some(TagList::Of(tags)) => {
                let none_of = tags.iter().filter_map(EntityTag::version).collect();
                ExpectedVersions { one_of, none_of, any }
            }
            // The resource exists, so no version is allowed.
            Some(TagList::Any) => ExpectedVersions { one_of: Some(vec![]), none_of: vec![], any },
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Conditions {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

/// Returns 412 for a request whose conditions do not hold for a resource with the current tag `tag`.
pub fn precondition_failed(tag: &EntityTag) -> Problem {
    let tag = String::from_utf8_lossy(tag.header().as_bytes()).into_owned();
    Problem::new(
        kind::PRECONDITION,
        Text::new(
            format!("its ETag is {tag} now; read it again, and correct If-Match or If-None-Match"),
            format!(
                "현재 ETag는 {tag}입니다. 다시 조회한 뒤 If-Match나 If-None-Match를 고쳐 주세요"
            ),
        ),
    )
}

#[cfg(test)]
mod tests;
