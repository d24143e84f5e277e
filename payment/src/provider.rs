//! The payment provider, and the worker that asks it.

use crate::app::PaymentModel;
use crate::domain::{Ask, Command, Payment, Verdict};
use crate::store;
use async_trait::async_trait;
use chassis::base::span::{Span, SpanKind, Tracer, describe, link, trace_within};
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

/// A provider, and what records its calls.
pub struct TracedProvider {
    pub provider: Arc<dyn Provider>,
    pub tracer: Tracer,
}

impl TracedProvider {
    /// Asks about one payment. Returns `None` when the provider does not answer; the next round asks again.
    async fn ask(&self, payment: &Payment) -> Option<TracedCommand> {
        let (cart_id, asked) = (payment.cart_id, payment.to_do()?);
        let (trace, span) = self.span(payment, &asked);
        let command = match asked {
            Ask::Approve { amount } => {
                let verdict = self.provider.approve(cart_id, amount).await;
                verdict.map(|verdict| Command::Decide { cart_id, verdict })
            }
            Ask::Cancel => {
                let cancelled = self.provider.cancel(cart_id).await;
                cancelled.map(|()| Command::GivenBack { cart_id })
            }
        };
        match command {
            Ok(command) => Some((command, trace)),
            Err(error) => {
                if let Some(span) = span {
                    span.fail("the provider did not answer");
                }
                warn!(
                    trace.id = trace.map(|trace| display(trace.id())),
                    cart.id = %cart_id,
                    error = format!("{error:#}"),
                    "the provider did not answer"
                );
                None
            }
        }
    }

    /// Starts the span of a call. Returns the trace of what follows from it. A purchase may be cancelled after days, so that is
    /// a trace of its own, linked to the purchase.
    fn span(&self, payment: &Payment, asked: &Ask) -> (Option<Trace>, Option<Span>) {
        let purchase = payment.trace.as_deref().and_then(Trace::parse);
        let call = |name| {
            let cart = payment.cart_id.to_string();
            let attributes =
                [("peer.service", "provider".into()), ("gifticon.cart_id", cart.into())];
            describe(SpanKind::Client, name, attributes)
        };
        match (asked, purchase) {
            (Ask::Cancel, Some(purchase)) if self.tracer.is_on() => {
                let (trace, span) =
                    self.tracer.root(|_| call("provider cancel").with_links(vec![link(&purchase)]));
                (Some(trace), span)
            }
            (_, purchase) => {
                let span = self.tracer.child(purchase.as_ref(), |_| call("provider approve"));
                (trace_within(span.as_ref(), purchase), span)
            }
        }
    }
}

/// Asks the provider about the payments in the table, for ever. A request is committed before the provider is asked, and no
/// transaction is open meanwhile. One replica at a time does this.
pub async fn run(db: Db, writer: Writer<PaymentModel>, provider: TracedProvider, mut lease: Lease) {
    db.ready().await;
    loop {
        match round(&db, &writer, &provider, &mut lease).await {
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
    provider: &TracedProvider,
    lease: &mut Lease,
) -> anyhow::Result<usize> {
    let to_do = store::to_do(db, ROUND_MAX).await?;
    if to_do.is_empty() || lease.hold().await.is_none() {
        return Ok(0);
    }
    let calls = to_do.len();
    let commands: Vec<Option<TracedCommand>> = stream::iter(to_do)
        .map(|payment| async move { provider.ask(&payment).await })
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
