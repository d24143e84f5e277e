//! What `/live/stream` shows of an event.

use crate::policy;
use chrono::{DateTime, SecondsFormat, Utc};
use common_events::{CartId, Envelope, Event, GifticonId};
use serde::Serialize;
use utoipa::ToSchema;

/// What everybody may know of an event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LiveEvent, examples(json!({
    "type": "PaymentApproved", "service": "payment", "at": "2026-11-28T02:00:00.021Z", "cartId": 7, "amount": 10000,
    "status": "PaymentApproved",
})))]
pub(crate) struct Shown {
    /// The `eventType`.
    #[serde(rename = "type")]
    event_type: &'static str,
    /// The service that sent it.
    service: &'static str,
    /// When it happened.
    #[schema(format = DateTime)]
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    cart_id: Option<CartId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    gifticon_id: Option<GifticonId>,
    /// What customers see of a gifticon: its name, and its price in won.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_quantity: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

impl Shown {
    /// Returns what is shown of an event, if anything is.
    pub(super) fn of(envelope: &Envelope, at: DateTime<Utc>) -> Option<Self> {
        let service = match &envelope.event {
            Event::GifticonRegistered(_)
            | Event::QuantityModified(_)
            | Event::GifticonDeleted(_) => "gifticon",
            Event::CartAdded(_) | Event::CartRemoved(_) => "cart",
            Event::PaymentApproved(_) | Event::PaymentDeclined(_) | Event::PaymentCancelled(_) => {
                "payment"
            }
            Event::Unknown => return None,
        };
        let mut shown = Self {
            event_type: envelope.event.event_type(),
            service,
            at: at.to_rfc3339_opts(SecondsFormat::Millis, true),
            cart_id: None,
            gifticon_id: None,
            name: None,
            price: None,
            quantity: None,
            available_quantity: None,
            amount: None,
            status: None,
        };
        if let Some(fact) = policy::fact(envelope, at) {
            shown.cart_id = Some(fact.cart_id);
            shown.gifticon_id = fact.details.gifticon_id;
            shown.quantity = fact.details.quantity;
            shown.amount = fact.details.amount;
            shown.status = Some(fact.kind.status());
        }
        if let Event::GifticonRegistered(stock)
        | Event::QuantityModified(stock)
        | Event::GifticonDeleted(stock) = &envelope.event
        {
            shown.gifticon_id = stock.gifticon_id;
            shown.name.clone_from(&stock.name);
            shown.price = stock.price;
            shown.available_quantity = stock.available_quantity;
        }
        Some(shown)
    }

    /// Returns the gifticon whose stock it tells, and no cart.
    pub(super) fn stock(&self) -> Option<i64> {
        self.gifticon_id.filter(|_| self.cart_id.is_none()).map(|gifticon| gifticon.0)
    }

    /// Returns the cart that it is about.
    pub(super) fn cart(&self) -> Option<i64> {
        self.cart_id.map(|cart| cart.0)
    }
}
