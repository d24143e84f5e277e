//! HTTP of the catalogue and of reservations.

mod problems;

pub use problems::PROBLEMS;

use crate::app::StockWriter;
use crate::domain::{Change, Command, Gifticon, Refusal, Reply, Reservation, UNITS_MAX};
use crate::store::{self, GIFTICONS, GifticonRow};
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use chassis::base::problem::Problem;
use chassis::base::trace::Trace;
use chassis::http::hal::{Collection, Index, Item, Links};
use chassis::http::{BaseUrl, Body, Conditions, EntityTag, Id, Name, Query, Surface, Uuid};
use chassis::service::HEALTH_PATH;
use chassis::storage::Db;
use chassis::writer::CommandError;
use common_events::{GifticonId, ReservationId, number};
use garde::Validate;
use problems::{refused, unexpected, unknown_gifticon};
use serde::{Deserialize, Deserializer, Serialize};

/// What handlers need.
#[derive(Clone, Debug)]
pub struct Api {
    pub db: Db,
    pub writer: StockWriter,
}

/// Returns what [`routes`] serves.
pub fn surface() -> Surface {
    let paths = vec![
        "/",
        "/gifticons",
        "/gifticons/{id}",
        "/gifticons/search",
        "/gifticons/search/findByGifticonId",
        "/reservations",
        "/reservations/{reservation}",
        HEALTH_PATH,
    ];
    Surface {
        paths,
        bodies: &[
            (Method::POST, "/gifticons"),
            (Method::PATCH, "/gifticons/{id}"),
            (Method::POST, "/reservations"),
            (Method::PUT, "/reservations/{reservation}"),
        ],
    }
}

/// Returns the routes.
pub fn routes(api: Api) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/gifticons", get(list).post(register))
        .route("/gifticons/search", get(searches))
        .route("/gifticons/search/findByGifticonId", get(find))
        .route("/gifticons/{id}", get(one).patch(change).delete(delete))
        .route("/reservations", post(reserve_each))
        .route("/reservations/{reservation}", put(reserve).delete(release))
        .with_state(api)
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "camelCase")]
struct RegisterRequest {
    #[serde(deserialize_with = "number::saturating")]
    #[garde(range(min = 1, max = GIFTICON_ID_MAX))]
    gifticon_id: i64,
    #[garde(dive)]
    name: Name,
    #[serde(deserialize_with = "number::saturating")]
    #[garde(range(min = 0, max = UNITS_MAX))]
    available_quantity: i64,
    #[serde(deserialize_with = "number::saturating")]
    #[garde(range(min = 0, max = PRICE_MAX))]
    price: i64,
}

/// The largest whole number that every JSON reader keeps exact.
const GIFTICON_ID_MAX: i64 = 9_007_199_254_740_991;
/// Won for one unit at most: times the largest quantity it still fits into an `i64`.
const PRICE_MAX: i64 = 1_000_000_000;

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "camelCase")]
struct ChangeRequest {
    #[serde(default, deserialize_with = "named")]
    #[garde(dive)]
    name: Option<Name>,
    #[serde(default, deserialize_with = "number::saturating_option")]
    #[garde(range(min = 0, max = PRICE_MAX))]
    price: Option<i64>,
    #[serde(default, deserialize_with = "number::saturating_option")]
    #[garde(range(min = -UNITS_MAX, max = UNITS_MAX))]
    restock: Option<i64>,
    #[serde(default, deserialize_with = "number::saturating_option")]
    #[garde(range(min = 0, max = UNITS_MAX))]
    available_quantity: Option<i64>,
}

/// Reads a name that may be absent; `null` is an error, as for the other fields.
fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Name>, D::Error> {
    Name::deserialize(deserializer).map(Some)
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "camelCase")]
struct ReserveRequest {
    #[serde(deserialize_with = "number::saturating")]
    #[garde(range(min = 1, max = GIFTICON_ID_MAX))]
    gifticon_id: i64,
    #[serde(deserialize_with = "number::saturating")]
    #[garde(range(min = 1, max = UNITS_MAX))]
    quantity: i64,
}

/// Many reservations in one call: each is made, or refused, by itself.
#[derive(Debug, Deserialize, Validate)]
struct ReserveEachRequest {
    #[garde(length(min = 1, max = RESERVATIONS_MAX), dive)]
    reservations: Vec<ReserveItem>,
}

