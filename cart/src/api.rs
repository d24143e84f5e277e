//! HTTP of carts.

mod openapi;

pub use openapi::openapi;

use crate::app::{AddCartError, CartRequest, CartsApp};
use crate::domain::{Cart, Refusal, Rejection, Status};
use crate::rows::StoredCart;
use crate::store::{self, CARTS};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use chassis::auth::Principal;
use chassis::base::i18n::Text;
use chassis::base::problem::{Kind, Problem, kind};
use chassis::http::hal::{Collection, Item};
use chassis::http::{
    Access, BaseUrl, Body, Conditions, EntityTag, Fields, Id, Query, Surface, Validate,
    precondition_failed,
};
use chassis::listing::Scope;
use chassis::service::HEALTH_PATH;
use chassis::writer::CommandError;
use common_events::number::{self, GIFTICON_ID_MAX, UNITS_MAX};
use common_events::{CartId, GifticonId, Owner, status};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

pub const UNKNOWN_CART: Kind = Kind::new(
    "no-such-cart",
    StatusCode::NOT_FOUND,
    "There is no such cart",
    "없는 장바구니입니다",
);
pub const UNKNOWN_GIFTICON: Kind = Kind::new(
    "no-such-gifticon",
    StatusCode::NOT_FOUND,
    "There is no such gifticon",
    "없는 기프티콘입니다",
);
pub const INSUFFICIENT_STOCK: Kind =
    Kind::new("not-enough-stock", StatusCode::CONFLICT, "Not enough are left", "수량이 부족합니다");
pub const STOCK_UNAVAILABLE: Kind = Kind::new(
    "stock-unavailable",
    StatusCode::SERVICE_UNAVAILABLE,
    "Too many customers are here at once",
    "주문이 몰리고 있습니다",
);
pub const KEY_REUSED: Kind = Kind::new(
    "idempotency-key-reused",
    StatusCode::UNPROCESSABLE_ENTITY,
    "This Idempotency-Key belongs to another request",
    "다른 요청에 쓰인 Idempotency-Key입니다",
);
/// The problems of this service. A test compares them with docs/reference/problems.md.
pub const PROBLEMS: &[Kind] =
    &[UNKNOWN_CART, UNKNOWN_GIFTICON, INSUFFICIENT_STOCK, STOCK_UNAVAILABLE, KEY_REUSED];

/// Returns what [`routes`] serves.
pub fn surface() -> Surface {
    let paths = vec!["/", "/carts", "/carts/{id}", "/carts/search", HEALTH_PATH];
    Surface {
        paths,
        bodies: &[(Method::POST, "/carts")],
        access: &[
            (Method::GET, "/", Access::Public),
            (Method::GET, "/carts", Access::Reader),
            (Method::POST, "/carts", Access::Customer),
            (Method::GET, "/carts/search", Access::Public),
            (Method::GET, "/carts/{id}", Access::Reader),
            (Method::DELETE, "/carts/{id}", Access::Customer),
        ],
    }
}

/// Returns the routes.
pub fn routes(app: Arc<CartsApp>) -> Router {
    Router::new()
        .route("/", get(async |base: BaseUrl| Json(CARTS.root(&base))))
        .route("/carts", get(list).post(add))
        .route("/carts/search", get(async |base: BaseUrl| Json(CARTS.searches(&base))))
        .route("/carts/{id}", get(one).delete(remove))
        .with_state(app)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AddCart)]
struct AddRequest {
    #[serde(deserialize_with = "number::saturating")]
    gifticon_id: i64,
    #[serde(deserialize_with = "number::saturating")]
    quantity: i64,
}

impl Validate for AddRequest {
    fn validate(&self, fields: &mut Fields) {
        fields.number("gifticonId", self.gifticon_id, 1..=GIFTICON_ID_MAX);
        fields.number("quantity", self.quantity, 1..=UNITS_MAX);
    }
}

/// A live cart: it holds stock. Name and price are those of the moment at which it was added.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Cart, examples(json!({
    "id": 7, "gifticonId": 1, "quantity": 2, "status": "CartAdded", "name": "아메리카노", "price": 5000, "amount": 10000,
})))]
struct CartView {
    #[schema(value_type = i64)]
    id: CartId,
    #[schema(value_type = i64)]
    gifticon_id: GifticonId,
    quantity: i64,
    /// `CartAdded`, then `PaymentApproved`.
    status: &'static str,
    name: String,
    /// Won for one unit.
    price: i64,
    /// Won for all units.
    amount: i64,
    /// Whom it belongs to. Shown to those who may read what belongs to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    owner: Option<Owner>,
}

impl CartView {
    fn new(cart: Cart, status: &'static str, principal: &Principal) -> Self {
        Self {
            id: cart.id,
            gifticon_id: cart.gifticon_id,
            quantity: cart.quantity,
            status,
            amount: cart.amount(),
            name: cart.name,
            price: cart.price,
            owner: principal.reads_all().then_some(cart.owner),
        }
    }
}

