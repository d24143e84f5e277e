//! A client of pages: it keeps cookies as a browser does, and follows no redirect.

use crate::base::uri::encoded;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A client of pages. It keeps cookies, for each host and port, and follows no redirect.
pub struct PageClient {
    client: Client,
    base: String,
    cookies: Mutex<BTreeMap<(String, String), String>>,
}

impl PageClient {
    /// Returns a client of the shop at `base` without cookies.
    ///
    /// # Panics
    /// Panics if no client can be built.
    pub fn new(base: impl Into<String>) -> Self {
        let client = Client::builder().no_proxy().redirect(Policy::none()).build();
        let client = client.expect("a client can be built");
        Self { client, base: base.into(), cookies: Mutex::default() }
    }

    /// Returns another client with the cookies of this one.
    pub fn copy(&self) -> Self {
        let cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { cookies: Mutex::new(cookies), ..Self::new(self.base.clone()) }
    }

    /// Returns a request of the shop's `path`, or of a whole URL.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url =
            if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        self.client.request(method, url)
    }

    /// Returns a request for what is at `path`, as a browser makes it.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path).header("accept", "text/html")
    }

    /// Returns a request with a form that a page of the same site sends.
    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let pairs = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        let form = pairs.collect::<Vec<_>>().join("&");
        let request = self.request(Method::POST, path).header("sec-fetch-site", "same-origin");
        let request = request.header("accept", "text/html").body(form);
        request.header("content-type", "application/x-www-form-urlencoded")
    }

    /// Returns the values of the cookies.
    pub fn cookies(&self) -> Vec<String> {
        let cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        cookies.values().cloned().collect()
    }

    /// Sends a request with the cookies, and keeps those of the response.
    ///
    /// # Panics
    /// Panics if there is no response, or if a script could read a cookie of the shop.
    pub async fn send(&self, request: RequestBuilder) -> Response {
        let request = request.build();
        let mut request = request.expect("the request is well formed");
        let host = request.url().authority().to_owned();
        let kept = self.cookies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let kept = kept.into_iter().filter(|((of, _), _)| *of == host);
        let line = kept.map(|((_, name), value)| format!("{name}={value}")).collect::<Vec<_>>();
        if !line.is_empty() {
            let line = line.join("; ").parse().expect("cookies are visible ASCII");
            request.headers_mut().insert("cookie", line);
        }
        let response = self.client.execute(request).await.expect("there is a response");
        let is_shop = self.base.ends_with(&host);
        let mut cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        for set in response.headers().get_all("set-cookie") {
            let set = set.to_str().expect("cookies are visible ASCII");
            let (name, value) =
                set.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            let key = (host.clone(), name.to_owned());
            if set.contains("Max-Age=0") {
                cookies.remove(&key);
            } else {
                assert!(
                    !is_shop || set.contains("HttpOnly") && set.contains("SameSite=Lax"),
                    "{set}"
                );
                cookies.insert(key, value.to_owned());
            }
        }
        response
    }

    /// Returns the page at `path`.
    ///
    /// # Panics
    /// Panics if there is none.
    pub async fn page(&self, path: &str) -> String {
        self.send(self.get(path)).await.text().await.expect("a page is text")
    }

    /// Sends a request, and returns where its response leads.
    ///
    /// # Panics
    /// Panics if it leads nowhere.
    pub async fn led_to(&self, request: RequestBuilder) -> String {
        let response = self.send(request).await;
        let location = response.headers().get("location").and_then(|url| url.to_str().ok());
        location
            .unwrap_or_else(|| panic!("{} leads nowhere: {}", response.url(), response.status()))
            .to_owned()
    }

    /// Returns true if it has a cookie of this name.
    pub fn has_cookie(&self, name: &str) -> bool {
        let cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        cookies.keys().any(|(_, other)| other == name)
    }
}
