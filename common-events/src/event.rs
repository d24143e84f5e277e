//! The event types and their fields.

use crate::{CartId, GifticonId, Owner, PaymentId, ReservationId, number};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// The values of `status` in events and in HTTP responses.
pub mod status {
    /// The cart holds its stock; its payment is not decided yet.
    pub const CART_ADDED: &str = "CartAdded";
    /// The cart was removed, by its customer or because its payment was declined.
    pub const CART_REMOVED: &str = "CartRemoved";
    /// The payment of the cart was approved.
    pub const PAYMENT_APPROVED: &str = "PaymentApproved";
    /// The payment provider declined the payment of the cart.
    pub const PAYMENT_DECLINED: &str = "PaymentDeclined";
    /// The payment of the cart was cancelled. The event is spelled `PaymentCancelled`, but the original spells the status
    /// with one l, and its readers compare it.
    pub const PAYMENT_CANCELED: &str = "PaymentCanceled";
}

/// The fields of an event type.
trait EventFields {
    /// True for an event of a cart or of its payment.
    const IS_ABOUT_A_CART: bool;

    /// Returns the message key. Events with the same key stay in order.
    fn key(&self) -> String;
}

/// Generates [`Event`] and everything that depends on the list of its types. Each row is an event type: its name, which is
/// also the `eventType` on the wire, and its fields.
macro_rules! event_types {
    ($($(#[doc = $doc:literal])* $name:ident($fields:ty),)+) => {
        /// A fact about the shop.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[doc = $doc])* $name($fields),)+
            /// An event type of a newer version or of another system. Readers skip it.
            Unknown,
        }

        impl Event {
            /// The `eventType` of each type of this crate.
            pub const TYPES: &[&str] = &[$(stringify!($name)),+];

            /// Returns each type with its documentation and the schema of its fields.
            #[cfg(test)]
            pub(crate) fn schemas(
                generator: &mut schemars::SchemaGenerator,
            ) -> Vec<(&'static str, &'static str, schemars::Schema)> {
                vec![$((
                    stringify!($name),
                    concat!($($doc),*),
                    generator.root_schema_for::<$fields>(),
                )),+]
            }

            /// Reads the fields of an event. An unknown type is [`Event::Unknown`], whatever its fields are.
            pub(crate) fn from_json(event_type: &str, json: &[u8]) -> serde_json::Result<Self> {
                Ok(match event_type {
                    $(stringify!($name) => Self::$name(serde_json::from_slice(json)?),)+
                    _ => Self::Unknown,
                })
            }

            /// Returns true if `event_type` is a type of this crate.
            pub fn is_known(event_type: &str) -> bool {
                Self::TYPES.contains(&event_type)
            }

            /// Returns true if `event_type` is that of an event of a cart or of its payment. The key of such an event is
            /// the id of the cart.
            pub fn is_about_a_cart(event_type: &str) -> bool {
                match event_type {
                    $(stringify!($name) => <$fields>::IS_ABOUT_A_CART,)+
                    _ => false,
                }
            }

            /// Returns the `eventType` on the wire.
            pub fn event_type(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)+
                    Self::Unknown => "Unknown",
                }
            }

            /// Returns the message key: the id of the cart or of the gifticon. Events with the same key stay in order. Empty
            /// for a gifticon event of the original, which has no gifticon id, and for an unknown event.
            pub fn key(&self) -> String {
                match self {
                    $(Self::$name(fields) => fields.key(),)+
                    Self::Unknown => String::new(),
                }
            }
        }

        /// Writes the fields, without the event type.
        impl Serialize for Event {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$name(fields) => fields.serialize(serializer),)+
                    Self::Unknown => serializer.serialize_map(Some(0))?.end(),
                }
            }
        }
    };
}

event_types! {
    /// The merchandiser (MD) put a gifticon on sale.
    GifticonRegistered(Stock),
    /// The stock, name or price of a gifticon changed. Has the state after the change, so one event may stand for several
    /// changes.
    QuantityModified(Stock),
    /// The merchandiser took a gifticon off sale.
    GifticonDeleted(Stock),
    /// A cart holds stock and is to be paid.
    CartAdded(CartAdded),
    /// A cart was removed: its stock is released and its payment cancelled.
    CartRemoved(CartRemoved),
    /// The payment provider approved a payment.
    PaymentApproved(Payment),
    /// The payment provider declined a payment.
    PaymentDeclined(Decline),
    /// A payment was cancelled and its money returned.
    PaymentCancelled(Payment),
}

impl EventFields for Stock {
    const IS_ABOUT_A_CART: bool = false;

    fn key(&self) -> String {
        self.gifticon_id.map_or_else(String::new, |id| id.to_string())
    }
}

