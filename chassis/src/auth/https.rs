//! The client for requests to an issuer.

use anyhow::{Context, anyhow, ensure};
use axum::http::{Request, Response, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::ring;

/// Upper bound for one response of the issuer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
/// Upper bound for a document of the issuer, in bytes.
const DOCUMENT_SIZE_MAX: usize = 256 * 1024;

/// An HTTP client with the system's certificates, for few requests. It follows no redirects.
#[derive(Clone, Debug)]
pub struct HttpsClient(legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl HttpsClient {
    /// Returns a client.
    ///
    /// # Errors
    /// If the system's certificates cannot be read.
    pub fn new() -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(ring::default_provider())
            .context("the system's certificates cannot be read")?;
        let connector = connector.https_or_http().enable_http1().build();
        Ok(Self(legacy::Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Returns the document at `url`.
    ///
    /// # Errors
    /// If the response is not a success, is too large, or does not come within three seconds.
    pub async fn get(&self, url: &str) -> anyhow::Result<Bytes> {
        let request = Request::get(url).header(header::ACCEPT, "application/json");
        let response = self.send(request.body(Bytes::new())?).await?;
        ensure!(response.status().is_success(), "{url} answered {}", response.status());
        Ok(response.into_body())
    }

    /// Sends a request, and returns the whole response, whatever its status is.
    ///
    /// # Errors
    /// If the response is too large, or does not come within three seconds.
    pub async fn send(&self, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
        let url = request.uri().to_string();
        let read = async {
            let (head, body) = self.0.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, DOCUMENT_SIZE_MAX).collect().await;
            let body = body.map_err(|error| anyhow!("{url} could not be read: {error}"))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let late = || format!("{url} did not answer within {RESPONSE_TIMEOUT:?}");
        timeout(RESPONSE_TIMEOUT, read).await.with_context(late)?
    }
}
