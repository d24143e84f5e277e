//! What the audit log tells of the changes of an MD.

use chassis::model::AuditedChange;
use common_events::Stock;
use serde_json::Value;

/// Returns the row of the audit log for a change of a gifticon, which is `None` where it is not on sale.
pub(crate) fn change(
    action: &'static str,
    before: Option<&Stock>,
    after: Option<&Stock>,
) -> AuditedChange {
    let number = before.or(after).and_then(|gifticon| gifticon.gifticon_id);
    let subject = number.map(|number| format!("gifticon {number}")).unwrap_or_default();
    let value = |gifticon: Option<&Stock>| {
        let value = gifticon.map(serde_json::to_value);
        value.and_then(Result::ok).unwrap_or(Value::Null)
    };
    AuditedChange { action, subject, before: value(before), after: value(after) }
}
