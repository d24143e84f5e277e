//! The payment provider, and the worker that asks it.

use crate::app::PaymentModel;
use crate::domain::{Ask, Command, Payment, Verdict};
use crate::store;
use async_trait::async_trait;
use chassis::base::trace::Trace;
use chassis::storage::{Db, log_failure};
use chassis::workers::Lease;
use chassis::writer::Writer;
use common_events::CartId;
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tracing::warn;

/// Payments that one round of the worker asks about, at most.
const ROUND_MAX: i64 = 500;
/// Calls of the provider at the same time, at most.
const CONCURRENT_CALLS_MAX: usize = 16;
/// How long the worker waits between two looks at the table when it finds nothing to do.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A payment provider.
///
/// Both calls must be idempotent by cart: the worker asks again when an answer is lost, and a crash may come between the
/// answer and its commit.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Returns the built-in provider if this is it: its verdict is written together with the request, and the worker finds
    /// nothing to ask it.
    fn builtin(&self) -> Option<Builtin> {
        None
    }

    /// Takes `amount` won for a cart. Returns the verdict.
    async fn approve(&self, cart_id: CartId, amount: i64) -> anyhow::Result<Verdict>;

    /// Gives back what was taken for a cart, if anything. From then on takes nothing for that cart.
    async fn cancel(&self, cart_id: CartId) -> anyhow::Result<()>;
}

/// The built-in provider. It approves every amount that is not above its limit.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Won. `None` approves everything, as the original did.
    pub limit: Option<i64>,
}

impl Builtin {
    /// Returns the verdict on `amount` won.
    pub fn verdict(&self, amount: i64) -> Verdict {
        match self.limit {
            Some(limit) if amount > limit => Verdict::Declined {
                reason: format!("{amount} won is over the limit of {limit} won"),
            },
            Some(_) | None => Verdict::Approved,
        }
    }
}

#[async_trait]
impl Provider for Builtin {
    fn builtin(&self) -> Option<Builtin> {
        Some(*self)
    }

    async fn approve(&self, _: CartId, amount: i64) -> anyhow::Result<Verdict> {
        Ok(self.verdict(amount))
    }

    async fn cancel(&self, _: CartId) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Asks the provider about the payments in the table, for ever. A request is committed before the provider is asked, and no
/// transaction is open meanwhile. One replica at a time does this.
pub async fn run(
    db: Db,
    writer: Writer<PaymentModel>,
    provider: Arc<dyn Provider>,
    mut lease: Lease,
) {
    db.ready().await;
    loop {
        match round(&db, &writer, provider.as_ref(), &mut lease).await {
            Ok(0) => sleep(POLL_INTERVAL).await,
            Ok(_) => {}
            Err(error) => {
                log_failure(&error, "payments cannot be decided; trying again shortly");
                sleep(POLL_INTERVAL).await;
            }
        }
    }
}

/// Asks the provider about some payments, and writes down the verdicts. Returns how many it answered.
async fn round(
    db: &Db,
    writer: &Writer<PaymentModel>,
    provider: &dyn Provider,
    lease: &mut Lease,
) -> anyhow::Result<usize> {
    let to_do = store::to_do(db, ROUND_MAX).await?;
    if to_do.is_empty() || lease.hold().await.is_none() {
        return Ok(0);
    }
    let calls = to_do.len();
    let commands: Vec<Option<TracedCommand>> = stream::iter(to_do)
        .map(|payment| async move { ask(provider, &payment).await })
        .buffered(CONCURRENT_CALLS_MAX)
        .collect()
        .await;
    let commands: Vec<TracedCommand> = commands.into_iter().flatten().collect();
    let answered = commands.len();
    anyhow::ensure!(answered > 0, "the provider answered none of {calls} questions");
    for outcome in writer.execute_all(commands).await {
        outcome?;
    }
    Ok(answered)
}

/// A command that follows from an answer, and the trace of its purchase.
type TracedCommand = (Command, Option<Trace>);

/// Asks the provider about one payment. Returns `None` when it does not answer; the next round asks again.
async fn ask(provider: &dyn Provider, payment: &Payment) -> Option<TracedCommand> {
    let cart_id = payment.cart_id;
    let command = match payment.to_do()? {
        Ask::Approve { amount } => {
            let verdict = provider.approve(cart_id, amount).await;
            verdict.map(|verdict| Command::Decide { cart_id, verdict })
        }
        Ask::Cancel => provider.cancel(cart_id).await.map(|()| Command::GivenBack { cart_id }),
    };
    match command {
        Ok(command) => Some((command, payment.trace.as_deref().and_then(Trace::parse))),
        Err(error) => {
            warn!(cart.id = %cart_id, error = format!("{error:#}"), "the provider did not answer");
            None
        }
    }
}
