//! Who takes the money, and the worker that asks.

use crate::app::PaymentDomain;
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
use tokio::sync::watch;
use tracing::warn;

/// Payments a round, and questions at once.
const BATCH: i64 = 500;
const AT_ONCE: usize = 16;
/// How often to look without being woken.
const LOOK: Duration = Duration::from_millis(500);

/// A payment provider.
///
/// Both calls are idempotent by cart: the worker asks again where an answer was lost, and a crash may
/// come between the answer and its being written down.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Takes `amount` won for a cart.
    async fn approve(&self, cart_id: CartId, amount: i64) -> anyhow::Result<Verdict>;

    /// Gives back what was taken for a cart, if anything, and takes nothing for it any more.
    async fn cancel(&self, cart_id: CartId) -> anyhow::Result<()>;
}

/// The built-in provider: takes whatever is not above its limit.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Won; none takes everything, as the original did.
    pub limit: Option<i64>,
}

impl Builtin {
    /// What it says to `amount` won.
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
    async fn approve(&self, _: CartId, amount: i64) -> anyhow::Result<Verdict> {
        Ok(self.verdict(amount))
    }

    async fn cancel(&self, _: CartId) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Asks the provider whatever there is to ask, for ever. The question is durable before it is asked,
/// and no transaction is open meanwhile. One replica at a time does it.
///
/// `committed` wakes it; where that is none, it looks for what is left over only.
pub async fn run(
    db: Db,
    writer: Writer<PaymentDomain>,
    provider: Arc<dyn Provider>,
    mut lease: Lease,
    mut committed: Option<watch::Receiver<u64>>,
) {
    db.ready().await;
    loop {
        match &mut committed {
            Some(committed) => drop(tokio::time::timeout(LOOK, committed.changed()).await),
            None => tokio::time::sleep(LOOK).await,
        }
        loop {
            if let Some(committed) = &mut committed {
                committed.mark_unchanged();
            }
            match round(&db, &writer, provider.as_ref(), &mut lease).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    log_failure(&error, "payments cannot be decided; trying again shortly");
                    tokio::time::sleep(LOOK).await;
                    break;
                }
            }
        }
    }
}

async fn round(
    db: &Db,
    writer: &Writer<PaymentDomain>,
    provider: &dyn Provider,
    lease: &mut Lease,
) -> anyhow::Result<usize> {
    let to_do = store::to_do(db, BATCH).await?;
    if to_do.is_empty() || lease.hold().await.is_none() {
        return Ok(0);
    }
    let questions = to_do.len();
    let asked = stream::iter(to_do)
        .map(|payment| async move { ask(provider, &payment).await })
        .buffered(AT_ONCE);
    let answers: Vec<Option<Answered>> = asked.collect().await;
    let answers: Vec<Answered> = answers.into_iter().flatten().collect();
    let count = answers.len();
    anyhow::ensure!(count > 0, "the provider answered none of {questions} questions");
    for outcome in writer.execute_all(answers).await {
        outcome?;
    }
    Ok(count)
}

/// What follows from an answer, and the purchase that it is part of.
type Answered = (Command, Option<Trace>);

/// Asks one question; none where there is no answer, which is tried again.
async fn ask(provider: &dyn Provider, payment: &Payment) -> Option<Answered> {
    let cart_id = payment.cart_id;
    let answer = match payment.to_do()? {
        Ask::Approve { amount } => {
            let verdict = provider.approve(cart_id, amount).await;
            verdict.map(|verdict| Command::Decide { cart_id, verdict })
        }
        Ask::Cancel => provider.cancel(cart_id).await.map(|()| Command::GivenBack { cart_id }),
    };
    match answer {
        Ok(command) => Some((command, payment.trace.as_deref().and_then(Trace::parse))),
        Err(error) => {
            warn!(cart.id = %cart_id, error = format!("{error:#}"), "the provider did not answer");
            None
        }
    }
}
