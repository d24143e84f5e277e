//! Reservations: one by one, and many in one call, as cart makes them for customers of the same moment.

use crate::api::problems::{refused, unexpected};
use crate::app::StockWriter;
use crate::domain::{Command, Refusal, Reply, Reservation};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{post, put};
use axum::{Json, Router};
use chassis::base::metrics::Metrics;
use chassis::base::problem::Problem;
use chassis::base::trace::{self, Trace};
use chassis::base::unavailable::Unavailable;
use chassis::http::{Body, Fields, Uuid, Validate};
use chassis::writer::CommandError;
use common_events::number::{self, GIFTICON_ID_MAX, RESERVATIONS_MAX, UNITS_MAX};
use common_events::{GifticonId, Owner, ReservationId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What handlers need.
pub(super) struct Reservations {
    pub(super) writer: StockWriter,
    pub(super) metrics: Arc<Metrics>,
}

/// Returns the routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(state: Reservations) -> Router<S> {
    Router::new()
        .route("/reservations", post(reserve_each))
        .route("/reservations/{reservation}", put(reserve).delete(release))
        .with_state(Arc::new(state))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReserveRequest {
    #[serde(deserialize_with = "number::saturating")]
    gifticon_id: i64,
    #[serde(deserialize_with = "number::saturating")]
    quantity: i64,
    /// For whom it is; guests if a cart from before there were owners makes it.
    #[serde(default)]
    owner: Owner,
}

impl Validate for ReserveRequest {
    fn validate(&self, fields: &mut Fields) {
        check(fields, self.gifticon_id, self.quantity, &self.owner);
    }
}

/// Checks the fields of a reservation.
fn check(fields: &mut Fields, gifticon_id: i64, quantity: i64, owner: &Owner) {
    fields.number("gifticonId", gifticon_id, 1..=GIFTICON_ID_MAX);
    fields.number("quantity", quantity, 1..=UNITS_MAX);
    fields.owner("owner", owner);
}

/// Returns the command that makes a reservation.
fn command(reservation: ReservationId, gifticon_id: i64, quantity: i64, owner: Owner) -> Command {
    Command::Reserve { reservation, gifticon_id: GifticonId(gifticon_id), quantity, owner }
}

/// The answer to a reservation: what the cart needs to know of what it holds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReservationView {
    reservation_id: ReservationId,
    gifticon_id: Option<GifticonId>,
    quantity: i64,
    name: String,
    price: i64,
    available_quantity: i64,
}

impl From<Reservation> for ReservationView {
    fn from(reservation: Reservation) -> Self {
        Self {
            reservation_id: reservation.id,
            gifticon_id: reservation.gifticon_id,
            quantity: reservation.quantity,
            name: reservation.name,
            price: reservation.price,
            available_quantity: reservation.left,
        }
    }
}

async fn reserve(
    State(shared): State<Arc<Reservations>>,
    Uuid(id): Uuid,
    Body(request): Body<ReserveRequest>,
) -> Result<(StatusCode, Json<ReservationView>), Problem> {
    let ReserveRequest { gifticon_id, quantity, owner } = request;
    let reserve = command(ReservationId(id), gifticon_id, quantity, owner);
    let (status, reservation) = made(shared.writer.execute(reserve).await.map_err(refused)?)?;
    Ok((status, Json(reservation)))
}

/// Returns the answer to a reservation that was made, now or before.
fn made(reply: Reply) -> Result<(StatusCode, ReservationView), Problem> {
    match reply {
        Reply::Reservation { reservation, is_new } => {
            let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            Ok((status, reservation.into()))
        }
        reply => Err(unexpected(&reply)),
    }
}

async fn release(
    State(shared): State<Arc<Reservations>>,
    Uuid(id): Uuid,
) -> Result<StatusCode, Problem> {
    let release = Command::Release { reservation: ReservationId(id) };
    shared.writer.execute(release).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct ReserveEachRequest {
    reservations: Vec<ReserveItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReserveItem {
    reservation_id: ReservationId,
    #[serde(deserialize_with = "number::saturating")]
    gifticon_id: i64,
    #[serde(deserialize_with = "number::saturating")]
    quantity: i64,
    #[serde(default)]
    owner: Owner,
    /// The trace of the customer's request.
    #[serde(default)]
    traceparent: Option<String>,
}

impl Validate for ReserveEachRequest {
    fn validate(&self, fields: &mut Fields) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        fields.number("reservations", count(self.reservations.len()), 1..=count(RESERVATIONS_MAX));
        for item in &self.reservations {
            check(fields, item.gifticon_id, item.quantity, &item.owner);
        }
    }
}

/// The answer to one of many reservations, with the status that it would have alone.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ReserveItemView {
    Reserved {
        status: u16,
        #[serde(flatten)]
        reservation: ReservationView,
    },
    #[serde(rename_all = "camelCase")]
    Refused {
        status: u16,
        /// Units that are left, if they are too few.
        #[serde(skip_serializing_if = "Option::is_none")]
        available_quantity: Option<i64>,
    },
}

/// Carries out many reservations, of which each is made or refused by itself. Fails as a whole if all of them do.
async fn reserve_each(
    State(shared): State<Arc<Reservations>>,
    Body(ReserveEachRequest { reservations }): Body<ReserveEachRequest>,
) -> Result<Json<Vec<ReserveItemView>>, Problem> {
    // Each belongs to the trace of its purchase, in which the write is the part of this service.
    let commands = reservations.into_iter().map(|item| {
        let trace = item.traceparent.as_deref().and_then(Trace::parse).or_else(trace::current);
        (command(item.reservation_id, item.gifticon_id, item.quantity, item.owner), trace)
    });
    let mut outcomes = shared.writer.execute_each(commands).await;
    let none_done =
        outcomes.iter().all(|outcome| matches!(outcome, Err(CommandError::Unavailable(_))));
    let whole = if none_done { outcomes.pop() } else { None };
    // The one that the response is about counts with it.
    for outcome in &outcomes {
        if let Err(CommandError::Unavailable(Unavailable::Overloaded { at })) = outcome {
            shared.metrics.shed(at);
        }
    }
    if let Some(Err(error)) = whole {
        return Err(refused(error));
    }
    outcomes.into_iter().map(ReserveItemView::of).collect::<Result<_, _>>().map(Json)
}

impl ReserveItemView {
    fn of(outcome: Result<Reply, CommandError<Refusal>>) -> Result<Self, Problem> {
        match outcome {
            Ok(reply) => {
                let (status, reservation) = made(reply)?;
                Ok(Self::Reserved { status: status.as_u16(), reservation })
            }
            Err(error) => {
                let available_quantity = match &error {
                    CommandError::Refused(Refusal::InsufficientStock { available }) => {
                        Some(*available)
                    }
                    _ => None,
                };
                let status = refused(error).status().as_u16();
                Ok(Self::Refused { status, available_quantity })
            }
        }
    }
}
