//! Callers who go away while their attempt waits for the writer, or for gifticon, leave nothing behind.

use crate::common::{Does, Gifticon, release, reserve};
use axum::Router;
use axum::routing::put;
use cart::app::{CartRequest, CartsApp};
use cart::blocks::Blocks;
use cart::model::CartModel;
use cart::stock::HttpStock;
use cart::store;
use chassis::base::metrics::Counter;
use chassis::base::span::Tracer;
use chassis::http::Surface;
use chassis::http::breaker::Breaker;
use chassis::testing::{TestDb, TestLog, eventually, peer};
use chassis::{Chassis, Running};
use common_events::{GifticonId, Owner};
use futures_util::future::join_all;
use sqlx::{AnyConnection, Connection, Executor, Row};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long the file stays locked after the next tries, as by a pause of the disk.
const LOCK_DURATION: Duration = Duration::from_millis(100);

/// The use cases without HTTP in front of them: a connection that is closed is told from one that is half closed only
/// after a while.
pub(crate) struct Carts {
    pub(crate) app: Arc<CartsApp>,
    pub(crate) gifticon: Gifticon,
    pub(crate) db: TestDb,
    pub(crate) running: Running,
    pub(crate) log: TestLog,
}

impl Carts {
    pub(crate) async fn start() -> Self {
        let (gifticon, log, db) = (Gifticon::new(), TestLog::open().await, TestDb::sqlite());
        let routes = Router::new().route("/reservations/{id}", put(reserve).delete(release));
        let url = peer(routes.with_state(gifticon.clone()));
        let bus = Arc::new(log.log.clone());
        let mut chassis = Chassis::open("cart", &db.host(), store::schema(), bus).await.unwrap();
        let tables = chassis.db().clone();
        let writer = chassis.writer(CartModel);
        let breaker = Breaker::new("gifticon", Duration::from_secs(5), chassis.metrics());
        let stock =
            HttpStock::new(chassis::http::client::new().unwrap(), url, breaker, Tracer::default());
        let blocks = Blocks::start(&chassis, writer.clone());
        let sold_out = Counter::default();
        let app = Arc::new(CartsApp { db: tables, writer, blocks, stock, sold_out });
        app.db.ready().await;
        let running = chassis.serve(Surface::default(), Router::new()).unwrap();
        Self { app, gifticon, db, running, log }
    }

    /// Keeps the writer from the file.
    pub(crate) async fn lock(&self) -> AnyConnection {
        let mut connection = AnyConnection::connect(self.db.url.as_str()).await.unwrap();
        connection.execute("begin immediate").await.unwrap();
        connection
    }

    /// A caller who goes away after 200 ms, well within the patience.
    async fn goes(&self, key: Option<&str>) {
        let gone = timeout(Duration::from_millis(200), self.app.add(request(key))).await;
        assert!(gone.is_err(), "it was answered: {gone:?}");
    }

    /// Expects that nothing is there but one cart, and that gifticon was asked for no other.
    async fn has_one_cart(self, mut connection: AnyConnection) {
        // The writer takes attempts in their order, so one of those who have gone would be there by now, or have asked gifticon.
        let left = "select (select count(*) from carts), (select count(*) from intents)";
        let left = sqlx::query(left).fetch_one(&mut connection).await.unwrap();
        assert_eq!((left.get::<i64, _>(0), left.get::<i64, _>(1)), (1, 0));
        assert_eq!(self.gifticon.asked(), 1, "gifticon was asked for somebody who had gone");
        self.running.stop(Duration::from_secs(5)).await;
        let blocks = sqlx::query("select count(*) from attempt_blocks");
        let blocks: i64 = blocks.fetch_one(&mut connection).await.unwrap().get(0);
        assert_eq!(blocks, 0, "a drain leaves no block");
    }
}

fn request(key: Option<&str>) -> CartRequest {
    let (owner, key) = (Owner::GUEST, key.map(Into::into));
    CartRequest { owner, gifticon_id: GifticonId(1), quantity: 1, key }
}

#[tokio::test]
async fn those_who_go_away_before_their_attempt_is_taken_reserve_nothing() {
    let carts = Carts::start().await;
    let mut locked = carts.lock().await;
    join_all((0..200).map(|_| carts.goes(None))).await;
    locked.execute("rollback").await.unwrap();
    carts.app.add(request(None)).await.unwrap();
    carts.has_one_cart(locked).await;
}

#[tokio::test]
async fn a_key_whose_first_request_was_withdrawn_is_free_for_the_next_try() {
    let carts = Carts::start().await;
    let mut locked = carts.lock().await;
    carts.goes(Some("k")).await;
    let again = async {
        let (first, second) =
            tokio::join!(carts.app.add(request(Some("k"))), carts.app.add(request(Some("k"))));
        assert_eq!(first.unwrap(), second.unwrap(), "one key, one cart");
    };
    let unlocks = async {
        tokio::time::sleep(LOCK_DURATION).await;
        locked.execute("rollback").await.unwrap();
    };
    tokio::join!(again, unlocks);
    carts.has_one_cart(locked).await;
}

#[tokio::test]
async fn a_customer_who_went_away_gets_no_cart_when_gifticon_answers_at_last() {
    let carts = Carts::start().await;
    carts.gifticon.does(Does::Waits);
    {
        let added = carts.app.add(request(None));
        let asked = eventually("gifticon to be asked", async || {
            (carts.gifticon.asked() == 1).then_some(())
        });
        tokio::select! {
            added = added => panic!("it was answered: {added:?}"),
            () = asked => {}
        }
    }
    carts.gifticon.1.notify_one();
    let mut connection = AnyConnection::connect(carts.db.url.as_str()).await.unwrap();
    let counts = "select (select count(*) from carts), \
                  (select count(*) from intents where status = 'Abandoned')";
    eventually("the attempt to be given up for the sweeper, and no cart", async || {
        let counts = sqlx::query(counts).fetch_one(&mut connection).await.unwrap();
        ((counts.get::<i64, _>(0), counts.get::<i64, _>(1)) == (0, 1)).then_some(())
    })
    .await;
    carts.running.stop(Duration::from_secs(5)).await;
}
