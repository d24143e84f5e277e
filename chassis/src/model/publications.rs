//! The events that a batch publishes, and what the audit log tells of it.

use common_events::Event;
use serde_json::Value;
use std::collections::BTreeMap;

/// A change for the audit log: what somebody changed on purpose, who may change what others rely on.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditedChange {
    /// What was done: `register`, `delete`.
    pub action: &'static str,
    /// To what: `gifticon 7`.
    pub subject: String,
    /// How it was before; `null` if it was not there.
    pub before: Value,
    /// How it was afterwards; `null` if it is gone.
    pub after: Value,
}

impl AuditedChange {
    /// Returns a change without a before and an after.
    pub fn of(action: &'static str, subject: impl Into<String>) -> Self {
        Self { action, subject: subject.into(), before: Value::Null, after: Value::Null }
    }
}

/// The events that a batch of commands publishes, in order, each with the number of the command that caused it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publications {
    command: usize,
    events: Vec<(usize, Event)>,
    /// By their keys; published after the others.
    latest: BTreeMap<String, (usize, Event)>,
    changes: Vec<(usize, AuditedChange)>,
}

impl Publications {
    /// What is published from here on is caused by the command with this number in its batch.
    pub fn begin(&mut self, command: usize) {
        self.command = command;
    }

    /// Publishes `event`. It takes the place of one of [`Publications::publish_latest`] with the same key.
    pub fn publish(&mut self, event: Event) {
        if !self.latest.is_empty() {
            self.latest.remove(&event.key());
        }
        self.events.push((self.command, event));
    }

    /// Publishes `event`, which says how something is now, at the end of the batch, unless a later event with its key makes
    /// it obsolete: a hundred sales of one gifticon are one event.
    pub fn publish_latest(&mut self, event: Event) {
        self.latest.insert(event.key(), (self.command, event));
    }

    /// Adds a change to the audit log.
    pub fn record(&mut self, change: AuditedChange) {
        self.changes.push((self.command, change));
    }

    /// Returns the changes for the audit log in order, each with the number of the command that made it.
    pub fn take_changes(&mut self) -> Vec<(usize, AuditedChange)> {
        std::mem::take(&mut self.changes)
    }

    /// Returns the events in order, each with the number of the command that caused it.
    pub fn into_events(self) -> Vec<(usize, Event)> {
        self.events.into_iter().chain(self.latest.into_values()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common_events::{GifticonId, Stock};

    fn stock(gifticon: i64, units: i64) -> Stock {
        Stock {
            id: gifticon,
            gifticon_id: Some(GifticonId(gifticon)),
            name: None,
            available_quantity: Some(units),
            price: None,
        }
    }

    #[test]
    fn of_the_latest_one_is_published_for_each_key_after_the_others() {
        let mut out = Publications::default();
        for (command, gifticon) in [(0, 1), (1, 2), (2, 1)] {
            out.begin(command);
            out.publish_latest(Event::QuantityModified(stock(gifticon, 9)));
        }
        out.begin(3);
        out.publish(Event::GifticonRegistered(stock(3, 5)));
        out.begin(4);
        out.publish(Event::GifticonDeleted(stock(2, 9)));
        let events = out.into_events();
        let told: Vec<_> =
            events.iter().map(|(command, event)| (*command, event.event_type())).collect();
        assert_eq!(
            told,
            [(3, "GifticonRegistered"), (4, "GifticonDeleted"), (2, "QuantityModified")]
        );
    }
}