impl EventFields for CartAdded {
    const IS_ABOUT_A_CART: bool = true;

    fn key(&self) -> String {
        self.id.to_string()
    }
}

impl EventFields for CartRemoved {
    const IS_ABOUT_A_CART: bool = true;

    fn key(&self) -> String {
        self.id.to_string()
    }
}

impl EventFields for Payment {
    const IS_ABOUT_A_CART: bool = true;

    fn key(&self) -> String {
        self.cart_id.to_string()
    }
}

impl EventFields for Decline {
    const IS_ABOUT_A_CART: bool = true;

    fn key(&self) -> String {
        self.payment.key()
    }
}

/// The state of a gifticon after the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Stock {
    /// The id of the row in the gifticon service.
    #[serde(deserialize_with = "number::lenient")]
    pub id: i64,
    /// The number of the gifticon. Absent only in events of the original, which misnamed the field `musicalId` and left it
    /// null.
    #[serde(default)]
    pub gifticon_id: Option<GifticonId>,
    /// The name that customers see.
    #[serde(default)]
    pub name: Option<String>,
    /// Units that can still be sold.
    #[serde(default, deserialize_with = "number::lenient_option")]
    pub available_quantity: Option<i64>,
    /// Price of a unit in won.
    #[serde(default, deserialize_with = "number::lenient_option")]
    pub price: Option<i64>,
}

/// A cart was added.
///
/// The original's event has no `reservation_id` and none of the fields after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CartAdded {
    /// The cart.
    pub id: CartId,
    /// The gifticon that the cart holds.
    pub gifticon_id: GifticonId,
    /// Units that the cart holds.
    #[serde(deserialize_with = "number::lenient")]
    pub quantity: i64,
    /// [`status::CART_ADDED`].
    #[serde(default)]
    pub status: Option<String>,
    /// The reservation of the units in the gifticon service.
    #[serde(default)]
    pub reservation_id: Option<ReservationId>,
    /// The name of the gifticon when it was reserved.
    #[serde(default)]
    pub name: Option<String>,
    /// The price of a unit in won when it was reserved.
    #[serde(default, deserialize_with = "number::lenient_option")]
    pub price: Option<i64>,
    /// The amount to pay in won: quantity times price.
    #[serde(default, deserialize_with = "number::lenient_option")]
    pub amount: Option<i64>,
    /// Whom the cart belongs to: the issuer and the subject of their token, or `guest`. Absent in events from before there
    /// were owners, which are of guests.
    #[serde(default)]
    pub owner: Owner,
}

/// A cart was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CartRemoved {
    /// The cart.
    pub id: CartId,
    /// The gifticon that the cart held.
    pub gifticon_id: GifticonId,
    /// Units that the cart held.
    #[serde(deserialize_with = "number::lenient")]
    pub quantity: i64,
    /// [`status::CART_REMOVED`].
    #[serde(default)]
    pub status: Option<String>,
    /// The reservation that gifticon releases. Absent in events of the original, which reserves nothing.
    #[serde(default)]
    pub reservation_id: Option<ReservationId>,
    /// Whom the cart belongs to: the issuer and the subject of their token, or `guest`. Absent in events from before there
    /// were owners, which are of guests.
    #[serde(default)]
    pub owner: Owner,
}

/// A payment was approved or cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// The payment.
    pub id: PaymentId,
    /// The cart that is paid for.
    pub cart_id: CartId,
    /// The amount in won.
    #[serde(default, deserialize_with = "number::lenient_option")]
    pub amount: Option<i64>,
    /// [`status::PAYMENT_APPROVED`] or [`status::PAYMENT_CANCELED`].
    #[serde(default)]
    pub status: Option<String>,
    /// Whom the cart belongs to: the issuer and the subject of their token, or `guest`. Absent in events from before there
    /// were owners, which are of guests.
    #[serde(default)]
    pub owner: Owner,
}

/// A payment was declined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", from = "DeclineFields")]
pub struct Decline {
    /// The payment, with [`status::PAYMENT_DECLINED`].
    #[serde(flatten)]
    pub payment: Payment,
    /// The reason, in words for the customer.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The fields of a [`Decline`] for reading: serde buffers flattened fields, which would round numbers.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct DeclineFields {
    id: PaymentId,
    cart_id: CartId,
    #[serde(default, deserialize_with = "number::lenient_option")]
    amount: Option<i64>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    owner: Owner,
    #[serde(default)]
    reason: Option<String>,
}

impl From<DeclineFields> for Decline {
    fn from(fields: DeclineFields) -> Self {
        let DeclineFields { id, cart_id, amount, status, owner, reason } = fields;
        Self { payment: Payment { id, cart_id, amount, status, owner }, reason }
    }
}
