//! Customers who add, read and cancel carts.

use crate::ledger::Ledger;
use crate::{Dice, ShopClient};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Customers who shop at the same time.
pub struct Customers {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Customers {
    /// Starts `count` customers, who shop until they are stopped. Their idempotency keys begin with `name`.
    pub fn start(
        web: &ShopClient,
        ledger: &Arc<Ledger>,
        count: u64,
        gifticons: u64,
        name: &str,
        seed: u64,
    ) -> Self {
        Self::start_each(|_| web.clone(), ledger, count, gifticons, name, seed)
    }

    /// Starts customers as [`Self::start`] does, each with the client that `web` returns for their number.
    pub fn start_each(
        web: impl Fn(u64) -> ShopClient,
        ledger: &Arc<Ledger>,
        count: u64,
        gifticons: u64,
        name: &str,
        seed: u64,
    ) -> Self {
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for customer in 0..count {
            let (web, ledger) = (web(customer), Arc::clone(ledger));
            let (dice, name) = (Dice::new(seed + customer), format!("{name}-{customer}"));
            tasks.spawn(run(web, ledger, dice, name, gifticons, stop.clone()));
        }
        Self { stop, tasks }
    }

    /// Stops them. Each one waits for the answer to its last request.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }
}

/// Adds, reads and cancels carts of the gifticons 1 to `gifticons`, with and without `Idempotency-Key`, and tries to read those
/// of others, until `stop` is cancelled.
async fn run(
    web: ShopClient,
    ledger: Arc<Ledger>,
    mut dice: Dice,
    name: String,
    gifticons: u64,
    stop: CancellationToken,
) {
    let mut carts = Vec::new();
    for step in 0.. {
        if stop.is_cancelled() {
            return;
        }
        let chance = dice.roll(10);
        if carts.is_empty() || chance < 6 {
            let key = (dice.roll(2) == 0).then(|| format!("{name}-{step}"));
            let (gifticon, quantity) = (dice.roll(gifticons) + 1, dice.roll(5) + 1);
            let (gifticon, quantity) = (gifticon.cast_signed(), quantity.cast_signed());
            carts.extend(ledger.add(&web, gifticon, quantity, key.as_deref()).await);
        } else if chance < 8 {
            ledger.read_cart(&web, *dice.pick(&carts)).await;
            ledger.read_cart_of_another(&web).await;
        } else {
            let cart = *dice.pick(&carts);
            carts.retain(|id| *id != cart);
            ledger.cancel(&web, cart).await;
        }
    }
}
