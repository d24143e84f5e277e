//! Compares answers with a document.

use crate::common::ShopClient;
use chassis::testing::EventReader;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// Bound for the first event of a stream.
const EVENT_TIMEOUT: Duration = Duration::from_secs(5);

/// A document, with which answers are compared.
pub(crate) struct Document(pub(crate) Value);

/// The status of an answer that was as described.
pub(crate) struct Described {
    request: String,
    status: u16,
}

impl Described {
    pub(crate) fn expect(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.request);
    }
}

impl Document {
    /// Sends a request, and asserts that its answer is as described.
    #[expect(clippy::too_many_arguments, reason = "the parts of a request")]
    pub(crate) async fn ask(
        &self,
        web: &ShopClient,
        method: &Method,
        path: &str,
        id: i64,
        query: &str,
        body: Option<Value>,
        headers: &[(HeaderName, &str)],
    ) -> Described {
        let url = format!("{}{}{query}", web.base, path.replace("{id}", &id.to_string()));
        let mut request = web.client.request(method.clone(), &url);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let request = format!("{method} {url} {}: {status} {text}", body.unwrap_or_default());
        let operation = &self.0["paths"][path][method.as_str().to_lowercase()];
        let response = self.resolved(&operation["responses"][status.to_string()]);
        assert!(response.is_object(), "no such response is described: {request}");
        Self::check_headers(response, &headers, &request);
        match response["content"].as_object() {
            None => assert_eq!(text, "", "{request}"),
            Some(content) => {
                let (kind, content) = content.iter().next().unwrap();
                let is_page = kind == "text/html";
                let suffix = if is_page { "; charset=utf-8" } else { "" };
                assert_eq!(headers["content-type"], format!("{kind}{suffix}"), "{request}");
                if is_page {
                    assert!(text.starts_with("<!doctype html>"), "{request}");
                    return Described { request, status };
                }
                let value = serde_json::from_str(&text).unwrap();
                if let Err(why) = self.check(&content["schema"], &value) {
                    panic!("{why}: {request}");
                }
            }
        }
        Described { request, status }
    }

    /// Asserts that the first event of the stream at `path` is called `event`, and is as described.
    pub(crate) async fn listen(&self, web: &ShopClient, path: &str, event: &str) {
        let mut stream = EventReader::open(&web.client, &format!("{}{path}", web.base), "").await;
        let sent = timeout(EVENT_TIMEOUT, stream.event()).await.expect("an event comes").unwrap();
        assert_eq!(sent.event, event, "{path}");
        let response = &self.0["paths"][path]["get"]["responses"]["200"];
        let events = &response["content"]["text/event-stream"]["x-events"];
        self.check(&events[event], &sent.data).unwrap_or_else(|why| panic!("{why}: {path}"));
    }

    fn check_headers(response: &Value, headers: &HeaderMap, request: &str) {
        for name in ["etag", "location", "retry-after"] {
            let mut described = response["headers"].as_object().into_iter().flatten();
            let described = described.any(|(other, _)| other.eq_ignore_ascii_case(name));
            // A problem may say the tag that the client should have sent, but no header does.
            assert_eq!(headers.contains_key(name), described, "{name}: {request}");
        }
    }

    /// Returns what a reference leads to.
    fn resolved<'v>(&'v self, value: &'v Value) -> &'v Value {
        match value["$ref"].as_str() {
            Some(reference) => self.0.pointer(&reference[1..]).unwrap(),
            None => value,
        }
    }

    /// Returns why a value is not as a schema says. A property that the schema does not name is a fault.
    pub(crate) fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = self.resolved(schema);
        let types = match &schema["type"] {
            Value::Array(types) => types.clone(),
            one => vec![one.clone()],
        };
        let is = |name: &Value| match name.as_str().unwrap_or_default() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("the type {other} is not known here"),
        };
        if !types.iter().any(is) {
            return Err(format!("{value} is none of {types:?}"));
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            return Err(format!("{value} is none of {allowed:?}"));
        }
        for item in value.as_array().into_iter().flatten() {
            self.check(&schema["items"], item)?;
        }
        let Some(members) = value.as_object() else { return Ok(()) };
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            members.get(name).ok_or_else(|| format!("{name} is missing"))?;
        }
        for (name, value) in members {
            let property = &schema["properties"][name];
            let property =
                if property.is_null() { &schema["additionalProperties"] } else { property };
            if property.is_null() {
                return Err(format!("{name} is not described"));
            }
            self.check(property, value).map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(())
    }
}
