//! A shop under test: the cluster, its customers, and the audit.

use crate::account::People;
use crate::cluster::Cluster;
use crate::customers::Customers;
use crate::ledger::{Checkpoint, Ledger};
use crate::{ShopClient, audit, owners};
use anyhow::{bail, ensure};
use gateway::services::{names, processes};
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Bound for all replicas to be ready.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// Interval between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Gifticons on sale, whose ids are 1 to this.
const GIFTICONS: u64 = 3;
/// The id of the gifticon that is scarce.
const SCARCE: i64 = 2;
/// Lines of each log that a failure prints.
const LOG_TAIL_LINES: usize = 8;
/// Interval between two lines that say what is waited for.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// A shop under test.
pub struct Shop {
    pub cluster: Cluster,
    pub ledger: Arc<Ledger>,
    /// The gateway, for who reads everything: the operator, or the guest where there is no issuer.
    pub web: ShopClient,
    pub people: People,
    checkpoint: Checkpoint,
    /// Bound for the shop to settle.
    settle_timeout: Duration,
}

impl Shop {
    /// Waits until every replica is ready, for these people. Nothing is on sale yet. Each call of [`Self::settle`] may take
    /// `settle_timeout`.
    pub async fn open(
        cluster: Cluster,
        people: People,
        settle_timeout: Duration,
    ) -> anyhow::Result<Self> {
        let until = Instant::now() + READY_TIMEOUT;
        for replica in processes().into_iter().flat_map(|service| cluster.clients(service)) {
            while !replica.is_ready().await {
                ensure!(
                    Instant::now() < until,
                    "{} was not ready within {READY_TIMEOUT:?}",
                    replica.base
                );
                sleep(POLL_INTERVAL).await;
            }
        }
        let (web, ledger) = (cluster.gateway().by(people.operator()), Arc::new(Ledger::default()));
        let checkpoint = Checkpoint::default();
        Ok(Self { cluster, ledger, web, people, checkpoint, settle_timeout })
    }

    /// Returns a client of the gateway for the customer of this number.
    pub fn customer(&self, number: u64) -> ShopClient {
        self.web.by(self.people.customer(number))
    }

    /// Registers three gifticons: two with plenty of stock, and one, with id 2, of `scarce` units, half of them by a restock.
    pub async fn stock_up(&self, scarce: i64) -> anyhow::Result<()> {
        let (web, restock) = (self.web.by(self.people.md()), scarce / 2);
        for (gifticon_id, units) in [(1, 100_000_000), (SCARCE, scarce - restock), (3, 100_000_000)]
        {
            let sold = web.try_register(gifticon_id, units, 5_000).await;
            ensure!(sold, "gifticon {gifticon_id} was not registered");
            self.ledger.register(gifticon_id, units);
        }
        let (path, body) = (format!("/gifticons/{SCARCE}"), json!({ "restock": restock }));
        let (status, body) = web.ask(Method::PATCH, &path, Some(body)).await?;
        ensure!(status == StatusCode::OK, "gifticon {SCARCE} was not restocked: {status} {body}");
        self.ledger.register(SCARCE, restock);
        Ok(())
    }

    /// Starts customers of all gifticons, who shop until they are stopped.
    pub fn start_customers(&self, customers: u64, name: &str, seed: u64) -> Customers {
        let web = |number| self.customer(number);
        Customers::start_each(web, &self.ledger, customers, GIFTICONS, name, seed)
    }

    /// Replays the idempotency keys, waits until the checks of the ledger, the databases and the consumer groups pass,
    /// and returns how long that took. What an earlier call found in order is not checked again.
    pub async fn settle(&mut self) -> anyhow::Result<Duration> {
        self.ledger.replay_keys(&self.web).await;
        let (started, mut reported) = (Instant::now(), Duration::ZERO);
        loop {
            let outcome = match self.ledger.check_since(&self.web, &self.checkpoint).await {
                Ok(checkpoint) => audit::check(&self.cluster.servers).await.map(|()| checkpoint),
                Err(why) => Err(why),
            };
            match outcome {
                Ok(checkpoint) => {
                    self.checkpoint = checkpoint;
                    return Ok(started.elapsed());
                }
                Err(why) if started.elapsed() > self.settle_timeout => {
                    self.print_diagnosis(&why).await;
                    bail!("not settled in {:?}: {why}", self.settle_timeout);
                }
                Err(why) => {
                    if started.elapsed() > reported + PROGRESS_INTERVAL {
                        reported = started.elapsed();
                        eprintln!("not settled after {reported:.1?}: {why}");
                    }
                    sleep(POLL_INTERVAL).await;
                }
            }
        }
    }

    /// Checks everything from the beginning, whose it is, and the whole topic.
    pub async fn audit(&self) -> anyhow::Result<audit::TopicSummary> {
        let promised = self.ledger.owners();
        let checks = async {
            // Who tries to change what belongs to others does so before the ledger is checked.
            if self.people.issuer().is_some() {
                owners::check_access(&self.web, &self.people).await?;
            }
            self.ledger.check(&self.web).await.map_err(anyhow::Error::msg)?;
            owners::check_databases(&self.cluster.servers, &promised).await?;
            self.check_management().await
        };
        if let Err(why) = checks.await {
            self.print_diagnosis(&format!("{why:#}")).await;
            return Err(why);
        }
        audit::read_topic(&self.cluster.servers, &promised).await
    }

    /// Checks that the operator reads at every replica that no event is parked.
    async fn check_management(&self) -> anyhow::Result<()> {
        for web in names().into_iter().flat_map(|name| self.cluster.management_clients(name)) {
            let web = web.by(self.people.operator());
            let (status, body) = web.ask(Method::GET, "/admin/parked", None).await?;
            let none = body.as_array().is_some_and(Vec::is_empty);
            ensure!(none, "{}/admin/parked answered {status}: {body}", web.base);
        }
        Ok(())
    }

    /// Returns the number of requests. Fails if one of them failed.
    pub async fn requests_all_answered(&self) -> anyhow::Result<u64> {
        let requests = self.ledger.requests_all_answered();
        if let Err(why) = &requests {
            self.print_diagnosis(&format!("{why:#}")).await;
        }
        requests
    }

    /// Prints the history of the cart that `why` names, and the last lines of every log.
    async fn print_diagnosis(&self, why: &str) {
        let number = |word: &str| word.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok();
        let cart = why.split("cart ").nth(1).and_then(|rest| rest.split(' ').next());
        if let Some(cart) = cart.and_then(number) {
            match audit::cart_history(&self.cluster.servers, cart).await {
                Ok(history) => eprintln!("{history}"),
                Err(error) => eprintln!("the history of cart {cart} cannot be read: {error:#}"),
            }
        }
        for log in self.cluster.servers.logs() {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
            eprintln!("--- {}\n{last}", log.display());
        }
    }
}