/// Returns the cart as it is now.
fn view(cart: Cart, principal: &Principal) -> CartView {
    let status = cart.status.text();
    CartView::new(cart, status, principal)
}

async fn list(
    State(app): State<Arc<CartsApp>>,
    principal: Principal,
    base: BaseUrl,
    query: Query,
) -> Result<Json<Collection<Item<impl Serialize>>>, Problem> {
    let read = |StoredCart(cart)| (cart.id.0, view(cart, &principal));
    Ok(Json(CARTS.page(&app.db, &base, &principal, &query, read).await?))
}

async fn one(
    State(app): State<Arc<CartsApp>>,
    principal: Principal,
    base: BaseUrl,
    Id(id): Id,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let cart = store::by_id(&app.db, &Scope::of(&principal), id).await?.ok_or_else(unknown_cart)?;
    let tag = EntityTag::of_version(cart.status.version());
    let item = CARTS.item(&base, id, view(cart, &principal));
    conditions.answer(&tag, Json(item))
}

async fn add(
    State(app): State<Arc<CartsApp>>,
    principal: Principal,
    base: BaseUrl,
    headers: HeaderMap,
    Body(body): Body<AddRequest>,
) -> Result<Response, Problem> {
    let request = CartRequest {
        owner: principal.owner().clone(),
        gifticon_id: GifticonId(body.gifticon_id),
        quantity: body.quantity,
        key: idempotency_key(&headers)?,
    };
    let cart = app.add(request).await.map_err(problem)?;
    let id = cart.id.0;
    // As it was when it was added, also when this is the repeat of a request long ago.
    let view = CartView::new(cart, status::CART_ADDED, &principal);
    let item = CARTS.item(&base, id, view);
    let location = base.url(&format!("/carts/{id}"));
    let tag = EntityTag::of_version(Status::Added.version());
    Ok(tag.on((StatusCode::CREATED, [(header::LOCATION, location)], Json(item))))
}

/// Returns the key, where the client sent one that can be kept.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim();
    let valid =
        (1..=255).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !valid || values.next().is_some() {
        return Err(Problem::new(
            kind::MALFORMED,
            Text::fixed(
                "send one Idempotency-Key of 1 to 255 visible ASCII characters",
                "Idempotency-Key는 1~255자의 ASCII 문자로 하나만 보내 주세요",
            ),
        ));
    }
    Ok(Some(key.to_owned()))
}

async fn remove(
    State(app): State<Arc<CartsApp>>,
    principal: Principal,
    Id(id): Id,
    conditions: Conditions,
) -> Result<StatusCode, Problem> {
    match app.remove(id, principal.owner().clone(), conditions.versions()).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(CommandError::Refused(Refusal::Absent)) => Err(unknown_cart()),
        Err(CommandError::Refused(Refusal::UnexpectedVersion { current })) => {
            Err(precondition_failed(&EntityTag::of_version(current)))
        }
        Err(CommandError::Refused(refusal)) => Err(Problem::internal(refusal)),
        Err(CommandError::Unavailable(unavailable)) => Err(unavailable.into()),
    }
}

fn unknown_cart() -> Problem {
    Problem::new(
        UNKNOWN_CART,
        Text::fixed(
            "it was never there or is cancelled; /mypages tells its story",
            "없거나 이미 취소되었습니다. 진행 내역은 /mypages 에 있습니다",
        ),
    )
}

/// Returns the problem that a customer sees for an error.
fn problem(error: AddCartError) -> Problem {
    match error {
        AddCartError::Rejected(Rejection::UnknownGifticon) => Problem::new(
            UNKNOWN_GIFTICON,
            Text::fixed(
                "look at /gifticons for what there is",
                "/gifticons 에서 판매 중인 기프티콘을 확인해 주세요",
            ),
        ),
        AddCartError::Rejected(Rejection::InsufficientStock { available }) => Problem::new(
            INSUFFICIENT_STOCK,
            Text::new(
                format!("{available} are left; ask for no more"),
                format!("남은 수량은 {available}개입니다. 수량을 줄여 주세요"),
            ),
        )
        .with("availableQuantity", available),
        AddCartError::StockUnavailable => Problem::new(
            STOCK_UNAVAILABLE,
            Text::fixed("please try again shortly", "잠시 후 다시 시도해 주세요"),
        )
        .retry_after(1),
        AddCartError::KeyReused => Problem::new(
            KEY_REUSED,
            Text::fixed(
                "send a new key, or the body that this one was sent with before",
                "새 키를 쓰거나, 이 키와 함께 보냈던 본문을 그대로 보내 주세요",
            ),
        ),
        AddCartError::KeyPending => Problem::unavailable(Text::fixed(
            "the first request with this Idempotency-Key is under way; try again shortly",
            "같은 Idempotency-Key의 첫 요청을 처리하고 있습니다. 잠시 후 다시 시도해 주세요",
        )),
        AddCartError::Unavailable(unavailable) => unavailable.into(),
    }
}
