//! HTTP of the catalogue and of reservations.

use crate::app::{Answer, StockWriter};
use crate::domain::{Change, Command, Gifticon, MOST_UNITS, Refusal, Reservation};
use crate::store::{self, GIFTICONS};
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, put};
use axum::{Json, Router};
use chassis::base::i18n::Text;
use chassis::base::problem::{Kind, Problem, kind};
use chassis::http::hal::{Collection, Index, Item, Links};
use chassis::http::{
    BaseUrl, Body, Conditions, EntityTag, Id, Name, Query, Surface, Uuid, precondition_failed,
};
use chassis::service::HEALTH_PATH;
use chassis::storage::Db;
use chassis::writer::CommandError;
use common_events::{GifticonId, ReservationId, number};
use garde::Validate;
use serde::{Deserialize, Deserializer, Serialize};

pub const EXISTS: Kind = Kind::new(
    "gifticon-exists",
    StatusCode::CONFLICT,
    "This gifticon exists already",
    "이미 등록된 기프티콘입니다",
);
pub const HELD: Kind = Kind::new(
    "gifticon-held",
    StatusCode::CONFLICT,
    "Live carts hold this gifticon",
    "장바구니에 담긴 기프티콘입니다",
);
pub const NO_GIFTICON: Kind = Kind::new(
    "no-such-gifticon",
    StatusCode::NOT_FOUND,
    "There is no such gifticon",
    "없는 기프티콘입니다",
);
pub const SHORT: Kind =
    Kind::new("not-enough-stock", StatusCode::CONFLICT, "Not enough are left", "수량이 부족합니다");
pub const RELEASED: Kind = Kind::new(
    "reservation-released",
    StatusCode::CONFLICT,
    "This reservation was released already",
    "이미 해제된 예약입니다",
);
pub const DIFFERS: Kind = Kind::new(
    "reservation-differs",
    StatusCode::UNPROCESSABLE_ENTITY,
    "This reservation was made for something else",
    "다른 내용으로 만들어진 예약입니다",
);
pub const UNCONDITIONAL: Kind = Kind::new(
    "version-needed",
    StatusCode::PRECONDITION_REQUIRED,
    "An absolute quantity needs If-Match",
    "절대 수량에는 If-Match가 필요합니다",
);
/// The problems of this service. A test compares them with docs/reference/problems.md.
pub const PROBLEMS: &[Kind] = &[EXISTS, HELD, NO_GIFTICON, SHORT, RELEASED, DIFFERS, UNCONDITIONAL];

/// What handlers need.
#[derive(Clone, Debug)]
pub struct Api {
    pub db: Db,
    pub writer: StockWriter,
}

/// What [`routes`] serves.
pub fn surface() -> Surface {
    let paths = vec![
        "/",
        "/gifticons",
        "/gifticons/{id}",
        "/gifticons/search",
        "/gifticons/search/findByGifticonId",
        "/reservations/{reservation}",
        HEALTH_PATH,
    ];
    Surface {
        paths,
        bodies: &[
            (Method::POST, "/gifticons"),
            (Method::PATCH, "/gifticons/{id}"),
            (Method::PUT, "/reservations/{reservation}"),
        ],
    }
}

/// The routes.
pub fn routes(api: Api) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/gifticons", get(list).post(register))
        .route("/gifticons/search", get(searches))
        .route("/gifticons/search/findByGifticonId", get(find))
        .route("/gifticons/{id}", get(one).patch(change).delete(delete))
        .route("/reservations/{reservation}", put(reserve).delete(release))
        .with_state(api)
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "camelCase")]
struct Registration {
    #[serde(deserialize_with = "number::saturating")]
    #[garde(range(min = 1, max = MOST_NUMBER))]
    gifticon_id: i64,
    #[garde(dive)]
    name: Name,
    #[serde(deserialize_with = "number::saturating")]
    #[garde(range(min = 0, max = MOST_UNITS))]
    available_quantity: i64,
    #[serde(deserialize_with = "number::saturating")]
    #[garde(range(min = 0, max = MOST_WON))]
    price: i64,
}

/// The largest whole number that every JSON reader keeps exact.
const MOST_NUMBER: i64 = 9_007_199_254_740_991;
/// Won for one unit at most: times the largest quantity it still fits into an `i64`.
const MOST_WON: i64 = 1_000_000_000;

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "camelCase")]
struct Patch {
    #[serde(default, deserialize_with = "named")]
    #[garde(dive)]
    name: Option<Name>,
    #[serde(default, deserialize_with = "number::saturating_option")]
    #[garde(range(min = 0, max = MOST_WON))]
    price: Option<i64>,
    #[serde(default, deserialize_with = "number::saturating_option")]
    #[garde(range(min = -MOST_UNITS, max = MOST_UNITS))]
    restock: Option<i64>,
    #[serde(default, deserialize_with = "number::saturating_option")]
    #[garde(range(min = 0, max = MOST_UNITS))]
    available_quantity: Option<i64>,
}

/// Reads a name that may be absent; `null` is an error, as for the other fields.
fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Name>, D::Error> {
    Name::deserialize(deserializer).map(Some)
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    #[serde(deserialize_with = "number::saturating")]
    #[garde(range(min = 1, max = MOST_NUMBER))]
    gifticon_id: i64,
    #[serde(deserialize_with = "number::saturating")]
    #[garde(range(min = 1, max = MOST_UNITS))]
    quantity: i64,
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

/// A gifticon as an answer, and its tag.
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
    let read = |store::OneGifticon(one)| (one.id, GifticonView::from(one));
    Ok(Json(GIFTICONS.page(&api.db, &base, &query, read).await?))
}

