//! Writes of the plumbing itself. They go through the service's writer like all others, and ride in
//! its next transaction.

use crate::base::clock::now;
use crate::mailbox::message::OUTBOX;
use crate::mailbox::outbox::{self, Outgoing};
use crate::mailbox::retention::{PieceSize, RETENTION, RetentionRule, expire};
use crate::storage::Tx;
use crate::storage::count_minute;
use crate::storage::rows::of_each;
use serde_json::value::RawValue;
use sqlx::{Row, query};
use tokio::sync::{mpsc, oneshot};

/// One write of the plumbing.
#[derive(Clone, Debug)]
pub(crate) enum HousekeepingCommand {
    /// The broker has these rows of the outbox, but for what it will never take. Only the holder of the relay's
    /// lease may say so.
    Sent { seqs: Vec<i64>, refused: Vec<Refused>, epoch: i64 },
    /// A refused row goes back to the outbox.
    SendAgain { parked: i64 },
    /// An operator gives an event up.
    Discard { parked: i64 },
    /// Takes or renews a lease that was renewed `renewals` times; returns its epoch, or 0 where another was faster.
    Lease { name: &'static str, holder: String, renewals: i64 },
    /// The service has run for a minute more. Only the holder of the retention lease may say so.
    CountMinute { epoch: i64 },
    /// Deletes some of the rows that were written before the minute `before`.
    Expire { rule: RetentionRule, before: i64, size: PieceSize },
}

/// An event that the broker will never take.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) event: Outgoing,
    /// When it happened, in milliseconds since 1970.
    pub(crate) at: i64,
    pub(crate) reason: String,
}

/// The relay's lease.
pub(crate) const RELAY: &str = "relay";

impl HousekeepingCommand {
    /// Does it, and answers how many rows it changed, or what its variant says.
    pub(crate) async fn run(&self, tx: &mut Tx<'_>) -> anyhow::Result<i64> {
        let changed = match self {
            Self::Sent { seqs, refused, epoch } => {
                if !refused.is_empty() {
                    let held = query("select 1 from leases where name = $1 and epoch = $2");
                    if held.bind(RELAY).bind(*epoch).fetch_optional(&mut **tx).await?.is_none() {
                        return Ok(0);
                    }
                }
                for refused in refused {
                    park(tx, refused).await?;
                }
                // By name, not up to the last: on Postgres a row of another replica with a lower
                // number may have become visible since, and nobody has sent that one.
                let delete = of_each(tx, seqs, |among| {
                    format!(
                        "delete from outbox where seq {among} and exists \
                         (select 1 from leases where name = $2 and epoch = $3)"
                    )
                })?;
                tx.later(delete.text(RELAY).number(*epoch));
                return Ok(i64::try_from(seqs.len())?);
            }
            Self::SendAgain { parked } => {
                send_again(tx, *parked).await?;
                query("delete from parked where id = $1").bind(*parked).execute(&mut **tx).await?
            }
            Self::Discard { parked } => {
                query("delete from parked where id = $1").bind(*parked).execute(&mut **tx).await?
            }
            Self::Expire { rule, before, size } => return expire(tx, *rule, *before, size).await,
            Self::CountMinute { epoch } => {
                return Ok(i64::try_from(count_minute(tx, RETENTION, *epoch).await?)?);
            }
            Self::Lease { name, holder, renewals } => {
                return lease(tx, name, holder, *renewals).await;
            }
        };
        Ok(i64::try_from(changed.rows_affected())?)
    }
}

/// Parks what the broker refused, once however often it does.
async fn park(tx: &mut Tx<'_>, Refused { event, at, reason }: &Refused) -> sqlx::Result<()> {
    query(
        "insert into parked \
         (event_id, event_type, key, place, payload, traceparent, at, reason, parked_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (event_id, digest) do nothing",
    )
    .bind(event.id.as_str())
    .bind(event.event_type.as_str())
    .bind(event.key.as_str())
    .bind(OUTBOX)
    .bind(event.payload.get().as_bytes())
    .bind(event.traceparent.as_deref())
    .bind(*at)
    .bind(reason.as_str())
    .bind(now())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn send_again(tx: &mut Tx<'_>, parked: i64) -> anyhow::Result<()> {
    let row = query(
        "select event_id, event_type, key, payload, traceparent, at from parked \
         where id = $1 and place = $2",
    );
    let Some(row) = row.bind(parked).bind(OUTBOX).fetch_optional(&mut **tx).await? else {
        return Ok(());
    };
    let payload = String::from_utf8(row.try_get::<Vec<u8>, _>(3)?)?;
    let event = Outgoing {
        id: row.try_get(0)?,
        event_type: row.try_get(1)?,
        key: row.try_get(2)?,
        traceparent: row.try_get(4)?,
        payload: RawValue::from_string(payload)?,
    };
    outbox::insert(tx, row.try_get(5)?, &[event])
}

async fn lease(tx: &mut Tx<'_>, name: &str, holder: &str, renewals: i64) -> anyhow::Result<i64> {
    // A new holder begins a new epoch; the old one keeps its own. Of two that saw the same renewal, one gets it.
    let row = query(
        "insert into leases (name, holder, epoch, renewals) values ($1, $2, 1, 0) \
         on conflict (name) do update set \
           epoch = case when leases.holder = excluded.holder then leases.epoch else leases.epoch + 1 end, \
           holder = excluded.holder, renewals = leases.renewals + 1 \
         where leases.renewals = $3 \
         returning epoch",
    )
    .bind(name)
    .bind(holder)
    .bind(renewals)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map_or(Ok(0), |row| row.try_get(0))?)
}

/// A chore and where its number of rows goes.
pub(crate) type HousekeepingJob = (HousekeepingCommand, oneshot::Sender<anyhow::Result<i64>>);

/// The way of the plumbing to the service's writer.
#[derive(Clone, Debug)]
pub(crate) struct Housekeeper(pub(crate) mpsc::Sender<HousekeepingJob>);

impl Housekeeper {
    /// Has a chore done in the writer's next transaction.
    pub(crate) async fn execute(&self, chore: HousekeepingCommand) -> anyhow::Result<i64> {
        let (answer, answered) = oneshot::channel();
        self.0
            .send((chore, answer))
            .await
            .map_err(|_| anyhow::anyhow!("the writer has stopped"))?;
        answered.await?
    }
}
