//! The operations of the view, for the OpenAPI document.

use crate::api::{MypageView, StepView, UNKNOWN_MYPAGE, surface};
use crate::store::MYPAGES;
use axum::http::Method;
use chassis::openapi::{Api, Operation};

/// Returns the operations that customers may call.
pub fn openapi() -> Api {
    let history = Operation::new(
        Method::GET,
        "/mypages/{id}/history",
        "getMypageHistory",
        "Every step of a cart, in order",
    );
    let history = history.list::<StepView>("The steps.").refuses(&[UNKNOWN_MYPAGE]);
    Api::new(
        "mypages",
        "The story of every cart, cancelled ones included, shortly after it happens.",
        surface().access,
    )
    .listing::<MypageView>(&MYPAGES, UNKNOWN_MYPAGE)
    .operation(history)
}
