//! HTTP of payments. They are only read here: events decide them.

mod openapi;

pub use openapi::openapi;

use crate::store::{self, PAYMENTS, PaymentRow};
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use chassis::auth::Principal;
use chassis::base::i18n::Text;
use chassis::base::problem::{Kind, Problem};
use chassis::http::hal::{Collection, Item};
use chassis::http::{Access, BaseUrl, Conditions, EntityTag, Id, Query, Surface};
use chassis::listing::Scope;
use chassis::service::HEALTH_PATH;
use chassis::storage::Db;
use common_events::{CartId, Owner, PaymentId};
use serde::Serialize;
use utoipa::ToSchema;

pub const UNKNOWN_PAYMENT: Kind = Kind::new(
    "no-such-payment",
    StatusCode::NOT_FOUND,
    "There is no such payment",
    "없는 결제입니다",
);
/// The problems of this service. A test compares them with docs/reference/problems.md.
pub const PROBLEMS: &[Kind] = &[UNKNOWN_PAYMENT];

/// Returns what [`routes`] serves.
pub fn surface() -> Surface {
    let paths = vec![
        "/",
        "/payments",
        "/payments/{id}",
        "/payments/search",
        "/payments/search/findByCartId",
        HEALTH_PATH,
    ];
    Surface {
        paths,
        bodies: &[],
        access: &[
            (Method::GET, "/", Access::Public),
            (Method::GET, "/payments", Access::Reader),
            (Method::GET, "/payments/search", Access::Public),
            (Method::GET, "/payments/search/findByCartId", Access::Reader),
            (Method::GET, "/payments/{id}", Access::Reader),
        ],
    }
}

/// Returns the routes.
pub fn routes(db: Db) -> Router {
    Router::new()
        .route("/", get(async |base: BaseUrl| Json(PAYMENTS.root(&base))))
        .route("/payments", get(list))
        .route("/payments/search", get(async |base: BaseUrl| Json(PAYMENTS.searches(&base))))
        .route("/payments/search/findByCartId", get(find))
        .route("/payments/{id}", get(one))
        .with_state(db)
}

/// The payment of a cart.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Payment, examples(json!({
    "id": 7, "cartId": 7, "amount": 10000, "status": "PaymentApproved",
})))]
struct PaymentView {
    #[schema(value_type = Option<i64>)]
    id: Option<PaymentId>,
    #[schema(value_type = i64)]
    cart_id: CartId,
    /// Won.
    amount: Option<i64>,
    /// `PaymentApproved`, `PaymentDeclined` or `PaymentCanceled`.
    status: String,
    /// Why it was declined, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whom it belongs to. Shown to those who may read what belongs to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    owner: Option<Owner>,
}

impl PaymentView {
    fn new(row: PaymentRow, principal: &Principal) -> Self {
        Self {
            id: row.id,
            cart_id: row.cart_id,
            amount: row.amount,
            status: row.status,
            reason: row.reason,
            owner: principal.reads_all().then_some(row.owner),
        }
    }
}

fn answer(
    base: &BaseUrl,
    principal: &Principal,
    conditions: &Conditions,
    payment: Option<PaymentRow>,
) -> Result<Response, Problem> {
    let payment = payment.ok_or_else(|| {
        Problem::new(
            UNKNOWN_PAYMENT,
            Text::fixed(
                "a cart's payment is here shortly after the cart is added",
                "장바구니에 담은 뒤 잠시 후에 결제가 생깁니다",
            ),
        )
    })?;
    let id = payment.id.map_or(0, |id| id.0);
    let view = PaymentView::new(payment, principal);
    let tag = EntityTag::of_content(&view);
    let item = PAYMENTS.item(base, id, view);
    conditions.answer(&tag, Json(item))
}

async fn list(
    State(db): State<Db>,
    principal: Principal,
    base: BaseUrl,
    query: Query,
) -> Result<Json<Collection<Item<PaymentView>>>, Problem> {
    let read = |row: PaymentRow| (row.id.map_or(0, |id| id.0), PaymentView::new(row, &principal));
    Ok(Json(PAYMENTS.page(&db, &base, &principal, &query, read).await?))
}

async fn one(
    State(db): State<Db>,
    principal: Principal,
    base: BaseUrl,
    Id(id): Id,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let payment = store::by_id(&db, &Scope::of(&principal), id).await?;
    answer(&base, &principal, &conditions, payment)
}

/// `id` is the original's name for the cart id here.
async fn find(
    State(db): State<Db>,
    principal: Principal,
    base: BaseUrl,
    query: Query,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let cart_id = query.number(&["cartId", "id"])?;
    let payment = store::by_cart(&db, &Scope::of(&principal), cart_id).await?;
    answer(&base, &principal, &conditions, payment)
}
