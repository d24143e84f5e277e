//! A bad request, and the check of its refusal.

use super::common::ShopClient;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use std::fmt;

pub(crate) const JSON: &str = "application/json";

/// A bad request, and the status that it must be refused with.
pub(crate) struct Bad {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) status: u16,
}

impl Bad {
    pub(crate) fn new(method: &str, path: &str, status: u16) -> Self {
        let (method, path) = (method.parse().unwrap(), path.to_owned());
        Self { method, path, content_type: None, headers: vec![], body: vec![], status }
    }

    pub(crate) fn json(method: &str, path: &str, body: impl Into<Vec<u8>>, status: u16) -> Self {
        let (content_type, body) = (Some(JSON), body.into());
        Self { content_type, body, ..Self::new(method, path, status) }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn to(&self, web: &ShopClient) -> RequestBuilder {
        let request = web.client.request(self.method.clone(), format!("{}{}", web.base, self.path));
        let request = request.body(self.body.clone());
        let request = self
            .content_type
            .into_iter()
            .fold(request, |request, content_type| request.header("content-type", content_type));
        let headers = self.headers.iter().cloned();
        headers.fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Sends it, and returns what is wrong with the refusal, if anything.
    pub(crate) async fn fault(&self, web: &ShopClient) -> Option<String> {
        let answer = match self.to(web).send().await {
            Ok(answer) => answer,
            Err(error) => return Some(format!("no answer: {error:?}")),
        };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap_or_default();
        let content = headers.get("content-type").map(|value| value.to_str().unwrap_or_default());
        let has_text = |problem: &Value, member: &str| {
            problem[member].as_str().is_some_and(|text| !text.trim().is_empty())
        };
        if status != self.status {
            return Some(format!("{status}: {text}"));
        }
        if content != Some("application/problem+json") {
            return Some(format!("content-type {content:?}: {text}"));
        }
        if status == 405 && headers.get("allow").is_none_or(reqwest::header::HeaderValue::is_empty)
        {
            return Some("405 without Allow".into());
        }
        if self.method == Method::HEAD {
            let length = headers.get("content-length").and_then(|length| length.to_str().ok());
            let empty = length.is_none_or(|length| length == "0");
            return (empty || !text.is_empty()).then(|| format!("HEAD: {length:?} {text}"));
        }
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let whole = ["type", "title", "detail"].iter().all(|member| has_text(&problem, member))
            && problem["type"].as_str().is_some_and(|kind| kind.starts_with("/problems/"))
            && problem["status"] == status
            && has_text(&problem, "instance");
        let errors = problem["errors"].as_array().filter(|errors| !errors.is_empty());
        let named = errors.is_some_and(|errors| {
            errors.iter().all(|error| has_text(error, "field") && has_text(error, "message"))
        });
        let short = status == 409 && self.path == "/carts";
        if !whole || status == 422 && !named || short && !problem["availableQuantity"].is_i64() {
            return Some(format!("a member is missing: {text}"));
        }
        None
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(80).collect();
        let (method, path, content_type) = (&self.method, &self.path, self.content_type);
        write!(f, "{method} {path} {content_type:?} {:?} {body:?} ", self.headers.len())?;
        write!(f, "expects {}, got ", self.status)
    }
}
