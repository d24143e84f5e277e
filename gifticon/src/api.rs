//! HTTP of the catalogue and of reservations.

mod openapi;
mod problems;
mod reservations;

pub use openapi::openapi;
pub use problems::PROBLEMS;

use crate::app::StockWriter;
use crate::domain::{Change, Command, Gifticon, Reply};
use crate::store::{self, GIFTICONS, GifticonRow};
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use chassis::auth::Principal;
use chassis::base::metrics::Metrics;
use chassis::base::problem::Problem;
use chassis::http::hal::{Collection, Item};
use chassis::http::{
    Access, BaseUrl, Body, Conditions, EntityTag, Fields, Id, Name, Query, Surface, Validate,
};
use chassis::service::HEALTH_PATH;
use chassis::storage::Db;
use common_events::GifticonId;
use common_events::number::{self, GIFTICON_ID_MAX, UNITS_MAX};
use problems::{refused, unexpected, unknown_gifticon};
use reservations::Reservations;
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What handlers need.
#[derive(Debug)]
pub struct Api {
    pub db: Db,
    pub writer: StockWriter,
    pub metrics: Arc<Metrics>,
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
        access: &[
            (Method::GET, "/", Access::Public),
            (Method::GET, "/gifticons", Access::Public),
            (Method::POST, "/gifticons", Access::Md),
            (Method::GET, "/gifticons/search", Access::Public),
            (Method::GET, "/gifticons/search/findByGifticonId", Access::Public),
            (Method::GET, "/gifticons/{id}", Access::Public),
            (Method::PATCH, "/gifticons/{id}", Access::Md),
            (Method::DELETE, "/gifticons/{id}", Access::Md),
            (Method::POST, "/reservations", Access::Service),
            (Method::PUT, "/reservations/{reservation}", Access::Service),
            (Method::DELETE, "/reservations/{reservation}", Access::Service),
        ],
    }
}

/// Returns the routes.
pub fn routes(api: Api) -> Router {
    Router::new()
        .route("/", get(async |base: BaseUrl| Json(GIFTICONS.root(&base))))
        .route("/gifticons", get(list).post(register))
        .route("/gifticons/search", get(async |base: BaseUrl| Json(GIFTICONS.searches(&base))))
        .route("/gifticons/search/findByGifticonId", get(find))
        .route("/gifticons/{id}", get(one).patch(change).delete(delete))
        .merge(reservations::routes(Reservations {
            writer: api.writer.clone(),
            metrics: Arc::clone(&api.metrics),
        }))
        .with_state(Arc::new(api)) // so that a request clones nothing else
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RegisterGifticon)]
struct RegisterRequest {
    #[serde(deserialize_with = "number::saturating")]
    gifticon_id: i64,
    #[schema(value_type = String)]
    name: Name,
    #[serde(deserialize_with = "number::saturating")]
    available_quantity: i64,
    #[serde(deserialize_with = "number::saturating")]
    price: i64,
}

impl Validate for RegisterRequest {
    fn validate(&self, fields: &mut Fields) {
        fields.number("gifticonId", self.gifticon_id, 1..=GIFTICON_ID_MAX);
        fields.name("name", &self.name);
        fields.number("availableQuantity", self.available_quantity, 0..=UNITS_MAX);
        fields.number("price", self.price, 0..=PRICE_MAX);
    }
}

/// Won for one unit at most: times the largest quantity it still fits into an `i64`.
const PRICE_MAX: i64 = 1_000_000_000;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ChangeGifticon)]
struct ChangeRequest {
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<String>)]
    name: Option<Name>,
    #[serde(default, deserialize_with = "number::saturating_option")]
    price: Option<i64>,
    /// Units to add to the stock, or to take from it if negative.
    #[serde(default, deserialize_with = "number::saturating_option")]
    restock: Option<i64>,
    /// Units in the stock from now on. Needs `If-Match`.
    #[serde(default, deserialize_with = "number::saturating_option")]
    available_quantity: Option<i64>,
}

impl Validate for ChangeRequest {
    fn validate(&self, fields: &mut Fields) {
        fields.name("name", &self.name);
        fields.number("price", self.price, 0..=PRICE_MAX);
        fields.number("restock", self.restock, -UNITS_MAX..=UNITS_MAX);
        fields.number("availableQuantity", self.available_quantity, 0..=UNITS_MAX);
    }
}

/// Reads a name that may be absent; `null` is an error, as for the other fields.
fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Name>, D::Error> {
    Name::deserialize(deserializer).map(Some)
}

/// A gifticon on sale.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Gifticon, examples(json!({
    "id": 1, "gifticonId": 1, "name": "아메리카노", "availableQuantity": 98, "price": 5000,
})))]
struct GifticonView {
    id: i64,
    /// The number that the merchandiser gave it.
    #[schema(value_type = i64)]
    gifticon_id: GifticonId,
    name: String,
    /// Units that are left to sell.
    available_quantity: i64,
    /// Won for one unit.
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

/// Returns the body of an answer about a gifticon, and its tag.
fn item(base: &BaseUrl, gifticon: Gifticon) -> (EntityTag, Json<Item<GifticonView>>) {
    let (id, tag) = (gifticon.id, EntityTag::of_version(gifticon.version));
    let view = GifticonView::from(gifticon);
    (tag, Json(GIFTICONS.item(base, id, view)))
}

async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    base: BaseUrl,
    query: Query,
) -> Result<Json<Collection<Item<impl Serialize>>>, Problem> {
    let read = |row: GifticonRow| (row.id, GifticonView::from(Gifticon::from(row)));
    Ok(Json(GIFTICONS.page(&api.db, &base, &principal, &query, read).await?))
}

async fn one(
    State(api): State<Arc<Api>>,
    base: BaseUrl,
    Id(id): Id,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let (tag, item) = item(&base, store::by_row(&api.db, id).await?.ok_or_else(unknown_gifticon)?);
    conditions.answer(&tag, item)
}

async fn find(
    State(api): State<Arc<Api>>,
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
    State(api): State<Arc<Api>>,
    base: BaseUrl,
    principal: Principal,
    Body(request): Body<RegisterRequest>,
) -> Result<Response, Problem> {
    let register = Command::Register {
        gifticon_id: GifticonId(request.gifticon_id),
        name: request.name.into_string(),
        available: request.available_quantity,
        price: request.price,
    };
    let gifticon = api.execute_on_gifticon(&principal, register).await?;
    let location = base.url(&format!("/gifticons/{}", gifticon.id));
    let (tag, item) = item(&base, gifticon);
    Ok(tag.on((StatusCode::CREATED, [(header::LOCATION, location)], item)))
}

async fn change(
    State(api): State<Arc<Api>>,
    base: BaseUrl,
    principal: Principal,
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
    let change = Command::Change { id, change };
    let (tag, item) = item(&base, api.execute_on_gifticon(&principal, change).await?);
    Ok(tag.on(item))
}

async fn delete(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Id(id): Id,
    conditions: Conditions,
) -> Result<StatusCode, Problem> {
    api.execute(&principal, Command::Delete { id, expected: conditions.versions() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Api {
    /// Carries out what an MD wants done.
    async fn execute(&self, by: &Principal, command: Command) -> Result<Reply, Problem> {
        self.writer.execute_for(by.owner(), command).await.map_err(refused)
    }

    async fn execute_on_gifticon(
        &self,
        by: &Principal,
        command: Command,
    ) -> Result<Gifticon, Problem> {
        match self.execute(by, command).await? {
            Reply::Gifticon(gifticon) => Ok(gifticon),
            reply => Err(unexpected(&reply)),
        }
    }
}
