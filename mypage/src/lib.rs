//! The customer's page: a view of everything that happened to a cart, built from events alone.
//!
//! It calls no other service, so that customers can look while everything else is down. Each event is a fact that is folded
//! into one row for each cart (`projection.rs`), with the same result in whatever order the events come.

pub mod api;
pub mod app;
pub mod live;
pub mod policy;
pub mod projection;
pub mod rebuild;
pub mod store;

use chassis::base::config::{ClientStreams, Host, StreamsLimit};
use chassis::base::metrics::Counter;
use chassis::bus::Bus;
use chassis::http::event_stream::Streams;
use chassis::{Chassis, Running};
use std::sync::Arc;

/// What `--help` says of this service.
pub const ABOUT: &str = "The view of everything a customer of the gifticon shop did";

/// The settings of this service.
#[derive(Clone, Debug, clap::Args)]
pub struct MypageConfig {
    #[command(flatten)]
    pub host: Host,

    #[command(flatten)]
    pub streams: StreamsLimit,

    #[command(flatten)]
    pub client_streams: ClientStreams,
}

/// Starts the service on `bus`.
pub async fn start(config: MypageConfig, bus: Arc<dyn Bus>) -> anyhow::Result<Running> {
    let mut chassis = Chassis::open("mypage", &config.host, store::schema(), bus).await?;
    let db = chassis.db().clone();
    let writer = chassis.writer(app::ViewModel);
    chassis.react(policy::Project, &writer);
    let rebuild = rebuild::Rebuild::new(chassis.replays(), writer, chassis.audit());
    chassis.manage(&["/admin/rebuild"], api::management(rebuild));
    let slow = Counter::default();
    chassis.metrics().register(
        "event_streams_slow",
        "Event streams ended since their client was too slow",
        slow.clone(),
    );
    let max_of_client = config.client_streams.max(!config.host.auth.is_open());
    let metrics = chassis.metrics();
    let streams = Streams::new(config.streams, metrics);
    let replicas = max_of_client.map(|_| chassis.replicas()).unwrap_or_default();
    let streams = streams.with_max_of_client(max_of_client, replicas, metrics);
    let api = api::Api {
        streams,
        views: live::views::ViewFeed::new(db.clone(), api::streamed, slow.clone()),
        events: live::events::EventFeed::new(Arc::clone(chassis.bus()), slow),
        db,
    };
    chassis.spawn("views", Arc::clone(&api.views).run());
    chassis.spawn("events", Arc::clone(&api.events).run());
    chassis.serve(api::surface(), api::routes(api))
}
