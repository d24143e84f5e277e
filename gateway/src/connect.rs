//! Connecting to an upstream. A failed connection attempt is safe to repeat for any method, because nothing was sent.

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower::Service;

/// Upper bound for one attempt. Within a cluster a connection takes about a millisecond. TCP repeats a lost first packet
/// only after 1 s, so a new attempt is faster.
const CONNECT_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(250);
/// No attempt begins later than this after the first. A pod that is being replaced refuses for a moment, and another one may
/// accept.
const CONNECT_RETRY_MAX: Duration = Duration::from_millis(600);
/// The first pause between two attempts. Each later pause is twice as long.
const CONNECT_PAUSE_MIN: Duration = Duration::from_millis(25);

/// An [`HttpConnector`] that retries.
#[derive(Clone, Debug)]
pub(crate) struct Connector(HttpConnector);

impl Connector {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_ATTEMPT_TIMEOUT));
        Self(connector)
    }
}

type ConnectResult =
    Result<<HttpConnector as Service<Uri>>::Response, <HttpConnector as Service<Uri>>::Error>;

impl Service<Uri> for Connector {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = ConnectResult> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, upstream: Uri) -> Self::Future {
        let mut connector = self.0.clone();
        Box::pin(async move {
            let deadline = Instant::now() + CONNECT_RETRY_MAX;
            let mut pause = CONNECT_PAUSE_MIN;
            loop {
                match connector.call(upstream.clone()).await {
                    Err(_) if Instant::now() + pause < deadline => sleep(pause).await,
                    result => return result,
                }
                pause *= 2;
            }
        })
    }
}
