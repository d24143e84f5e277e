//! The writes of the chassis itself. They go through the service's writer like all others, in its next transaction.

use crate::base::clock::now;
use crate::mailbox::audit;
use crate::mailbox::message::OUTBOX_PLACE;
use crate::mailbox::outbox::{self, OutboxEvent};
use crate::mailbox::retention::{PieceSize, RETENTION_LEASE, RetentionRule, expire};
use crate::model::AuditedChange;
use crate::storage::rows::run_on_each;
use crate::storage::{Statement, Tx, count_minute};
use common_events::Owner;
use serde_json::json;
use serde_json::value::RawValue;
use sqlx::{Row, query};
use tokio::sync::{mpsc, oneshot};

/// One write of the chassis itself.
#[derive(Clone, Debug)]
pub(crate) enum HousekeepingCommand {
    /// Deletes these rows of the outbox, which the broker has, and parks the events that it refused. Only for the holder of
    /// the relay's lease.
    Sent { seqs: Vec<i64>, refused: Vec<RefusedEvent>, epoch: i64 },
    /// Moves a refused event from the dead-letter table (`parked`) back to the outbox.
    SendAgain { parked: i64 },
    /// Deletes a parked event, and tells the audit log if somebody gave it up.
    Discard { parked: i64, given_up: Option<GivenUp> },
    /// Adds what somebody is about to do to the audit log. Returns 1.
    Record { actor: Owner, change: AuditedChange },
    /// Takes or renews a lease that was renewed `renewals` times. Returns its epoch, or 0 if another replica was faster.
    Lease { name: &'static str, holder: String, renewals: i64 },
    /// Counts a minute of running time. Only for the holder of the lease of retention.
    CountMinute { epoch: i64 },
    /// Deletes some of the rows that were written before the minute `before`. Returns how many.
    Expire { rule: RetentionRule, before: i64, size: PieceSize },
}

/// An event that the broker refused for good.
#[derive(Clone, Debug)]
pub(crate) struct RefusedEvent {
    pub(crate) event: OutboxEvent,
    /// When the event happened, in milliseconds since 1970.
    pub(crate) at: i64,
    pub(crate) reason: String,
}

/// Who gave a parked event up, and why.
#[derive(Clone, Debug)]
pub(crate) struct GivenUp {
    pub(crate) actor: Owner,
    pub(crate) reason: String,
}

/// The name of the relay's lease.
pub(crate) const RELAY_LEASE: &str = "relay";

impl HousekeepingCommand {
    /// Carries the command out. Returns how many rows it changed, unless its variant documents another result.
    pub(crate) async fn run(&self, tx: &mut Tx<'_>) -> anyhow::Result<i64> {
        let changed = match self {
            Self::Sent { seqs, refused, epoch } => {
                if !refused.is_empty() {
                    let held = query("select 1 from leases where name = $1 and epoch = $2");
                    if held
                        .bind(RELAY_LEASE)
                        .bind(*epoch)
                        .fetch_optional(&mut **tx)
                        .await?
                        .is_none()
                    {
                        return Ok(0);
                    }
                }
                for refused in refused {
                    park(tx, refused).await?;
                }
                // By number, and not up to the last one: on Postgres a row of another replica with a lower number may have
                // become visible since, which was not sent.
                run_on_each(tx, seqs, |in_ids| {
                    let delete = format!(
                        "delete from outbox where seq {in_ids} and exists \
                         (select 1 from leases where name = $2 and epoch = $3)"
                    );
                    Statement::new(delete).text(RELAY_LEASE).number(*epoch)
                })?;
                return Ok(i64::try_from(seqs.len())?);
            }
            Self::SendAgain { parked } => {
                send_again(tx, *parked).await?;
                query("delete from parked where id = $1").bind(*parked).execute(&mut **tx).await?
            }
            Self::Record { actor, change } => {
                audit::append(tx, Some(actor), change);
                return Ok(1);
            }
            Self::Discard { parked, given_up } => {
                if let Some(given_up) = given_up {
                    record_given_up(tx, *parked, given_up).await?;
                }
                query("delete from parked where id = $1").bind(*parked).execute(&mut **tx).await?
            }
            Self::Expire { rule, before, size } => return expire(tx, *rule, *before, size).await,
            Self::CountMinute { epoch } => {
                return Ok(i64::try_from(count_minute(tx, RETENTION_LEASE, *epoch).await?)?);
            }
            Self::Lease { name, holder, renewals } => {
                return lease(tx, name, holder, *renewals).await;
            }
        };
        Ok(i64::try_from(changed.rows_affected())?)
    }
}

/// Parks an event that the broker refused, once however often it is refused.
async fn park(
    tx: &mut Tx<'_>,
    RefusedEvent { event, at, reason }: &RefusedEvent,
) -> sqlx::Result<()> {
    query(
        "insert into parked \
         (event_id, event_type, key, place, payload, traceparent, at, reason, parked_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (event_id, digest) do nothing",
    )
    .bind(event.id.as_str())
    .bind(event.event_type.as_str())
    .bind(event.key.as_str())
    .bind(OUTBOX_PLACE)
    .bind(event.payload.get().as_bytes())
    .bind(event.traceparent.as_deref())
    .bind(*at)
    .bind(reason.as_str())
    .bind(now())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Tells the audit log of a parked event that is given up, unless it is gone.
async fn record_given_up(tx: &mut Tx<'_>, parked: i64, given_up: &GivenUp) -> anyhow::Result<()> {
    let row = query("select event_id, key, place, payload from parked where id = $1");
    let Some(row) = row.bind(parked).fetch_optional(&mut **tx).await? else { return Ok(()) };
    let payload = row.try_get::<Vec<u8>, _>(3)?;
    let change = AuditedChange {
        action: "discard",
        subject: format!("parked event {parked}"),
        before: json!({
            "eventId": row.try_get::<String, _>(0)?,
            "key": row.try_get::<Option<String>, _>(1)?,
            "place": row.try_get::<String, _>(2)?,
            "payload": String::from_utf8_lossy(&payload),
        }),
        after: json!({ "reason": given_up.reason }),
    };
    audit::append(tx, Some(&given_up.actor), &change);
    Ok(())
}

async fn send_again(tx: &mut Tx<'_>, parked: i64) -> anyhow::Result<()> {
    let row = query(
        "select event_id, event_type, key, payload, traceparent, at from parked \
         where id = $1 and place = $2",
    );
    let Some(row) = row.bind(parked).bind(OUTBOX_PLACE).fetch_optional(&mut **tx).await? else {
        return Ok(());
    };
    let payload = String::from_utf8(row.try_get::<Vec<u8>, _>(3)?)?;
    let event = OutboxEvent {
        id: row.try_get(0)?,
        event_type: row.try_get(1)?,
        key: row.try_get(2)?,
        traceparent: row.try_get(4)?,
        payload: RawValue::from_string(payload)?,
    };
    outbox::insert(tx, row.try_get(5)?, &[event])
}

async fn lease(tx: &mut Tx<'_>, name: &str, holder: &str, renewals: i64) -> anyhow::Result<i64> {
    // A new holder begins a new epoch. Of two replicas that read the same `renewals`, one succeeds.
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

/// A command, and the channel for its result.
pub(crate) type HousekeepingJob = (HousekeepingCommand, oneshot::Sender<anyhow::Result<i64>>);

/// Sends housekeeping commands to the service's writer.
#[derive(Clone, Debug)]
pub(crate) struct Housekeeper(pub(crate) mpsc::Sender<HousekeepingJob>);

impl Housekeeper {
    /// Has the writer carry out a command in its next transaction, and returns its result.
    pub(crate) async fn execute(&self, command: HousekeepingCommand) -> anyhow::Result<i64> {
        let (sender, result) = oneshot::channel();
        self.0
            .send((command, sender))
            .await
            .map_err(|_| anyhow::anyhow!("the writer has stopped"))?;
        result.await?
    }
}
