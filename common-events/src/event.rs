//! The events, one struct each.

use crate::{CartId, GifticonId, PaymentId, ReservationId, number};
use serde::{Deserialize, Serialize};

/// The values of `status` that travel in events and stand in answers.
pub mod status {
    /// A cart holds its stock; its payment is not decided yet.
    pub const CART_ADDED: &str = "CartAdded";
    /// A cart is gone, by its customer or because its payment was declined.
    pub const CART_REMOVED: &str = "CartRemoved";
    /// The payment of a cart went through.
    pub const PAYMENT_APPROVED: &str = "PaymentApproved";
    /// The payment of a cart was refused by the provider.
    pub const PAYMENT_DECLINED: &str = "PaymentDeclined";
    /// The payment of a cart was given back. The event is spelled `PaymentCancelled`; the original
    /// spelled the status with one l, and its readers compare it.
    pub const PAYMENT_CANCELED: &str = "PaymentCanceled";
}

/// One fact. The name of the variant is the `eventType` on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The MD put a gifticon on sale.
    GifticonRegistered(Stock),
    /// Stock, name or price of a gifticon changed. Tells the state, so several changes may be one event.
    QuantityModified(Stock),
    /// The MD took a gifticon off sale.
    GifticonDeleted(Stock),
    /// A cart holds stock and wants to be paid.
    CartAdded(CartAdded),
    /// A cart is gone: its stock returns, its payment is given back.
    CartRemoved(CartRemoved),
    /// The provider took the money.
    PaymentApproved(Payment),
    /// The provider refused.
    PaymentDeclined(Decline),
    /// The money went back.
    PaymentCancelled(Payment),
    /// An event type of a newer or another system: skipped.
    Unknown,
}

impl Event {
    /// Reads the fields of an event of this type.
    pub(crate) fn from_json(event_type: &str, json: &[u8]) -> serde_json::Result<Self> {
        use serde_json::from_slice as fields;
        Ok(match event_type {
            "GifticonRegistered" => Self::GifticonRegistered(fields(json)?),
            "QuantityModified" => Self::QuantityModified(fields(json)?),
            "GifticonDeleted" => Self::GifticonDeleted(fields(json)?),
            "CartAdded" => Self::CartAdded(fields(json)?),
            "CartRemoved" => Self::CartRemoved(fields(json)?),
            "PaymentApproved" => Self::PaymentApproved(fields(json)?),
            "PaymentDeclined" => Self::PaymentDeclined(fields(json)?),
            "PaymentCancelled" => Self::PaymentCancelled(fields(json)?),
            _ => Self::Unknown,
        })
    }

    /// Whether `event_type` is that of an event of a cart or of its payment, whose key is the id of the cart.
    pub fn is_about_a_cart(event_type: &str) -> bool {
        matches!(
            event_type,
            "CartAdded"
                | "CartRemoved"
                | "PaymentApproved"
                | "PaymentDeclined"
                | "PaymentCancelled"
        )
    }

    /// Whether `event_type` is that of an event of the shop.
    pub fn is_known(event_type: &str) -> bool {
        Self::is_about_a_cart(event_type)
            || matches!(event_type, "GifticonRegistered" | "QuantityModified" | "GifticonDeleted")
    }

    /// The `eventType` on the wire.
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::GifticonRegistered(_) => "GifticonRegistered",
            Self::QuantityModified(_) => "QuantityModified",
            Self::GifticonDeleted(_) => "GifticonDeleted",
            Self::CartAdded(_) => "CartAdded",
            Self::CartRemoved(_) => "CartRemoved",
            Self::PaymentApproved(_) => "PaymentApproved",
            Self::PaymentDeclined(_) => "PaymentDeclined",
            Self::PaymentCancelled(_) => "PaymentCancelled",
            Self::Unknown => "Unknown",
        }
    }

    /// The message key: what must stay in order stays in one partition.
    pub fn key(&self) -> String {
        match self {
            Self::GifticonRegistered(stock)
            | Self::QuantityModified(stock)
            | Self::GifticonDeleted(stock) => {
                stock.gifticon_id.map_or_else(String::new, |id| id.to_string())
            }
            Self::CartAdded(cart) => cart.id.to_string(),
            Self::CartRemoved(cart) => cart.id.to_string(),
            Self::PaymentApproved(payment) | Self::PaymentCancelled(payment) => {
                payment.cart_id.to_string()
            }
            Self::PaymentDeclined(decline) => decline.payment.cart_id.to_string(),
            Self::Unknown => String::new(),
        }
    }
}

