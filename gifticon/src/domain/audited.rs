//! What the audit log tells of the changes of an MD.

use crate::domain::Gifticon;
use chassis::model::AuditedChange;
use serde_json::Value;

/// Returns the row of the audit log for a change of a gifticon, which is `None` where it is not on sale.
pub(super) fn change(
    action: &'static str,
    before: Option<&Gifticon>,
    after: Option<&Gifticon>,
) -> AuditedChange {
    let number = before.or(after).map(|gifticon| gifticon.gifticon_id);
    let subject = number.map(|number| format!("gifticon {number}")).unwrap_or_default();
    let value = |gifticon: Option<&Gifticon>| {
        let payload = gifticon.map(|gifticon| serde_json::to_value(gifticon.payload()));
        payload.and_then(Result::ok).unwrap_or(Value::Null)
    };
    AuditedChange { action, subject, before: value(before), after: value(after) }
}
