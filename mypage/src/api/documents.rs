//! The JSON of the view.

use crate::projection::View;
use crate::store::MYPAGES;
use chassis::auth::Principal;
use chassis::http::BaseUrl;
use chassis::http::hal::Item;
use chrono::{DateTime, SecondsFormat};
use common_events::{CartId, GifticonId, Owner, PaymentId};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// The story of a cart, as far as it went.
// It is read from the columns of its row, whose names its fields have.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all(serialize = "camelCase"))]
#[schema(as = Mypage, rename_all = "camelCase", examples(json!({
    "id": 7, "cartId": 7, "gifticonId": 1, "name": "아메리카노", "price": 5000, "quantity": 2, "amount": 10000,
    "paymentId": 7, "status": "PaymentApproved",
    "createdAt": "2026-11-28T02:00:00.000Z", "updatedAt": "2026-11-28T02:00:00.021Z",
})))]
pub(super) struct MypageView {
    pub(super) id: i64,
    #[schema(value_type = i64)]
    cart_id: CartId,
    #[schema(value_type = Option<i64>)]
    gifticon_id: Option<GifticonId>,
    name: Option<String>,
    price: Option<i64>,
    quantity: Option<i64>,
    amount: Option<i64>,
    #[schema(value_type = Option<i64>)]
    payment_id: Option<PaymentId>,
    /// That of the last step.
    status: String,
    #[serde(serialize_with = "serialize_time")]
    #[schema(value_type = String, format = DateTime)]
    created_at: i64,
    #[serde(serialize_with = "serialize_time")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: i64,
    /// Whom it belongs to. Shown to those who may read what belongs to others, but not in a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    owner: Option<Owner>,
}

impl MypageView {
    pub(super) fn shown_to(self, principal: &Principal) -> Self {
        Self { owner: self.owner.filter(|_| principal.reads_all()), ..self }
    }
}

impl From<&View> for MypageView {
    fn from(view: &View) -> Self {
        let details = view.details.clone();
        Self {
            id: view.id,
            cart_id: view.cart_id,
            gifticon_id: details.gifticon_id,
            name: details.name,
            price: details.price,
            quantity: details.quantity,
            amount: details.amount,
            payment_id: details.payment_id,
            status: view.status().to_owned(),
            created_at: view.created_at(),
            updated_at: view.updated_at(),
            owner: None,
        }
    }
}

/// A view in a stream.
#[derive(Debug, Serialize)]
struct VersionedView {
    #[serde(flatten)]
    view: MypageView,
    version: usize,
}

/// One step of a cart.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Step, examples(json!({
    "eventType": "PaymentApproved", "status": "PaymentApproved", "at": "2026-11-28T02:00:00.021Z",
})))]
pub(super) struct StepView {
    pub(super) event_type: &'static str,
    pub(super) status: &'static str,
    #[schema(format = DateTime)]
    pub(super) at: String,
}

/// Returns a time in ISO 8601, in UTC and to the millisecond.
pub(super) fn time(millis: i64) -> String {
    let time = DateTime::from_timestamp_millis(millis).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn serialize_time<S: Serializer>(millis: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time(*millis))
}

pub(super) fn item<V>(base: &BaseUrl, id: i64, view: V) -> Item<V> {
    let history = base.url(&format!("/mypages/{id}/history"));
    MYPAGES.item(base, id, view).link("history", history)
}

/// Returns the JSON of a view in a stream.
pub fn streamed(base: &BaseUrl, view: &View) -> String {
    let item = item(base, view.id, VersionedView { view: view.into(), version: view.version() });
    serde_json::to_string(&item).expect("a view is plain data")
}
