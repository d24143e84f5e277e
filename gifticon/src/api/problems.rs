//! The problems of this service, and which refusal becomes which of them.

use crate::domain::{Refusal, Reply};
use axum::http::StatusCode;
use chassis::base::i18n::Text;
use chassis::base::problem::{Kind, Problem, kind};
use chassis::http::{EntityTag, precondition_failed};
use chassis::writer::CommandError;
use common_events::number::UNITS_MAX;

pub(super) const GIFTICON_EXISTS: Kind = Kind::new(
    "gifticon-exists",
    StatusCode::CONFLICT,
    "This gifticon exists already",
    "이미 등록된 기프티콘입니다",
);
pub(super) const GIFTICON_HELD: Kind = Kind::new(
    "gifticon-held",
    StatusCode::CONFLICT,
    "Live carts hold this gifticon",
    "장바구니에 담긴 기프티콘입니다",
);
pub(super) const UNKNOWN_GIFTICON: Kind = Kind::new(
    "no-such-gifticon",
    StatusCode::NOT_FOUND,
    "There is no such gifticon",
    "없는 기프티콘입니다",
);
pub(super) const INSUFFICIENT_STOCK: Kind =
    Kind::new("not-enough-stock", StatusCode::CONFLICT, "Not enough are left", "수량이 부족합니다");
const RESERVATION_RELEASED: Kind = Kind::new(
    "reservation-released",
    StatusCode::CONFLICT,
    "This reservation was released already",
    "이미 해제된 예약입니다",
);
const RESERVATION_DIFFERS: Kind = Kind::new(
    "reservation-differs",
    StatusCode::UNPROCESSABLE_ENTITY,
    "This reservation was made for something else",
    "다른 내용으로 만들어진 예약입니다",
);
pub(super) const VERSION_NEEDED: Kind = Kind::new(
    "version-needed",
    StatusCode::PRECONDITION_REQUIRED,
    "An absolute quantity needs If-Match",
    "절대 수량에는 If-Match가 필요합니다",
);
/// The problems of this service. A test compares them with docs/reference/problems.md.
pub const PROBLEMS: &[Kind] = &[
    GIFTICON_EXISTS,
    GIFTICON_HELD,
    UNKNOWN_GIFTICON,
    INSUFFICIENT_STOCK,
    RESERVATION_RELEASED,
    RESERVATION_DIFFERS,
    VERSION_NEEDED,
];

/// Returns the problem of a reply that does not belong to its command.
pub(super) fn unexpected(reply: &Reply) -> Problem {
    Problem::internal(anyhow::anyhow!("the writer replied {reply:?}"))
}

/// Returns the problem of a gifticon that is not on sale.
pub(super) fn unknown_gifticon() -> Problem {
    Problem::new(
        UNKNOWN_GIFTICON,
        Text::fixed(
            "look at /gifticons for what there is",
            "/gifticons 에서 판매 중인 기프티콘을 확인해 주세요",
        ),
    )
}

/// Returns the problem for each refusal.
pub(super) fn refused(error: CommandError<Refusal>) -> Problem {
    let refusal = match error {
        CommandError::Refused(refusal) => refusal,
        CommandError::Unavailable(unavailable) => return unavailable.into(),
    };
    match refusal {
        Refusal::GifticonExists(id) => Problem::new(
            GIFTICON_EXISTS,
            Text::new(
                format!("gifticon {id} is on sale; change it, or choose another gifticonId"),
                format!("{id}번 기프티콘은 이미 있습니다. 수정하거나 다른 gifticonId를 써 주세요"),
            ),
        ),
        Refusal::UnknownGifticon => unknown_gifticon(),
        Refusal::InsufficientStock { available } => Problem::new(
            INSUFFICIENT_STOCK,
            Text::new(format!("{available} are left"), format!("남은 수량은 {available}개입니다")),
        )
        .with("availableQuantity", available),
        Refusal::ReservationReleased => Problem::new(
            RESERVATION_RELEASED,
            Text::fixed("make a new reservation", "새로 예약해 주세요"),
        ),
        Refusal::ReservationDiffers => Problem::new(
            RESERVATION_DIFFERS,
            Text::fixed("use a new reservation id", "새 예약 번호를 써 주세요"),
        ),
        Refusal::GifticonHeld { held } => Problem::new(
            GIFTICON_HELD,
            Text::new(
                format!("carts hold {held} units; it can be deleted when they are gone"),
                format!("장바구니에 {held}개가 담겨 있어 아직 삭제할 수 없습니다"),
            ),
        ),
        Refusal::UnexpectedVersion { current } => {
            precondition_failed(&EntityTag::of_version(current))
        }
        Refusal::VersionNeeded => Problem::new(
            VERSION_NEEDED,
            Text::fixed(
                "send If-Match with the ETag that you read (* takes any), or restock with the difference",
                "조회한 ETag(또는 모든 버전을 뜻하는 *)를 If-Match로 보내거나 restock으로 차이를 보내 주세요",
            ),
        ),
        Refusal::StockOutOfBounds(units) => Problem::new(
            kind::INVALID,
            Text::new(
                format!("the stock would be {units}; it can be 0 to {UNITS_MAX}"),
                format!("재고가 {units}개가 됩니다. 0에서 {UNITS_MAX} 사이여야 합니다"),
            ),
        )
        .error(
            "restock",
            Text::new(
                format!("would make the stock {units}"),
                format!("재고가 {units}개가 됩니다"),
            ),
        ),
    }
}
