//! Customers who add and cancel carts.

use crate::ledger::Ledger;
use crate::{Dice, Web};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Adds, looks at and cancels carts of the gifticons 1 to `gifticons`, with and without
/// `Idempotency-Key`, until it is `over`.
pub async fn shop(
    web: Web,
    ledger: Arc<Ledger>,
    mut dice: Dice,
    name: String,
    gifticons: u64,
    over: CancellationToken,
) {
    let mut mine = Vec::new();
    for step in 0.. {
        if over.is_cancelled() {
            return;
        }
        let chance = dice.roll(10);
        if mine.is_empty() || chance < 6 {
            let key = (dice.roll(2) == 0).then(|| format!("{name}-{step}"));
            let (gifticon, quantity) = (dice.roll(gifticons) + 1, dice.roll(5) + 1);
            let (gifticon, quantity) = (gifticon.cast_signed(), quantity.cast_signed());
            mine.extend(ledger.add(&web, gifticon, quantity, key.as_deref()).await);
        } else if chance < 8 {
            ledger.look(&web, *dice.pick(&mine)).await;
        } else {
            let one = *dice.pick(&mine);
            mine.retain(|id| *id != one);
            ledger.cancel(&web, one).await;
        }
    }
}
