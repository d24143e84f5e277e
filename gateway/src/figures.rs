//! `GET /live/figures`: how the services are, for the page that watches the shop.

use crate::proxy::Proxy;
use crate::services::Upstream;
use axum::body::{Body, Bytes};
use axum::http::{Request, header};
use axum::response::{IntoResponse, Response};
use chassis::base::problem::Problem;
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Where a service tells its figures.
const SERVICE_PATH: &str = "/figures";
/// How long a service may take. One that takes longer is shown as one that does not answer.
const FIGURES_TIMEOUT: Duration = Duration::from_millis(500);
/// How long figures are shown. However many watch, the services are asked once in this time.
const FIGURES_AGE_MAX: Duration = Duration::from_secs(1);

/// The figures of all services. Clones share them.
#[derive(Clone)]
pub(crate) struct Figures {
    proxy: Proxy,
    services: Arc<[Arc<Upstream>]>,
    /// The last figures. Locked while the services are asked.
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

impl Figures {
    pub(crate) fn new(proxy: Proxy, services: Vec<Arc<Upstream>>) -> Self {
        Self { proxy, services: services.into(), last: Arc::default() }
    }

    /// Returns the response.
    pub(crate) async fn response(&self) -> Response {
        let headers =
            [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        (headers, self.json().await).into_response()
    }

    async fn json(&self) -> Bytes {
        let mut last = self.last.lock().await;
        if let Some((at, json)) = &*last
            && at.elapsed() < FIGURES_AGE_MAX
        {
            return json.clone();
        }
        let json = Bytes::from(self.ask_all().await.to_string());
        *last = Some((Instant::now(), json.clone()));
        json
    }

    /// Asks all services at once.
    async fn ask_all(&self) -> Value {
        let asked: Vec<_> = self
            .services
            .iter()
            .map(|upstream| {
                let (proxy, upstream) = (self.proxy.clone(), Arc::clone(upstream));
                let name = upstream.service.name;
                (name, tokio::spawn(async move { ask(&proxy, &upstream).await }))
            })
            .collect();
        let (mut services, mut carts_per_second) = (Vec::new(), Value::Null);
        for (name, figures) in asked {
            let figures = figures.await.ok().flatten();
            let mut told = Map::new();
            told.insert("service".into(), name.into());
            told.insert("up".into(), figures.is_some().into());
            let mut figures = figures.unwrap_or_default();
            let created = figures.remove("createdPerSecond");
            if name == "cart" {
                carts_per_second = created.unwrap_or_default();
            }
            told.extend(figures);
            services.push(Value::Object(told));
        }
        json!({ "cartsPerSecond": carts_per_second, "services": services })
    }
}

/// Returns the figures of a service, if it tells them in time.
async fn ask(proxy: &Proxy, upstream: &Upstream) -> Option<Map<String, Value>> {
    let ask = async {
        let request = Request::get(SERVICE_PATH).body(Body::empty()).map_err(Problem::internal)?;
        let response = proxy.forward(upstream, FIGURES_TIMEOUT, request).await?;
        if !response.status().is_success() {
            return Ok(None);
        }
        let body = response.into_body().collect().await.map_err(Problem::internal)?.to_bytes();
        Ok::<_, Problem>(serde_json::from_slice(&body).ok())
    };
    timeout(FIGURES_TIMEOUT, ask).await.ok()?.ok()?
}