async fn one(
    State(api): State<Api>,
    base: BaseUrl,
    Id(id): Id,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let (tag, item) = item(&base, store::by_row(&api.db, id).await?.ok_or_else(absent)?);
    conditions.answer(&tag, item)
}

async fn find(
    State(api): State<Api>,
    base: BaseUrl,
    query: Query,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let number = query.number(&["gifticonId", "GifticonId"])?;
    let (tag, item) = item(&base, store::by_number(&api.db, number).await?.ok_or_else(absent)?);
    conditions.answer(&tag, item)
}

async fn register(
    State(api): State<Api>,
    base: BaseUrl,
    Body(wanted): Body<Registration>,
) -> Result<Response, Problem> {
    let register = Command::Register {
        gifticon_id: GifticonId(wanted.gifticon_id),
        name: wanted.name.into_string(),
        available: wanted.available_quantity,
        price: wanted.price,
    };
    let gifticon = api.change(register).await?;
    let location = base.url(&format!("/gifticons/{}", gifticon.id));
    let (tag, item) = item(&base, gifticon);
    Ok(tag.on((StatusCode::CREATED, [(header::LOCATION, location)], item)))
}

async fn change(
    State(api): State<Api>,
    base: BaseUrl,
    Id(id): Id,
    conditions: Conditions,
    Body(patch): Body<Patch>,
) -> Result<Response, Problem> {
    let change = Change {
        name: patch.name.map(Name::into_string),
        price: patch.price,
        restock: patch.restock,
        available: patch.available_quantity,
        expected: conditions.versions(),
    };
    let (tag, item) = item(&base, api.change(Command::Change { id, change }).await?);
    Ok(tag.on(item))
}

async fn delete(
    State(api): State<Api>,
    Id(id): Id,
    conditions: Conditions,
) -> Result<StatusCode, Problem> {
    api.ask(Command::Delete { id, expected: conditions.versions() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn reserve(
    State(api): State<Api>,
    Uuid(id): Uuid,
    Body(wanted): Body<Wanted>,
) -> Result<(StatusCode, Json<ReservationView>), Problem> {
    let reserve = Command::Reserve {
        reservation: ReservationId(id),
        gifticon_id: GifticonId(wanted.gifticon_id),
        quantity: wanted.quantity,
    };
    match api.ask(reserve).await? {
        Answer::Reservation(reservation, new) => {
            let status = if new { StatusCode::CREATED } else { StatusCode::OK };
            Ok((status, Json(reservation.into())))
        }
        answer => Err(unexpected(&answer)),
    }
}

async fn release(State(api): State<Api>, Uuid(id): Uuid) -> Result<StatusCode, Problem> {
    api.ask(Command::Release { reservation: ReservationId(id) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Api {
    async fn ask(&self, command: Command) -> Result<Answer, Problem> {
        self.writer.execute(command).await.map_err(refused)
    }

    async fn change(&self, command: Command) -> Result<Gifticon, Problem> {
        match self.ask(command).await? {
            Answer::Gifticon(gifticon) => Ok(gifticon),
            answer => Err(unexpected(&answer)),
        }
    }
}

fn unexpected(answer: &Answer) -> Problem {
    Problem::internal(anyhow::anyhow!("the writer answered {answer:?}"))
}

fn absent() -> Problem {
    Problem::new(
        NO_GIFTICON,
        Text::fixed(
            "look at /gifticons for what there is",
            "/gifticons 에서 판매 중인 기프티콘을 확인해 주세요",
        ),
    )
}

/// The one place that says which refusal becomes which answer.
fn refused(error: CommandError<Refusal>) -> Problem {
    let refusal = match error {
        CommandError::Refused(refusal) => refusal,
        CommandError::Unavailable(unavailable) => return unavailable.into(),
    };
    match refusal {
        Refusal::Exists(id) => Problem::new(
            EXISTS,
            Text::new(
                format!("gifticon {id} is on sale; change it, or choose another gifticonId"),
                format!("{id}번 기프티콘은 이미 있습니다. 수정하거나 다른 gifticonId를 써 주세요"),
            ),
        ),
        Refusal::Absent => absent(),
        Refusal::Short { available } => Problem::new(
            SHORT,
            Text::new(format!("{available} are left"), format!("남은 수량은 {available}개입니다")),
        )
        .with("availableQuantity", available),
        Refusal::Released => {
            Problem::new(RELEASED, Text::fixed("make a new reservation", "새로 예약해 주세요"))
        }
        Refusal::Differs => Problem::new(
            DIFFERS,
            Text::fixed("use a new reservation id", "새 예약 번호를 써 주세요"),
        ),
        Refusal::Held { held } => Problem::new(
            HELD,
            Text::new(
                format!("carts hold {held} units; it can be deleted when they are gone"),
                format!("장바구니에 {held}개가 담겨 있어 아직 삭제할 수 없습니다"),
            ),
        ),
        Refusal::Unexpected { current } => precondition_failed(&EntityTag::of_version(current)),
        Refusal::Unconditional => Problem::new(
            UNCONDITIONAL,
            Text::fixed(
                "send If-Match with the ETag that you read (* takes any), or restock with the difference",
                "조회한 ETag(또는 모든 버전을 뜻하는 *)를 If-Match로 보내거나 restock으로 차이를 보내 주세요",
            ),
        ),
        Refusal::OutOfBounds(units) => Problem::new(
            kind::INVALID,
            Text::new(
                format!("the stock would be {units}; it can be 0 to {MOST_UNITS}"),
                format!("재고가 {units}개가 됩니다. 0에서 {MOST_UNITS} 사이여야 합니다"),
            ),
        )
        .error(
            "restock",
            Text::new(
                format!("would make the stock {units}"),
                format!("재고가 {units}개가 됩니다"),
            ),
        ),
    }
}
