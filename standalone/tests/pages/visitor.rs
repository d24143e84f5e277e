//! A visitor with a browser that runs no scripts.

use crate::common::Shop;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Method, StatusCode};
use std::fmt::Write as _;

/// `Accept` of a browser.
pub(crate) const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// What a visitor got.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Page {
    /// Returns the value of the first input with `name` after the first place of `after`.
    pub(crate) fn value(&self, after: &str, name: &str) -> String {
        let (_, rest) = self.text.split_once(after).unwrap_or_else(|| panic!("no {after}"));
        let (_, rest) = rest.split_once(&format!("name=\"{name}\"")).expect("the field is there");
        let (_, rest) = rest.split_once("value=\"").expect("it has a value");
        unescaped(rest.split('"').next().unwrap())
    }

    /// Asserts that the page says all of these, and is well formed enough for no text to be HTML by accident.
    pub(crate) fn says(&self, texts: &[&str]) -> &Self {
        for text in texts {
            assert!(self.text.contains(text), "the page does not say {text:?}:\n{}", self.text);
        }
        self
    }

    /// Asserts that the page says none of these.
    pub(crate) fn lacks(&self, texts: &[&str]) -> &Self {
        for text in texts {
            assert!(!self.text.contains(text), "the page says {text:?}:\n{}", self.text);
        }
        self
    }

    /// Returns where it redirects to.
    pub(crate) fn location(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.text);
        self.headers[LOCATION].to_str().unwrap()
    }
}

fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&#34;", "\"").replace("&#39;", "'").replace("&amp;", "&")
}

/// A visitor.
pub(crate) struct Visitor<'s> {
    pub(crate) shop: &'s Shop,
    pub(crate) language: &'static str,
}

impl Visitor<'_> {
    /// Opens a page.
    pub(crate) async fn open(&self, path: &str) -> Page {
        self.ask(Method::GET, path, &[], None).await
    }

    /// Sends a form as a page of ours does.
    pub(crate) async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let origin = self.shop.web.base.clone();
        self.ask(Method::POST, path, &[("origin", &origin)], Some(&form(fields))).await
    }

    /// Sends a request with further headers.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        form: Option<&str>,
    ) -> Page {
        let url = format!("{}{path}", self.shop.web.base);
        let client = chassis::http::client::new().unwrap(); // follows no redirect
        let mut request = client.request(method, url);
        if !headers.iter().any(|(name, _)| *name == "accept") {
            request = request.header("accept", HTML);
        }
        request = request.header("accept-language", self.language);
        if let Some(form) = form {
            request = request.header("content-type", "application/x-www-form-urlencoded");
            request = request.body(form.to_owned());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        Page { status, headers, text: answer.text().await.unwrap() }
    }

    /// Puts a gifticon on sale by the API.
    pub(crate) async fn register(&self, gifticon_id: i64, name: &str, quantity: i64, price: i64) {
        let body = serde_json::json!({
            "gifticonId": gifticon_id, "name": name, "availableQuantity": quantity, "price": price,
        });
        let answer = self.shop.web.ask(Method::POST, "/gifticons", Some(body)).await;
        assert!(answer.is_ok(), "{answer:?}");
    }

    /// Sends the form of a card, with some fields changed.
    pub(crate) async fn buy(&self, gifticon_id: i64, changes: &[(&str, &str)]) -> Page {
        let page = self.open("/shop").await;
        let card = format!("id=\"g-{gifticon_id}\"");
        let names = ["gifticonId", "price", "key", "quantity"];
        let values = names.map(|name| page.value(&card, name));
        let mut fields: Vec<(&str, &str)> =
            names.into_iter().zip(values.iter().map(String::as_str)).collect();
        for (name, value) in &mut fields {
            let change = changes.iter().find(|(changed, _)| changed == name);
            *value = change.map_or(*value, |(_, value)| *value);
        }
        self.send("/shop/carts", &fields).await
    }
}

/// Returns fields as a browser encodes them.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let encoded = |text: &str| {
        text.bytes().fold(String::new(), |mut encoded, byte| {
            if byte.is_ascii_alphanumeric() {
                encoded.push(char::from(byte));
            } else {
                let _ = write!(encoded, "%{byte:02X}");
            }
            encoded
        })
    };
    let pairs = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}
