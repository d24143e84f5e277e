//! A shop that is open: the cluster, its customers, and the audit.

use crate::cluster::{ALL, Cluster};
use crate::ledger::{Ledger, Settled};
use crate::{Dice, Web, customers, inside};
use anyhow::{bail, ensure};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long the services may take to find their databases.
const OPENS: Duration = Duration::from_mins(1);
/// Between two looks at whether all has settled.
const LOOK: Duration = Duration::from_millis(100);
/// Lines of each log that a failure tells.
const LAST_LINES: usize = 8;
/// How often to say what is being waited for.
const SAY: Duration = Duration::from_secs(2);

/// An open shop.
pub struct Shop {
    pub cluster: Cluster,
    pub ledger: Arc<Ledger>,
    /// The way in.
    pub web: Web,
    settled: Settled,
    /// How long it may take to settle.
    within: Duration,
}

impl Shop {
    /// Opens it, with nothing on sale: waits until every replica is ready. It is to settle `within` a time.
    pub async fn open(cluster: Cluster, within: Duration) -> anyhow::Result<Self> {
        let until = Instant::now() + OPENS;
        for replica in ALL.into_iter().flat_map(|service| cluster.webs(service)) {
            while !replica.is_ready().await {
                ensure!(Instant::now() < until, "{} never was ready", replica.base);
                sleep(LOOK).await;
            }
        }
        let (web, ledger) = (cluster.web(), Arc::new(Ledger::default()));
        Ok(Self { cluster, ledger, web, settled: Settled::default(), within })
    }

    /// Puts two gifticons on sale that last, and `scarce` units of the one between them.
    pub async fn stock_up(&self, scarce: i64) -> anyhow::Result<()> {
        for (gifticon_id, units) in [(1, 100_000_000), (2, scarce), (3, 100_000_000)] {
            let sold = self.web.try_register(gifticon_id, units, 5_000).await;
            ensure!(sold, "gifticon {gifticon_id} cannot be put on sale");
            self.ledger.put(gifticon_id, units);
        }
        Ok(())
    }

    /// Lets customers in, who shop until they are told to go. `name` goes into their keys.
    pub fn crowd(&self, customers: u64, name: &str, seed: u64) -> Crowd {
        let (over, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for customer in 0..customers {
            let (web, ledger) = (self.web.clone(), Arc::clone(&self.ledger));
            let (dice, name) = (Dice::new(seed + customer), format!("{name}-{customer}"));
            tasks.spawn(customers::shop(web, ledger, dice, name, 3, over.clone()));
        }
        Crowd { over, tasks }
    }

    /// Asks again under every key, waits until all agrees, from outside and from inside, and answers how
    /// long that took. What an earlier call found in order is not looked at again.
    pub async fn settles(&mut self) -> anyhow::Result<Duration> {
        self.ledger.ask_again(&self.web).await;
        let (started, mut said) = (Instant::now(), Duration::ZERO);
        loop {
            let outcome = match self.ledger.check_since(&self.web, &self.settled).await {
                Ok(settled) => inside::check(&self.cluster.servers).await.map(|()| settled),
                Err(why) => Err(why),
            };
            match outcome {
                Ok(settled) => {
                    self.settled = settled;
                    return Ok(started.elapsed());
                }
                Err(why) if started.elapsed() > self.within => {
                    self.tell(&why).await;
                    bail!("not settled in {:?}: {why}", self.within);
                }
                Err(why) => {
                    if started.elapsed() > said + SAY {
                        said = started.elapsed();
                        eprintln!("not settled after {said:.1?}: {why}");
                    }
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// The last audit: everything from the beginning, and the whole topic.
    pub async fn audit(&self) -> anyhow::Result<inside::Topic> {
        if let Err(why) = self.ledger.check(&self.web).await {
            self.tell(&why).await;
            bail!("{why}");
        }
        inside::topic(&self.cluster.servers).await
    }

    /// How many requests were made, or which was not answered as it should be.
    pub async fn requests_all_answered(&self) -> anyhow::Result<u64> {
        let requests = self.ledger.requests_all_answered();
        if let Err(why) = &requests {
            self.tell(&format!("{why:#}")).await;
        }
        requests
    }

    /// Prints all that is known of the cart that `why` names, and the last lines of every log.
    async fn tell(&self, why: &str) {
        let number = |word: &str| word.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok();
        let cart = why.split("cart ").nth(1).and_then(|rest| rest.split(' ').next());
        if let Some(cart) = cart.and_then(number) {
            match inside::history(&self.cluster.servers, cart).await {
                Ok(told) => eprintln!("{told}"),
                Err(error) => eprintln!("the history of cart {cart} cannot be read: {error:#}"),
            }
        }
        for log in self.cluster.servers.logs() {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
            eprintln!("--- {}\n{last}", log.display());
        }
    }
}

/// Customers who shop.
pub struct Crowd {
    over: CancellationToken,
    tasks: JoinSet<()>,
}

impl Crowd {
    /// Sends them home when they have their answers.
    pub async fn goes(self) {
        self.over.cancel();
        self.tasks.join_all().await;
    }
}
