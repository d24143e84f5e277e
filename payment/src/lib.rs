//! Payments: one for each cart, decided by a provider.
//!
//! `CartAdded` writes a request, `CartRemoved` writes that a cancel is wanted. A worker reads both, asks the provider, and
//! writes the verdict with the event that publishes it. So a slow or absent provider holds no transaction, no offset and no
//! cart. After a crash the worker asks again, so the calls of a provider must be idempotent. The built-in provider decides
//! within this process: its verdict is written with the request.

pub mod api;
pub mod app;
pub mod domain;
pub mod policy;
pub mod provider;
pub mod store;

use chassis::base::config::Host;
use chassis::bus::Bus;
use chassis::{Chassis, Running};
use provider::{Builtin, Provider, TracedProvider};
use std::sync::Arc;

/// What `--help` says of this service.
pub const ABOUT: &str = "Payments of the gifticon shop";

/// The settings of this service.
#[derive(Clone, Debug, clap::Args)]
pub struct PaymentConfig {
    #[command(flatten)]
    pub host: Host,

    #[command(flatten)]
    pub limit: Limit,
}

/// What the built-in provider approves.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Limit {
    /// The built-in payment provider declines amounts above this, in won; unset approves all
    #[arg(long, env, value_parser = clap::value_parser!(i64).range(0..))]
    pub payment_limit: Option<i64>,
}

/// Starts the service on `bus`, with the built-in provider.
pub async fn start(config: PaymentConfig, bus: Arc<dyn Bus>) -> anyhow::Result<Running> {
    let builtin = Builtin { limit: config.limit.payment_limit };
    start_with(config.host, Arc::new(builtin), bus).await
}

/// Starts the service on `bus`, with `provider`.
pub async fn start_with(
    host: Host,
    provider: Arc<dyn Provider>,
    bus: Arc<dyn Bus>,
) -> anyhow::Result<Running> {
    let mut chassis = Chassis::open("payment", &host, store::schema(), bus).await?;
    let db = chassis.db().clone();
    let writer = chassis.writer(app::PaymentModel);
    chassis.relay();
    chassis.react(policy::FollowCart { builtin: provider.builtin() }, &writer);
    let provider = TracedProvider { provider, tracer: chassis.tracer().clone() };
    let worker = provider::run(db.clone(), writer, provider, chassis.lease("provider"));
    chassis.spawn("provider", worker);
    chassis.serve(api::surface(), api::routes(db))
}
