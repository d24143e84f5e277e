//! The operations of payments, for the OpenAPI document.

use crate::api::{PaymentView, UNKNOWN_PAYMENT, surface};
use crate::store::PAYMENTS;
use chassis::openapi::Api;

/// Returns the operations that customers may call.
pub fn openapi() -> Api {
    Api::new(
        "payments",
        "Payments that are decided. A cart's payment is here shortly after the cart is added.",
        surface().access,
    )
    .listing::<PaymentView>(&PAYMENTS, UNKNOWN_PAYMENT)
}
