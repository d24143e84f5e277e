//! The catalogue and its stock.
//!
//! A merchandiser (MD) registers gifticons and restocks them. A cart holds stock under a reservation that it names
//! itself (`PUT /reservations/{id}`), so that a call that comes twice, or whose answer is lost, takes
//! stock once. The stock returns when the reservation is released: by `DELETE` on the same route, or by the event
//! `CartRemoved`. A release that comes first leaves a tombstone, so that the reservation that comes later is refused. So no
//! stock is held for ever, in whatever order calls and events arrive.

pub mod api;
pub mod app;
mod audited;
pub mod domain;
pub mod policy;
pub mod store;

use chassis::base::config::Host;
use chassis::base::metrics::{Gauge, Metrics};
use chassis::bus::Bus;
use chassis::storage::Db;
use chassis::{Chassis, Running};
use std::sync::Arc;
use std::time::Duration;

/// What `--help` says of this service.
pub const ABOUT: &str = "Catalogue, stock and reservations of the gifticon shop";

/// The settings of this service.
#[derive(Clone, Debug, clap::Args)]
pub struct GifticonConfig {
    #[command(flatten)]
    pub host: Host,
}

/// Starts the service on `bus`.
pub async fn start(config: GifticonConfig, bus: Arc<dyn Bus>) -> anyhow::Result<Running> {
    let mut chassis = Chassis::open("gifticon", &config.host, store::schema(), bus).await?;
    let db = chassis.db().clone();
    let writer = chassis.writer(app::StockModel);
    chassis.relay();
    chassis.react(policy::ReturnStock, &writer);
    chassis.spawn("stock gauges", watch_stock(db.clone(), chassis.metrics()));
    let metrics = Arc::clone(chassis.metrics());
    chassis.serve(api::surface(), api::routes(api::Api { db, writer, metrics }))
}

/// Time between two readings of the stock for its gauges.
const GAUGE_INTERVAL: Duration = Duration::from_secs(5);

/// Sets the gauges of the stock, for ever.
fn watch_stock(db: Db, metrics: &Metrics) -> impl Future<Output = ()> + use<> {
    let (available, held) = (Gauge::<i64>::default(), Gauge::<i64>::default());
    metrics.register(
        "stock_available_units",
        "Units left to sell, of all gifticons",
        available.clone(),
    );
    metrics.register("stock_held_units", "Units that carts hold", held.clone());
    async move {
        db.ready().await;
        loop {
            if let Ok(units) = store::units(&db).await {
                available.set(units.0);
                held.set(units.1);
            }
            tokio::time::sleep(GAUGE_INTERVAL).await;
        }
    }
}