/// A gifticon as it is after the fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stock {
    /// The row at gifticon.
    #[serde(deserialize_with = "number::lenient")]
    pub id: i64,
    /// Always there in ours. The original misnamed the field `musicalId` and left it null.
    #[serde(default)]
    pub gifticon_id: Option<GifticonId>,
    /// What customers read.
    #[serde(default)]
    pub name: Option<String>,
    /// Units left to sell.
    #[serde(default, deserialize_with = "number::lenient_option")]
    pub available_quantity: Option<i64>,
    /// Won for one unit.
    #[serde(default, deserialize_with = "number::lenient_option")]
    pub price: Option<i64>,
}

/// A cart came to be.
///
/// The fields from `reservation_id` on are ours; the original's event ends before them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CartAdded {
    /// The cart.
    pub id: CartId,
    /// What it holds.
    pub gifticon_id: GifticonId,
    /// Units held.
    #[serde(deserialize_with = "number::lenient")]
    pub quantity: i64,
    /// [`status::CART_ADDED`].
    #[serde(default)]
    pub status: Option<String>,
    /// Under which the stock is held at gifticon.
    #[serde(default)]
    pub reservation_id: Option<ReservationId>,
    /// Name of the gifticon when it was reserved.
    #[serde(default)]
    pub name: Option<String>,
    /// Won for one unit when it was reserved.
    #[serde(default, deserialize_with = "number::lenient_option")]
    pub price: Option<i64>,
    /// Won to pay in all.
    #[serde(default, deserialize_with = "number::lenient_option")]
    pub amount: Option<i64>,
}

/// A cart is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CartRemoved {
    /// The cart.
    pub id: CartId,
    /// What it held.
    pub gifticon_id: GifticonId,
    /// Units it held.
    #[serde(deserialize_with = "number::lenient")]
    pub quantity: i64,
    /// [`status::CART_REMOVED`].
    #[serde(default)]
    pub status: Option<String>,
    /// What gifticon releases. Absent in the original's event, whose stock gifticon never reserved.
    #[serde(default)]
    pub reservation_id: Option<ReservationId>,
}

/// A payment was approved or cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// The payment.
    pub id: PaymentId,
    /// Whose payment it is.
    pub cart_id: CartId,
    /// Won.
    #[serde(default, deserialize_with = "number::lenient_option")]
    pub amount: Option<i64>,
    /// [`status::PAYMENT_APPROVED`] or [`status::PAYMENT_CANCELED`].
    #[serde(default)]
    pub status: Option<String>,
}

/// A payment was declined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "DeclineFields")]
pub struct Decline {
    /// The payment, with [`status::PAYMENT_DECLINED`].
    #[serde(flatten)]
    pub payment: Payment,
    /// Why, in words for the customer.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The fields of a [`Decline`] as they are read. serde reads flattened fields from a buffer, which
/// rounds numbers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeclineFields {
    id: PaymentId,
    cart_id: CartId,
    #[serde(default, deserialize_with = "number::lenient_option")]
    amount: Option<i64>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

impl From<DeclineFields> for Decline {
    fn from(fields: DeclineFields) -> Self {
        let DeclineFields { id, cart_id, amount, status, reason } = fields;
        Self { payment: Payment { id, cart_id, amount, status }, reason }
    }
}