/// Reservations in one call at most.
const RESERVATIONS_MAX: usize = 256;

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "camelCase")]
struct ReserveItem {
    #[garde(skip)]
    reservation_id: ReservationId,
    #[serde(deserialize_with = "number::saturating")]
    #[garde(range(min = 1, max = GIFTICON_ID_MAX))]
    gifticon_id: i64,
    #[serde(deserialize_with = "number::saturating")]
    #[garde(range(min = 1, max = UNITS_MAX))]
    quantity: i64,
    /// The trace of the customer's request.
    #[serde(default)]
    #[garde(skip)]
    traceparent: Option<String>,
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

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GifticonView {
    id: i64,
    gifticon_id: GifticonId,
    name: String,
    available_quantity: i64,
    price: i64,
}

impl From<Gifticon> for GifticonView {
    fn from(gifticon: Gifticon) -> Self {
        Self {
            id: gifticon.id,
            gifticon_id: gifticon.gifticon_id,
            name: gifticon.name,
            available_quantity: gifticon.available,
            price: gifticon.price,
        }
    }
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

/// Returns the body of an answer about a gifticon, and its tag.
fn item(base: &BaseUrl, gifticon: Gifticon) -> (EntityTag, Json<Item<GifticonView>>) {
    let (id, tag) = (gifticon.id, EntityTag::of_version(gifticon.version));
    let view = GifticonView::from(gifticon);
    (tag, Json(Item::new(base, GIFTICONS.collection, GIFTICONS.singular, id, view)))
}

async fn root(base: BaseUrl) -> Json<Index> {
    let url = base.url("/gifticons{?page,size,sort,after,before}");
    Json(Index::new(Links::default().templated("gifticons", url)))
}

async fn searches(base: BaseUrl) -> Json<Index> {
    let url = base.url("/gifticons/search/findByGifticonId{?gifticonId}");
    let links = Links::default().templated("findByGifticonId", url);
    Json(Index::new(links.with("self", base.url("/gifticons/search"))))
}

async fn list(
    State(api): State<Api>,
    base: BaseUrl,
    query: Query,
) -> Result<Json<Collection<Item<impl Serialize>>>, Problem> {
    let read = |row: GifticonRow| (row.id, GifticonView::from(Gifticon::from(row)));
    Ok(Json(GIFTICONS.page(&api.db, &base, &query, read).await?))
}

async fn one(
    State(api): State<Api>,
    base: BaseUrl,
    Id(id): Id,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let (tag, item) = item(&base, store::by_row(&api.db, id).await?.ok_or_else(unknown_gifticon)?);
    conditions.answer(&tag, item)
}

async fn find(
    State(api): State<Api>,
    base: BaseUrl,
    query: Query,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let number = query.number(&["gifticonId", "GifticonId"])?;
    let (tag, item) =
        item(&base, store::by_number(&api.db, number).await?.ok_or_else(unknown_gifticon)?);
    conditions.answer(&tag, item)
}

async fn register(
    State(api): State<Api>,
    base: BaseUrl,
    Body(request): Body<RegisterRequest>,
) -> Result<Response, Problem> {
    let register = Command::Register {
        gifticon_id: GifticonId(request.gifticon_id),
        name: request.name.into_string(),
        available: request.available_quantity,
        price: request.price,
    };
    let gifticon = api.execute_on_gifticon(register).await?;
    let location = base.url(&format!("/gifticons/{}", gifticon.id));
    let (tag, item) = item(&base, gifticon);
    Ok(tag.on((StatusCode::CREATED, [(header::LOCATION, location)], item)))
}

async fn change(
    State(api): State<Api>,
    base: BaseUrl,
    Id(id): Id,
    conditions: Conditions,
    Body(request): Body<ChangeRequest>,
) -> Result<Response, Problem> {
    let change = Change {
        name: request.name.map(Name::into_string),
        price: request.price,
        restock: request.restock,
        available: request.available_quantity,
        expected: conditions.versions(),
    };
    let (tag, item) = item(&base, api.execute_on_gifticon(Command::Change { id, change }).await?);
    Ok(tag.on(item))
}

async fn delete(
    State(api): State<Api>,
    Id(id): Id,
    conditions: Conditions,
) -> Result<StatusCode, Problem> {
    api.execute(Command::Delete { id, expected: conditions.versions() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn reserve(
    State(api): State<Api>,
    Uuid(id): Uuid,
    Body(request): Body<ReserveRequest>,
) -> Result<(StatusCode, Json<ReservationView>), Problem> {
    let reserve = Command::Reserve {
        reservation: ReservationId(id),
        gifticon_id: GifticonId(request.gifticon_id),
        quantity: request.quantity,
    };
    match api.execute(reserve).await? {
        Reply::Reservation { reservation, is_new } => {
            let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            Ok((status, Json(reservation.into())))
        }
        reply => Err(unexpected(&reply)),
    }
}

/// Carries out many reservations, of which each is made or refused by itself. Fails as a whole if all of them do.
async fn reserve_each(
    State(api): State<Api>,
    Body(ReserveEachRequest { reservations }): Body<ReserveEachRequest>,
) -> Result<Json<Vec<ReserveItemView>>, Problem> {
    let commands = reservations.into_iter().map(|item| {
        let reserve = Command::Reserve {
            reservation: item.reservation_id,
            gifticon_id: GifticonId(item.gifticon_id),
            quantity: item.quantity,
        };
        (reserve, item.traceparent.as_deref().and_then(Trace::parse))
    });
    let mut outcomes = api.writer.execute_each(commands).await;
    if outcomes.iter().all(|outcome| matches!(outcome, Err(CommandError::Unavailable(_))))
        && let Some(Err(error)) = outcomes.pop()
    {
        return Err(refused(error));
    }
    outcomes.into_iter().map(ReserveItemView::of).collect::<Result<_, _>>().map(Json)
}

impl ReserveItemView {
    fn of(outcome: Result<Reply, CommandError<Refusal>>) -> Result<Self, Problem> {
        match outcome {
            Ok(Reply::Reservation { reservation, is_new }) => {
                let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
                Ok(Self::Reserved { status: status.as_u16(), reservation: reservation.into() })
            }
            Ok(reply) => Err(unexpected(&reply)),
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

async fn release(State(api): State<Api>, Uuid(id): Uuid) -> Result<StatusCode, Problem> {
    api.execute(Command::Release { reservation: ReservationId(id) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Api {
    async fn execute(&self, command: Command) -> Result<Reply, Problem> {
        self.writer.execute(command).await.map_err(refused)
    }

    async fn execute_on_gifticon(&self, command: Command) -> Result<Gifticon, Problem> {
        match self.execute(command).await? {
            Reply::Gifticon(gifticon) => Ok(gifticon),
            reply => Err(unexpected(&reply)),
        }
    }
}
