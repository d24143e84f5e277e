//! HTTP of payments, which is for reading: they are decided by events.

use crate::domain::Payment;
use crate::store::{self, PAYMENTS};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use chassis::base::i18n::Text;
use chassis::base::problem::{Kind, Problem};
use chassis::http::hal::{Collection, Index, Item, Links};
use chassis::http::{BaseUrl, Conditions, EntityTag, Id, Query, Surface};
use chassis::service::HEALTH_PATH;
use chassis::storage::Db;
use common_events::{CartId, PaymentId};
use serde::Serialize;

pub const NO_PAYMENT: Kind = Kind::new(
    "no-such-payment",
    StatusCode::NOT_FOUND,
    "There is no such payment",
    "없는 결제입니다",
);
/// The problems of this service. A test compares them with docs/reference/problems.md.
pub const PROBLEMS: &[Kind] = &[NO_PAYMENT];

/// What [`routes`] serves.
pub fn surface() -> Surface {
    let paths = vec![
        "/",
        "/payments",
        "/payments/{id}",
        "/payments/search",
        "/payments/search/findByCartId",
        HEALTH_PATH,
    ];
    Surface { paths, bodies: &[] }
}

/// The routes.
pub fn routes(db: Db) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/payments", get(list))
        .route("/payments/search", get(searches))
        .route("/payments/search/findByCartId", get(find))
        .route("/payments/{id}", get(one))
        .with_state(db)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PaymentView {
    id: Option<PaymentId>,
    cart_id: CartId,
    amount: Option<i64>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<Payment> for PaymentView {
    fn from(payment: Payment) -> Self {
        Self {
            id: payment.id,
            cart_id: payment.cart_id,
            amount: payment.amount,
            status: store::text(payment.status),
            reason: payment.reason,
        }
    }
}

fn answer(
    base: &BaseUrl,
    conditions: &Conditions,
    payment: Option<Payment>,
) -> Result<Response, Problem> {
    let payment = payment.ok_or_else(|| {
        Problem::new(
            NO_PAYMENT,
            Text::fixed(
                "a cart's payment is here shortly after the cart is added",
                "장바구니에 담은 뒤 잠시 후에 결제가 생깁니다",
            ),
        )
    })?;
    let id = payment.id.map_or(0, |id| id.0);
    let view = PaymentView::from(payment);
    let tag = EntityTag::of_content(&view);
    let item = Item::new(base, PAYMENTS.collection, PAYMENTS.singular, id, view);
    conditions.answer(&tag, Json(item))
}

async fn root(base: BaseUrl) -> Json<Index> {
    Json(Index::new(
        Links::default().templated("payments", base.url("/payments{?page,size,sort,after,before}")),
    ))
}

async fn searches(base: BaseUrl) -> Json<Index> {
    let url = base.url("/payments/search/findByCartId{?cartId}");
    let links = Links::default().templated("findByCartId", url);
    Json(Index::new(links.with("self", base.url("/payments/search"))))
}

async fn list(
    State(db): State<Db>,
    base: BaseUrl,
    query: Query,
) -> Result<Json<Collection<Item<PaymentView>>>, Problem> {
    let read =
        |store::OnePayment(payment)| (payment.id.map_or(0, |id| id.0), PaymentView::from(payment));
    Ok(Json(PAYMENTS.page(&db, &base, &query, read).await?))
}

async fn one(
    State(db): State<Db>,
    base: BaseUrl,
    Id(id): Id,
    conditions: Conditions,
) -> Result<Response, Problem> {
    answer(&base, &conditions, store::by_id(&db, id).await?)
}

/// `id` is the original's name for the cart id here.
async fn find(
    State(db): State<Db>,
    base: BaseUrl,
    query: Query,
    conditions: Conditions,
) -> Result<Response, Problem> {
    answer(&base, &conditions, store::by_cart(&db, query.number(&["cartId", "id"])?).await?)
}
