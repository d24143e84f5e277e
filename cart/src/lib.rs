//! Carts: where a customer's purchase begins and ends.
//!
//! Adding one is a saga (`app.rs`): an attempt is written first, alone or in a block with others
//! (`blocks.rs`), then gifticon is asked to hold the stock, behind a circuit breaker and with a timeout, then the cart and its `CartAdded` are written
//! together. What a crash or an unknown outcome leaves behind, the sweeper ends. Cancelling one is a
//! single write with `CartRemoved`; stock and payment follow by the event.

pub mod api;
pub mod app;
pub mod blocks;
pub mod domain;
pub mod model;
pub mod policy;
pub mod rows;
pub mod stock;
pub mod store;
pub mod sweeper;

use chassis::base::config::{Host, base_url};
use chassis::base::metrics::Counter;
use chassis::bus::Bus;
use chassis::http::breaker::Breaker;
use chassis::{Chassis, Running};
use std::sync::Arc;
use std::time::Duration;

/// What `--help` says of it.
pub const ABOUT: &str = "Carts of the gifticon shop";

/// The settings of this service.
#[derive(Clone, Debug, clap::Args)]
pub struct CartConfig {
    #[command(flatten)]
    pub host: Host,

    #[command(flatten)]
    pub timeout: CallTimeout,

    /// Base URL of the gifticon service, as http://HOST:PORT
    #[arg(long, env, value_parser = base_url)]
    pub gifticon_url: String,
}

/// How long a call to gifticon may take.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct CallTimeout {
    /// Timeout of one reservation call, in milliseconds
    #[arg(long, env, default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub gifticon_timeout_ms: u64,
}

/// Starts the service on the bus it is given.
pub async fn start(config: CartConfig, bus: Arc<dyn Bus>) -> anyhow::Result<Running> {
    let client = chassis::http::client::of_service(&config.host.service_token)?;
    let mut chassis = Chassis::open("cart", &config.host, store::schema(), bus).await?;
    let db = chassis.db().clone();
    let writer = chassis.writer(model::CartModel);
    let timeout = Duration::from_millis(config.timeout.gifticon_timeout_ms);
    let breaker = Breaker::new("gifticon", timeout, chassis.metrics());
    let stock =
        stock::HttpStock::new(client, config.gifticon_url, breaker, chassis.tracer().clone());
    let sold_out = Counter::default();
    chassis.metrics().register(
        "carts_sold_out",
        "Carts refused since not enough are left",
        sold_out.clone(),
    );
    chassis.metrics().show_sold_out(sold_out.clone());
    let blocks = blocks::Blocks::start(&chassis, writer.clone());
    let app = Arc::new(app::CartsApp { db, writer: writer.clone(), blocks, stock, sold_out });
    chassis.expire(store::IDEMPOTENCY_KEY_RETENTION);
    chassis.relay();
    chassis.react(policy::FollowPayment, &writer);
    let left_behind = sweeper::left_by_the_last_process(&app.db).await;
    let calls_max = timeout * stock::CALLS_MAX;
    let sweeper = sweeper::run(Arc::clone(&app), chassis.lease("sweeper"), calls_max, left_behind);
    chassis.spawn("sweeper", sweeper);
    chassis.serve(api::surface(), api::routes(app))
}
