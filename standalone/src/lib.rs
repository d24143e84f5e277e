//! The whole shop in one process: the services and the gateway on SQLite files in one data directory, and on the embedded event log
//! if no Kafka is configured.

mod config;
pub mod dev_issuer;
#[cfg(feature = "failpoints")]
pub mod failpoints;
mod token;
mod welcome;

pub use config::{Listeners, StandaloneConfig};
pub use token::token;

use anyhow::Context;
use chassis::Running;
use chassis::auth::Authenticator;
use chassis::base::config::{DEV_ISSUER, DatabaseUrl, Host, InvalidSetting, Listen, ServiceToken};
use chassis::base::metrics::Metrics;
use chassis::bus::{Bus, EmbeddedLog, KafkaBus};
use chassis::service::launch::Started;
use chassis::service::{HEALTH_PATH, serve_management};
use gateway::services::{Upstreams, names};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use welcome::Addresses;

/// Bound for a service to stop when another one cannot start.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Examples of paths at the management address.
const MANAGEMENT_PATHS: [&str; 4] =
    ["/gifticon/metrics", "/cart/admin/parked", "/mypage/admin/rebuild", HEALTH_PATH];

/// The description in `--help`.
pub const ABOUT: &str = "The whole gifticon shop in one process\n\n\
     With AUTH_ISSUER=dev it has sample accounts, and `standalone token --help` says how to get a token.";

/// A running shop.
#[derive(Default)]
pub struct Shop {
    /// The parts in the order of their start: the services, the gateway, and `management`, the management routes of all.
    parts: Vec<Running>,
    /// The embedded event log, if no Kafka is configured.
    log: Option<EmbeddedLog>,
}

/// Starts the shop. If a part cannot start, stops those that run, the last first, and returns the error.
pub async fn start(config: StandaloneConfig) -> anyhow::Result<Shop> {
    let mut shop = Shop::default();
    match shop.start_in_dir(config).await {
        Ok(()) => Ok(shop),
        Err(error) => {
            shop.give_up().await;
            Err(error)
        }
    }
}

/// Starts the shop on `bus`, each service on the database that `database` returns for its name. It reads no setting that is about
/// the data directory or Kafka.
pub async fn start_on(
    config: StandaloneConfig,
    bus: Arc<dyn Bus>,
    database: impl Fn(&str) -> anyhow::Result<DatabaseUrl>,
) -> anyhow::Result<Shop> {
    let mut shop = Shop::default();
    match shop.start_each(config, bus, database).await {
        Ok(()) => Ok(shop),
        Err(error) => {
            shop.give_up().await;
            Err(error)
        }
    }
}

