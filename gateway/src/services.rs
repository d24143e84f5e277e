//! The list of the services behind the gateway, with what each serves. Drills, the bench and the tests of the whole shop go
//! through this list.

use crate::docs;
use axum::http::Method;
use chassis::base::config::base_url;
use chassis::base::limits::{CART_UPSTREAM_TIMEOUT, UPSTREAM_TIMEOUT};
use chassis::http::{Access, LocalServer, Surface};
use chassis::service::HEALTH_PATH;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A service behind the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name, which its program, its database and its consumer group have too.
    pub name: &'static str,
    /// The path of the collection that it serves. The gateway forwards this path, and those below it.
    pub path: &'static str,
    /// The port that it listens on by default.
    pub port: u16,
    /// The paths of its event streams, which wait in no queue and have no end.
    pub streams: &'static [&'static str],
    /// Bound for its answer to the gateway.
    pub timeout: Duration,
}

impl Service {
    /// Returns the name of its collection.
    pub fn collection(&self) -> &'static str {
        self.path.trim_start_matches('/')
    }

    /// Returns the name of the setting with its base URL, such as `CART_URL`.
    pub fn url_setting(&self) -> String {
        format!("{}_URL", self.name.to_uppercase())
    }
}

/// All services.
pub const SERVICES: [Service; 4] = [
    Service {
        name: "gifticon",
        path: "/gifticons",
        port: 8081,
        streams: &[],
        timeout: UPSTREAM_TIMEOUT,
    },
    Service {
        name: "cart",
        path: "/carts",
        port: 8082,
        streams: &[],
        timeout: CART_UPSTREAM_TIMEOUT,
    },
    Service {
        name: "payment",
        path: "/payments",
        port: 8083,
        streams: &[],
        timeout: UPSTREAM_TIMEOUT,
    },
    Service {
        name: "mypage",
        path: "/mypages",
        port: 8084,
        streams: &["/mypages/stream", "/live/stream"],
        timeout: UPSTREAM_TIMEOUT,
    },
];

/// The path of the figures of all services, which the gateway itself serves.
pub(crate) const FIGURES_PATH: &str = "/live/figures";

/// A service, and where its requests go.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) service: Service,
    /// Its base URL, as http://HOST:PORT.
    pub(crate) base: String,
    /// The service itself, if it runs in this process: it is called without a connection.
    pub(crate) local: Option<LocalServer>,
}

/// The base URLs of the services.
#[expect(clippy::struct_field_names, reason = "the settings have the names of the fields")]
#[derive(Clone, Debug, clap::Args)]
pub struct Upstreams {
    /// Base URL of the gifticon service, as http://HOST:PORT
    #[arg(long, env, value_parser = base_url)]
    gifticon_url: String,

    /// Base URL of the cart service, as http://HOST:PORT
    #[arg(long, env, value_parser = base_url)]
    cart_url: String,

    /// Base URL of the payment service, as http://HOST:PORT
    #[arg(long, env, value_parser = base_url)]
    payment_url: String,

    /// Base URL of the mypage service, as http://HOST:PORT
    #[arg(long, env, value_parser = base_url)]
    mypage_url: String,
}

impl Upstreams {
    /// Returns the URLs that `url` gives for the services.
    pub fn new(url: impl FnMut(Service) -> String) -> Self {
        let [gifticon_url, cart_url, payment_url, mypage_url] = SERVICES.map(url);
        Self { gifticon_url, cart_url, payment_url, mypage_url }
    }

    /// Returns the services. Those in `local` run in this process.
    pub(crate) fn each(self, local: &BTreeMap<&'static str, LocalServer>) -> Vec<Arc<Upstream>> {
        let Self { gifticon_url, cart_url, payment_url, mypage_url } = self;
        let upstream = |(service, base): (Service, String)| {
            Arc::new(Upstream { service, base, local: local.get(service.name).cloned() })
        };
        let urls = [gifticon_url, cart_url, payment_url, mypage_url];
        SERVICES.into_iter().zip(urls).map(upstream).collect()
    }
}

/// Returns the paths of the gateway, and the routes whose bodies the services read.
pub fn surface() -> Surface {
    let mut paths = vec!["/"];
    paths.extend(SERVICES.map(|service| service.path));
    paths.extend(web::PATHS);
    paths.extend(["/live/stream", FIGURES_PATH]);
    paths.extend(docs::PATHS);
    paths.push(HEALTH_PATH);
    let bodies = &[
        (Method::POST, "/gifticons"),
        (Method::PATCH, "/gifticons/{id}"),
        (Method::POST, "/carts"),
        // Forms of the pages.
        (Method::POST, "/shop/carts"),
        (Method::POST, "/shop/theme"),
        (Method::POST, "/me/cancel"),
        (Method::POST, "/md/gifticons"),
        (Method::POST, "/md/gifticons/{id}"),
        (Method::POST, "/sign-out"),
    ];
    // The services say who may use theirs.
    let access = &[(Method::GET, FIGURES_PATH, Access::Reader)];
    Surface { paths, bodies, access }
}

/// Returns the names of the services.
pub fn names() -> [&'static str; SERVICES.len()] {
    SERVICES.map(|service| service.name)
}

/// Returns the names of the processes: the services and the gateway.
pub fn processes() -> Vec<&'static str> {
    [&names()[..], &["gateway"]].concat()
}
