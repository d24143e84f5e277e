//! Connecting to an upstream. Nothing was sent yet, so it may be tried again for any method.

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower::Service;

/// How long one try may take. Within one cluster a connection takes about a millisecond; a first packet
/// that is lost is sent again after 1 s, and a new connection is faster.
const TRY: Duration = Duration::from_millis(250);
/// How long it is tried. A pod that is replaced refuses for a moment, and another may answer.
const TRIES: Duration = Duration::from_millis(600);
/// The first pause between two tries; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// An [`HttpConnector`] that tries again.
#[derive(Clone, Debug)]
pub(crate) struct Connector(HttpConnector);

impl Connector {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(TRY));
        Self(connector)
    }
}

type Connected =
    Result<<HttpConnector as Service<Uri>>::Response, <HttpConnector as Service<Uri>>::Error>;

impl Service<Uri> for Connector {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Connected> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, upstream: Uri) -> Self::Future {
        let mut connector = self.0.clone();
        Box::pin(async move {
            let last = Instant::now() + TRIES;
            let mut pause = FIRST_PAUSE;
            loop {
                match connector.call(upstream.clone()).await {
                    Err(_) if Instant::now() + pause < last => sleep(pause).await,
                    connected => return connected,
                }
                pause *= 2;
            }
        })
    }
}