impl Shop {
    /// Returns the base URLs of the parts, by name.
    pub fn urls(&self) -> BTreeMap<&'static str, String> {
        self.parts.iter().map(|part| (part.name(), part.url())).collect()
    }

    /// Returns the parts in the order in which they stop: the gateway first, the services, the management routes last.
    pub fn into_parts(self) -> (Vec<Running>, Option<EmbeddedLog>) {
        let Self { mut parts, log } = self;
        parts.reverse();
        parts.rotate_left(1);
        (parts, log)
    }

    /// Starts all parts on the data directory, and on Kafka or the embedded event log.
    async fn start_in_dir(&mut self, config: StandaloneConfig) -> anyhow::Result<()> {
        let dir = config.data_dir.clone();
        let invalid = |why: String| InvalidSetting { setting: "DATA_DIR", why };
        if dir.exists() && !dir.is_dir() {
            let why =
                format!("{} is a file; name a directory, which is made if missing", dir.display());
            return Err(invalid(why).into());
        }
        let made = std::fs::create_dir_all(&dir);
        made.map_err(|error| invalid(format!("{}: {error}; it is a directory", dir.display())))?;
        let bus: Arc<dyn Bus> = match &config.kafka_brokers {
            Some(brokers) => {
                let topic = &config.topic.kafka_topic;
                Arc::new(KafkaBus::secured(brokers, topic, &config.security)?)
            }
            None => {
                let log = EmbeddedLog::open(&dir.join("events.db")).await;
                let log = log.map_err(|error| invalid(chassis::storage::causes(&error)))?;
                log.keep_groups(&names()); // a consumer group has the name of its service
                if let Some(messages) = config.event_log_messages {
                    log.keep_messages(messages);
                }
                Arc::new(self.log.insert(log).clone())
            }
        };
        let database = |name: &str| -> anyhow::Result<DatabaseUrl> {
            let file = dir.join(name).with_extension("db");
            Ok(DatabaseUrl::of_file(&file).map_err(invalid)?)
        };
        self.start_each(config, bus, database).await
    }

    /// Starts all parts: a service before those that call it, and before the gateway.
    async fn start_each(
        &mut self,
        mut config: StandaloneConfig,
        bus: Arc<dyn Bus>,
        database: impl Fn(&str) -> anyhow::Result<DatabaseUrl>,
    ) -> anyhow::Result<()> {
        if config.auth.auth_issuer.as_deref() == Some(DEV_ISSUER) {
            self.start_issuer(&mut config)?;
        }
        let service_token = match (&config.service_token.service_token, config.auth.is_open()) {
            (None, false) => ServiceToken::random(),
            _ => config.service_token.clone(),
        };
        let host = |name: &str, listen_addr| -> anyhow::Result<Host> {
            let database_url = database(name)?;
            let listen = Listen { listen_addr, management_addr: None };
            let (auth, service_token) = (config.auth.clone(), service_token.clone());
            Ok(Host { listen, database_url, auth, service_token, rate_limit: config.rate_limit })
        };
        let at = config.listeners;
        let gifticon = gifticon::GifticonConfig { host: host("gifticon", at.gifticon_addr)? };
        let gifticon = gifticon::start(gifticon, Arc::clone(&bus)).await;
        let gifticon_url = self.add(gifticon, "GIFTICON_ADDR")?;
        let payment =
            payment::PaymentConfig { host: host("payment", at.payment_addr)?, limit: config.limit };
        let payment = payment::start(payment, Arc::clone(&bus)).await;
        self.add(payment, "PAYMENT_ADDR")?;
        let mypage = mypage::MypageConfig {
            host: host("mypage", at.mypage_addr)?,
            streams: config.streams,
            client_streams: config.client_streams,
        };
        let mypage = mypage::start(mypage, Arc::clone(&bus)).await;
        self.add(mypage, "MYPAGE_ADDR")?;
        let cart = cart::CartConfig {
            host: host("cart", at.cart_addr)?,
            timeout: config.timeout,
            gifticon_url,
        };
        self.add(cart::start(cart, bus).await, "CART_ADDR")?;
        let urls = self.urls();
        let gateway = gateway::GatewayConfig {
            listen: Listen { listen_addr: at.gateway_addr, management_addr: None },
            tls: config.tls,
            cors: config.cors,
            proxies: config.proxies,
            upstreams: Upstreams::new(|service| urls[service.name].clone()),
            streams: config.streams,
            auth: config.auth.clone(),
            sign_in: config.sign_in,
        };
        let services = self.parts.iter().map(|part| (part.name(), part.local())).collect();
        self.add(gateway::start_beside(gateway, &services), "GATEWAY_ADDR")?;
        let routes = self.parts.iter_mut().filter_map(Running::take_management).collect();
        let authenticator = Authenticator::new(&config.auth, &Metrics::default())?;
        let paths = MANAGEMENT_PATHS.to_vec();
        let management = serve_management(at.management_addr, routes, paths, authenticator);
        self.add(management, "MANAGEMENT_ADDR")?;
        Ok(())
    }

    /// Starts the issuer `dev`, and names it in the settings of the others.
    fn start_issuer(&mut self, config: &mut StandaloneConfig) -> anyhow::Result<()> {
        if let Some((setting, address)) = config.listeners.beyond_loopback() {
            let why = format!(
                "dev has accounts without passwords, for loopback addresses alone, and {setting} is {address}"
            );
            return Err(InvalidSetting { setting: "AUTH_ISSUER", why }.into());
        }
        let key = dev_issuer::signing_key(&config.data_dir)?;
        let auth = &config.auth;
        let claims = |issuer| dev_issuer::Claims {
            issuer,
            audience: auth.auth_audience.clone(),
            roles_claim: auth.auth_roles_claim.clone(),
        };
        let issuer = dev_issuer::start(config.listeners.dev_issuer_addr, key, claims);
        config.auth.auth_issuer = Some(self.add(issuer, "DEV_ISSUER_ADDR")?);
        config.auth.auth_jwks_url = None;
        config.sign_in.oidc_client_id.get_or_insert_with(|| dev_issuer::CLIENT_ID.into());
        Ok(())
    }

    /// Adds a service that was started, and returns its base URL. `address` is the name of its listen address here.
    fn add(
        &mut self,
        started: anyhow::Result<Running>,
        address: &'static str,
    ) -> anyhow::Result<String> {
        let running = started.map_err(|error| renamed(error, address))?;
        let url = running.url();
        self.parts.push(running);
        Ok(url)
    }

    /// Stops the parts that have started, the last first.
    async fn give_up(self) {
        for running in self.parts.into_iter().rev() {
            running.stop(STOP_TIMEOUT).await;
        }
        if let Some(log) = self.log {
            log.close().await;
        }
    }
}

/// Returns the error with the names that the settings of a service have here.
fn renamed(error: anyhow::Error, address: &'static str) -> anyhow::Error {
    match error.downcast::<InvalidSetting>() {
        Ok(InvalidSetting { setting: "LISTEN_ADDR", why }) => {
            InvalidSetting { setting: address, why }.into()
        }
        Ok(InvalidSetting { setting: "DATABASE_URL", why }) => {
            InvalidSetting { setting: "DATA_DIR", why }.into()
        }
        Ok(invalid) => invalid.into(),
        Err(error) => error.context("the shop cannot start"),
    }
}

/// Starts the shop for [`chassis::service::launch::process`], and puts the embedded log into `log`, to be closed at the end.
pub async fn start_parts(
    config: StandaloneConfig,
    log: &tokio::sync::OnceCell<EmbeddedLog>,
) -> anyhow::Result<Started> {
    let (dir, brokers) = (config.data_dir.clone(), config.kafka_brokers.clone());
    let shop = Box::pin(start(config)).await?; // it is large
    let welcome = Addresses::new(&shop.urls(), &dir, brokers);
    let (parts, embedded) = shop.into_parts();
    if let Some(embedded) = embedded {
        log.set(embedded).ok().context("the shop was started twice")?;
    }
    Ok(Started::with_welcome(parts, welcome))
}
